"""What a query excludes from its own matches: the file that was asked about, but not its copies."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from retrieval import BadInput, Index, SearchOptions
from retrieval.measuring import labels, voting
from retrieval.types import Match
from tests.fakes import ColourEncoder, colour, picture, put


@pytest.fixture
def asked(photos: Path) -> Path:
    return photos / "05.png"


@pytest.fixture
def filled(index: Index, photos: Path, asked: Path) -> Index:
    """An index in which 05.png has a copy below sub/."""
    shutil.copy(asked, photos / "sub/copy.png")
    index.add(photos)
    return index


def places(found: list[Match]) -> list[str]:
    return [path.name for match in found for path in (match.path, *match.copies)]


def test_a_copy_of_the_file_is_the_first_result(filled: Index, asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = filled.search(asked, k=3)
    assert [(found[0].rank, found[0].path.name, found[0].copies)] == [(1, "copy.png", ())]
    assert found[0].score == pytest.approx(1)
    assert [match.rank for match in found] == [1, 2, 3]
    assert filled.search(asked, k=2, options=SearchOptions(offset=1)) == found[1:]
    assert len(filled.search(asked, k=100)) == 12
    monkeypatch.chdir(asked.parent)
    for spelled in ("05.png", "./05.png", "sub/../05.png", str(asked).encode().decode()):
        assert filled.search(spelled, k=3) == found
    copy = asked.parent / "sub/copy.png"
    assert filled.search(copy, k=1)[0].path == asked


def test_bytes_exclude_nothing_and_an_id_excludes_its_image(filled: Index, asked: Path) -> None:
    both = {"05.png", "copy.png"}
    assert both <= {*places(filled.search(asked.read_bytes(), k=1))}
    assert both <= {*places(filled.search(asked, k=1, options=SearchOptions(include_self=True)))}
    own = filled.search(asked, k=1)[0]
    for query in (own, own.id):
        assert not both & {*places(filled.search(query, k=100))}
        assert len(filled.search(query, k=11)) == 11


def test_links_and_hard_links(filled: Index, asked: Path, tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(asked)
    assert places(filled.search(tmp_path / "link.png", k=1)) == ["copy.png"]
    (asked.parent / "inside.png").symlink_to(asked)
    os.link(asked, asked.parent / "hard.png")
    filled.add(asked.parent)
    assert places(filled.search(asked.parent / "inside.png", k=1)) == ["hard.png", "copy.png"]  # not what it leads to
    assert "hard.png" in places(filled.search(asked, k=1))
    (tmp_path / "folder").symlink_to(asked.parent)
    assert "05.png" not in places(filled.search(tmp_path / "folder/05.png", k=20))


def test_a_file_outside_the_index_excludes_nothing(filled: Index, asked: Path, tmp_path: Path) -> None:
    shutil.copy(asked, tmp_path / "outside.png")
    assert places(filled.search(tmp_path / "outside.png", k=1)) == ["05.png", "copy.png"]


def test_a_file_that_has_changed_is_not_shown_as_its_former_image(filled: Index, asked: Path) -> None:
    put(asked, picture((250, 1, 250)))
    found = filled.search(asked, k=100)
    assert "05.png" not in places(found)
    assert "copy.png" in places(found)
    assert len(found) == 12
    put(asked.parent / "03.png", picture((250, 1, 250)))  # of which there is no copy
    assert len(filled.search(asked.parent / "03.png", k=100)) == 11


def test_a_file_that_cannot_be_opened_is_known_by_its_path(filled: Index, asked: Path, tmp_path: Path) -> None:
    before = filled.search(asked, k=5)
    asked.parent.rename(tmp_path / "away")
    filled.add(asked.parent)
    found = filled.search(asked, k=5)
    assert [(match.id, match.score) for match in found] == [(match.id, match.score) for match in before]
    assert places(found[:1]) == ["copy.png"]
    assert all(match.offline for match in found)


def test_votes_and_measures_count_no_copy_of_the_query(filled: Index, asked: Path) -> None:
    """A copy would give the answer away."""
    own = filled.id_of(asked)
    for query in (asked, asked.read_bytes(), own):
        (near,) = filled.neighbours([query], 100)  # type: ignore[list-item]
        assert own not in near.ids
        assert len(near.ids) == 11
    known = labels.Labels({own: "the same", **dict.fromkeys(near.ids.tolist(), "others")})  # type: ignore[dict-item]
    assert [one.label for one in voting.classify(filled, known, asked.read_bytes()).classes] == ["others"]


def test_a_copy_is_first_and_certain_in_every_ranking(filled: Index, asked: Path, photos: Path) -> None:
    for number in range(12, 40):
        put(photos / f"{number}.png", picture(colour(number)))
    filled.add(photos)
    for ranking in ("none", "expansion"):
        found = filled.search(asked, k=10, options=SearchOptions(ranking=ranking, likelihood=True))
        assert places(found[:1]) == ["copy.png"]
        assert found[0].probability in (None, 1.0)


def test_a_vector_is_a_query(index: Index, photos: Path, encoder: ColourEncoder) -> None:
    index.add(photos)
    outside = picture((1, 200, 3))
    (vector,) = index.embed([outside])
    before = encoder.calls
    for given in (vector, vector.astype(np.float64) * 1e200, vector.astype(np.float16)):
        assert index.search(given, 5).paths == index.search(vector, 5).paths
    assert encoder.calls == before
    found, right = index.search(vector, 5), index.search(outside, 5)
    assert found.paths == right.paths
    assert found.scores == pytest.approx(right.scores, abs=1e-6)
    assert index.embed([3 * vector])[0] == pytest.approx(vector, abs=1e-6)
    with pytest.raises(BadInput, match=r"the vectors have the shape \(1, 12\), not \(1, 13\)"):
        index.search(vector[:12])
    with pytest.raises(BadInput, match="has no direction"):
        index.search(np.zeros(13))
    with pytest.raises(BadInput, match="a vector cannot be cropped"):
        index.search(vector, 5, SearchOptions(crop="0%,0%,50%,50%"))
