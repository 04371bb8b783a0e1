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

from retrieval.pictures import limits

MOST = 0.05
"""Share of a picture that may be missing: 80 photographs without it have the cosine .99 to the whole ones (mini)."""

NOTE = "its end is missing; what is there was used"
COPIES = 4
"""How much more memory it takes to look at such a file."""
EOI, SOS = b"\xff\xd9", b"\xff\xda"
NEEDED = {1: 63, 2: 24, 4: 4, 8: 0}
"""Scale at which a JPEG is decoded -> the last of the 64 coefficients of a block that it shows. With all of the
brightness, a photograph has the cosine .995 to the whole; with the first five of them .94 (mini, 80 photographs)."""
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
        image = opened(_ended(data))
        image.load()
        if missing.all() and not _is_fine_enough(image, data):
            return None
        missing = missing & _never_told(image)
    if missing.mean() > MOST:
        return None
    _mirror(image, int(np.argmin(np.asarray(missing.all(axis=1))[::-1])))
    return image


def _mirror(image: Image.Image, rows: int) -> None:
    """Put in place of the last `rows` the mirror image of those before: nearest to what was there, of four fillings."""
    if rows:
        last = image.crop((0, image.height - 2 * rows, image.width, image.height - rows))
        image.paste(last.transpose(Image.Transpose.FLIP_TOP_BOTTOM), (0, image.height - rows))


def _ended(data: bytes) -> bytes:
    """Return a JPEG that was cut anywhere with an end: behind its last marker that came with all of its facts."""
    at = max(data.rfind(marker) for marker in (b"\xff\xc4", SOS))  # tables and the header, before each scan
    if at >= 0 and at + 2 + int.from_bytes(data[at + 2 : at + 4].ljust(2, b"\xff"), "big") > len(data):
        data = data[:at]
    return data.rstrip(b"\xff") + EOI


def _is_fine_enough(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Tell whether the scans of a JPEG that are there in whole draw its brightness as finely as `image` shows it.

    A picture in a single scan, from above to below, is as fine as ever as far as it goes.

    The header of a scan: the length, the number of components, two bytes for each, the first and the last coefficient,
    and in half a byte whether it refines an earlier scan (ITU T.81, B.2.3).
    """
    scans = [head for marker, head in limits.segments(data) if marker == limits.SOS]
    found = -1
    whole = [head for head in scans[:-1] if len(head) >= 4 + 2 * head[0]]
    for head in whole:
        first, last, refines = head[1 + 2 * head[0] :][:3]
        if head[1] == scans[0][1] and refines < 16 and first <= found + 1:  # noqa: PLR2004 - its upper half is 0
            found = max(found, last)
    if not whole and "progressive" not in image.info:
        return True
    scale, *_ = image.decoderconfig or (1,)
    return found >= NEEDED[scale]


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


def _never_told(image: Image.Image) -> NDArray[np.bool_]:
    """Return which pixels are of the grey that libjpeg puts in place of missing blocks, and all right and below too."""
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    grey = np.asarray(((pixels >= GREY - UNIFORM) & (pixels <= GREY + UNIFORM)).all(axis=2))
    right = np.logical_and.accumulate(grey[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(np.logical_and.accumulate(right[::-1], axis=0)[::-1])
