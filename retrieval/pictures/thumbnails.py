"""Small pictures of files: for pages that show many at once, and to compare pictures by.

A thumbnail of a content never changes. It is made once and kept in the cache of the user, under the SHA-256 of the
content. Previews that files bring along are not used, because they may show something else than the file.
"""

import hashlib
import io
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.disk import cache
from retrieval.errors import UnreadableImage, reason_of
from retrieval.pictures import decode, given, reading
from retrieval.types import DECODE_RULE, Metadata, displayed

SIDE = 160
"""Longer side of a thumbnail, in pixels: a row of six fits the width of a notebook."""
KEPT = 256
"""Longer side of a thumbnail that is kept, in pixels, as in the folder `large` of freedesktop.org's thumbnails."""
QUALITY = 80
"""Quality of the JPEG, 0 to 95, by Pillow's scale. A thumbnail takes about 5 kB, one that is kept about 8 kB."""
_START, _END = b"\xff\xd8", b"\xff\xd9"
"""The first and the last bytes of a JPEG."""


def thumbnail(picture: bytes | str | os.PathLike[str], width: int, height: int, side: int = SIDE) -> bytes:
    """Return a picture as a JPEG, upright, over white, whose longer side has at most `side` pixels.

    `picture` is a path, or the bytes of a file. `width` and `height` are those of the upright picture, in pixels.
    Raises what `given.pixels` raises.
    """
    small_width, small_height = fitted(width, height, side)
    return jpeg(given.pixels(picture, (small_height, small_width))[0])


def fitted(width: int, height: int, side: int = KEPT) -> tuple[int, int]:
    """Return width and height of the thumbnail of a picture, in pixels. The longer one has at most `side` pixels."""
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels, (height, width, 3), RGB, as the JPEG of a thumbnail."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


class Read(NamedTuple):
    """A file that no index knows."""

    pixels: NDArray[np.uint8]
    """Its thumbnail, (height, width, 3), RGB. The longer side has at most `KEPT` pixels."""
    width: int
    """Width of the upright picture, in pixels."""
    height: int
    metadata: Metadata


def of_file(path: bytes) -> Read:
    """Return the thumbnail of the picture in a file, and the facts about it; raises `UnreadableImage`."""
    try:
        return of_data(reading.read_regular(path), path)
    except OSError as error:
        raise UnreadableImage(f"{displayed(path)} cannot be read: {reason_of(error)}") from error
    except UnreadableImage as error:
        raise UnreadableImage(f"{displayed(path)} cannot be used: {error}") from error


def of_data(data: bytes, path: bytes | None = None, side: int = KEPT) -> Read:
    """Return the picture in the bytes of a file, which may be at `path`; raises `UnreadableImage`.

    The longer side of the pixels has at most `side` pixels.
    """
    decoded = decode.decode(data, (side, side), path=path)
    size = fitted(decoded.width, decoded.height, side)
    small = np.asarray(Image.fromarray(decoded.pixels).resize(size, Image.Resampling.BILINEAR))
    return Read(small, decoded.width, decoded.height, decoded.metadata)


def kept(
    sha256: str, path: bytes | str | os.PathLike[str], width: int, height: int, within: Path | None = None
) -> bytes:
    """Return the thumbnail of a content as a JPEG: from the cache, or from the file at `path`.

    Its longer side has at most `KEPT` pixels. `within` is a folder that is the cache instead of the user's.
    Raises `UnreadableImage` if the file cannot be read, or has another content.
    """
    found = cache.read(_name(sha256), within)
    if found is not None and found.startswith(_START) and found.endswith(_END):
        return found
    return _made(sha256, path, width, height, within)


def kept_pixels(
    sha256: str, path: bytes | str | os.PathLike[str], width: int, height: int, within: Path | None = None
) -> NDArray[np.uint8]:
    """Return the thumbnail that `kept` returns as pixels, (height, width, 3), RGB."""
    found = kept(sha256, path, width, height, within)
    try:
        return pixels(found)
    except Exception:  # noqa: BLE001 - a file of the cache that is damaged is made again
        return pixels(_made(sha256, path, width, height, within))


def _name(sha256: str) -> str:
    return f"thumbnails/{DECODE_RULE}-{KEPT}/{sha256[:2]}/{sha256[2:]}.jpg"


def _made(sha256: str, path: bytes | str | os.PathLike[str], width: int, height: int, within: Path | None) -> bytes:
    """Make the thumbnail of a content and keep it in the cache."""
    try:
        data = reading.read_regular(path)
    except OSError as error:
        raise UnreadableImage(f"{displayed(path)} cannot be read: {reason_of(error)}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UnreadableImage(f"{displayed(path)} has changed since it was indexed")
    made = thumbnail(data, width, height, KEPT)
    cache.write(_name(sha256), made, within)
    return made


def pixels(thumbnail: bytes) -> NDArray[np.uint8]:
    """Return the pixels of a thumbnail, (height, width, 3), RGB."""
    with Image.open(io.BytesIO(thumbnail)) as image:
        return np.asarray(image.convert("RGB"))
