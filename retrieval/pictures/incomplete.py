"""Files whose end is missing: the picture is used if nearly all of it is there.

How much is missing is measured on the pixels. A decoder that runs out of bytes leaves the rest of its buffer as it was.
So the picture is decoded twice, into buffers filled with different values: a pixel that differs was never written.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin

from retrieval.pictures import limits

MOST = 0.05
"""Largest share of a picture that may be missing. Without this share, the vectors of 80 photographs have a cosine of
.99 to those of the whole ones (mini)."""

NOTE = "the end of the file is missing; the rest was used"
COPIES = 4
"""Memory that it takes to decode a file whose end is missing, relative to a whole file."""
EOI, SOS = b"\xff\xd9", b"\xff\xda"
NEEDED = {1: 63, 2: 24, 4: 4, 8: 0}
"""Scale at which a JPEG is decoded -> the last of the 64 coefficients of a block that is seen at this scale. With all
coefficients of the brightness, a photograph has a cosine of .995 to the whole one; with only the first five, .94 (mini,
80 photographs)."""
GREY = 128
UNIFORM = 1
"""Levels by which the grey that libjpeg puts in place of missing blocks may differ from `GREY`, for example in CMYK."""


def is_short(error: Exception) -> bool:
    """Tell whether a decoder complains that the end of the file is missing."""
    return isinstance(error, OSError) and "truncated" in str(error).lower()


def loaded(data: bytes, opened: Callable[[bytes], ImageFile.ImageFile]) -> ImageFile.ImageFile | None:
    """Return the picture in a file whose end is missing, loaded; None if too much of it is missing.

    `opened` opens the bytes of a picture with Pillow.
    """
    image = opened(data)
    missing = _never_written(image, opened(data))
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        image = opened(_ended(data))
        image.load()
        if missing.all() and not _is_fine_enough(image, data):
            return None
        missing = missing & _looks_missing(image)
    if missing.mean() > MOST:
        return None
    _mirror(image, int(np.argmin(np.asarray(missing.all(axis=1))[::-1])))
    return image


def _mirror(image: Image.Image, rows: int) -> None:
    """Replace the last `rows` by the mirror image of the rows before. Of four fillings tried, it was the nearest."""
    if rows:
        last = image.crop((0, image.height - 2 * rows, image.width, image.height - rows))
        image.paste(last.transpose(Image.Transpose.FLIP_TOP_BOTTOM), (0, image.height - rows))


def _ended(data: bytes) -> bytes:
    """Return a JPEG that was cut at any place, ended properly behind its last marker whose segment is whole."""
    at = max(data.rfind(marker) for marker in (b"\xff\xc4", SOS))  # each scan begins with tables and a header
    if at >= 0 and at + 2 + int.from_bytes(data[at + 2 : at + 4].ljust(2, b"\xff"), "big") > len(data):
        data = data[:at]
    return data.rstrip(b"\xff") + EOI


def _is_fine_enough(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Tell whether the whole scans of a JPEG hold the brightness as finely as `image`, decoded at a scale, shows it.

    A picture that is stored in a single scan, from top to bottom, is as fine as it can be, down to where it ends.

    The header of a scan holds the number of components, two bytes per component, the first and the last coefficient,
    and in half a byte whether the scan refines an earlier one (ITU T.81, B.2.3).
    """
    scans = [head for marker, head in limits.segments(data) if marker == limits.SOS]
    last_known = -1
    whole = [head for head in scans[:-1] if len(head) >= 4 + 2 * head[0]]
    for head in whole:
        first, last, refines = head[1 + 2 * head[0] :][:3]
        is_brightness = head[1] == scans[0][1]  # the component that comes first
        if is_brightness and refines < 16 and first <= last_known + 1:  # noqa: PLR2004 - the upper half of the byte is 0
            last_known = max(last_known, last)
    if not whole and "progressive" not in image.info:
        return True
    scale, *_ = image.decoderconfig or (1,)
    return last_known >= NEEDED[scale]


def _never_written(image: ImageFile.ImageFile, other: ImageFile.ImageFile) -> NDArray[np.bool_]:
    """Load the same picture twice, as far as its bytes go, and return which pixels were never written.

    If the decoder does not tell, all pixels count as never written.
    """
    with suppress(OSError):
        image.load()
    several = len(image.getbands()) > 1
    filled = other.im = Image.new(image.mode, image.size, (255,) * len(image.getbands()) if several else 1).im
    with suppress(OSError):
        other.load()
    if other.im is not filled:  # the decoder fills its buffer itself, as for a GIF with transparency
        return np.ones(image.size[::-1], dtype=bool)
    differ = np.not_equal(_pixels(image), _pixels(other))
    return np.asarray(differ.any(axis=2) if several else differ)


def _pixels(image: ImageFile.ImageFile) -> NDArray[Any]:
    image.tile = []  # so that Pillow does not try to decode the rest
    return np.asarray(image)


def _looks_missing(image: Image.Image) -> NDArray[np.bool_]:
    """Return which pixels have the grey of libjpeg for missing blocks, as all pixels to the right and below have."""
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    grey = np.asarray(((pixels >= GREY - UNIFORM) & (pixels <= GREY + UNIFORM)).all(axis=2))
    right = np.logical_and.accumulate(grey[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(np.logical_and.accumulate(right[::-1], axis=0)[::-1])
