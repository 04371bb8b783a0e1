"""What a comparison sees of a picture: grey values on a small square, and a signature by which candidates are found.

A picture with a border of one colour has a second part: what lies within the border. The signature of a part are the
weights of its lowest frequencies, as in perceptual hashes (Zauner 2010, Implementation and benchmarking of perceptual
image hash functions), but as numbers rather than bits. Low frequencies are stronger in all photographs (Field 1987,
doi 10.1364/JOSAA.4.002379), so each is multiplied by its frequency. When a picture is turned, its frequencies are
exchanged or change their signs. So one signature tells how a picture looks in all eight orientations.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.types import Vectors

Grey = NDArray[np.uint8]
"""(n, GRID, GRID), luminance of parts of pictures, 0-255. A part is squashed to a square."""

GRID = 64
"""Sides of the square, in pixels."""
FREQUENCIES = 16
"""Number of frequencies of a signature in each direction. With 8, twenty times as many distinct pictures are alike."""
SIGNATURE = FREQUENCIES * FREQUENCIES
TURNS = range(8)
"""The eight orientations, as sums: 4 exchanges rows and columns first, 1 then mirrors left and right, 2 top and
bottom. Each is its own reverse but 5 and 6, which are quarter turns and the reverse of each other."""
REVERSE = {turn: turn for turn in TURNS} | {5: 6, 6: 5}
ROTATIONS = frozenset({3, 5, 6})
"""The turns that do not mirror: a half turn, and the two quarter turns."""
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in the luminance (ITU-R BT.601)."""
_BORDER = 12
"""Largest difference of a channel to the colour of the border, in levels. JPEG changes an even colour by less."""
_EVEN = 0.98
"""Share of the pixels of a line that have the colour of the border."""
_DEEP = 0.4
"""Largest share of a side that a border takes. More of one colour is a background."""
_MIXED = 2
"""Number of rows in which a border may end."""
_THIN = 0.03
"""Least share of a side that both borders take together. Thinner ones do not change a signature."""


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a picture, in pixels; right and bottom lie behind the last pixel."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Look:
    """What a comparison sees of a picture."""

    boxes: tuple[Box, ...]
    """The parts of the thumbnail: the whole, and what lies within a border if there is one."""
    grey: Grey
    """(n, GRID, GRID), the parts."""


def look_of(picture: NDArray[np.uint8]) -> Look:
    """Return what a comparison sees of a thumbnail, (height, width, 3), RGB."""
    height, width = picture.shape[:2]
    whole = Box(0, 0, width, height)
    inner = _within_border(picture)
    boxes = (whole,) if inner is None else (whole, inner)
    grey = luminance(picture)
    return Look(boxes, np.stack([squashed(grey, box) for box in boxes]))


def luminance(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luminance of RGB pixels, (height, width), 0-255."""
    grey: NDArray[np.float32] = picture @ LUMA
    return np.rint(grey).astype(np.uint8)


def squashed(pixels: NDArray[np.uint8], box: Box, side: int = GRID) -> NDArray[np.uint8]:
    """Return a part of a picture, grey or RGB, squashed to a square, by an antialiased bilinear filter."""
    picture = Image.fromarray(pixels)
    sides = (box.left, box.top, box.right, box.bottom)
    return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR, box=sides))


def turned(squares: Grey, turn: int) -> Grey:
    """Return squares, (n, side, side), in another orientation."""
    if turn & 4:
        squares = squares.swapaxes(1, 2)
    if turn & 1:
        squares = squares[:, :, ::-1]
    if turn & 2:
        squares = squares[:, ::-1]
    return np.ascontiguousarray(squares)


# -- signatures ---------------------------------------------------------------------------------------------------


def _cosines() -> NDArray[np.float32]:
    """Return the first rows of the matrix of the discrete cosine transform, (FREQUENCIES, GRID)."""
    frequency, place = np.arange(FREQUENCIES)[:, None], np.arange(GRID)[None, :]
    return np.cos(np.pi * frequency * (2 * place + 1) / (2 * GRID)).astype(np.float32)


_COSINES = _cosines()
FAINT = 1000.0
"""Least length that is scaled to 1. Grain of 1 level has 400; a picture with anything on it has 10,000 and more."""
_WEIGHTS = np.hypot(np.arange(FREQUENCIES)[:, None], np.arange(FREQUENCIES)[None, :]).astype(np.float32)


def signatures(grey: Grey) -> Vectors:
    """Return the signatures of parts, (n, SIGNATURE), of length 1; shorter for a part that has nearly one colour."""
    weights: Vectors = _COSINES @ grey.astype(np.float32) @ _COSINES.T * _WEIGHTS
    found = weights.reshape(len(grey), SIGNATURE)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.maximum(lengths, FAINT), dtype=np.float32)


def turned_signatures(found: Vectors, turn: int) -> Vectors:
    """Return the signatures that the same parts have in another orientation, (n, SIGNATURE)."""
    square = found.reshape(-1, FREQUENCIES, FREQUENCIES)
    if turn & 4:
        square = square.swapaxes(1, 2)
    sign = np.where(np.arange(FREQUENCIES) % 2, -1.0, 1.0).astype(np.float32)
    columns = sign if turn & 1 else np.ones_like(sign)
    rows = sign if turn & 2 else np.ones_like(sign)
    return np.ascontiguousarray(square * rows[:, None] * columns[None, :]).reshape(len(found), SIGNATURE)


# -- borders ------------------------------------------------------------------------------------------------------


def _within_border(picture: NDArray[np.uint8]) -> Box | None:
    """Return what lies within borders of one colour each; None if there is no border, or nothing within."""
    height, width = picture.shape[:2]
    top = _depth(picture)
    bottom = _depth(picture[::-1])
    sideways = picture.swapaxes(0, 1)
    left = _depth(sideways)
    right = _depth(sideways[::-1])
    if top + bottom < _THIN * height and left + right < _THIN * width:
        return None
    return Box(left, top, width - right, height - bottom)


def _depth(picture: NDArray[np.uint8]) -> float:
    """Return the number of rows at the top that have one colour, with the shares of the next rows in which it ends.

    Scaling mixes the last row of a border with the first one behind it, and JPEG leaves traces on both sides.
    """
    rows = picture[: max(1, int(_DEEP * len(picture)))].astype(np.int16)
    difference = np.abs(rows - np.median(rows[0], axis=0))
    is_even = (difference.max(axis=2) <= _BORDER).mean(axis=1) >= _EVEN
    depth = int(is_even.argmin())
    if is_even.all() or depth == 0 or depth + _MIXED >= len(rows):
        return depth if not is_even.all() else 0
    means = difference.mean(axis=(1, 2))[depth : depth + _MIXED + 1]
    if means[-1] <= _BORDER:  # a thin line within the border
        return depth
    return depth + float(np.clip(1 - means[:-1] / means[-1], 0, 1).sum())
