"""Tags: computed from stored vectors by the classifier of the network, searched by words, and kept up to date."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest

from retrieval import BadInput, Index, IndexDamaged, SearchOptions, Tag, Tagged
from retrieval.networks.directions import Directions, directions_in
from retrieval.searching import tags
from retrieval.storage import tag_store
from tests.contracts.vectors import normalised
from tests.fakes import ColourEncoder, picture, put

WHOLE = "weights/mobilenet_v2_1.0_224_with_top.weights.h5"
CLASSES = {"red": (1, 0, 0), "dark green": (0, 1, 0), "green apple": (0.2, 1, 0), "blue": (0, 0, 1), "grey": (1, 1, 1),
           "violet": (1, 0, 1)}  # fmt: skip


def directions() -> np.ndarray:
    """The directions of `CLASSES` among the vectors of a `ColourEncoder`."""
    return normalised(np.array([[*colour * 4, 0.2] for colour in CLASSES.values()]))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    for number in range(4):
        put(tmp_path / f"photos/red{number}.png", picture((250, 10 * number, 0)))
        put(tmp_path / f"photos/green{number}.png", picture((10 * number, 250, 0)))
    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
        index.add(tmp_path / "photos")
        yield index


def tag(index: Index) -> None:
    with index._store.writing():
        tags.update(index._store, lambda: Directions(list(CLASSES), directions()))


def rows(index: Index, table: str) -> set[int]:
    with closing(sqlite3.connect(index._store.folder / tag_store.DATABASE)) as connection:
        return {image for (image,) in connection.execute(f"SELECT image FROM {table}")}


def names(found: list[object]) -> list[str]:
    return [match.path.name for match in found]


def test_the_classes_with_the_largest_cosines_are_kept_and_found(index: Index) -> None:
    tag(index)
    assert names(index.tagged("red", 4)) == ["red0.png", "red1.png", "red2.png", "red3.png"]
    found = index.tagged("red", 1)[0]
    assert [one.name for one in found.tags][:2] == ["red", "violet"]
    assert len(found.tags) == tags.BEST
    vector = ColourEncoder().images(np.full((1, 8, 8, 3), (250, 0, 0), np.uint8))[0]
    assert found.tags[0] == Tag("red", pytest.approx(float(vector @ directions()[0]), abs=1e-6))
    assert found.score == pytest.approx(found.tags[0].score)
    assert index.search(found, 1, SearchOptions(tags=True))[0].tags[0].name == "red"


def test_tags_are_given_by_id(index: Index) -> None:
    ids = [image.id for image in index.images()]
    assert index.tags(ids) == {}
    tag(index)
    found = index.tags([ids[0], 12345])
    assert list(found) == [ids[0]]
    assert found[ids[0]] == index.tagged("green", 8)[names(index.tagged("green", 8)).index("green0.png")].tags
    assert index.tags([]) == {}
    with pytest.raises(BadInput):
        index.tags(["a"])  # type: ignore[list-item]


def test_words_are_words_of_a_name_in_any_form_and_order(index: Index) -> None:
    tag(index)
    assert names(index.tagged("Apples, green!", 1)) == ["green3.png"]  # the yellowest of them
    assert names(index.tagged("GREEN_apple", 1)) == names(index.tagged("gréen apples", 1)) == ["green3.png"]
    green = index.tagged("green", 8)  # two classes, the better one counts
    assert set(names(green)[:4]) == {f"green{number}.png" for number in range(4)}
    assert [match.score for match in green] == sorted((match.score for match in green), reverse=True)
    assert index.tagged("green", 3, offset=2) == green[2:5]
    with pytest.raises(BadInput, match="no class is called 'gren'") as error:
        index.tagged("gren")
    assert "green" in error.value.hint or "red" in error.value.hint
    with pytest.raises(BadInput, match="words is empty"):
        index.tagged("")
    for nothing in ('"', "green OR", "NOT *"):
        with pytest.raises(BadInput, match="no class is called"):
            index.tagged(nothing)


def test_an_index_without_tags_says_so(index: Index) -> None:
    with pytest.raises(BadInput, match="the images have no tags"):
        index.tagged("red")
    assert index.search(picture((250, 0, 0)), 1, SearchOptions(tags=True))[0].tags == ()


def test_a_tag_is_a_query_like_others(index: Index) -> None:
    tag(index)
    queries = [Tagged("red"), picture((250, 0, 0)), Tagged("gren"), Tagged("green")]
    answers = index.answers(queries, 3, SearchOptions(tags=True, offset=1))
    assert answers.coverage == index.coverage()
    red, near, wrong, green = answers.results
    assert red == index.tagged("red", 3, offset=1)
    assert green == index.search(Tagged("green"), 3, SearchOptions(tags=True, offset=1))
    assert isinstance(wrong, BadInput)
    assert [match.tags[0].name for match in near] == ["red"] * 3
    assert [match.rank for match in red] == [2, 3, 4]
    assert [match.tags for match in index.search(Tagged("red"), 2)] == [(), ()]
    for ask in (lambda query: list(index.neighbours([query])), lambda query: index.embed([query])):
        with pytest.raises(BadInput, match="a tag is not a picture"):
            ask(Tagged("red"))


def test_tags_follow_what_is_added_and_removed(index: Index, tmp_path: Path) -> None:
    tag(index)
    (tmp_path / "photos/red0.png").unlink()
    put(tmp_path / "photos/red9.png", picture((255, 1, 1)))
    index.add(tmp_path / "photos")
    assert "red0.png" not in names(index.tagged("red", 8))
    tag(index)
    assert "red9.png" in names(index.tagged("red", 8))
    gone = index.id_of(tmp_path / "photos/red9.png")
    assert gone in rows(index, "tags") & rows(index, "pictures")
    index.remove(tmp_path / "photos")
    assert index.tagged("red", 8) == []
    assert rows(index, "tags") == rows(index, "pictures") == set()


def test_removed_images_are_skipped_before_matches_are_counted(index: Index, tmp_path: Path) -> None:
    tag(index)
    kept = (tmp_path / "index" / tag_store.DATABASE).read_bytes()
    best = index.tagged("red", 1)[0]
    index.remove(best.path)
    (tmp_path / "index" / tag_store.DATABASE).write_bytes(
        kept
    )  # as if the removal had been killed right after its commit
    assert best.id in rows(index, "tags")
    found = index.tagged("red", 3)
    assert len(found) == 3
    assert best.id not in [match.id for match in found]


def test_an_interrupted_update_is_continued(index: Index, tmp_path: Path) -> None:
    with index._store.writing():  # as if it had been killed before its first commit
        state = {"generation": 0, "made": True, "version": tag_store.VERSION}
        index._store.put_setting(tag_store.TAGGED, state)
    (tmp_path / "index" / tag_store.DATABASE).touch()
    assert index.search(picture((250, 0, 0)), 1, SearchOptions(tags=True))[0].tags == ()
    tag(index)
    assert len(index.tagged("red", 4)) == 4


def test_damage_is_an_error_that_the_next_update_mends(
    index: Index, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tag(index)
    place = tmp_path / "index" / tag_store.DATABASE
    place.write_bytes(b"no database" * 1000)
    with pytest.raises(IndexDamaged, match="the tags of the index are damaged"):
        index.tagged("red")
    assert index.search(picture((250, 0, 0)), 1, SearchOptions(tags=True))[0].tags == ()
    assert "the tags of the index are damaged" in caplog.text
    index.remove(tmp_path / "photos/red0.png")  # which goes on nevertheless
    tag(index)
    assert len(index.tagged("red", 4)) == 4
    assert index.verify().whole


def test_a_classifier_is_read_from_a_file_of_weights(tmp_path: Path) -> None:
    path, table = tmp_path / "net.weights.h5", tmp_path / tags.TABLE
    matrix = np.random.default_rng(0).standard_normal((13, 6)).astype(np.float32)
    nowhere = {"KERAS_HOME": str(tmp_path / "none")}

    def write(shape: tuple[int, ...]) -> None:
        with h5py.File(path, "w") as file:
            file["layers/conv/vars/0"] = np.zeros((13, 6))  # no bias beside it
            file["layers/dense/vars/0"] = matrix.reshape(shape)
            file["layers/dense/vars/1"] = np.zeros(6)

    for shape in ((13, 6), (1, 1, 13, 6)):
        write(shape)
        table.write_text(json.dumps({number: [f"n{number}", name] for number, name in enumerate("ab_cdef"[:6])}))
        found = directions_in(path, 13, nowhere)
        assert found is not None
        assert found.names[2] == " "
        assert found.directions == pytest.approx(normalised(matrix.T), abs=1e-6)
        assert directions_in(path, 12, nowhere) is None  # another network's
        table.unlink()
        assert directions_in(path, 13, nowhere) is None
    table.write_text("[1, 2")
    with pytest.raises(BadInput, match="is not a table of class names"):
        directions_in(path, 13, nowhere)


def test_deleted_tags_are_made_again_by_an_update_without_news(shared: Callable[[str], Path], tmp_path: Path) -> None:
    for path in sorted(shared("images/photos").glob("*"))[:4]:
        put(tmp_path / "photos" / path.name, path.read_bytes())
    with Index.create(tmp_path / "index", backbone="mobilenet_v2", weights=shared(WHOLE)) as index:
        index.add(tmp_path / "photos")
        before = index.tagged("hound", 4)
        assert before
        for damage in (Path.unlink, lambda place: place.write_bytes(b"garbage" * 999)):
            damage(tmp_path / "index" / tag_store.DATABASE)
            put(tmp_path / "photos/more.png", picture((1, 2, 3)))  # damage alone is not looked for
            index.add(tmp_path / "photos")
            assert index.tagged("hound", 4) == before
        (tmp_path / "index" / tag_store.DATABASE).unlink()
        assert index.add(tmp_path / "photos").added == 0
        assert index.tagged("hound", 4) == before
    with Index.create(tmp_path / "other", backbone="mobilenet_v2", weights=shared(WHOLE), pooling="max") as index:
        index.add(tmp_path / "photos")
        with pytest.raises(BadInput, match="have no tags"):
            index.tagged("hound")


@pytest.mark.slow
def test_photographs_are_found_by_the_names_of_their_classes(shared: Callable[[str], Path], tmp_path: Path) -> None:
    photos = sorted(shared("images/photos").glob("*"))
    with Index.create(tmp_path / "index", backbone="mobilenet_v2", weights=shared(WHOLE)) as index:
        index.add(shared("images/photos"))
        found = [photo in [match.path for match in index.tagged(photo.stem.replace("_", " "), 3)] for photo in photos]
    assert len(photos) == 200
    assert np.mean(found) >= 0.9  # 0.96
