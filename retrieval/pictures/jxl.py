"""The size of a JPEG XL picture, read from the bytes of the file.

The plugin of Pillow for JPEG XL decodes a file as soon as it opens the file. So the size is checked before, with this
module.
"""

import struct

_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}  # ISO/IEC 18181-1, table D.2
_LENGTHS = (9, 13, 18, 30)
"""Numbers of bits that a side may be stored in (ISO/IEC 18181-1, D.3)."""


def size(data: bytes) -> tuple[int, int]:
    """Return the width and the height of the stored picture in `data`, in pixels; `ValueError` if they are missing.

    ISO/IEC 18181-1, D.3 describes the size header, and 18181-2 the boxes of a container.
    """
    stream = _codestream(data) if data.startswith(_CONTAINER) else data
    if not stream.startswith(b"\xff\x0a"):
        raise ValueError("there is no codestream")
    bits = _Bits(int.from_bytes(stream[2:14], "little"))
    small = bits.take(1) == 1
    height = bits.side(small=small)
    ratio = bits.take(3)
    if ratio:
        wide, high = _RATIOS[ratio]
        return height * wide // high, height
    return bits.side(small=small), height


class _Bits:
    """The bits of a codestream, lowest first."""

    def __init__(self, value: int) -> None:
        self.value = value

    def take(self, count: int) -> int:
        """Remove the next `count` bits and return them as a number."""
        taken = self.value & ((1 << count) - 1)
        self.value >>= count
        return taken

    def side(self, *, small: bool) -> int:
        """Remove the length of a side and return it, in pixels."""
        return 8 * (self.take(5) + 1) if small else self.take(_LENGTHS[self.take(2)]) + 1


def _codestream(data: bytes) -> bytes:
    """Return the first bytes of the codestream in a container, b"" if there is none."""
    place = 0
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        header = 8
        if length == 1 and place + 16 <= len(data):
            (length,) = struct.unpack_from(">Q", data, place + 8)
            header = 16
        if kind in {b"jxlc", b"jxlp"}:
            start = place + header + (4 if kind == b"jxlp" else 0)  # a part begins with its number
            return data[start : start + 16]
        if length < header:  # 0: up to the end of the file
            break
        place += length
    return b""
