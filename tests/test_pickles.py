"""What can go to another process, and comes back the same: multiprocessing pickles all that it hands over."""

import copy
import inspect
import pickle
import threading
from pathlib import Path

import pytest

from retrieval import BadInput, Index, Report, errors
from retrieval.types import Coverage, Timing
from tests.fakes import ColourEncoder, colour, picture

ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("copied", [lambda one: pickle.loads(pickle.dumps(one)), copy.copy, copy.deepcopy])
def test_errors_keep_their_hint(kind: type[errors.RetrievalError], copied: object) -> None:
    error = copied(kind("one sentence", hint="a way out"))  # type: ignore[operator]
    assert (type(error), str(error), error.hint) == (kind, "one sentence", "a way out")


def test_facts_come_back_equal(index: Index, photos: Path) -> None:
    timing = Timing()
    report = index.add(photos)
    matches = index.search(picture(colour(3)), k=3, timing=timing)
    answers = index.answers([picture(colour(3)), b"words"], k=3)
    for fact in (report, matches, index.info(), index.coverage(), Report(), Coverage(1, 2, 3)):
        assert pickle.loads(pickle.dumps(fact)) == fact
    back = pickle.loads(pickle.dumps(answers))
    assert (back.results[0], str(back.results[1]), back.coverage) == (
        matches,
        "not a picture in a known format",
        answers.coverage,
    )
    other = pickle.loads(pickle.dumps(timing))
    assert (type(other), other) == (Timing, timing)
    other.add("search", 1.0)
    assert other["search"] == timing["search"] + 1


def test_an_index_is_opened_again_where_it_is(index: Index, photos: Path) -> None:
    index.add(photos)
    with pickle.loads(pickle.dumps(index)) as other:
        assert other.search(picture((1, 2, 3)), k=5) == index.search(picture((1, 2, 3)), k=5)
        assert other.add(photos).unchanged == 12


@pytest.mark.tensorflow
def test_options_travel_with_an_index(tmp_path: Path) -> None:
    Index.create(tmp_path / "index", backbone="mini", runtime="keras", threads=2).close()
    index = Index.open(tmp_path / "index", runtime="keras", threads=2)
    with index, pickle.loads(pickle.dumps(index)) as other:
        assert (other._execution, other._weights) == (index._execution, index._weights)


def test_an_encoder_that_cannot_be_pickled_is_named_as_the_reason(tmp_path: Path) -> None:
    class Locked(ColourEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

    with Index.create(tmp_path / "index", encoder=Locked()) as index:
        with pytest.raises(BadInput, match="because its encoder cannot be pickled") as error:
            pickle.dumps(index)
        assert "Index.open(..., encoder=...)" in error.value.hint


def test_the_index_of_a_folder_that_is_gone_is_refused_when_it_is_loaded(index: Index, tmp_path: Path) -> None:
    data = pickle.dumps(index)
    index.close()
    (tmp_path / "index").rename(tmp_path / "moved")
    with pytest.raises(errors.IndexNotFound):
        pickle.loads(data)
