"""IPTC: the records of a block of IPTC-IIM (version 4.2)."""

from collections.abc import Iterator

CHARACTER_SET, KEYWORD, DATE_CREATED, TIME_CREATED = (1, 90), (2, 25), (2, 55), (2, 60)
"""Record and number of the data sets that are read."""
UTF_8 = b"\x1b%G"
"""Value of `CHARACTER_SET` for UTF-8 (ISO 2022)."""
_MARK = 0x1C
_EXTENDED = 0x8000
"""The bit of a length that says that it is the length of a longer length, for which no text has a use."""


def read(block: bytes) -> list[tuple[tuple[int, int], str]]:
    """Return the data sets of a block, each with its record and number, in their order.

    A text that is not UTF-8 counts as Latin-1, unless the block says that it is UTF-8.
    """
    found = list(_data_sets(block))
    errors = "replace" if (CHARACTER_SET, UTF_8) in found else "strict"
    return [(which, _text(data, errors)) for which, data in found]


def _text(data: bytes, errors: str) -> str:
    try:
        return data.decode("utf-8", errors)
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _data_sets(block: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    at = 0
    while at + 5 <= len(block) and block[at] == _MARK:
        length = int.from_bytes(block[at + 3 : at + 5])
        if length & _EXTENDED:
            return
        yield (block[at + 1], block[at + 2]), block[at + 5 : at + 5 + length]
        at += 5 + length
