"""Vectors that a caller gives: they are those that are searched, their files are known, and nothing wrong is stored."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from retrieval import BadInput, Index
from retrieval.vectors.scaling import unit_vectors
from tests.fakes import ColourEncoder, picture, put


class NoEncoder(ColourEncoder):
    """An encoder of which only the facts are used."""

    def images(self, batch):
        raise AssertionError("a picture was embedded")


@pytest.fixture
def encoder() -> ColourEncoder:
    return NoEncoder()


@pytest.fixture
def files(photos: Path) -> list[Path]:
    return sorted(photos.rglob("*.png"))


def some(count: int, dim: int = 13) -> NDArray[np.float64]:
    return np.random.default_rng(3).normal(size=(count, dim))


def test_the_images_are_searched_by_their_given_vectors(index: Index, photos: Path, files: list[Path]) -> None:
    vectors = some(len(files))
    report = index.add_vectors(files, vectors, root=photos)
    assert str(report) == "12 added"
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [index.id_of(path) for path in files]
    assert index.vectors(ids) == pytest.approx(unit, abs=1e-6)
    for query in (files[4], ids[4]):  # neither is a match of itself; a vector finds the image that has it
        assert index.search(7 * vectors[4], 1).paths == [files[4]]
        found = index.search(query, 3)
        right = [row for row in np.argsort(-unit @ unit[4], kind="stable") if row != 4][:3]
        assert found.paths == [files[row] for row in right]
        assert found.scores == pytest.approx(unit[right] @ unit[4], abs=1e-6)
    assert index.verify().whole


def test_the_facts_are_those_that_an_update_reads(
    index: Index, tmp_path: Path, photos: Path, files: list[Path]
) -> None:
    put(photos / "note.jpg", picture((9, 8, 7), (40, 30), format="JPEG"))
    index.add_vectors([*files, photos / "note.jpg"], some(13), root=photos)
    with Index.create(tmp_path / "other", encoder=ColourEncoder()) as other:
        other.add(photos)
        assert list(index.images()) == list(other.images())


def test_a_later_update_finds_the_files_unchanged(index: Index, photos: Path, files: list[Path]) -> None:
    before = some(12)
    index.add_vectors(files, before, root=photos)
    assert str(index.add(photos)) == "12 unchanged"
    assert str(index.add(photos, rehash=True)) == "12 unchanged"
    assert str(index.add_vectors(files, some(12)[::-1], root=photos)) == "12 unchanged"
    assert index.vectors([index.id_of(files[0])])[0] == pytest.approx(before[0] / np.linalg.norm(before[0]), abs=1e-6)
    os.utime(files[0], (1, 1))
    assert str(index.add(photos)) == "12 unchanged"


def test_the_other_files_of_the_folder_are_left_as_they_are(tmp_path: Path, photos: Path, files: list[Path]) -> None:
    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
        index.add(photos / "sub")
        os.remove(photos / "sub" / "10.png")
        assert str(index.add_vectors(files[:3], some(3), root=photos)) == "3 added"
        assert len(index) == 5
        report = index.add(photos)
        assert (report.added, report.unchanged, report.gone) == (7, 4, 1)


def test_links_copies_and_subfolders(index: Index, tmp_path: Path, photos: Path, files: list[Path]) -> None:
    put(photos / "sub" / "copy.png", files[0].read_bytes())
    os.symlink(photos, tmp_path / "link")
    linked = tmp_path / "link" / "sub" / "copy.png"
    vectors = some(2)
    report = index.add_vectors([files[0], linked], vectors, root=tmp_path / "link")
    assert str(report) == "1 added, 1 copied"
    assert index.vectors([index.id_of(linked)])[0] == pytest.approx(vectors[0] / np.linalg.norm(vectors[0]), abs=1e-6)
    inner = photos / "sub" / "10.png"
    assert str(index.add_vectors([inner], some(1), root=photos / "sub")) == "1 added"
    assert [root.path for root in index.folders()] == [photos]


def test_a_file_that_is_no_readable_picture_is_counted(index: Index, photos: Path, files: list[Path]) -> None:
    put(photos / "broken.png", b"\x89PNG\r\n\x1a\n")
    put(photos / "words.txt", b"words")
    report = index.add_vectors([files[0], photos / "broken.png", photos / "words.txt"], some(3), root=photos)
    assert str(report) == "1 added, 1 unreadable"
    assert [failure.path.name for failure in index.failures()] == ["broken.png"]


@pytest.mark.parametrize(
    ("vectors", "sentence"),
    [
        (some(1), r"the vectors have the shape \(1, 13\), not \(2, 13\)"),
        (some(2, 12), r"the vectors have the shape \(2, 12\), not \(2, 13\)"),
        (some(26, 1)[:, 0], r"the vectors have the shape \(26,\), not \(2, 13\)"),
        ([[0.0] * 13, [1.0] * 13], "the vector in row 0 has no direction"),
        ([[1.0] * 13, [1.0] * 12 + [np.nan]], "the vector in row 1 has no direction"),
        ([[1.0] * 13, [np.inf] * 13], "the vector in row 1 has no direction"),
        ([["a"] * 13] * 2, "the vectors are not an array of numbers"),
        ([[1.0], [2.0, 3.0]], "the vectors are not an array of numbers"),
    ],
)
def test_wrong_vectors_are_refused_and_nothing_is_added(
    index: Index, photos: Path, files: list[Path], vectors: object, sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        index.add_vectors(files[:2], vectors, root=photos)
    assert (len(index), index.folders()) == (0, ())


def test_wrong_files_are_refused_and_nothing_is_added(index: Index, photos: Path, files: list[Path]) -> None:
    outside = photos.parent / "outside.png"
    put(outside, picture((1, 2, 3)))
    put(photos / ".hidden.png", picture((1, 2, 3)))
    for wrong, sentence in [
        (photos / "nowhere.png", "nowhere.png is not a file"),
        (photos / "sub", "sub is not a file"),
        (outside, "outside.png does not lie in the folder"),
        (files[0], "00.png is given twice"),
        (photos / ".hidden.png", "hidden.png is a file that an update leaves out"),
    ]:
        with pytest.raises(BadInput, match=sentence):
            index.add_vectors([files[0], wrong], some(2), root=photos)
    with pytest.raises(BadInput, match="images must be a list of paths"):
        index.add_vectors(files[0], some(1), root=photos)  # type: ignore[arg-type]
    assert len(index) == 0


def test_no_images_add_nothing(index: Index, photos: Path) -> None:
    assert str(index.add_vectors([], np.zeros((0, 13)), root=photos)) == "0 unchanged"


@given(arrays(np.float64, (3, 4), elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_every_row_with_a_direction_gets_length_one(rows: NDArray[np.float64]) -> None:
    rows[:, 0] = np.where(np.abs(rows).max(axis=1) == 0, 1, rows[:, 0])
    unit = unit_vectors(rows, 3, 4)
    assert unit.dtype == np.float32
    assert np.linalg.norm(unit, axis=1).tolist() == pytest.approx([1, 1, 1], abs=1e-6)
    assert (np.sign(unit) * np.sign(rows) >= 0).all()
