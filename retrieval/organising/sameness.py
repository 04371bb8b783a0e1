"""Whether two files have the same pixels, told from all of them: thumbnails cannot tell."""

import numpy as np

from retrieval.comparing.relation import Subject
from retrieval.errors import ShortMemory, UnreadableImage
from retrieval.pictures import given
from retrieval.types import IndexedImage

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
    try:
        return bool(np.array_equal(given.pixels(one.path, size), given.pixels(other.path, size)))
    except (UnreadableImage, ShortMemory):
        return False
