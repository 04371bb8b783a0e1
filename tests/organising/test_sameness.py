"""`sameness`: what thumbnails cannot tell about two files."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from retrieval.comparing.relation import Subject
from retrieval.organising.sameness import differ_in_detail, same_pixels
from retrieval.types import IndexedImage, Metadata
from tests.comparing.made import subject


@pytest.fixture
def photo(pictures: list[Path]) -> Image.Image:
    with Image.open(pictures[0]) as opened:
        return opened.convert("RGB")


Put = Callable[..., tuple[IndexedImage, Subject]]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Write a picture under a name, and give what is known of it."""

    def write(name: str, picture: Image.Image, **options: object) -> tuple[IndexedImage, Subject]:
        path = tmp_path / name
        picture.save(path, **options)
        form = path.suffix[1:].upper()
        seen = subject(path.read_bytes())
        return IndexedImage(0, path, *picture.size, form, Metadata(), os.path.getsize(path), 0, "0" * 64), seen

    return write


def same(one: tuple[IndexedImage, Subject], other: tuple[IndexedImage, Subject]) -> bool:
    answer = same_pixels((one[0].path, other[0].path), (one[1], other[1]))
    assert answer == same_pixels((other[0].path, one[0].path), (other[1], one[1]))
    return answer


def differ(one: tuple[IndexedImage, Subject], other: tuple[IndexedImage, Subject]) -> bool:
    answer = differ_in_detail((one[0].path, other[0].path), (one[1], other[1]))
    assert answer == differ_in_detail((other[0].path, one[0].path), (other[1], one[1]))
    return answer


def test_formats_that_lose_nothing_have_the_same_pixels(photo: Image.Image, put: Put) -> None:
    png = put("a.png", photo)
    assert same(png, put("fast.png", photo, compress_level=1))
    assert same(png, put("a.bmp", photo))
    assert same(png, put("a.webp", photo, lossless=True))
    assert not same(png, put("a.jpg", photo, quality=95))


def test_one_level_of_one_pixel_is_a_difference(photo: Image.Image, put: Put) -> None:
    changed = photo.copy()
    red, green, blue = changed.getpixel((200, 100))
    changed.putpixel((200, 100), (red, green, blue ^ 1))
    assert not same(put("a.png", photo), put("b.png", changed))


def test_pictures_of_other_sizes_have_other_pixels(photo: Image.Image, put: Put) -> None:
    assert not same(put("a.png", photo), put("b.png", photo.resize((photo.width, photo.height - 1))))


def test_what_has_more_than_8_bits_is_not_called_the_same(put: Put) -> None:
    deep = np.random.default_rng(0).integers(0, 2**16, (90, 120), dtype=np.uint16)
    one, other = Image.fromarray(deep), Image.fromarray(deep ^ 1)
    assert not same(put("a.png", one), put("b.png", other))


def test_transparency_and_further_frames_are_not_compared_so_nothing_is_the_same(photo: Image.Image, put: Put) -> None:
    clear = photo.copy()
    clear.putalpha(Image.new("L", photo.size, 255))
    assert not same(put("a.png", clear), put("b.png", photo))
    other = photo.transpose(Image.Transpose.ROTATE_180)
    film = put("a.webp", photo, save_all=True, append_images=[other], lossless=True)
    assert not same(film, put("c.png", photo))


def test_a_file_that_cannot_be_read_is_not_the_same_and_may_differ(photo: Image.Image, put: Put) -> None:
    one, other = put("a.png", photo), put("b.png", photo)
    assert same(one, other)
    assert not differ(one, other)
    other[0].path.unlink()
    assert not same(one, other)
    assert differ(one, other)


def page(number: str) -> Image.Image:
    """A page of text with a number on it."""
    made = Image.new("RGB", (827, 1169), "white")
    draw, font = ImageDraw.Draw(made), ImageFont.load_default(18)
    for line in range(30):
        draw.text((90, 80 + 34 * line), f"{line}  The quick brown fox jumps over the lazy dog, again", "black", font)
    draw.text((560, 1110), f"Total {number}", "black", font)
    return made


def test_another_number_on_a_page_is_a_difference_and_jpeg_is_none(put: Put) -> None:
    first = put("a.png", page("1,208"))
    assert not differ(first, put("a.jpg", page("1,208"), quality=60))
    assert differ(first, put("b.png", page("7,943")))


def test_the_smallest_pictures_have_no_details(photo: Image.Image, put: Put) -> None:
    for size in ((1, 1), (64, 64), (300, 40)):
        tiny = photo.resize(size)
        assert not differ(put("a.png", tiny), put("b.png", tiny.transpose(Image.Transpose.ROTATE_180)))
