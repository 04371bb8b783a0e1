"""What thumbnails cannot tell: whether two files have the same pixels, and whether a small part of them differs."""

import numpy as np
from PIL import Image

from retrieval.comparing.looks import GRID, luminance
from retrieval.comparing.relation import Subject, differ_somewhere
from retrieval.errors import ShortMemory, UnreadableImage
from retrieval.pictures import given
from retrieval.types import IndexedImage

FINEST = 768
"""Sides of the square on which two pictures are compared in detail, in pixels: a letter of a page of A4 has 8."""
PLAIN = frozenset({"1", "L", "P", "RGB", "YCbCr"})
"""Modes of Pillow whose pixels are whole in 8 bits of red, green and blue. Others have more bits or transparency."""

CLOSE = 2.0
"""Largest mean difference of two thumbnails, in levels, at which the whole pictures are decoded. The thumbnails of the
same pixels are the same, but for one that was made by an earlier version of a decoder."""


def same_pixels(one: IndexedImage, other: IndexedImage, subjects: tuple[Subject, Subject]) -> bool:
    """Tell whether two files show the same picture, pixel by pixel. False if one of them cannot be read."""
    first, second = (subject.picture for subject in subjects)
    if (one.width, one.height) != (other.width, other.height) or first.shape != second.shape:
        return False
    if float(np.abs(first.astype(np.int16) - second).mean()) > CLOSE:
        return False
    size = one.height, one.width
    if not (_is_plain(one) and _is_plain(other)):
        return False
    try:
        return bool(np.array_equal(given.pixels(one.path, size), given.pixels(other.path, size)))
    except (UnreadableImage, ShortMemory):
        return False


def differ_in_detail(one: IndexedImage, other: IndexedImage) -> bool:
    """Tell whether a small part of two pictures differs, such as the numbers on a form, as finely as `FINEST` allows.

    True also if one of them cannot be read: then nobody knows.
    """
    side = min(one.width, one.height, other.width, other.height, FINEST) // GRID * GRID
    if side <= GRID:
        return False
    try:
        first, second = (luminance(given.pixels(image.path, (side, side))[0]) for image in (one, other))
    except (UnreadableImage, ShortMemory):
        return True
    return differ_somewhere(first, second)


def _is_plain(image: IndexedImage) -> bool:
    """Tell whether a file has one picture, of 8 bits and without transparency: all of it is compared then."""
    try:
        with Image.open(image.path) as opened:
            is_one = getattr(opened, "n_frames", 1) == 1
            return is_one and opened.mode in PLAIN and not opened.has_transparency_data
    except Exception:  # noqa: BLE001 - what Pillow cannot open is not known to be plain
        return False
