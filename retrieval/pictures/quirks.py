"""What some formats need besides what Pillow does: looks at their bytes before, another picture of several after."""

import re
import struct
import sys
from collections.abc import Iterator
from typing import cast

from PIL import ExifTags, Image, ImageFile

from retrieval.errors import UnreadableImage
from retrieval.pictures import camera, formats, jxl, opening
from retrieval.pictures.formats import Format
from retrieval.pictures.limits import Metered
from retrieval.process import memory

SLOW = {"qoi": 16, "xpm": 16, "BLP1": 8, "BLP2": 8, "dds_rgb": 4}
"""Decoders of Pillow's that are written in Python, with the largest picture that each is given, in megapixels. They
take 1 to 8 microseconds a pixel, which makes half a minute at most."""

_COUNTED = frozenset({"QOI", "XPM", "BLP", "DDS"})
"""Formats of these: pixels are their measure, and not how often a file is read from."""

EAGER = 16
"""Bytes a pixel that it takes to decode what is decoded when it is opened: JPEG XL, in floats."""

_PNG = re.compile(rb"\x89PNG\r\n\x1a\n.{4}IHDR(.{4})(.{4})", re.DOTALL)  # which icons may hold, of any size


def opened(form: Format, data: bytes, size: tuple[int, int]) -> tuple[ImageFile.ImageFile, tuple[int, int] | None]:
    """Return the picture in `data`, of which `size` (height, width) is wanted, and its full width and height.

    The latter, upright, only where a smaller picture is returned. `PIL.Image.DecompressionBombError` for too many
    pixels; `UnreadableImage` for a picture that would take minutes; else the errors of whatever reads the format.
    """
    if form.reader == "RAW":
        shot = camera.develop(data, size)
        return cast("ImageFile.ImageFile", shot.image), (shot.width, shot.height)
    room = 0
    for width, height in _sizes(form, data):
        if width * height > opening.MAX_PIXELS:
            raise Image.DecompressionBombError
        room = max(room, EAGER * width * height)
    with memory.shared().room(room):
        image = _opened(form.reader or "", data)
    _check_time(image, form)
    return image, None


def _opened(reader: str, data: bytes) -> ImageFile.ImageFile:
    image = opening.opened(data, reader)
    if reader in _COUNTED and isinstance(image.fp, Metered):
        image.fp.left = sys.maxsize
    return _CARE[reader](image, data) if reader in _CARE else image


def format_of(data: bytes, path: bytes | None = None) -> Format:
    """Return the format of a file that is taken for a picture, by all its bytes; `UnreadableImage` if it is not read.

    Most RAW files of cameras begin as any TIFF does.
    """
    head = data[: formats.HEAD]
    form = formats.announced(head, path) or formats.announced(head)
    if form is None:
        raise UnreadableImage(formats.UNKNOWN)
    if form.reader == "TIFF" and camera.is_raw(data):
        form = next(other for other in formats.FORMATS if other.reader == "RAW")
        formats.check(form)
    return form


def _sizes(form: Format, data: bytes) -> Iterator[tuple[int, int]]:
    """Yield width and height of the pictures in a file that Pillow's plugin decodes as soon as it opens it."""
    if form.reader == "JXL":
        yield jxl.size(data)
    elif form.reader in {"ICO", "ICNS"}:
        for width, height in _PNG.findall(data):
            yield int.from_bytes(width), int.from_bytes(height)


def _check_time(image: Image.Image, form: Format) -> None:
    """Refuse what Pillow would decode for minutes, in Python."""
    for tile in getattr(image, "tile", ()):
        most = SLOW.get(tile[0])
        if most is not None and image.width * image.height > most * 1_000_000:
            raise UnreadableImage(f"over the limit of {most} megapixels for {form.name}")


def _best_icon(image: ImageFile.ImageFile, _: bytes) -> ImageFile.ImageFile:
    """Return the largest icon, of those the one with most colours; Pillow takes the one with least."""
    icons = image.ico  # type: ignore[attr-defined]
    best = max(range(len(icons.entry)), key=lambda n: (icons.entry[n].square, icons.entry[n].color_depth))
    found: ImageFile.ImageFile = icons.frame(best)
    return found


def _without_mask(image: ImageFile.ImageFile, data: bytes) -> ImageFile.ImageFile:
    """Return a picture of Photoshop's without a fourth channel that is a saved selection, not transparency.

    Transparency is marked by a negative number of layers (Adobe's file format specification, "layer info").
    """
    if image.mode == "RGBA":
        place = 26
        for _ in range(2):  # the sections before that of the layers
            place += 4 + struct.unpack_from(">I", data, place)[0]
        whole, layers, count = (*struct.unpack_from(">II", data, place), 0)
        if whole and layers:
            (count,) = struct.unpack_from(">h", data, place + 8)
        if count >= 0:
            return cast("ImageFile.ImageFile", image.convert("RGB"))
    return image


def _turned_once(image: ImageFile.ImageFile, _: bytes) -> ImageFile.ImageFile:
    """Forget the orientation in the EXIF of a JPEG XL: it was heeded when it was decoded (ISO/IEC 18181-2).

    A JPEG that is packed in one comes out as it was, and so does what its EXIF asks.
    """
    if not image.jpeg:  # type: ignore[attr-defined]
        image.getexif().pop(ExifTags.Base.Orientation, None)
    return image


def _plain_surface(image: ImageFile.ImageFile, _: bytes) -> ImageFile.ImageFile:
    """Have the usual order of bytes in an uncompressed DDS copied, which Pillow would compute, a pixel at a time."""
    for tile in image.tile:
        if tile[0] == "dds_rgb":
            order = _ORDERS.get(tile[3])  # type: ignore[arg-type]
            if order is not None:
                image.tile = [("raw", tile[1], _DDS_HEADER, (order, 0, 1))]  # type: ignore[list-item]
    return image


_DDS_HEADER = 128
_RED, _GREEN, _BLUE, _ALPHA = 0xFF0000, 0xFF00, 0xFF, 0xFF000000
_ORDERS = {  # bits a pixel, and which of them are red, green, blue and alpha -> Pillow's name
    (24, (_RED, _GREEN, _BLUE)): "BGR",
    (24, (_BLUE, _GREEN, _RED)): "RGB",
    (32, (_RED, _GREEN, _BLUE)): "BGRX",
    (32, (_BLUE, _GREEN, _RED)): "RGBX",
    (32, (_RED, _GREEN, _BLUE, _ALPHA)): "BGRA",
    (32, (_BLUE, _GREEN, _RED, _ALPHA)): "RGBA",
}

_CARE = {"ICO": _best_icon, "DDS": _plain_surface, "PSD": _without_mask, "JXL": _turned_once}
