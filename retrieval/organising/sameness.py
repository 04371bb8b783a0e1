"""What thumbnails cannot tell of two files: whether they have the same pixels, or differ in a small part."""

from pathlib import Path

import numpy as np
from PIL import Image

from retrieval.comparing.agreement import share_that_differs
from retrieval.comparing.looks import GRID, luminance
from retrieval.comparing.relation import SMALL_PART, Relation, Subject, Verdict, compare
from retrieval.errors import ShortMemory, UnreadableImage
from retrieval.pictures import given

FINEST = 768
"""Sides of the square on which two pictures are compared in detail, in pixels: a letter of a page of A4 has 8."""
PLAIN = frozenset({"1", "L", "P", "RGB", "YCbCr"})
"""Modes of Pillow whose pixels are whole in 8 bits of red, green and blue. Others have more bits or transparency."""
CLOSE = 2.0
"""Largest mean difference of two thumbnails, in levels, at which the whole pictures are decoded. The thumbnails of the
same pixels are the same, but for one that was made by an earlier version of a decoder."""

Two = tuple[Path, Path]
"""The paths of two files."""
Subjects = tuple[Subject, Subject]
"""Their pictures, in the same order."""


def related(paths: Two, subjects: Subjects, *, parts: bool = True) -> Verdict | None:
    """Return what two files with other bytes are to each other, None if nothing; `parts` is as in `compare`.

    If their thumbnails tell that a picture was encoded again or resized, the whole pictures are looked at.
    """
    verdict = compare(*subjects, parts=parts)
    if verdict is None or verdict.relation not in {Relation.REENCODED, Relation.RESIZED}:
        return verdict
    if same_pixels(paths, subjects):
        return Verdict(Relation.SAME_PIXELS, 1.0, "the same pixels")
    if differ_in_detail(paths, subjects):
        return Verdict(Relation.EDITED, verdict.agreement, SMALL_PART)
    return verdict


def same_pixels(paths: Two, subjects: Subjects) -> bool:
    """Tell whether two files show the same picture, pixel by pixel, and nothing else.

    False if one of them cannot be read, or has transparency, several frames or more than 8 bits, which is not compared.
    """
    one, other = subjects
    if (one.width, one.height) != (other.width, other.height) or one.picture.shape != other.picture.shape:
        return False
    if float(np.abs(one.picture.astype(np.int16) - other.picture).mean()) > CLOSE or not all(map(_is_plain, paths)):
        return False
    try:
        first, second = (given.pixels(path, (one.height, one.width)) for path in paths)
    except (UnreadableImage, ShortMemory):
        return False
    return bool(np.array_equal(first, second))


def differ_in_detail(paths: Two, subjects: Subjects) -> bool:
    """Tell whether a small part of two pictures differs, such as the numbers on a form, as finely as `FINEST` allows.

    True also if one of them cannot be read: then nobody knows.
    """
    side = min(*(length for one in subjects for length in (one.width, one.height)), FINEST) // GRID * GRID
    if side <= GRID:
        return False
    try:
        first, second = (luminance(given.pixels(path, (side, side))[0])[None] for path in paths)
    except (UnreadableImage, ShortMemory):
        return True
    return share_that_differs(first, second) > 0


def _is_plain(path: Path) -> bool:
    """Tell whether a file has one picture, of 8 bits and without transparency: all of it is compared then."""
    try:
        with Image.open(path) as opened:
            is_one = getattr(opened, "n_frames", 1) == 1
            return is_one and opened.mode in PLAIN and not opened.has_transparency_data
    except Exception:  # noqa: BLE001 - what Pillow cannot open is not known to be plain
        return False
