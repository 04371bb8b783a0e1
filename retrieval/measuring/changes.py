"""Changes of a picture after which a search should still find it.

The kinds are those of image copy detection (Douze et al. 2021, The 2021 image similarity dataset and challenge, arXiv
2106.09672). The strength of each is our choice.
"""

import io
from collections.abc import Callable, Mapping

from PIL import Image, ImageEnhance, ImageFilter

from retrieval.pictures import decode

SIDE = 320
"""Longer side of a picture that is changed, in pixels."""


def picture_in(data: bytes) -> Image.Image:
    """Return the picture in the bytes of a file, scaled so that its longer side has `SIDE` pixels.

    Raises `UnreadableImage` if the picture cannot be read.
    """
    decoded = decode.decode(data, (SIDE, SIDE))
    scale = SIDE / max(decoded.width, decoded.height)
    size = max(1, round(decoded.width * scale)), max(1, round(decoded.height * scale))
    return Image.fromarray(decoded.pixels).resize(size, Image.Resampling.BILINEAR)


def cropped(picture: Image.Image) -> Image.Image:
    """Return the middle of a picture, 60 % of each side."""
    return _middle(picture, 0.6)


def mirrored(picture: Image.Image) -> Image.Image:
    """Return a picture with left and right exchanged."""
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def rotated(picture: Image.Image) -> Image.Image:
    """Return a picture rotated by 10 degrees, without the corners that become empty."""
    return _middle(picture.rotate(10, Image.Resampling.BILINEAR), 0.8)


def blurred(picture: Image.Image) -> Image.Image:
    """Return a picture after a Gaussian blur with a radius of 1 % of `SIDE`."""
    return picture.filter(ImageFilter.GaussianBlur(SIDE / 100))


def recoloured(picture: Image.Image) -> Image.Image:
    """Return a picture with 30 % of its saturation and 140 % of its brightness."""
    return ImageEnhance.Brightness(ImageEnhance.Color(picture).enhance(0.3)).enhance(1.4)


def compressed(picture: Image.Image) -> Image.Image:
    """Return a picture after a JPEG compression of quality 10."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=10)
    return Image.open(file).convert("RGB")


def shrunk(picture: Image.Image) -> Image.Image:
    """Return a picture whose sides are a fifth as long."""
    return picture.resize((max(1, picture.width // 5), max(1, picture.height // 5)))


CHANGES: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "cropped": cropped,
    "mirrored": mirrored,
    "rotated": rotated,
    "blurred": blurred,
    "recoloured": recoloured,
    "compressed": compressed,
    "shrunk": shrunk,
}
"""JSON name of a change -> the function that makes the change."""


def _middle(picture: Image.Image, share: float) -> Image.Image:
    """Return the middle of a picture, with `share` of each side, 0 to 1."""
    left, top = picture.width * (1 - share) / 2, picture.height * (1 - share) / 2
    return picture.crop((round(left), round(top), round(picture.width - left), round(picture.height - top)))
