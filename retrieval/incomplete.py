"""Files whose end is missing: what is there is shown, if it is nearly all.

How much is missing is measured on the pixels. A decoder that runs out of bytes leaves the rest of its buffer as it was:
of two decoded into buffers that held different values, what differs was never written.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin

MOST = 0.05
"""Share of a picture that may be missing: with that of a photograph grey, the cosine to the whole is .99 (mini)."""

NOTE = "its end is missing; what is there was used"
COPIES = 4
"""How much more memory it takes to look at such a file."""
EOI = b"\xff\xd9"
GREY = 128
UNIFORM = 1
"""Levels by which the grey that libjpeg puts in place of missing blocks may differ from `GREY`, as in CMYK."""


def is_short(error: Exception) -> bool:
    """Tell whether a decoder complains that bytes are missing at the end."""
    return isinstance(error, OSError) and "truncated" in str(error).lower()


def shown(data: bytes, opened: Callable[[bytes], ImageFile.ImageFile]) -> ImageFile.ImageFile | None:
    """Return the picture in `data`, whose end is missing, loaded; None where too much is missing.

    `opened` opens bytes of the picture.
    """
    image = opened(data)
    missing = _never_written(image, opened(data))
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        image = opened(data + EOI)
        image.load()
        missing = missing & _grey_rows(image)
    return image if missing.mean() <= MOST else None


def _never_written(image: ImageFile.ImageFile, other: ImageFile.ImageFile) -> NDArray[np.bool_]:
    """Load the picture twice, as far as it goes; return which pixels were never written."""
    with suppress(OSError):
        image.load()
    several = len(image.getbands()) > 1
    filled = other.im = Image.new(image.mode, image.size, (255,) * len(image.getbands()) if several else 1).im
    with suppress(OSError):
        other.load()
    if other.im is not filled:  # a GIF with transparency fills its buffer itself: nobody knows
        return np.ones(image.size[::-1], dtype=bool)
    differ = np.not_equal(_pixels(image), _pixels(other))
    return np.asarray(differ.any(axis=2) if several else differ)


def _pixels(image: ImageFile.ImageFile) -> NDArray[Any]:
    image.tile = []  # it is decoded as far as it goes
    return np.asarray(image)


def _grey_rows(image: Image.Image) -> NDArray[np.bool_]:
    """Return, as a column, which rows are all of the grey that libjpeg puts in place of missing blocks."""
    pixels = np.asarray(image).reshape(image.height, -1)
    grey = (pixels >= GREY - UNIFORM) & (pixels <= GREY + UNIFORM)
    return np.asarray(grey.all(axis=1))[:, None]
