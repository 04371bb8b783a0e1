"""Pictures that callers hand in: PIL images and arrays of any kind, as the same pixels or as one sentence."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from retrieval import BadInput, UnreadableImage
from retrieval.pictures import given
from tests.fakes import picture

SIZE = 24, 32
SHAPE = (1, *SIZE, 3)


def gradient() -> NDArray[np.uint8]:
    """Return an RGB picture in which every channel of every place differs: red across, green down, blue mixed."""
    across, down = np.meshgrid(np.linspace(0, 255, SIZE[1]), np.linspace(0, 255, SIZE[0]))
    return np.stack([across, down, (across + down) / 2], axis=2).round().astype(np.uint8)


def grey() -> NDArray[np.uint8]:
    return gradient()[..., 0]


def seen(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the RGB pixels of an array of levels."""
    return (np.stack([array] * 3, axis=2) if array.ndim == 2 else array)[None]


def opaque(array: NDArray[np.uint8], alpha: int = 255) -> NDArray[np.uint8]:
    return np.dstack([array, np.full(array.shape[:2], alpha, np.uint8)])


ARRAYS = {
    "RGB": (gradient, lambda: seen(gradient())),
    "grey": (grey, lambda: seen(grey())),
    "grey with a channel": (lambda: grey()[..., None], lambda: seen(grey())),
    "RGBA, opaque": (lambda: opaque(gradient()), lambda: seen(gradient())),
    "RGBA, clear": (lambda: opaque(gradient(), 0), lambda: np.full(SHAPE, 255, np.uint8)),
    "uint16": (lambda: gradient().astype(np.uint16) * 257, lambda: seen(gradient())),
    "uint16, grey": (lambda: grey().astype(np.uint16) * 257, lambda: seen(grey())),
    "uint16, dark": (lambda: grey().astype(np.uint16), lambda: seen((grey() / 257).round().astype(np.uint8))),
    "uint16, big-endian": (lambda: (grey().astype(np.uint16) * 257).astype(">u2"), lambda: seen(grey())),
    "float64": (lambda: gradient() / 255, lambda: seen(gradient())),
    "float32": (lambda: (gradient() / 255).astype(np.float32), lambda: seen(gradient())),
    "float16, grey": (lambda: (grey() / 255).astype(np.float16), lambda: seen(grey())),
    "floats that rounding moved": (lambda: grey() / 255 * (1 + 1e-7), lambda: seen(grey())),
    "floats, RGBA": (lambda: opaque(gradient()) / 255, lambda: seen(gradient())),
    "bool": (lambda: grey() > 99, lambda: seen(np.where(grey() > 99, 255, 0).astype(np.uint8))),
    "bool, RGB": (lambda: gradient() > 99, lambda: seen(np.where(gradient() > 99, 255, 0).astype(np.uint8))),
    "turned": (lambda: np.rot90(gradient()), lambda: None),
    "mirrored": (lambda: gradient()[:, ::-1], lambda: seen(gradient()[:, ::-1])),
    "three rows": (lambda: gradient()[:3], lambda: None),
    "one pixel": (lambda: gradient()[:1, :1], lambda: None),
    "read-only": (lambda: np.broadcast_to(np.uint8(7), (*SIZE, 3)), lambda: np.full(SHAPE, 7, np.uint8)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_the_picture_that_it_shows(name: str) -> None:
    make, expected = ARRAYS[name]
    array = make()
    before = array.copy()
    found = given.pixels(array, SIZE)
    assert found.shape == SHAPE
    assert found.dtype == np.uint8
    if expected() is not None:
        np.testing.assert_array_equal(found, expected())
    np.testing.assert_array_equal(array, before)


REFUSED: dict[str, tuple[Callable[[], NDArray[np.generic]], str, str]] = {
    "channels first": (lambda: gradient().transpose(2, 0, 1), "its channels come first", "transpose(1, 2, 0)"),
    "grey, channel first": (lambda: grey()[None], "its channels come first", "transpose(1, 2, 0)"),
    "a batch": (lambda: gradient()[None], r"the shape \(1, 24, 32, 3\) is not a picture but several", "array[0]"),
    "two channels": (lambda: gradient()[..., :2], r"the shape \(24, 32, 2\) is not a picture", "(height, width, 3)"),
    "a vector": (lambda: grey()[0], r"the shape \(32,\) is not a picture", "(height, width) grey"),
    "a number": (lambda: np.array(1.0), r"the shape \(\) is not a picture", "(height, width) grey"),
    "nothing": (lambda: gradient()[:0], "the picture has no pixels", "(height, width) grey"),
    "whole numbers of 64 bits": (lambda: gradient().astype(np.int64), "int64 is not a picture", "astype(numpy.uint8)"),
    "objects": (lambda: gradient().astype(object), "object is not a picture", "astype(numpy.uint8)"),
    "texts": (lambda: np.full((4, 4), "a"), "str32 is not a picture", "astype(numpy.uint8)"),
    "floats to 255": (lambda: gradient() * 1.0, "from 0 to 1, not from 0 to 255", "divide the array"),
    "floats from -1": (lambda: gradient() / 127.5 - 1, "from 0 to 1, not from -1 to 1", "divide the array"),
    "not numbers": (lambda: np.full((4, 4), np.nan), "from 0 to 1, not from nan to nan", "divide the array"),
    "beyond all": (lambda: np.full((4, 4), np.inf), "from 0 to 1, not from inf to inf", "divide the array"),
    "far beyond float32": (lambda: np.full((4, 4), 1e300), r"not from 1e\+300", "divide the array"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_array_that_is_no_picture_is_refused_in_a_sentence(name: str) -> None:
    make, sentence, hint = REFUSED[name]
    with pytest.raises(BadInput, match=sentence) as caught:
        given.pixels(make(), SIZE)
    assert hint in caught.value.hint


def converted(mode: str) -> Callable[[], Image.Image]:
    return lambda: Image.fromarray(gradient()).convert(mode)


def deep() -> Image.Image:
    return Image.fromarray(grey().astype(np.uint16) * 257)


IMAGES: dict[str, tuple[Callable[[], Image.Image], NDArray[np.uint8], int]] = {
    "RGB": (converted("RGB"), gradient(), 0),
    "palette": (lambda: Image.fromarray(gradient()).quantize(256), gradient(), 40),
    "CMYK": (converted("CMYK"), gradient(), 2),
    "YCbCr": (converted("YCbCr"), gradient(), 3),
    "L": (lambda: Image.fromarray(grey()), grey(), 0),
    "LA": (lambda: Image.fromarray(grey()).convert("LA"), grey(), 0),
    "RGBA": (converted("RGBA"), gradient(), 0),
    "I;16": (deep, grey(), 0),
    "I": (lambda: deep().convert("I"), grey(), 0),
    "F": (lambda: Image.fromarray(grey().astype(np.float32)), grey(), 0),
    "1": (lambda: Image.fromarray(grey() > 99), np.where(grey() > 99, 255, 0).astype(np.uint8), 0),
}


@pytest.mark.parametrize("mode", IMAGES)
def test_an_image_of_any_mode_is_the_picture_that_it_shows(mode: str) -> None:
    make, expected, most = IMAGES[mode]
    image = make()
    assert image.mode in {mode, "P"}
    found = given.pixels(image, SIZE)
    assert np.abs(found.astype(int) - seen(expected)).max() <= most


def truncated() -> Image.Image:
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(data, "PNG")
    return Image.open(io.BytesIO(data.getvalue()[: data.tell() // 2]))


def closed() -> Image.Image:
    image = Image.open(io.BytesIO(picture((1, 2, 3))))
    image.close()
    return image


@pytest.mark.parametrize(
    ("make", "kind", "sentence"),
    [
        (truncated, UnreadableImage, "the picture that was given cannot be used: "),
        (closed, UnreadableImage, "the picture that was given cannot be used: "),
        (lambda: Image.new("RGB", (0, 5)), BadInput, "the picture has no pixels: its size is 0x5"),
    ],
)
def test_an_image_that_cannot_be_used_is_refused_in_a_sentence(
    make: Callable[[], Image.Image], kind: type[Exception], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence):
        given.pixels(make(), SIZE)


def test_a_path_bytes_an_image_and_an_array_are_the_same_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(gradient()).save(path)
    pixels = [given.pixels(one, SIZE) for one in (path, str(path), path.read_bytes(), Image.open(path), gradient())]
    for found in pixels:
        np.testing.assert_array_equal(found, seen(gradient()))


def test_an_image_is_turned_as_its_exif_asks(tmp_path: Path) -> None:
    image = Image.fromarray(gradient())
    image.getexif()[0x0112] = 3
    np.testing.assert_array_equal(given.pixels(image, SIZE), seen(gradient()[::-1, ::-1]))
