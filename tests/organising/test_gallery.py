"""`gallery`: each content once, with its files, its vector and its look."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageOps

from retrieval import Index
from retrieval.comparing import looks
from retrieval.organising import gallery
from retrieval.organising.gallery import Gallery
from tests.comparing.made import encoded
from tests.organising.pictures import indexed


@pytest.fixture
def folder(pictures: list[Path], tmp_path: Path) -> Path:
    """Three photographs, a copy of the first, one with a white border, and a grey one."""
    place = tmp_path / "photos"
    place.mkdir()
    for name, picture in (("a", 0), ("b", 1), ("c", 2), ("z-again", 0)):
        shutil.copyfile(pictures[picture], place / f"{name}.jpg")
    with Image.open(pictures[3]) as opened:
        (place / "d-bordered.jpg").write_bytes(encoded(ImageOps.expand(opened.convert("RGB"), 30, "white")))
        (place / "e-grey.jpg").write_bytes(encoded(opened.convert("L")))
    return place


@pytest.fixture
def index(folder: Path, tmp_path: Path) -> Iterator[Index]:
    with indexed(folder, tmp_path / "index") as made:
        yield made


def gallery_of(index: Index, within: Path) -> Gallery:
    return Gallery.of(index.images(), index.vectors, within=within)


def numbers(made: Gallery) -> dict[str, int]:
    return {image.path.stem: number for number, image in enumerate(made.images)}


def test_each_content_is_there_once_with_all_of_its_files(index: Index, tmp_path: Path) -> None:
    made = gallery_of(index, tmp_path / "kept")
    assert [image.path.name for image in made.images] == [
        "a.jpg",
        "b.jpg",
        "c.jpg",
        "d-bordered.jpg",
        "e-grey.jpg",
    ]
    assert len(made) == 5
    assert [image.path.name for image in made.files[made.images[0].id]] == ["a.jpg", "z-again.jpg"]
    assert_array_equal(made.vectors, index.vectors([image.id for image in made.images]))
    assert made.unreadable == []


def test_a_bordered_picture_has_two_parts_and_others_one(index: Index, tmp_path: Path) -> None:
    made = gallery_of(index, tmp_path / "kept")
    assert made.owners.tolist() == [0, 1, 2, 3, 3, 4]
    assert made.grey.shape == (6, looks.GRID, looks.GRID)
    assert_allclose(made.signatures, looks.signatures(made.grey), atol=1e-6)


def test_borders_and_colours_are_measured(index: Index, folder: Path, tmp_path: Path) -> None:
    made = gallery_of(index, tmp_path / "kept")
    number = numbers(made)
    with Image.open(folder / "d-bordered.jpg") as opened:
        width, height = opened.size
    share = 1 - (width - 60) * (height - 60) / (width * height)
    assert made.frame(number["d-bordered"]) == pytest.approx(share, abs=0.02)
    assert made.frame(number["a"]) == 0
    assert made.colour(number["e-grey"]) < 1
    assert made.colour(number["a"]) > 5


def test_files_that_changed_or_are_gone_are_reported_and_have_no_parts(
    index: Index, folder: Path, tmp_path: Path
) -> None:
    (folder / "b.jpg").write_bytes((folder / "c.jpg").read_bytes())
    (folder / "c.jpg").unlink()
    made = gallery_of(index, tmp_path / "kept")
    number = numbers(made)
    assert len(made) == 5, "they are there, because files with the same bytes are found without looking"
    assert [(failure.path.name, failure.reason.partition("jpg ")[2]) for failure in made.unreadable] == [
        ("b.jpg", "has changed since it was indexed"),
        ("c.jpg", "cannot be read: no such file or directory"),
    ]
    assert number["b"] not in made.owners
    assert made.subject(number["b"]) is None
    assert (made.frame(number["c"]), made.colour(number["c"])) == (0, 0)
    assert made.subject(number["a"]) is not None


def test_a_copy_stands_in_for_a_file_that_cannot_be_read(index: Index, folder: Path, tmp_path: Path) -> None:
    (folder / "a.jpg").unlink()
    made = gallery_of(index, tmp_path / "kept")
    assert made.unreadable == []
    assert made.subject(0) is not None


def test_the_user_is_told_how_far_it_is_and_the_cache_is_where_it_was_asked_for(index: Index, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    within = tmp_path / "kept"
    Gallery.of(index.images(), index.vectors, lambda *step: seen.append(step), within=within)
    assert seen[-1] == ("looking", 5, 5)
    assert seen == sorted(seen)
    assert len([path for path in within.rglob("*") if path.is_file()]) == 5


def test_a_second_gallery_needs_no_files(index: Index, folder: Path, tmp_path: Path) -> None:
    first = gallery_of(index, tmp_path / "kept")
    for path in folder.iterdir():
        path.unlink()
    second = gallery_of(index, tmp_path / "kept")
    assert second.unreadable == []
    assert_array_equal(first.grey, second.grey)


def test_a_subject_has_the_size_of_the_picture_and_few_are_remembered(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "REMEMBERED", 2)
    made = gallery_of(index, tmp_path / "kept")
    for number, image in enumerate(made.images):
        subject = made.subject(number)
        assert subject is not None
        assert (subject.width, subject.height, subject.taken) == (image.width, image.height, image.taken)
        assert subject.picture.shape == (*np.shape(subject.picture)[:2], 3)
        assert made.subject(number) is subject
    assert len(made._subjects) == 2


def test_what_no_decoder_foresaw_stops_nothing(index: Index, tmp_path: Path) -> None:
    images = list(index.images())
    images[1] = replace(images[1], width=0, height=0)
    made = Gallery.of(images, index.vectors, within=tmp_path / "kept")
    assert [failure.path for failure in made.unreadable] == [images[1].path]
    assert os.fspath(images[1].path) in made.unreadable[0].reason


def test_no_files_make_an_empty_gallery(index: Index, tmp_path: Path) -> None:
    made = Gallery.of([], index.vectors, within=tmp_path / "kept")
    assert (len(made), made.grey.shape, made.signatures.shape, made.owners.tolist()) == (
        0,
        (0, looks.GRID, looks.GRID),
        (0, looks.SIGNATURE),
        [],
    )
