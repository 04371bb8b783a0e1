"""How much work one file may ask for: cheap looks at its bytes before a decoder sees them.

A few bytes can ask for hours: a JPEG that goes over its pixels a thousand times, a TIFF in a million strips, a comment
of 100 MB that is read byte by byte. `check` looks at what decoders in C go through, `Metered` counts the reads of those
in Python. Both count and never time, so that a file is refused on every machine or on none. The seconds below are those
of one slow core (2 GHz).
"""

import io
import re
import struct
from collections.abc import Iterator

from retrieval.errors import UnreadableImage

READS = 1_500_000
"""Most reads of Pillow's from one file: 1 to 4 seconds. The largest PNG in pieces of 8 KiB, as libpng writes them,
takes half a million; a compressed BMP takes two a run."""
STRIPS = 200_000
"""Most strips or tiles of a TIFF, 15 µs each: so many rows, or tiles of 32 x 32 pixels in the largest picture."""
PAGES = 1000
"""Pages of a TIFF that are looked through for that."""
SCANS = 20
"""Passes over its pixels that any JPEG may take: a progressive one has 10 (libjpeg), optimised 15 at most."""
SCANNED = 1_200_000_000
"""Pixels that a JPEG of more scans may go over in all, 5 ns each: 100 passes over 12 megapixels."""
LEAST_SCANNED = 2**14
"""Pixels that any pass counts for: to begin one takes as long."""
EXIF = 2**22
"""Most bytes of a JPEG's EXIF, of which the standard allows 64 KiB; Pillow copies all before each further part."""
PLAIN = 2**26
"""Most bytes of a picture that is written in decimal digits (PBM, PGM, PPM), which are decoded at 3 to 10 MB a second;
25 megapixels of grey."""
PLAIN_COMMENTS = 10_000
"""Most comments in such a picture; for each, Pillow copies the piece of 1 MiB that it is in."""

TOO_MUCH = "it would take too long to read: "
IN_PIECES = TOO_MUCH + "it is in too many pieces"
IN_STRIPS = TOO_MUCH + "it has too many strips or tiles"
IN_SCANS = TOO_MUCH + "it has too many scans"
IN_DIGITS = TOO_MUCH + "it is written in decimal digits, and too large for that"
IN_COMMENTS = TOO_MUCH + "it has too many comments"
LONG_EXIF = TOO_MUCH + "its EXIF is too large"


class Metered(io.BytesIO):
    """The bytes of a file, which end in `UnreadableImage` for who reads in too many pieces."""

    left = READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and count it."""
        self.left -= 1
        if self.left < 0:
            raise UnreadableImage(IN_PIECES)
        return super().read(size)


def check(data: bytes, kind: str) -> None:
    """Refuse a file of Pillow's format `kind` that asks for more work than the limits allow; `UnreadableImage`."""
    if kind == "TIFF" and _strips(data) > STRIPS:
        raise UnreadableImage(IN_STRIPS)
    if kind in {"JPEG", "MPO"}:
        _check_jpeg(data)
    if kind == "PPM" and data[1:2] in b"123":
        if len(data) > PLAIN:
            raise UnreadableImage(IN_DIGITS)
        if data.count(b"#") > PLAIN_COMMENTS:
            raise UnreadableImage(IN_COMMENTS)


# -- JPEG: ITU-T T.81, annex B ------------------------------------------------------------------------------------

_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # not a byte that is stuffed, nor a restart
SOS, _EOI, _APP1 = 0xDA, 0xD9, 0xE1
HEADER = 12
"""Bytes that tell what a frame is, or a scan of up to four components."""
_ALONE = {0x01, 0xD8}  # markers without a length
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the markers of the first picture, each with the beginning of what it holds."""
    at = 2
    while (found := _MARKER.search(data, at)) is not None and (marker := found[1][0]) != _EOI:
        start = found.end()
        yield marker, data[start + 2 : start + 2 + HEADER]
        at = start if marker in _ALONE else start + int.from_bytes(data[start : start + 2], "big")


def _check_jpeg(data: bytes) -> None:
    exif = pixels = components = 0
    for number, (marker, head) in enumerate(segments(data)):
        if number > READS // 4:
            raise UnreadableImage(IN_PIECES)
        if marker in _FRAMES:
            height, width, components = struct.unpack(">xHHB", head[:6].ljust(6, b"\0"))
            pixels = max(height * width, LEAST_SCANNED)
            if marker in _PROGRESSIVE:
                components = 0  # whatever comes first, more scans follow
        elif marker == _APP1 and head.startswith(b"Exif\0"):
            exif += 2**16
        elif marker == SOS:
            if head[:1] != bytes([components]) and _many_scans(data, pixels):
                raise UnreadableImage(IN_SCANS)
            break
    if exif > EXIF:
        raise UnreadableImage(LONG_EXIF)


def _many_scans(data: bytes, pixels: int) -> bool:
    """Tell whether there are too many, counting twice only where the first count finds some inside other things."""
    most = max(SCANS, SCANNED // (pixels or 1))
    return data.count(b"\xff\xda") > most and sum(marker == SOS for marker, _ in segments(data)) > most


# -- TIFF: TIFF 6.0, section 2; BigTIFF has counts and offsets of 8 bytes ------------------------------------------

_STRIP_OFFSETS, _TILE_OFFSETS = 273, 324


def _strips(data: bytes) -> int:
    """Return the most strips or tiles that a page of a TIFF is in, 0 where that cannot be told."""
    order = "<" if data[:2] == b"II" else ">"
    big = b"+" in data[2:4]
    offset, number = struct.Struct(order + ("Q" if big else "I")), struct.Struct(order + ("Q" if big else "H"))
    entry = struct.Struct(order + ("HHQ8x" if big else "HHI4x"))
    most, seen = 0, set[int]()
    try:
        (page,) = offset.unpack_from(data, 8 if big else 4)
        while page and page not in seen and len(seen) < PAGES:
            seen.add(page)
            (count,) = number.unpack_from(data, page)
            start = page + number.size
            end = start + min(count, READS) * entry.size
            whole = min(end, len(data) - (len(data) - start) % entry.size)  # of a table that is cut, what is there
            for tag, _, values in entry.iter_unpack(data[start:whole]):
                most = max(most, values * (tag in {_STRIP_OFFSETS, _TILE_OFFSETS}))
            (page,) = offset.unpack_from(data, end)
    except (struct.error, OverflowError):
        pass
    return most
