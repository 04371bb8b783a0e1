"""Removal of the metadata of a picture file: texts, comments, thumbnails and other data on which a decoder may fail."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

from retrieval.pictures.colour import MOST

PNG = b"\x89PNG\r\n\x1a\n"
PNG_NEEDED = frozenset(b"IHDR PLTE tRNS IDAT IEND acTL fcTL fdAT".split())
"""Chunks of a PNG that hold the pixels, or say how to read the pixels."""
PNG_KEPT = frozenset((b"eXIf",))
"""Chunks that say how to turn the picture upright. They are kept if their checksum is right."""
WEBP_NEEDED = frozenset((b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"))
WEBP_FLAGS = 0b0001_0010
"""The flags of the chunk VP8X for transparency and animation. The other flags announce metadata (RFC 9649)."""
JPEG_DROPPED = frozenset({*range(0xE1, 0xEE), 0xEF, 0xFE})
"""Second bytes of the markers APP1 to APP13, APP15 and COM. APP0 and APP14 say how the colours are stored."""
_START_OF_SCAN = 0xDA
_FLAGS_AT = 8
"""Place of the byte with the flags in the chunk VP8X."""


def without_metadata(data: bytes, kind: str) -> bytes | None:
    """Return a picture file of the format `kind` without its metadata.

    Returns None if there is no metadata, or if this module does not know the format.
    """
    removers = {"PNG": _png, "WEBP": _webp, "JPEG": _jpeg}
    if kind not in removers:
        return None
    kept = removers[kind](data)
    return kept if len(kept) < len(data) else None


def profile_of_png(data: bytes) -> bytes | None:
    """Return the colour profile of a PNG, None if it is missing or cannot be read.

    Pillow itself reads profiles of at most 1 MiB.
    """
    for name, chunk in _chunks_of_png(data):
        if name == b"IDAT":
            return None
        if name == b"iCCP":
            _, _, packed = chunk[8:-4].partition(b"\0")
            with suppress(zlib.error):
                return zlib.decompressobj().decompress(packed[1:], MOST)
    return None


def _png(data: bytes) -> bytes:
    return PNG + b"".join(
        chunk
        for name, chunk in _chunks_of_png(data)
        if name in PNG_NEEDED or (name in PNG_KEPT and _has_right_checksum(chunk))
    )


def _has_right_checksum(chunk: bytes) -> bool:
    (checksum,) = struct.unpack(">I", chunk[-4:])
    return bool(checksum == zlib.crc32(chunk[4:-4]))


def _chunks_of_png(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name of each chunk of a PNG, and the whole chunk."""
    at = len(PNG)
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at : at + 12 + length]
        at += 12 + length


def _webp(data: bytes) -> bytes:
    kept, at = [], 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        end = at + 8 + length + length % 2
        chunk = data[at:end]
        name = chunk[:4]
        if name == b"VP8X" and len(chunk) > _FLAGS_AT:
            flags = chunk[_FLAGS_AT] & WEBP_FLAGS
            chunk = chunk[:_FLAGS_AT] + bytes([flags]) + chunk[_FLAGS_AT + 1 :]
        if name in WEBP_NEEDED:
            kept.append(chunk)
        at = end
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _jpeg(data: bytes) -> bytes:
    kept, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _START_OF_SCAN:  # noqa: PLR2004 - a marker
        (length,) = struct.unpack_from(">H", data, at + 2)
        if data[at + 1] not in JPEG_DROPPED:
            kept.append(data[at : at + 2 + length])
        at += 2 + length
    return b"".join(kept) + data[at:]
