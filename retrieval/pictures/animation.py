"""What a moving picture shows: its first frame in which there is something to be seen."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.pictures.fitting import is_blank

FRAMES = 60
"""Frames that are looked at: a film of 25 a second fades in within two seconds."""

PIXELS = 400_000_000
"""Of all frames that are looked at together: some seconds of work."""

KINDS = frozenset(("GIF", "PNG", "WEBP", "AVIF"))
"""Formats whose frames follow one another in time."""


def later(
    image: Image.Image, first: NDArray[np.uint8], fitted: Callable[[Image.Image], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """Return the first frame of `image` that is not blank, `fitted`; `first` is that of its own first, or of stills."""
    if image.format not in KINDS or not is_blank(first):
        return first
    return next((pixels for pixels in _frames(image, fitted) if not is_blank(pixels)), first)


def _frames(image: Image.Image, fitted: Callable[[Image.Image], NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    for number in range(1, 1 + min(FRAMES, PIXELS // (image.width * image.height))):
        try:
            image.seek(number)
            pixels = fitted(image)
        except Exception:  # noqa: BLE001 - decoders that meet a damaged frame raise nearly anything
            return
        yield pixels
