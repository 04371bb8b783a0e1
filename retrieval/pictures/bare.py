"""A picture without what is no part of it: texts, comments, thumbnails, and whatever else makes a decoder give up."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

from retrieval.pictures.colour import MOST

PNG = b"\x89PNG\r\n\x1a\n"
PNG_NEEDED = frozenset(b"IHDR PLTE tRNS IDAT IEND acTL fcTL fdAT".split())
PNG_KEPT = frozenset((b"eXIf",))
"""What turns the picture upright: kept where its checksum is right."""
WEBP_NEEDED = frozenset((b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"))
WEBP_FLAGS = 0b0001_0010
"""Of the flags of VP8X, those for transparency and animation; the others announce metadata (RFC 9649)."""
JPEG_DROPPED = frozenset({*range(0xE1, 0xEE), 0xEF, 0xFE})
"""Second bytes of the markers APP1 to APP13, APP15 and COM. APP0 and APP14 tell how the colours are stored."""


def bare(data: bytes, kind: str) -> bytes | None:
    """Return the picture in `data`, of a format, without metadata; None where it has none, or nobody knows how."""
    takers = {"PNG": _png, "WEBP": _webp, "JPEG": _jpeg}
    if kind not in takers:
        return None
    left = takers[kind](data)
    return left if len(left) < len(data) else None


def _png(data: bytes) -> bytes:
    return PNG + b"".join(chunk for name, chunk in _chunks(data) if name in PNG_NEEDED or _is_kept(name, chunk))


def _is_kept(name: bytes, chunk: bytes) -> bool:
    return name in PNG_KEPT and struct.unpack(">I", chunk[-4:])[0] == zlib.crc32(chunk[4:-4])


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the whole of each chunk of a PNG."""
    at = len(PNG)
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at : at + 12 + length]
        at += 12 + length


def profile_of_png(data: bytes) -> bytes | None:
    """Return the colour profile of a PNG, which Pillow reads up to a megabyte; None where there is none to read."""
    for name, chunk in _chunks(data):
        if name == b"IDAT":
            return None
        if name == b"iCCP":
            _, _, packed = chunk[8:-4].partition(b"\0")
            with suppress(zlib.error):
                return zlib.decompressobj().decompress(packed[1:], MOST)
    return None


def _webp(data: bytes) -> bytes:
    parts, at = [], 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        end = at + 8 + length + length % 2
        chunk = data[at:end]
        if chunk[:4] == b"VP8X":
            chunk = chunk[:8] + bytes([chunk[8] & WEBP_FLAGS]) + chunk[9:] if len(chunk) > 8 else chunk  # noqa: PLR2004
        if chunk[:4] in WEBP_NEEDED:
            parts.append(chunk)
        at = end
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _jpeg(data: bytes) -> bytes:
    kept, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:  # noqa: PLR2004 - SOS: the pixels
        (length,) = struct.unpack_from(">H", data, at + 2)
        if data[at + 1] not in JPEG_DROPPED:
            kept.append(data[at : at + 2 + length])
        at += 2 + length
    return b"".join(kept) + data[at:]
