"""Whether a picture is another one, rotated by some angle: the angle, the place, and then both to a part of a pixel.

    the angle, whatever the place and the scale -> where the middle lies in the other picture -> refined

The strengths of the frequencies of a picture do not change when it is moved. When it is rotated, they are rotated with
it, and when it is scaled, they are scaled the other way. In polar coordinates with the logarithm of the radius, both
are shifts, which a correlation finds (Reddy and Chatterji 1996, An FFT-based technique for translation, rotation, and
scale-invariant image registration, doi 10.1109/83.506761). That is exact to a degree, and moves the corners by some
pixels. So the difference of the pixels is made as small as it can be (Lucas and Kanade 1981). Then all of a copy
agrees, and of two pictures with the same face only the face.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from retrieval.comparing.looks import Box

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]

SIDE = 128
"""Sides of the square in the middle of a picture whose frequencies are taken, and longer side of the pictures by which
the place is refined, in pixels."""
ANGLES, RADII = 180, 64
"""Number of angles of half a turn, and of radii. The other half turn has the same strengths."""
NEAREST, FARTHEST = 4.0, 60.0
"""Least and largest radius, in periods per side. Lower frequencies are of the light, higher ones of JPEG."""
CERTAIN = 0.3
"""Least correlation of an angle that is worth a look. Of pictures that show other things, 12 in 100 reach it."""
LEAST = 3.0
"""Least angle that counts as a rotation, in degrees. Smaller ones are left to the other comparisons."""
SMOOTHING = 1.2
"""Standard deviation of the Gaussian that both are smoothed with before the refinement, in pixels."""
MARGIN = 4.0
"""Distance from the edges from which on pixels are used for the refinement, in pixels. The others are mixed with the
empty corners of the rotated picture by the smoothing."""
STEPS, STILL = 10, 0.02
"""Most steps of the refinement, and the largest change of a place, in pixels, at which it ends."""
FAINTEST = 1e-3
"""Least contrast of a picture, as a share of that of the other one, with which a place can be refined."""
FEWEST = 400
"""Number of pixels that both have to show, of at most 16,384."""


def angles_between(one: Pixels, other: Pixels) -> tuple[float, ...]:
    """Return the angles by which one picture may be rotated against the other, counter-clockwise, in degrees.

    Both are (height, width), luminance. There are two angles, half a turn apart, or none if no angle is likely.
    """
    first, second = _polar(one.tobytes(), one.shape), _polar(other.tobytes(), other.shape)
    correlation = np.fft.irfft2(first.conj() * second, (ANGLES, RADII))
    best = int(correlation.argmax())
    if correlation.flat[best] < CERTAIN:
        return ()
    angle = float(best // RADII) * 180.0 / ANGLES
    return tuple(value for value in (angle, angle + 180.0) if LEAST <= value <= 360.0 - LEAST)


def straightened(picture: Pixels, angle: float) -> Pixels:
    """Return the middle of a picture, rotated clockwise by an angle in degrees, without the corners that were empty.

    Half of each side is kept: that lies within the picture at every angle, if it is not longer than 3 to 2.
    """
    middle = _middle(picture)
    rotated = np.asarray(Image.fromarray(picture).rotate(-angle, Image.Resampling.BILINEAR))
    return np.ascontiguousarray(rotated[int(middle.top) : int(middle.bottom), int(middle.left) : int(middle.right)])


class Laid(NamedTuple):
    """A rotated picture, laid on another one."""

    picture: Pixels
    """(height, width) of the other one, luminance."""
    seen: NDArray[np.bool_]
    """(height, width): where the rotated picture shows something."""
    angle: float
    """By which it was rotated, 0 to 180 degrees, in either direction."""


def laid_on(still: Pixels, rotated: Pixels, angle: float, box: Box) -> Laid | None:
    """Return a rotated picture as it lies on another one; None if they do not fit. All are (height, width), luminance.

    `box` is where its middle, straightened by `angle`, lies in the other one.
    """
    found = _refined(still, rotated, _placed(rotated, angle, box))
    if found is None:
        return None
    picture = np.asarray(_warped(Image.fromarray(rotated), found, still.shape))
    degrees = abs(float(np.degrees(np.arctan2(found[0, 1], found[0, 0]))))
    return Laid(picture, _inside(found, still.shape, rotated.shape), degrees)


def _middle(picture: Pixels) -> Box:
    height, width = picture.shape
    return Box(width // 4, height // 4, width - width // 4, height - height // 4)


# A map of places is a matrix, (2, 3): a place (x, y) in one picture, in pixels, is at `matrix @ (x, y, 1)` in another.
Map = NDArray[np.float64]


def _placed(rotated: Pixels, angle: float, box: Box) -> Map:
    """Return the map of the places in a still picture to those in a rotated one whose middle lies in a box."""
    middle = _middle(rotated)
    radians = np.radians(angle)
    turn = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
    turn *= (middle.right - middle.left) / (box.right - box.left)
    centres = [np.array([part.left + part.right, part.top + part.bottom]) / 2 for part in (middle, box)]
    whole = np.array(rotated.shape[::-1]) / 2
    offset = whole + turn @ ((centres[0] - whole) * (box.right - box.left) / (middle.right - middle.left) - centres[1])
    return np.column_stack([turn, offset])


def _refined(still: Pixels, rotated: Pixels, first: Map) -> Map | None:
    """Return a map with which two pictures differ as little as they can, but for brightness and contrast."""
    (one, scale), (other, other_scale) = _smaller(still), _smaller(rotated)
    down = np.array([other_scale / scale, other_scale / scale, other_scale])
    found = first * down
    plane = Image.fromarray(other)
    slopes = [Image.fromarray(slope) for slope in reversed(np.gradient(other))]
    for _ in range(STEPS):
        seen = _inside(found, one.shape, other.shape, MARGIN)
        if np.count_nonzero(seen) < FEWEST:
            return None
        values, across, along = (np.asarray(_warped(part, found, one.shape))[seen] for part in (plane, *slopes))
        change = _change(one[seen], values, across, along, *_places_of(one.shape)[:, seen])
        if change is None:
            return None
        grown, turned, *shift = change
        found += [[grown, -turned, shift[0]], [turned, grown, shift[1]]]
        if np.abs(change * [SIDE / 2, SIDE / 2, 1, 1]).max() < STILL:
            break
    return np.asarray(found / down)


def _change(
    wanted: Plane, values: Plane, across: Plane, along: Plane, x: Plane, y: Plane
) -> NDArray[np.float64] | None:
    """Return by how much the map should grow, turn and shift, (4,), None if nothing fits.

    Contrast and brightness are fitted at the same time, so that they do not matter.
    """
    columns = [values, np.ones_like(values), across * x + along * y, along * x - across * y, across, along]
    matrix = np.stack(columns).astype(np.float64)
    try:
        found = np.linalg.solve(matrix @ matrix.T, matrix @ wanted)
    except np.linalg.LinAlgError:
        return None
    contrast = float(found[0])
    return None if abs(contrast) < FAINTEST else np.asarray(found[2:] / contrast, dtype=np.float64)


def _smaller(picture: Pixels) -> tuple[Plane, float]:
    """Return a picture whose longer side has SIDE pixels, smoothed; and its scale."""
    height, width = picture.shape
    scale = SIDE / max(height, width)
    size = max(1, int(width * scale)), max(1, int(height * scale))
    shown = (
        min(width, size[0] / scale),
        min(height, size[1] / scale),
    )  # less than a pixel is cut, so that pixels are square
    small = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR, box=(0, 0, *shown))
    return np.asarray(small.filter(ImageFilter.GaussianBlur(SMOOTHING)), dtype=np.float32), scale


def _warped(picture: Image.Image, places: Map, shape: tuple[int, ...]) -> Image.Image:
    """Return what a picture shows at the places to which a map leads, (height, width); 0 outside of it."""
    size = shape[1], shape[0]
    return picture.transform(size, Image.Transform.AFFINE, tuple(places.ravel()), Image.Resampling.BILINEAR)


def _inside(places: Map, shape: tuple[int, ...], other: tuple[int, ...], margin: float = 0.5) -> NDArray[np.bool_]:
    """Tell which pixels of a picture, (height, width), lie within it and, mapped, within another one.

    `margin` is their least distance from the edges of both, in pixels.
    """
    own = _places_of(shape)
    mapped = np.tensordot(places[:, :2], own, 1) + places[:, 2, None, None]
    inside = [
        (place >= margin) & (place <= length - margin)
        for there, size in ((own, shape), (mapped, other))
        for place, length in zip(there, reversed(size), strict=True)
    ]
    return np.asarray(np.all(inside, axis=0))


def _places_of(shape: tuple[int, ...]) -> Plane:
    """Return the middles of the pixels of a picture, x and y, (2, height, width)."""
    return np.indices(shape[:2], dtype=np.float32)[::-1] + np.float32(0.5)


@lru_cache(maxsize=1024)
def _polar(pixels: bytes, shape: tuple[int, int]) -> NDArray[np.complex64]:
    """Return the transform of the strengths of the frequencies of a picture, in polar coordinates. Latest are kept."""
    picture = Image.fromarray(np.frombuffer(pixels, np.uint8).reshape(shape))
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    grey = np.asarray(square, dtype=np.float32)
    strength = np.abs(np.fft.fftshift(np.fft.fft2((grey - grey.mean()) * _WINDOW)))
    polar = np.log1p(strength)[_ROWS, _COLUMNS]
    polar = polar - polar.mean(axis=0, keepdims=True)
    polar /= max(float(np.linalg.norm(polar)), 1e-3)
    return np.fft.rfft2(polar).astype(np.complex64)


def _window() -> NDArray[np.float32]:
    """Return weights that fall to zero at a circle, (SIDE, SIDE), so that the edges of the square are not seen."""
    place = (np.arange(SIDE) - (SIDE - 1) / 2) / (SIDE / 2)
    radius = np.minimum(np.hypot(place[:, None], place[None, :]), 1.0)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * radius), dtype=np.float32)


def _places() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and the columns of the polar coordinates, (ANGLES, RADII) each."""
    angle = np.pi * np.arange(ANGLES)[:, None] / ANGLES
    radius = np.geomspace(NEAREST, FARTHEST, RADII)[None, :]
    rows = np.rint(SIDE / 2 - radius * np.sin(angle)).astype(np.int64)
    columns = np.rint(SIDE / 2 + radius * np.cos(angle)).astype(np.int64)
    return np.clip(rows, 0, SIDE - 1), np.clip(columns, 0, SIDE - 1)


_WINDOW = _window()
_ROWS, _COLUMNS = _places()
