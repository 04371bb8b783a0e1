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
"""Largest share of a picture that may be missing, 0 to 1. Without this share, the vectors of 80 photographs have a
cosine of .99 to the vectors of the whole photographs (mini)."""

NOTE = "the end of the file is missing; the rest was used"
COPIES = 4
"""Memory to decode a file whose end is missing, divided by the memory for a whole file."""
EOI, SOS, DHT = b"\xff\xd9", b"\xff\xda", b"\xff\xc4"
"""Markers of a JPEG: end of the image, start of a scan, Huffman tables (ITU T.81, table B.1)."""
NEEDED = {1: 63, 2: 24, 4: 4, 8: 0}
"""Divisor of the sides with which a JPEG is decoded -> the last of the 64 coefficients of a block that matters then.
With all coefficients of the brightness, the vector of a photograph has a cosine of .995 to the vector of the whole
photograph; with only the first five, .94 (mini, 80 photographs)."""
GREY = 128
"""The level that libjpeg puts in place of missing blocks."""
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
    _mirror(image, _rows_at_the_end(missing))
    return image


def _rows_at_the_end(missing: NDArray[np.bool_]) -> int:
    """Return how many rows at the end are missing as a whole; at least one row must be there."""
    is_row_missing = np.asarray(missing.all(axis=1))
    return int(np.argmin(is_row_missing[::-1]))  # the place of the first False


def _mirror(image: Image.Image, rows: int) -> None:
    """Fill the last `rows` with the mirror image of the rows before them.

    Of four fillings that were tried, this one was the nearest to the whole picture.
    """
    if rows:
        last = image.crop((0, image.height - 2 * rows, image.width, image.height - rows))
        image.paste(last.transpose(Image.Transpose.FLIP_TOP_BOTTOM), (0, image.height - rows))


def _ended(data: bytes) -> bytes:
    """Return a JPEG that was cut at any place, with a marker for its end.

    Each scan begins with tables and a header. If the last of these is cut, it is left out.
    """
    at = max(data.rfind(DHT), data.rfind(SOS))
    if at >= 0:
        length = int.from_bytes(data[at + 2 : at + 4].ljust(2, b"\xff"), "big")  # a length that is cut counts as large
        if at + 2 + length > len(data):
            data = data[:at]
    return data.rstrip(b"\xff") + EOI


def _is_fine_enough(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Tell whether the whole scans of a JPEG hold all details of the brightness that `image` can show at its scale.

    A picture that is stored in a single scan, from top to bottom, has all details down to the row where it ends.

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

    If the decoder fills its buffer itself, all pixels count as never written.
    """
    with suppress(OSError):
        image.load()
    bands = len(image.getbands())
    has_several_bands = bands > 1
    filling = (255,) * bands if has_several_bands else 1
    filled = Image.new(image.mode, image.size, filling).im
    other.im = filled
    with suppress(OSError):
        other.load()
    if other.im is not filled:  # for example for a GIF with transparency
        return np.ones(image.size[::-1], dtype=bool)
    differ = np.not_equal(_pixels(image), _pixels(other))
    return np.asarray(differ.any(axis=2) if has_several_bands else differ)


def _pixels(image: ImageFile.ImageFile) -> NDArray[Any]:
    image.tile = []  # so that Pillow does not try to decode the rest
    return np.asarray(image)


def _looks_missing(image: Image.Image) -> NDArray[np.bool_]:
    """Return which pixels are as grey as missing blocks of libjpeg, like all pixels to their right and below."""
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    grey = np.asarray(((pixels >= GREY - UNIFORM) & (pixels <= GREY + UNIFORM)).all(axis=2))
    right = np.logical_and.accumulate(grey[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(np.logical_and.accumulate(right[::-1], axis=0)[::-1])
