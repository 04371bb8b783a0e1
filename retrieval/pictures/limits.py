"""Limits on the memory and the work that one file may cause, checked cheaply before a decoder sees its bytes.

A few hundred bytes can hold a picture of gigabytes. `cost` tells the memory that decoding takes, from the header alone,
and refuses pictures with too many pixels; `process.memory` makes large pictures wait for room.

A few bytes can cause hours of work: a JPEG that goes over its pixels a thousand times, a TIFF in a million strips, a
comment of 100 MB that is read byte by byte. `check` counts what decoders in C have to go through, and `Metered` counts
the reads of decoders in Python. Neither measures time, so that a file is refused on every machine or on none. The times
below were measured on one slow core (2 GHz).
"""

import io
import re
import struct
from collections.abc import Iterator

from PIL import Image, ImageFile

from retrieval.errors import UnreadableImage

MAX_PIXELS = 178_956_970
"""Most pixels of a picture in colour that is decoded: Pillow's own limit, which is twice its `MAX_IMAGE_PIXELS`."""

BYTES = 4
"""Size of a pixel in colour in Pillow's memory, in bytes."""

FEWER_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Pillow's mode -> size of a pixel in its memory, in bytes; `BYTES` for all other modes."""

MAX_BYTES = MAX_PIXELS * BYTES
"""Size of the largest picture that is decoded, in Pillow's memory, in bytes."""
MILLION = 1_000_000
TOO_MANY_PIXELS = (
    f"larger than the limit of {MAX_PIXELS // MILLION} megapixels in colour, "
    f"or of {MAX_BYTES // MILLION} megapixels of one byte each"
)

COPIES = {"GIF": 9, "PNG": 2, "WEBP": 4, "AVIF": 4, "HEIF": 3, "TIFF": 2, "DIB": 2, "BMP": 2}
"""Format -> number of copies of the picture that its decoder holds at a time, where this is not 1. Frames before and
after the picture count too."""

READS = 1_500_000
"""Most reads by Pillow from one file, which take 1 to 4 seconds. The largest PNG in chunks of 8 KiB, as libpng writes
them, takes half a million reads; a compressed BMP takes two reads per run."""
STRIPS = 200_000
"""Most strips or tiles of a TIFF, at 15 µs each: enough for 200,000 strips of one row, or for the largest picture in
tiles of 32 x 32 pixels."""
PAGES = 1000
"""Most pages of a TIFF whose strips are counted."""
SCANS = 20
"""Number of scans, which are passes over its pixels, that any JPEG may have. A progressive JPEG has 10 (libjpeg), an
optimised one at most 15."""
SCANNED = 1_200_000_000
"""Most pixels in all scans together of a JPEG with more scans, at 5 ns each: 100 scans of 12 megapixels."""
LEAST_SCANNED = 2**14
"""Least number of pixels for which a scan counts, because to begin a scan takes as long as so many pixels."""
EXIF = 2**22
"""Most bytes of EXIF in a JPEG. The standard allows 64 KiB. Pillow copies all of it again for each further segment."""
PLAIN = 2**26
"""Most bytes of a picture that is written in decimal digits (PBM, PGM, PPM): 25 megapixels of grey. They are decoded at
3 to 10 MB per second."""
PLAIN_COMMENTS = 10_000
"""Most comments in a picture that is written in decimal digits. For each comment, Pillow copies the block of 1 MiB that
holds it."""

TOO_MUCH = "it would take too long to read: "
IN_PIECES = TOO_MUCH + "it is in too many pieces"
IN_STRIPS = TOO_MUCH + "it has too many strips or tiles"
IN_SCANS = TOO_MUCH + "it has too many scans"
IN_DIGITS = TOO_MUCH + "it is large and written in decimal digits"
IN_COMMENTS = TOO_MUCH + "it has too many comments"
LONG_EXIF = TOO_MUCH + "its EXIF is too large"


class Metered(io.BytesIO):
    """The bytes of a file, which raise `UnreadableImage` after too many reads."""

    left = READS
    """Number of reads that are still allowed."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes, and count the read."""
        self.left -= 1
        if self.left < 0:
            raise UnreadableImage(IN_PIECES)
        return super().read(size)


def check(data: bytes, kind: str) -> None:
    """Raise `UnreadableImage` for a file of Pillow's format `kind` that causes more work than the limits allow."""
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

_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # neither a stuffed byte nor a restart marker
SOS, _EOI, _APP1 = 0xDA, 0xD9, 0xE1
HEADER = 12
"""Number of bytes that hold the header of a frame, or of a scan of up to four components."""
_ALONE = {0x01, 0xD8}  # markers without a length
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the second byte of each marker in the first picture of a JPEG, and the beginning of its segment.

    The beginning is the first `HEADER` bytes behind the length of the segment.
    """
    at = 2
    while (found := _MARKER.search(data, at)) is not None and (marker := found[1][0]) != _EOI:
        start = found.end()
        yield marker, data[start + 2 : start + 2 + HEADER]
        at = start if marker in _ALONE else start + int.from_bytes(data[start : start + 2], "big")


def _check_jpeg(data: bytes) -> None:
    """Raise `UnreadableImage` for a JPEG with too many segments, too much EXIF or too many scans."""
    exif = pixels = components = 0
    for number, (marker, head) in enumerate(segments(data)):
        if number > READS // 4:
            raise UnreadableImage(IN_PIECES)
        if marker in _FRAMES:
            height, width, components = struct.unpack(">xHHB", head[:6].ljust(6, b"\0"))
            pixels = max(height * width, LEAST_SCANNED)
            if marker in _PROGRESSIVE:
                components = 0  # more scans follow the first one in any case
        elif marker == _APP1 and head.startswith(b"Exif\0"):
            exif += 2**16
        elif marker == SOS:
            has_all_components = head[:1] == bytes([components])  # then it is the only scan
            if not has_all_components and _many_scans(data, pixels):
                raise UnreadableImage(IN_SCANS)
            break
    if exif > EXIF:
        raise UnreadableImage(LONG_EXIF)


def _many_scans(data: bytes, pixels: int) -> bool:
    """Tell whether a JPEG of `pixels` pixels has too many scans."""
    most = max(SCANS, SCANNED // (pixels or 1))
    # The quick count includes bytes inside other segments, so the scans are counted exactly if it is high.
    if data.count(b"\xff\xda") <= most:
        return False
    return sum(marker == SOS for marker, _ in segments(data)) > most


# -- TIFF: TIFF 6.0, section 2; BigTIFF has counts and offsets of 8 bytes ------------------------------------------

_STRIP_OFFSETS, _TILE_OFFSETS = 273, 324


def _strips(data: bytes) -> int:
    """Return the largest number of strips or tiles of a page of a TIFF, as far as its directories can be read."""
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
            whole = min(end, len(data) - (len(data) - start) % entry.size)  # without an entry that is cut
            for tag, _, values in entry.iter_unpack(data[start:whole]):
                if tag in {_STRIP_OFFSETS, _TILE_OFFSETS}:
                    most = max(most, values)
            (page,) = offset.unpack_from(data, end)
    except (struct.error, OverflowError):
        pass
    return most


# -- memory -------------------------------------------------------------------------------------------------------


def cost(image: ImageFile.ImageFile) -> int:
    """Return about how much memory it takes to decode `image`, in bytes.

    Raises `PIL.Image.DecompressionBombError` if the picture is too large.
    """
    pixels = image.width * image.height
    bytes_ = pixels * FEWER_BYTES.get(image.mode, BYTES)
    if bytes_ > MAX_BYTES:
        raise Image.DecompressionBombError
    return bytes_ * COPIES.get(image.format or "", 1) + _coefficients(image)


def _coefficients(image: ImageFile.ImageFile) -> int:
    """Return the memory in which libjpeg keeps the coefficients of a progressive JPEG, in bytes.

    These are two bytes per sample of the full picture, even if the picture is decoded at a smaller scale.
    """
    layers = getattr(image, "layer", ())
    if not layers or not image.info.get("progressive"):
        return 0
    scale = image.decoderconfig[0] if image.decoderconfig else 1
    areas: list[int] = [across * down for _, across, down, _ in layers]
    return int(2 * image.width * image.height * scale**2 * sum(areas) // max(1, *areas))
