"""A RAW file as cameras write it: a small DNG, with a preview or without."""

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BYTE, ASCII, SHORT, LONG, RATIONAL, SIGNED = 1, 2, 3, 4, 5, 10
MATRIX = (32406, -15372, -4986, -9689, 18758, 415, 557, -2040, 10570)  # XYZ -> sRGB, of 10,000

Entry = tuple[int, int, int, bytes]


def entry(tag: int, kind: int, *values: int) -> Entry:
    if kind in {RATIONAL, SIGNED}:
        return tag, kind, len(values), b"".join(struct.pack("<iI", value, 10_000) for value in values)
    return tag, kind, len(values), struct.pack(f"<{len(values)}{' BBHI'[kind]}", *values)


def directory(at: int, *entries: Entry) -> bytes:
    body, extra = b"", b""
    for tag, kind, count, raw in sorted(entries):
        value = raw.ljust(4, b"\0")
        if len(raw) > 4:
            value = struct.pack("<I", at + 2 + 12 * len(entries) + 4 + len(extra))
            extra += raw + bytes(len(raw) % 2)
        body += struct.pack("<HHI", tag, kind, count) + value
    return struct.pack("<H", len(entries)) + body + bytes(4) + extra


def dng(image: Image.Image, orientation: int = 1, preview: Image.Image | None = None) -> bytes:
    """Return a DNG whose sensor saw `image`, taken on 2024-05-06."""
    mosaic = sensed(np.asarray(image)).tobytes()
    shown = io.BytesIO()
    if preview is not None:
        preview.save(shown, "JPEG", quality=95)
    data = bytes(8) + mosaic + shown.getvalue() + bytes(len(shown.getvalue()) % 2)
    width, height = image.size
    raw = [entry(254, LONG, 0), entry(256, LONG, width), entry(257, LONG, height), entry(258, SHORT, 16),
           entry(259, SHORT, 1), entry(262, SHORT, 32803), entry(273, LONG, 8), entry(277, SHORT, 1),
           entry(278, LONG, height), entry(279, LONG, len(mosaic)), entry(33421, SHORT, 2, 2),
           entry(33422, BYTE, 0, 1, 1, 2), entry(50717, LONG, 65535)]  # fmt: skip
    camera = [entry(271, ASCII, *b"Maker\0"), entry(272, ASCII, *b"Model\0"), entry(274, SHORT, orientation),
              entry(306, ASCII, *b"2024:05:06 07:08:09\0"), entry(50706, BYTE, 1, 4, 0, 0),
              entry(50707, BYTE, 1, 1, 0, 0), entry(50708, ASCII, *b"Maker Model\0"), entry(50721, SIGNED, *MATRIX),
              entry(50728, RATIONAL, 10_000, 10_000, 10_000), entry(50778, SHORT, 21)]  # fmt: skip
    if preview is not None:
        below = len(data)
        data += directory(below, *raw)
        data += bytes(len(data) % 2)
        raw = [entry(254, LONG, 1), entry(256, LONG, preview.width), entry(257, LONG, preview.height),
               entry(258, SHORT, 8, 8, 8), entry(259, SHORT, 7), entry(262, SHORT, 6),
               entry(273, LONG, 8 + len(mosaic)), entry(277, SHORT, 3), entry(278, LONG, preview.height),
               entry(279, LONG, len(shown.getvalue())), entry(330, LONG, below)]  # fmt: skip
    return struct.pack("<2sHI", b"II", 42, len(data)) + data[8:] + directory(len(data), *raw, *camera)


def sensed(pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return what a sensor with red, green, green and blue filters sees."""
    linear = ((pixels / 255) ** 2.2 * 65535).astype("<u2")
    mosaic = linear[..., 1].copy()
    mosaic[0::2, 0::2] = linear[0::2, 0::2, 0]
    mosaic[1::2, 1::2] = linear[1::2, 1::2, 2]
    return mosaic
