"""The bytes of a picture file -> the blocks of metadata in it: EXIF, XMP and IPTC.

The first bytes tell the container, whatever the name of the file is:

    JPEG (also in Fuji's RAF)       segments APP1 and APP13
    PNG, WebP                       chunks
    GIF                             the application extension of XMP
    HEIF, AVIF, JPEG XL, JPEG 2000, boxes (ISO/IEC 14496-12)
      Canon's CR3
    TIFF and most RAW files         tags; the file itself is a block of EXIF
    Photoshop                       image resources, which JPEG and TIFF may contain too

A file is read where its metadata are, and nowhere else. The bytes may be hostile: every loop and every block has a
bound.
"""

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import BinaryIO

from retrieval.pictures import exif

HEAD = 16
"""Number of bytes at the start of a file that tell its container."""
LARGEST = 4 * 2**20
"""Most bytes of a block. Larger ones are left out; those of cameras and programs have some kB."""
MOST = 10_000
"""Most segments, chunks or boxes of a file that are looked at, and most parts of its items."""
MOST_TEXTS = 16
"""Most texts of a PNG that are unpacked. Each may grow to `LARGEST`."""


class Kind(Enum):
    """What a block holds."""

    EXIF = auto()
    """A TIFF structure."""
    GPS = auto()
    """A TIFF structure whose first directory has the tags of a place, as in Canon's CR3."""
    XMP = auto()
    """An XML packet."""
    IPTC = auto()
    """Records of IPTC-IIM."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of metadata."""

    kind: Kind
    data: BinaryIO
    """Stream of its bytes. A TIFF structure begins at position 0."""


def find(file: BinaryIO) -> Iterator[Block]:
    """Yield the blocks in a file, in their order. A damaged file has the blocks before the damage."""
    with suppress(struct.error, ValueError, zlib.error, EOFError):
        file.seek(0)
        head = file.read(HEAD)
        for begins, reader in _CONTAINERS:
            if begins.match(head):
                yield from reader(file)
                return


def _exif(data: bytes) -> Iterator[Block]:
    """Yield a block of EXIF without what some containers put before its first byte."""
    start = _TIFF.search(data, 0, 64)
    if start is not None:
        yield Block(Kind.EXIF, io.BytesIO(data[start.start() :]))


def _xmp(data: bytes) -> Block:
    return Block(Kind.XMP, io.BytesIO(data))


_TIFF = re.compile(rb"II\*\0|MM\0\*")
_EXIF_NAME, _XMP_NAME, _PHOTOSHOP_NAME = b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0", b"Photoshop 3.0\0"


def _part(file: BinaryIO, start: int, length: int) -> bytes:
    """Return the bytes of a block; `ValueError` for one that is too large or reaches beyond the end of the file."""
    if not 0 <= length <= LARGEST:
        raise ValueError
    file.seek(start)
    data = file.read(length)
    if len(data) < length:
        raise ValueError
    return data


# -- segments and chunks ------------------------------------------------------------------------------------------

_APP1, _APP13, _START_OF_SCAN, _END = 0xE1, 0xED, 0xDA, 0xD9


def _jpeg(file: BinaryIO, start: int = 0) -> Iterator[Block]:
    """Yield the blocks of a JPEG, which stand before its pixels."""
    at = start + 2
    for _ in range(MOST):
        file.seek(at)
        mark, code, length = struct.unpack(">BBH", file.read(4))
        if mark != 0xFF or code in {_START_OF_SCAN, _END}:  # noqa: PLR2004 - every marker begins with 0xFF
            return
        if code == 0xFF:  # noqa: PLR2004 - a byte that fills up
            at += 1
            continue
        if code in {_APP1, _APP13}:
            data = _part(file, at + 4, length - 2)
            if data.startswith(_EXIF_NAME):
                yield from _exif(data)
            elif data.startswith(_XMP_NAME):
                yield _xmp(data[len(_XMP_NAME) :])
            elif data.startswith(_PHOTOSHOP_NAME):
                yield from _resources(data[len(_PHOTOSHOP_NAME) :])
        at += 2 + length


def _raf(file: BinaryIO) -> Iterator[Block]:
    """Yield the blocks of Fuji's RAF, which holds a JPEG."""
    (start,) = struct.unpack(">I", _part(file, 84, 4))
    return _jpeg(file, start)


def _resources(data: bytes) -> Iterator[Block]:
    """Yield the blocks in the image resources of Photoshop (Adobe Photoshop file format specification)."""
    at = 0
    while data[at : at + 4] in {b"8BIM", b"PHUT", b"AgHg", b"DCSR", b"MeSa"}:
        number, length_of_name = struct.unpack_from(">HB", data, at + 4)
        at += 6 + (length_of_name + 2) // 2 * 2
        (length,) = struct.unpack_from(">I", data, at)
        part = data[at + 4 : at + 4 + length]
        if number == 0x0404:  # noqa: PLR2004 - numbers of the specification
            yield Block(Kind.IPTC, io.BytesIO(part))
        elif number == 0x0422:  # noqa: PLR2004
            yield from _exif(part)
        elif number == 0x0424:  # noqa: PLR2004
            yield _xmp(part)
        at += 4 + (length + 1) // 2 * 2


def _psd(file: BinaryIO) -> Iterator[Block]:
    """Yield the blocks of a Photoshop file: in its third section, after its header and its table of colours."""
    (colours,) = struct.unpack(">I", _part(file, 26, 4))
    (length,) = struct.unpack(">I", _part(file, 30 + colours, 4))
    return _resources(_part(file, 34 + colours, min(length, LARGEST)))


def _png(file: BinaryIO) -> Iterator[Block]:
    """Yield the blocks of a PNG. ImageMagick writes some of them as texts in hexadecimal digits."""
    at, texts = 8, 0
    for _ in range(MOST):
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        if name == b"eXIf":
            yield from _exif(_part(file, at + 8, length))
        elif name in {b"iTXt", b"zTXt", b"tEXt"} and length <= LARGEST and texts < MOST_TEXTS:
            texts += 1
            yield from _text_of_png(name, _part(file, at + 8, length))
        elif name == b"IEND":
            return
        at += 12 + length


def _text_of_png(name: bytes, data: bytes) -> Iterator[Block]:
    key, _, rest = data.partition(b"\0")
    if key == b"XML:com.adobe.xmp" and name == b"iTXt":
        packed, text = rest[0], rest[2:].split(b"\0", 2)[2]  # after the language and the key in that language
        yield _xmp(_unpacked(text) if packed else text)
    elif key.startswith(b"Raw profile type ") and name != b"iTXt":
        text = _unpacked(rest[1:]) if name == b"zTXt" else rest
        _name, _length, *digits = text.decode("ascii", "replace").strip().split("\n")
        profile = bytes.fromhex("".join(digits))
        kind = key.rpartition(b" ")[2]
        if kind == b"iptc":
            yield from _resources(profile) if profile.startswith(b"8BIM") else [Block(Kind.IPTC, io.BytesIO(profile))]
        elif kind == b"xmp" or profile.startswith(_XMP_NAME):
            yield _xmp(profile.removeprefix(_XMP_NAME))
        elif kind in {b"exif", b"APP1"}:
            yield from _exif(profile)


def _unpacked(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data, LARGEST)


def _webp(file: BinaryIO) -> Iterator[Block]:
    at = 12
    for _ in range(MOST):
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"EXIF":
            yield from _exif(_part(file, at + 8, length))
        elif name == b"XMP ":
            yield _xmp(_part(file, at + 8, length))
        at += 8 + length + length % 2


_GIF_XMP = b"\x21\xff\x0bXMP DataXMP"


def _gif(file: BinaryIO) -> Iterator[Block]:
    """Yield the XMP of a GIF, which its extension stores as it is (XMP specification, part 3, section 1.1.2)."""
    file.seek(0)
    data = file.read(LARGEST)
    start = data.find(_GIF_XMP)
    end = data.find(b"\x01\xff\xfe\xfd", start)
    if 0 <= start < end:
        yield _xmp(data[start + len(_GIF_XMP) : end])


# -- TIFF ---------------------------------------------------------------------------------------------------------

_XMP_TAG, _IPTC_TAG, _RESOURCES_TAG = 700, 33723, 34377
_TAGS = frozenset({_XMP_TAG, _IPTC_TAG, _RESOURCES_TAG})


def _tiff(file: BinaryIO) -> Iterator[Block]:
    """Yield a TIFF itself, as a block of EXIF, and the blocks in tags of its first directory."""
    yield Block(Kind.EXIF, file)
    for tag, data in exif.raw_values(file, _TAGS, LARGEST):
        if tag == _XMP_TAG:
            yield _xmp(data)
        elif tag == _IPTC_TAG:
            yield Block(Kind.IPTC, io.BytesIO(data))
        else:
            yield from _resources(data)


# -- boxes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Box:
    """A box of a file: its name, and where its content is."""

    name: bytes
    start: int
    end: int


def _boxes(file: BinaryIO, start: int, end: int | None = None) -> Iterator[_Box]:
    """Yield the boxes between two positions. The last box of a file may have no length."""
    if end is None:
        end = file.seek(0, io.SEEK_END)
    for _ in range(MOST):
        if start + 8 > end:
            return
        length, name = struct.unpack(">I4s", _part(file, start, 8))
        head = 8
        if length == 1:
            (length,) = struct.unpack(">Q", _part(file, start + 8, 8))
            head = 16
        stop = start + length if length else end
        if not start + head <= stop <= end:
            return
        yield _Box(name, start + head, stop)
        start = stop


def _content(file: BinaryIO, box: _Box, skip: int = 0) -> bytes:
    return _part(file, box.start + skip, box.end - box.start - skip)


_XMP_ID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_IPTC_ID = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
_EXIF_ID = b"JpgTiffExif->JP2"
_CANON_ID = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_UUID = 16
"""Length of the id at the start of a box `uuid`, in bytes."""


def _boxed(file: BinaryIO, start: int = 0, end: int | None = None) -> Iterator[Block]:
    """Yield the blocks of a file that consists of boxes, or of a box that contains boxes."""
    for box in _boxes(file, start, end):
        if box.name == b"Exif":  # JPEG XL (ISO/IEC 18181-2)
            yield from _exif(_content(file, box))
        elif box.name == b"xml ":
            yield _xmp(_content(file, box))
        elif box.name == b"meta":  # HEIF (ISO/IEC 23008-12)
            yield from _items(file, box)
        elif box.name == b"moov":
            yield from _boxed(file, box.start, box.end)
        elif box.name == b"uuid" and box.end - box.start >= _UUID:
            yield from _by_uuid(file, box)
        elif box.name in {b"CMT1", b"CMT2"}:  # Canon's CR3 has a TIFF structure for each directory
            yield from _exif(_content(file, box))
        elif box.name == b"CMT4":
            yield Block(Kind.GPS, io.BytesIO(_content(file, box)))


def _by_uuid(file: BinaryIO, box: _Box) -> Iterator[Block]:
    id_ = _part(file, box.start, _UUID)
    if id_ == _CANON_ID:
        yield from _boxed(file, box.start + _UUID, box.end)
    elif id_ == _XMP_ID:
        yield _xmp(_content(file, box, _UUID))
    elif id_ == _IPTC_ID:
        yield Block(Kind.IPTC, io.BytesIO(_content(file, box, _UUID)))
    elif id_ == _EXIF_ID:
        yield from _exif(_content(file, box, _UUID))


def _items(file: BinaryIO, meta: _Box) -> Iterator[Block]:
    """Yield the blocks among the items of a HEIF or AVIF."""
    inside = {box.name: box for box in _boxes(file, meta.start + 4, meta.end)}
    if not {b"iinf", b"iloc"} <= inside.keys():
        return
    wanted = dict(_kinds_of_items(file, inside[b"iinf"]))
    data_at = inside[b"idat"].start if b"idat" in inside else 0
    for item, parts in _places_of_items(_content(file, inside[b"iloc"]), data_at):
        if item in wanted:
            data = b"".join(_part(file, start, length) for start, length in parts)
            if wanted[item] is Kind.EXIF:
                yield from _exif(data)
            else:
                yield _xmp(data)


def _kinds_of_items(file: BinaryIO, table: _Box) -> Iterator[tuple[int, Kind]]:
    """Yield number and kind of the items that are blocks of metadata."""
    long_count = _part(file, table.start, 1) != b"\0"
    for box in _boxes(file, table.start + (8 if long_count else 6), table.end):
        data = _content(file, box)
        if box.name != b"infe" or data[0] not in {2, 3}:
            continue
        item, _protection, kind = struct.unpack_from(">HH4s" if data[0] == 2 else ">IH4s", data, 4)  # noqa: PLR2004 - a version
        if kind == b"Exif":
            yield item, Kind.EXIF
        elif kind == b"mime" and b"application/rdf+xml" in data:
            yield item, Kind.XMP


def _places_of_items(table: bytes, data_at: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield the number of each item, and start and length of its parts (ISO/IEC 14496-12, section 8.11.3).

    Items may lie in the box `idat`, whose content begins at `data_at`.
    """
    version, sizes = table[0], struct.unpack_from(">H", table, 4)[0]
    of_offset, of_length, of_base, of_index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    stream = io.BytesIO(table[6:])

    def number(size: int) -> int:
        data = stream.read(size)
        if len(data) < size:
            raise EOFError
        return int.from_bytes(data)

    wide, left = 4 if version == 2 else 2, MOST  # noqa: PLR2004 - a version
    for _ in range(min(number(wide), MOST)):
        item = number(wide)
        method = number(2) & 15 if version else 0
        number(2)  # the number of a file, always this one
        base = number(of_base) + (data_at if method == 1 else 0)
        parts = []
        count = min(number(2), left)
        left -= count
        for _ in range(count):
            number(of_index if version else 0)
            parts.append((base + number(of_offset), number(of_length)))
        yield item, parts


_CONTAINERS: tuple[tuple[re.Pattern[bytes], Callable[[BinaryIO], Iterator[Block]]], ...] = tuple(
    (re.compile(begins, re.DOTALL), reader)
    for begins, reader in (
        (rb"\xff\xd8\xff", _jpeg),
        (rb"\x89PNG\r\n", _png),
        (rb"RIFF....WEBP", _webp),
        (rb"II[*U]\0|MM\0\*|II(?:RO|RS)", _tiff),  # also Panasonic's RW2 and Olympus' ORF
        (rb"....(?:ftyp|JXL |jP  )", _boxed),
        (rb"8BPS", _psd),
        (rb"GIF8", _gif),
        (rb"FUJIFILMCCD-RAW", _raf),
    )
)
"""First bytes of a file -> what yields its blocks."""
