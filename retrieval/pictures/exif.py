"""EXIF: the tags of a TIFF structure (EXIF 2.32; TIFF 6.0, section 2).

The bytes may be hostile, or written by a camera with faults. A tag that cannot be read counts as missing.
"""

import math
import struct
from collections.abc import Iterator
from contextlib import suppress
from enum import IntEnum
from typing import BinaryIO

ENTRIES = 1000
"""Most tags of a directory that are looked at."""
LONGEST = 65_536
"""Most bytes of a value."""

Value = str | bytes | tuple[float, ...]
"""A text, bytes, or numbers. A fraction with the denominator 0 is the number NaN."""


class Tag(IntEnum):
    """The tags that are read. Those of a place have their number in the directory of places, plus `PLACE`."""

    MAKE = 0x010F
    MODEL = 0x0110
    DATE_TIME = 0x0132
    RATING = 0x4746
    EXPOSURE_TIME = 0x829A
    F_NUMBER = 0x829D
    EXIF = 0x8769
    GPS = 0x8825
    ISO = 0x8827
    RECOMMENDED_ISO = 0x8832
    ISO_SPEED = 0x8833
    TAKEN = 0x9003
    DIGITISED = 0x9004
    OFFSET = 0x9010
    OFFSET_TAKEN = 0x9011
    OFFSET_DIGITISED = 0x9012
    SHUTTER_SPEED_VALUE = 0x9201
    APERTURE_VALUE = 0x9202
    FOCAL_LENGTH = 0x920A
    SUBSECONDS = 0x9290
    SUBSECONDS_TAKEN = 0x9291
    SUBSECONDS_DIGITISED = 0x9292
    XP_KEYWORDS = 0x9C9E
    LENS_MODEL = 0xA434
    LATITUDE_SIDE = 0x10001
    LATITUDE = 0x10002
    LONGITUDE_SIDE = 0x10003
    LONGITUDE = 0x10004


PLACE = 0x10000
"""Added to the numbers of tags in the directory of places, because the other directories have the same numbers."""
_TAGS = frozenset(Tag)
_CODES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "s", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I"}
"""Type of a value -> its name in `struct`. Types 5 and 10 are fractions."""
_TEXT, _UNDEFINED, _BYTE = 2, 7, 1
_FRACTIONS = frozenset({5, 10})


def read(file: BinaryIO, *, is_place: bool = False) -> dict[Tag, Value]:
    """Return the tags of a TIFF structure that begins at position 0 of a stream.

    These are the tags of the first directory and of the directories of EXIF and of places. If `is_place`, the first
    directory is the one of places.
    """
    values: dict[Tag, Value] = {}
    with suppress(struct.error, ValueError, OverflowError):
        order, start = _header(file)
        waiting, seen = [(start, PLACE if is_place else 0)], set[int]()
        while waiting:
            start, plus = waiting.pop()
            if start in seen:
                continue
            seen.add(start)
            for number, kind, count, at in _entries(file, order, start):
                tag = number + plus
                if tag not in _TAGS or tag in values:
                    continue
                with suppress(struct.error, ValueError, OverflowError):
                    value = _value(file, order, kind, count, at)
                    if tag not in {Tag.EXIF, Tag.GPS}:
                        values[Tag(tag)] = value
                    elif isinstance(value, tuple) and not plus:
                        waiting.append((int(value[0]), PLACE if tag == Tag.GPS else 0))
    return values


def raw_values(file: BinaryIO, wanted: frozenset[int], longest: int) -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes of the `wanted` tags of the first directory, each once, of at most `longest` bytes."""
    with suppress(struct.error, ValueError, OverflowError):
        order, start = _header(file)
        left = set(wanted)
        for number, kind, count, at in _entries(file, order, start):
            if number in left and kind in _CODES:
                left.remove(number)
                length = count * struct.calcsize("=" + _CODES[kind])
                if length <= longest:
                    yield number, _bytes(file, order, length, at)


def _header(file: BinaryIO) -> tuple[str, int]:
    """Return the order of bytes and the start of the first directory."""
    file.seek(0)
    head = file.read(8)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None:
        raise ValueError
    (start,) = struct.unpack(order + "I", head[4:])
    return order, start


def _entries(file: BinaryIO, order: str, start: int) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield the entries of a directory: number, type, count, and the four bytes that are the value or its place."""
    file.seek(start)
    (count,) = struct.unpack(order + "H", file.read(2))
    data = file.read(12 * min(count, ENTRIES))
    yield from struct.iter_unpack(order + "HHI4s", data[: len(data) // 12 * 12])


def _bytes(file: BinaryIO, order: str, length: int, at: bytes) -> bytes:
    if length <= len(at):
        return at[:length]
    (start,) = struct.unpack(order + "I", at)
    file.seek(start)
    data = file.read(length)
    if len(data) < length:
        raise ValueError
    return data


def _value(file: BinaryIO, order: str, kind: int, count: int, at: bytes) -> Value:
    """Return the value of an entry; `ValueError` for one that has an unknown type, or is too long or empty."""
    code = _CODES.get(kind)
    if code is None or not 0 < count <= LONGEST:
        raise ValueError
    data = _bytes(file, order, count * struct.calcsize("=" + code), at)
    if kind == _TEXT:
        return text(data)
    if kind in {_UNDEFINED, _BYTE}:
        return data
    numbers = struct.unpack(f"{order}{count}{code}" if len(code) == 1 else order + code * count, data)
    if kind in _FRACTIONS:
        return tuple(
            above / below if below else math.nan for above, below in zip(numbers[::2], numbers[1::2], strict=True)
        )
    return tuple(map(float, numbers))


def text(data: bytes) -> str:
    """Return a text up to its first NUL. Cameras write ASCII or UTF-8; what is neither counts as Latin-1."""
    data = data.partition(b"\0")[0]
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
