"""RAW files of cameras -> pictures: the preview that the camera made, or else a quick development.

LibRaw does the work, through the package rawpy, which the extra `raw` installs.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import ExifTags, Image

from retrieval.pictures import limits, opening
from retrieval.process import memory

if TYPE_CHECKING:
    from rawpy import RawPy

DNG_VERSION, PHOTOMETRIC, SUB_IFDS = 50706, 262, 330  # tags of TIFF 6.0, TIFF/EP and DNG 1.7
RAW_PHOTOMETRICS = frozenset({32803, 34892})  # a colour filter array; linear RAW (DNG 1.7)
MOST_IFDS = 16
"""Most directories of a TIFF that are read; cameras write up to six."""

_TURNS = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}  # LibRaw's `flip` -> EXIF's orientation (LibRaw, tiff.cpp)
_SIDEWAYS = 4  # the bit of `flip` that swaps width and height
BYTES = 8
"""Memory to develop a picture at half its width and height, in bytes per pixel of the sensor."""
ASPECT = 0.1
"""Largest relative difference between the aspect ratios of a preview and its picture. Small previews of some cameras
have black bars, and differ by more."""


@dataclass(frozen=True, slots=True)
class Shot:
    """The picture in a RAW file."""

    image: Image.Image
    """The preview, or the picture developed at half its width and height. The EXIF holds the orientation and the
    date."""
    width: int
    """Width of the whole picture when it is upright, in pixels."""
    height: int
    """Height of the whole picture when it is upright, in pixels."""


def is_raw(data: bytes) -> bool:
    """Tell whether a TIFF is the RAW file of a camera. Pillow would show a thumbnail of such a file, or nothing."""
    with suppress(struct.error, OverflowError):
        return any(
            tag == DNG_VERSION or (tag == PHOTOMETRIC and value in RAW_PHOTOMETRICS) for tag, value in _tags(data)
        )
    return False


def _tags(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the tags `DNG_VERSION` and `PHOTOMETRIC` of all directories of a TIFF, each with its first value."""
    order = "<" if data[:2] == b"II" else ">"
    version, first = struct.unpack_from(order + "HI", data, 2)
    waiting, seen = [first] if version == 42 else [], set[int]()  # noqa: PLR2004 - cameras do not write BigTIFF
    while waiting and len(seen) < MOST_IFDS:
        start = waiting.pop(0)
        if start in seen or not start:
            continue
        seen.add(start)
        (count,) = struct.unpack_from(order + "H", data, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, length = struct.unpack_from(order + "HHI", data, place)
            code = {3: "H", 4: "I", 13: "I"}.get(kind, "B")
            at = place + 8
            if length * struct.calcsize(code) > 4:  # noqa: PLR2004 - an entry holds a value of up to 4 bytes
                (at,) = struct.unpack_from(order + "I", data, at)
            if tag == SUB_IFDS:
                waiting.extend(struct.unpack_from(f"{order}{min(length, MOST_IFDS)}I", data, at))
            elif tag in {DNG_VERSION, PHOTOMETRIC}:
                yield tag, struct.unpack_from(order + code, data, at)[0]
        waiting.extend(struct.unpack_from(order + "I", data, start + 2 + 12 * count))


def develop(data: bytes, size: tuple[int, int]) -> Shot:
    """Return the picture in a RAW file: a preview that is at least as large as `size`, or a quick development.

    `size` is (height, width).

    Raises `PIL.Image.DecompressionBombError` for a picture of too many pixels, `MemoryError`, and the errors of LibRaw.
    """
    import rawpy

    try:  # LibRaw reads `data` in place, so `data` has to live until it has finished
        return _developed(rawpy.imread(io.BytesIO(data)), size)
    except rawpy.LibRawUnsufficientMemoryError as error:
        raise MemoryError from error


def _developed(opened: "RawPy", size: tuple[int, int]) -> Shot:
    with opened as raw:
        sizes = raw.sizes
        pixels = sizes.raw_width * sizes.raw_height
        if pixels > limits.MAX_PIXELS:
            raise Image.DecompressionBombError
        image = _preview(raw, size)
        if image is None:
            with memory.shared().room(BYTES * pixels):
                image = Image.fromarray(raw.postprocess(half_size=True, use_camera_wb=True))
        taken = raw.other.timestamp
        if taken.year > 1970:  # noqa: PLR2004 - LibRaw gives the second 0 of 1970 for an unknown date
            image.getexif()[ExifTags.Base.DateTime] = f"{taken:%Y:%m:%d %H:%M:%S}"
        if sizes.flip & _SIDEWAYS:
            return Shot(image, width=sizes.height, height=sizes.width)
        return Shot(image, width=sizes.width, height=sizes.height)


def _preview(raw: "RawPy", size: tuple[int, int]) -> Image.Image | None:
    """Return the largest preview in a RAW file; None if it is smaller than `size`, or shows a part of the picture."""
    import rawpy

    with suppress(rawpy.LibRawError, OSError):
        thumbnail = raw.extract_thumb()
        if thumbnail.format == rawpy.ThumbFormat.JPEG:
            limits.check(thumbnail.data, "JPEG")
            image: Image.Image = opening.opened(thumbnail.data, "JPEG")
        else:
            image = Image.fromarray(thumbnail.data)
        width, height = raw.sizes.width, raw.sizes.height
        # Some cameras turn the preview upright, while the pixels of the sensor lie on their side.
        is_turned = (image.width >= image.height) != (width >= height)
        if is_turned:
            width, height = height, width
        same_shape = abs(image.width * height / (image.height * width) - 1) <= ASPECT
        if same_shape and min(image.size) >= min(size) and max(image.size) >= max(size):
            # The orientation of the file counts. A preview has the same orientation, or does not tell.
            image.getexif()[ExifTags.Base.Orientation] = 1 if is_turned else _TURNS.get(raw.sizes.flip, 1)
            return image
    return None
