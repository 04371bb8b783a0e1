"""By which angle a picture was rotated, whatever its place and scale: the Fourier-Mellin transform.

The strengths of the frequencies of a picture do not change when it is moved. When it is rotated, they are rotated with
it, and when it is scaled, they are scaled the other way. In polar coordinates with the logarithm of the radius, both
are shifts, which a correlation finds (Reddy and Chatterji 1996, An FFT-based technique for translation, rotation, and
scale-invariant image registration, doi 10.1109/83.506761).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 128
"""Sides of the square in the middle of a picture whose frequencies are taken, in pixels."""
ANGLES, RADII = 180, 64
"""Number of angles of half a turn, and of radii. The other half turn has the same strengths."""
NEAREST, FARTHEST = 4.0, 60.0
"""Least and largest radius, in periods per side. Lower frequencies are of the light, higher ones of JPEG."""
CERTAIN = 0.3
"""Least correlation of an angle that is worth a look. Of pictures that show other things, 12 in 100 reach it."""
LEAST = 3.0
"""Least angle that counts as a rotation, in degrees. Smaller ones are left to the other comparisons."""


def angles_between(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> tuple[float, ...]:
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


def straightened(picture: NDArray[np.uint8], angle: float) -> NDArray[np.uint8]:
    """Return the middle of a picture, rotated clockwise by an angle in degrees, without the corners that were empty.

    Half of each side is kept: that lies within the picture at every angle, if it is not longer than 3 to 2.
    """
    height, width = picture.shape
    rotated = np.asarray(Image.fromarray(picture).rotate(-angle, Image.Resampling.BILINEAR))
    return np.ascontiguousarray(rotated[height // 4 : height - height // 4, width // 4 : width - width // 4])


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
