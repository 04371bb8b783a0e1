"""Made copies of pictures, as people make them."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from retrieval.comparing.relation import Relation, Subject
from retrieval.pictures import thumbnails


def encoded(picture: Image.Image, form: str = "JPEG", quality: int = 75) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, quality=quality)
    return file.getvalue()


def subject(data: bytes, taken: str | None = None) -> Subject:
    """What is compared of the picture in the bytes of a file."""
    with Image.open(io.BytesIO(data)) as opened:
        size = opened.size
    return Subject.of(thumbnails.pixels(thumbnails.thumbnail(data, *size, thumbnails.KEPT)), *size, taken)


def written_on(picture: Image.Image) -> Image.Image:
    copy = picture.copy()
    draw = ImageDraw.Draw(copy)
    font = ImageFont.load_default(picture.height // 8)
    draw.text((9, picture.height // 9), "SALE today", font=font, fill="yellow", stroke_width=2, stroke_fill="black")
    return copy


def part(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.crop((width // 10, height // 6, width // 10 + round(0.8 * width), height // 6 + round(0.8 * height)))


Change = Callable[[Image.Image], bytes]
COPIES: dict[str, tuple[Relation, Change]] = {
    "jpeg": (Relation.REENCODED, lambda picture: encoded(picture, quality=30)),
    "webp": (Relation.REENCODED, lambda picture: encoded(picture, "WEBP", 80)),
    "half": (Relation.RESIZED, lambda picture: encoded(picture.resize((picture.width // 2, picture.height // 2)))),
    "part": (Relation.CROPPED, lambda picture: encoded(part(picture))),
    "turned": (Relation.ROTATED, lambda picture: encoded(picture.transpose(Image.Transpose.ROTATE_90))),
    "upside down": (Relation.ROTATED, lambda picture: encoded(picture.transpose(Image.Transpose.ROTATE_180))),
    "rotated": (Relation.ROTATED, lambda picture: encoded(picture.rotate(25, Image.Resampling.BICUBIC))),
    "mirrored": (Relation.MIRRORED, lambda picture: encoded(ImageOps.mirror(picture))),
    "grey": (Relation.RECOLOURED, lambda picture: encoded(picture.convert("L"))),
    "brighter": (Relation.RECOLOURED, lambda picture: encoded(ImageEnhance.Brightness(picture).enhance(1.4))),
    "bordered": (Relation.EDITED, lambda picture: encoded(ImageOps.expand(picture, 30, "white"))),
    "written on": (Relation.EDITED, lambda picture: encoded(written_on(picture))),
}
"""Name of a change -> what the copy is to the original, and the bytes of its file."""


def noise(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Pixels that show nothing, (height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
