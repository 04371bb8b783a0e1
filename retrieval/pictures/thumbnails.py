"""Small pictures of files, for pages that show many at once."""

import io
import os

from PIL import Image

from retrieval.pictures import given

SIDE = 160
"""Longer side of a thumbnail, in pixels: a row of six fits the width of a notebook."""
QUALITY = 80
"""Quality of the JPEG, 0 to 95, by Pillow's scale. A thumbnail takes about 5 kB."""


def thumbnail(path: str | os.PathLike[str], width: int, height: int) -> bytes:
    """Return the picture at `path` as a JPEG, upright, over white, whose longer side has at most `SIDE` pixels.

    `width` and `height` are those of the upright picture, in pixels. Raises what `given.pixels` raises.
    """
    scale = min(1.0, SIDE / max(width, height))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    buffer = io.BytesIO()
    Image.fromarray(given.pixels(path, size)[0]).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
