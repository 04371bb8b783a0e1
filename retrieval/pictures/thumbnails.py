"""Small pictures of files: for pages that show many at once, and to compare pictures by.

A thumbnail of a content never changes. It is made once and kept in the cache of the user, under the SHA-256 of the
content. Previews that files bring along are not used, because they may show something else than the file.
"""

import hashlib
import io
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.disk import cache
from retrieval.errors import UnreadableImage, reason_of
from retrieval.pictures import given, reading
from retrieval.types import DECODE_RULE, displayed

SIDE = 160
"""Longer side of a thumbnail, in pixels: a row of six fits the width of a notebook."""
KEPT = 256
"""Longer side of a thumbnail that is kept, in pixels, as in the folder `large` of freedesktop.org's thumbnails."""
QUALITY = 80
"""Quality of the JPEG, 0 to 95, by Pillow's scale. A thumbnail takes about 5 kB, one that is kept about 8 kB."""


def thumbnail(picture: bytes | str | os.PathLike[str], width: int, height: int, side: int = SIDE) -> bytes:
    """Return a picture as a JPEG, upright, over white, whose longer side has at most `side` pixels.

    `picture` is a path, or the bytes of a file. `width` and `height` are those of the upright picture, in pixels.
    Raises what `given.pixels` raises.
    """
    scale = min(1.0, side / max(width, height))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    buffer = io.BytesIO()
    Image.fromarray(given.pixels(picture, size)[0]).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def kept_pixels(
    sha256: str, path: bytes | str | os.PathLike[str], width: int, height: int, within: Path | None = None
) -> NDArray[np.uint8]:
    """Return the thumbnail of a content, (height, width, 3), RGB: from the cache, or from the file at `path`.

    Its longer side has at most `KEPT` pixels. `within` is a folder that is the cache instead of the user's.
    Raises `UnreadableImage` if the file cannot be read, or has another content.
    """
    name = f"thumbnails/{DECODE_RULE}-{KEPT}/{sha256[:2]}/{sha256[2:]}.jpg"
    found = cache.read(name, within)
    if found is not None:
        with suppress(Exception):  # a file of the cache that is damaged is made again
            return pixels(found)
    try:
        data = reading.read_regular(path)
    except OSError as error:
        raise UnreadableImage(f"{displayed(path)} cannot be read: {reason_of(error)}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UnreadableImage(f"{displayed(path)} has changed since it was indexed")
    made = thumbnail(data, width, height, KEPT)
    cache.write(name, made, within)
    return pixels(made)


def pixels(thumbnail: bytes) -> NDArray[np.uint8]:
    """Return the pixels of a thumbnail, (height, width, 3), RGB."""
    with Image.open(io.BytesIO(thumbnail)) as image:
        return np.asarray(image.convert("RGB"))
