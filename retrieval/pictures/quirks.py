"""Special treatment of single formats: checks before a file is opened, and corrections afterwards.

A file is opened here in any format: RAW files by `camera`, all others by Pillow.
"""

import re
import struct
import sys
from collections.abc import Iterator
from typing import cast

from PIL import ExifTags, Image, ImageFile

from retrieval.errors import UnreadableImage
from retrieval.pictures import camera, formats, jxl, limits, opening
from retrieval.pictures.formats import Format
from retrieval.pictures.limits import Metered
from retrieval.process import memory

SLOW = {"qoi": 16, "xpm": 16, "BLP1": 8, "BLP2": 8, "dds_rgb": 4}
"""Decoders of Pillow that are written in Python -> the largest picture that each of them may decode, in megapixels.
They take 1 to 8 microseconds per pixel, so half a minute at most."""

_LIMITED_BY_PIXELS = frozenset({"QOI", "XPM", "BLP", "DDS"})
"""The formats of these decoders. The number of reads is not limited for them."""

EAGER = 16
"""Memory to open a picture in a format that is decoded when it is opened, in bytes per pixel. JPEG XL is decoded to
floats."""

_PNG = re.compile(rb"\x89PNG\r\n\x1a\n.{4}IHDR(.{4})(.{4})", re.DOTALL)  # icons may hold PNGs of any size


def opened(form: Format, data: bytes, size: tuple[int, int]) -> tuple[ImageFile.ImageFile, tuple[int, int] | None]:
    """Return the picture in `data`, opened, and its full width and height if it is smaller than the full picture.

    The picture is at least as large as `size` (height, width) if the full picture is; the full width and height are
    those of the upright picture. Raises `PIL.Image.DecompressionBombError` for too many pixels, `UnreadableImage` for a
    picture that takes minutes to decode, and any error of the library that reads the format.
    """
    if form.reader == "RAW":
        shot = camera.develop(data, size)
        return cast("ImageFile.ImageFile", shot.image), (shot.width, shot.height)
    memory_needed = 0
    for width, height in _sizes_decoded_at_once(form, data):
        if width * height > limits.MAX_PIXELS:
            raise Image.DecompressionBombError
        memory_needed = max(memory_needed, EAGER * width * height)
    with memory.shared().room(memory_needed):
        image = _opened(form.reader or "", data)
    _demand_fast(image, form)
    return image, None


def _opened(reader: str, data: bytes) -> ImageFile.ImageFile:
    image = opening.opened(data, reader)
    if reader in _LIMITED_BY_PIXELS and isinstance(image.fp, Metered):
        image.fp.left = sys.maxsize
    return _CORRECTIONS[reader](image, data) if reader in _CORRECTIONS else image


def format_of(data: bytes, path: bytes | None = None) -> Format:
    """Return the format of a picture file from all of its bytes; `UnreadableImage` if the format is not supported.

    All bytes are needed because most RAW files of cameras begin like any TIFF.
    """
    head = data[: formats.HEAD]
    form = formats.readable(head, path) or formats.readable(head)
    if form is None:
        raise UnreadableImage(formats.UNKNOWN)
    if form.reader == "TIFF" and camera.is_raw(data):
        form = next(other for other in formats.FORMATS if other.reader == "RAW")
        formats.check(form)
    return form


def _sizes_decoded_at_once(form: Format, data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the width and the height of each picture in a file that its plugin decodes when it opens the file."""
    if form.reader == "JXL":
        yield jxl.size(data)
    elif form.reader in {"ICO", "ICNS"}:
        for width, height in _PNG.findall(data):
            yield int.from_bytes(width), int.from_bytes(height)


def _demand_fast(image: Image.Image, form: Format) -> None:
    """Raise `UnreadableImage` for a picture that a decoder in Python would decode for minutes."""
    for tile in getattr(image, "tile", ()):
        most = SLOW.get(tile[0])
        if most is not None and image.width * image.height > most * 1_000_000:
            raise UnreadableImage(f"larger than the limit of {most} megapixels for {form.name}")


def _best_icon(image: ImageFile.ImageFile, _: bytes) -> ImageFile.ImageFile:
    """Return the largest icon. Of several, return the one with most colours, where Pillow would choose the fewest."""
    icons = image.ico  # type: ignore[attr-defined]
    best = max(range(len(icons.entry)), key=lambda n: (icons.entry[n].square, icons.entry[n].color_depth))
    icon: ImageFile.ImageFile = icons.frame(best)
    return icon


def _without_mask(image: ImageFile.ImageFile, data: bytes) -> ImageFile.ImageFile:
    """Return a Photoshop picture without its fourth channel if that is a saved selection and not transparency.

    A negative number of layers marks transparency (Adobe's file format specification, "layer info").
    """
    if image.mode == "RGBA":
        place = _PSD_HEADER
        for _ in range(2):  # two sections come before the section of the layers
            (length,) = struct.unpack_from(">I", data, place)
            place += 4 + length
        section_length, layers_length = struct.unpack_from(">II", data, place)
        count = 0
        if section_length and layers_length:
            (count,) = struct.unpack_from(">h", data, place + 8)
        if count >= 0:
            return cast("ImageFile.ImageFile", image.convert("RGB"))
    return image


def _turned_once(image: ImageFile.ImageFile, _: bytes) -> ImageFile.ImageFile:
    """Remove the orientation from the EXIF of a JPEG XL, whose decoder has turned the picture (ISO/IEC 18181-2).

    A JPEG inside a JPEG XL is not turned by the decoder, so its orientation stays.
    """
    if not image.jpeg:  # type: ignore[attr-defined]
        image.getexif().pop(ExifTags.Base.Orientation, None)
    return image


def _plain_surface(image: ImageFile.ImageFile, _: bytes) -> ImageFile.ImageFile:
    """Let Pillow copy the pixels of an uncompressed DDS with a usual order of bytes, not compute them one by one."""
    for tile in image.tile:
        if tile[0] == "dds_rgb":
            order = _ORDERS.get(tile[3])  # type: ignore[arg-type]
            if order is not None:
                image.tile = [("raw", tile[1], _DDS_HEADER, (order, 0, 1))]  # type: ignore[list-item]
    return image


_DDS_HEADER = 128
"""Length of the header of a DDS file, in bytes."""
_PSD_HEADER = 26
"""Length of the header of a Photoshop file, in bytes."""
_RED, _GREEN, _BLUE, _ALPHA = 0xFF0000, 0xFF00, 0xFF, 0xFF000000
_ORDERS = {  # bits per pixel, and the masks of red, green, blue and alpha -> Pillow's name of the order
    (24, (_RED, _GREEN, _BLUE)): "BGR",
    (24, (_BLUE, _GREEN, _RED)): "RGB",
    (32, (_RED, _GREEN, _BLUE)): "BGRX",
    (32, (_BLUE, _GREEN, _RED)): "RGBX",
    (32, (_RED, _GREEN, _BLUE, _ALPHA)): "BGRA",
    (32, (_BLUE, _GREEN, _RED, _ALPHA)): "RGBA",
}

_CORRECTIONS = {"ICO": _best_icon, "DDS": _plain_surface, "PSD": _without_mask, "JXL": _turned_once}
