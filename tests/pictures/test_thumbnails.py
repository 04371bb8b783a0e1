"""Thumbnails: their size, and what is kept of them in the cache."""

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from retrieval import UnreadableImage
from retrieval.pictures import thumbnails


@pytest.fixture
def photo(shared: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a photograph of 384x256 pixels."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(min(shared("images/corel1k/africa").glob("*.jpg")).read_bytes())
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as opened:
        return opened.size


def test_the_longer_side_is_the_one_that_was_asked_for(photo: Path) -> None:
    width, height = size_of(photo)
    for side in (160, 256):
        with Image.open(io.BytesIO(thumbnails.thumbnail(photo, width, height, side))) as small:
            assert small.format == "JPEG"
            assert max(small.size) == side
            assert small.width / small.height == pytest.approx(width / height, rel=0.02)
    data = thumbnails.thumbnail(photo.read_bytes(), width, height, 10_000)
    assert thumbnails.pixels(data).shape == (height, width, 3), "a small picture is not enlarged"


def test_a_kept_thumbnail_takes_about_8_kilobytes(photo: Path) -> None:
    assert 2_000 < len(thumbnails.thumbnail(photo, *size_of(photo), thumbnails.KEPT)) < 20_000


def test_a_thumbnail_is_made_once_and_outlives_its_file(photo: Path, tmp_path: Path) -> None:
    known, size, within = digest(photo), size_of(photo), tmp_path / "kept"
    first = thumbnails.kept_pixels(known, photo, *size, within)
    assert max(first.shape) == thumbnails.KEPT
    assert first.dtype == np.uint8
    (path,) = (path for path in within.rglob("*") if path.is_file())
    assert path.parent.name + path.stem == known
    photo.unlink()
    assert_array_equal(thumbnails.kept_pixels(known, photo, *size, within), first)


def test_a_damaged_thumbnail_is_made_again(photo: Path, tmp_path: Path) -> None:
    known, size, within = digest(photo), size_of(photo), tmp_path / "kept"
    first = thumbnails.kept_pixels(known, photo, *size, within)
    (path,) = (path for path in within.rglob("*") if path.is_file())
    whole = path.read_bytes()
    for damaged in (b"", b"no picture", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        assert_array_equal(thumbnails.kept_pixels(known, photo, *size, within), first)
        assert path.read_bytes() == whole


def test_a_file_of_another_content_or_without_one_is_unreadable(photo: Path, tmp_path: Path) -> None:
    size, within = size_of(photo), tmp_path / "kept"
    with pytest.raises(UnreadableImage, match=r"photo\.jpg has changed since it was indexed"):
        thumbnails.kept_pixels("0" * 64, photo, *size, within)
    known = digest(photo)
    photo.unlink()
    with pytest.raises(UnreadableImage, match=r"photo\.jpg cannot be read: no such file"):
        thumbnails.kept_pixels(known, photo, *size, within)
    os.mkfifo(photo)
    with pytest.raises(UnreadableImage):
        thumbnails.kept_pixels(known, photo, *size, within)
    assert not within.exists(), "nothing is kept of what cannot be read"
