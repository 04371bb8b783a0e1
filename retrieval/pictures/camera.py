"""RAW files of cameras -> pictures: the preview that the camera made, else a quick development. For the extra `raw`."""

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
"""Directories of a TIFF that are looked at; cameras write up to six."""

_TURNS = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}  # LibRaw's `flip` -> EXIF's orientation (LibRaw, tiff.cpp)
_SIDEWAYS = 4  # the bit of `flip` that swaps width and height
BYTES = 8
"""Bytes a pixel that it takes to develop a picture at half its size."""
ASPECT = 0.1
"""Largest difference of shape between a preview and its picture: small previews of some cameras have black bars."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture of a camera's."""

    image: Image.Image
    """The preview, whose EXIF tells orientation and date, or the picture developed at half its size, upright."""
    width: int
    """Of the whole picture, upright."""
    height: int


def is_raw(data: bytes) -> bool:
    """Tell whether a TIFF is a camera's RAW file, of which Pillow would show a thumbnail or nothing."""
    with suppress(struct.error, OverflowError):
        return any(
            tag == DNG_VERSION or (tag == PHOTOMETRIC and value in RAW_PHOTOMETRICS) for tag, value in _tags(data)
        )
    return False


def _tags(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the tags of a TIFF's directories with their first values, as far as those are whole numbers."""
    order = "<" if data[:2] == b"II" else ">"
    version, first = struct.unpack_from(order + "HI", data, 2)
    waiting, seen = [first] if version == 42 else [], set[int]()  # noqa: PLR2004 - a BigTIFF is no camera's
    while waiting and len(seen) < MOST_IFDS:
        start = waiting.pop(0)
        if start in seen or not start:
            continue
        seen.add(start)
        (count,) = struct.unpack_from(order + "H", data, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, length = struct.unpack_from(order + "HHI", data, place)
            code = {3: "H", 4: "I", 13: "I"}.get(kind, "B")
            within = length * struct.calcsize(code) <= 4  # noqa: PLR2004 - bytes of an entry that hold a value
            at = place + 8 if within else struct.unpack_from(order + "I", data, place + 8)[0]
            if tag == SUB_IFDS:
                waiting.extend(struct.unpack_from(f"{order}{min(length, MOST_IFDS)}I", data, at))
            elif tag in {DNG_VERSION, PHOTOMETRIC}:
                yield tag, struct.unpack_from(order + code, data, at)[0]
        waiting.extend(struct.unpack_from(order + "I", data, start + 2 + 12 * count))


def develop(data: bytes, size: tuple[int, int]) -> Shot:
    """Return the picture in a RAW file, with at least `size` (height, width) pixels if it has them.

    `PIL.Image.DecompressionBombError` if it has too many, `MemoryError`, or an error of LibRaw's.
    """
    import rawpy

    try:  # LibRaw reads `data` where it is: it has to live meanwhile
        return _developed(rawpy.imread(io.BytesIO(data)), size)
    except rawpy.LibRawUnsufficientMemoryError as error:
        raise MemoryError from error


def _developed(opened: "RawPy", size: tuple[int, int]) -> Shot:
    with opened as raw:
        sizes = raw.sizes
        pixels = sizes.raw_width * sizes.raw_height
        if pixels > opening.MAX_PIXELS:
            raise Image.DecompressionBombError
        image = _preview(raw, size)
        if image is None:
            with memory.shared().room(BYTES * pixels):
                image = Image.fromarray(raw.postprocess(half_size=True, use_camera_wb=True))
        taken = raw.other.timestamp
        if taken.year > 1970:  # noqa: PLR2004 - which stands for 0: unknown
            image.getexif()[ExifTags.Base.DateTime] = f"{taken:%Y:%m:%d %H:%M:%S}"
        swapped = bool(sizes.flip & _SIDEWAYS)
        return Shot(image, *((sizes.height, sizes.width) if swapped else (sizes.width, sizes.height)))


def _preview(raw: "RawPy", size: tuple[int, int]) -> Image.Image | None:
    """Return the largest preview in a RAW file, if it shows the whole picture and is large enough."""
    import rawpy

    with suppress(rawpy.LibRawError, OSError):
        found = raw.extract_thumb()
        if found.format == rawpy.ThumbFormat.JPEG:
            limits.check(found.data, "JPEG")
            image: Image.Image = opening.opened(found.data, "JPEG")
        else:
            image = Image.fromarray(found.data)
        width, height = raw.sizes.width, raw.sizes.height
        lies = (image.width >= image.height) == (width >= height)  # as the sensor does; else it is turned already
        if not lies:
            width, height = height, width
        same_shape = abs(image.width * height / (image.height * width) - 1) <= ASPECT
        if same_shape and min(image.size) >= min(size) and max(image.size) >= max(size):
            # The camera's word is for the whole file; a preview says nothing, or the same.
            image.getexif()[ExifTags.Base.Orientation] = _TURNS.get(raw.sizes.flip, 1) if lies else 1
            return image
    return None
