"""Where one picture lies in another one, if it is a part of it: template matching over many scales.

Both have square pixels and stand upright, so a place is a scale and two offsets. Normalised correlations of the smaller
one, at all offsets at once, come from a Fourier transform (Lewis 1995, Fast normalized cross-correlation). A search on
very small pictures tells in half a millisecond that most pictures are no part of each other. Searches on larger ones
find the scale to 1 %.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.comparing.looks import Box

Plane = NDArray[np.float32]

SIDE = 32
"""Longer side of both pictures in the first search, in pixels."""
STEP = 0.93
"""Each scale of the first search divided by the one before."""
SMALLEST = 0.35
"""Least part of the longer side of the whole that is searched for. Smaller parts have too few pixels to be known."""
REFINED: tuple[tuple[int, tuple[float, ...]], ...] = (
    (64, (0.92, 0.94, 0.96, 0.98, 1.0, 1.02, 1.04, 1.06, 1.08)),
    (128, (0.98, 0.99, 1.0, 1.01, 1.02)),
)
"""Longer side in the later searches, in pixels -> scales, relative to the one that was found before."""
PASSED = 0.77
"""Least correlation in the first search for a second one. Of parts of 80 % of each side, 98 in 100 reach it; of
pictures that are near neighbours but no parts of each other, 25 in 100 (by MobileNetV2)."""
_FAINT = 4.0
"""Least variance per pixel that is divided by, in levels². It keeps even places from being found."""


class Found(NamedTuple):
    """Where a template fits best."""

    correlation: float
    scale: float
    """Longer side of the template, in pixels, over that of its picture."""
    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part lies in a whole."""

    correlation: float
    """Correlation of the part with the whole at this place, -1 to 1."""
    box: Box
    """The place in the whole, in pixels of the thumbnail that was given."""
    share: float
    """Share of the area of the whole, over 0 and at most 1."""


def place_of(part: NDArray[np.uint8], whole: NDArray[np.uint8]) -> Place | None:
    """Return where a part lies in a whole, None if it is not found; both are (height, width), luminance.

    The longer side of both has `KEPT` pixels or fewer.
    """
    scene = _scaled(whole, SIDE)
    found = _best(_templates(part.tobytes(), part.shape), scene, SIDE)
    if found is None or found.correlation < PASSED:
        return None
    for side, changes in REFINED:
        scene = _scaled(whole, side)
        templates = tuple(_template(part, found.scale * change * side, side) for change in changes)
        finer = _best(templates, scene, side)
        if finer is None:
            return None
        found = finer
    height, width = whole.shape
    x, y = width / scene.shape[1], height / scene.shape[0]
    box = Box(found.left * x, found.top * y, (found.left + found.width) * x, (found.top + found.height) * y)
    return Place(found.correlation, box, found.width * found.height / scene.size)


class _Template(NamedTuple):
    """A picture at one scale, ready to be searched for."""

    spectrum: NDArray[np.complex64]
    scale: float
    width: int
    height: int


@lru_cache(maxsize=1024)
def _templates(pixels: bytes, shape: tuple[int, int]) -> tuple[_Template, ...]:
    """Return a picture at all scales of the first search. The latest ones are kept: 65 kB for a picture."""
    part = np.frombuffer(pixels, np.uint8).reshape(shape)
    count = 1 + int(np.log(SMALLEST) / np.log(STEP))
    return tuple(_template(part, SIDE * STEP**number, SIDE) for number in range(count))


def _template(part: NDArray[np.uint8], side: float, size: int) -> _Template:
    """Return a picture whose longer side has `side` pixels, as a template for scenes of at most `size` pixels."""
    scale = side / max(part.shape)
    height, width = (max(1, round(length * scale)) for length in part.shape)
    small = _resized(part, height, width)
    small -= small.mean()
    small /= max(float(np.linalg.norm(small)), 1e-3)
    spectrum = np.fft.rfft2(small[:size, :size], (size, size)).conj().astype(np.complex64, copy=False)
    return _Template(spectrum, side / size, width, height)


def _best(templates: tuple[_Template, ...], scene: Plane, size: int) -> Found | None:
    """Return where the template lies that fits best into a scene of at most `size` pixels; None if all are larger."""
    height, width = scene.shape
    fitting = [item for item in templates if item.height <= height and item.width <= width]
    if not fitting:
        return None
    spectrum = np.fft.rfft2(scene, (size, size))
    products = np.fft.irfft2(spectrum * np.stack([item.spectrum for item in fitting]), (size, size))
    sums, squares = _integral(scene), _integral(scene * scene)
    best = None
    for item, product in zip(fitting, products, strict=True):
        found = _peak(item, product, sums, squares)
        if best is None or found.correlation > best.correlation:
            best = found
    return best


def _peak(item: _Template, products: Plane, sums: NDArray[np.float64], squares: NDArray[np.float64]) -> Found:
    height, width = item.height, item.width
    count = height * width
    total, square = _windows(sums, height, width), _windows(squares, height, width)
    spread = np.sqrt(np.maximum(square - total * total / count, count * _FAINT))
    correlations = products[: spread.shape[0], : spread.shape[1]] / spread
    top, left = divmod(int(correlations.argmax()), correlations.shape[1])
    return Found(float(correlations[top, left]), item.scale, left, top, width, height)


def _integral(plane: Plane) -> NDArray[np.float64]:
    """Return the sums over all rectangles that begin at the first pixel, with a row and a column of zeros before."""
    return np.pad(plane.astype(np.float64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))


def _windows(sums: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Return the sum over each rectangle of this size, by the place of its first pixel."""
    return sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]


def _scaled(pixels: NDArray[np.uint8], side: int) -> Plane:
    scale = side / max(pixels.shape)
    height, width = (max(1, round(length * scale)) for length in pixels.shape)
    return _resized(pixels, height, width)


def _resized(pixels: NDArray[np.uint8], height: int, width: int) -> Plane:
    picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture, dtype=np.float32).copy()
