"""Which bytes are which format, and what reads it.

A file is a picture by its bytes, whatever its name.
"""

import os
import re
from functools import cache

from retrieval.errors import UnreadableImage

HEAD = 64
"""Bytes that tell a format."""

EXTENSIONS = frozenset(
    b".jpg .jpeg .jpe .jfif .png .apng .webp .gif .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm "
    b".avif .heic .heif .hif".split()
)
"""Names that promise a picture: such a file that holds none is reported, others are passed over in silence."""

HEIF_MISSING = "HEIC needs an extra: pip install 'retrieval[heif]'"


def promises_picture(path: bytes) -> bool:
    """Tell whether the name of `path` ends as pictures' names do."""
    return os.path.splitext(path)[1].lower() in EXTENSIONS


_SIGNATURES = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF87a", "GIF"), (b"GIF89a", "GIF"),
               (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"))  # fmt: skip
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})  # lengths of the known DIB headers
_HEIF_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split())  # ISO/IEC 23008-12, annex B
_NETPBM = re.compile(rb"P[1-6]\s+(#|\d+\s+[#\d])")  # a width follows, which tells it from text


def identify(head: bytes) -> str | None:
    """Return Pillow's name of the format that a file's first `HEAD` bytes announce, or None for anything else."""
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if _NETPBM.match(head):
        return "PPM"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:  # two letters alone may be a text
        return "BMP"
    return _identify_isobmff(head)


def _identify_isobmff(head: bytes) -> str | None:
    if head[4:8] != b"ftyp":
        return None
    length = int.from_bytes(head[:4], "big")
    brands = {head[8:12]} | {head[i : i + 4] for i in range(16, min(length, len(head)), 4)}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIF" if brands & _HEIF_BRANDS else None


@cache
def heif_available() -> bool:
    """Tell whether the extra that reads HEIC is installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def register_heif() -> None:
    """Have Pillow read HEIC; `UnreadableImage` where the extra is missing."""
    if not heif_available():
        raise UnreadableImage(HEIF_MISSING)


def extras() -> str:
    """Name the extras that are there."""
    return f"heif {heif_available()}"
