"""An animation is represented by its first frame that is not blank, because many films fade in from black."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.pictures.fitting import is_blank

FRAMES = 60
"""Most frames that are looked at. At 25 frames per second these are two seconds, in which a film fades in."""

PIXELS = 400_000_000
"""Most pixels that are looked at, in all frames together. To decode so many pixels takes some seconds."""

KINDS = frozenset(("GIF", "PNG", "WEBP", "AVIF"))
"""Formats whose frames follow one another in time, by Pillow's names. Pages of a TIFF, for example, do not."""


def first_visible(
    image: Image.Image, first: NDArray[np.uint8], fitted: Callable[[Image.Image], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """Return the pixels of the first frame of `image` that is not blank.

    `first` holds the pixels of the first frame, and `fitted` makes the pixels of a later one. Returns `first` if
    `image` is not an animation, or if all frames that are looked at are blank.
    """
    if image.format not in KINDS or not is_blank(first):
        return first
    return next((pixels for pixels in _later_frames(image, fitted) if not is_blank(pixels)), first)


def _later_frames(
    image: Image.Image, fitted: Callable[[Image.Image], NDArray[np.uint8]]
) -> Iterator[NDArray[np.uint8]]:
    """Yield the pixels of the second frame and of the frames after it, within the limits `FRAMES` and `PIXELS`."""
    for number in range(1, 1 + min(FRAMES, PIXELS // (image.width * image.height))):
        try:
            image.seek(number)
            pixels = fitted(image)
        except Exception:  # noqa: BLE001 - a decoder that meets a damaged frame may raise anything
            return
        yield pixels
