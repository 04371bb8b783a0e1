"""An upright picture of any mode -> RGB pixels of the size that a network wants."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from retrieval.pictures import colour
from retrieval.types import DECODE_RULE

GAP = 3.0
"""A large picture is first averaged over blocks of whole pixels, down to this many times the wanted size. Then a filter
resizes it. A side is averaged if it is at least twice as long as that. This is three times as fast at 12 megapixels,
and the vectors have a cosine of at least 0.9993 to the vectors of the filter alone (MobileNetV2, 60 photographs)."""

STRIP = 4_000_000
"""Number of pixels that are converted to RGB at a time. To convert a whole picture at once takes five times its
memory."""

PLAIN_RULE = 2
"""The decode rule that ignores colour profiles and has a white background only. Later rules use profiles, and show a
picture that is blank over white over black."""

BLANK = 32
"""Largest difference between two pixels of a blank picture in one channel, in levels of 0 to 255."""


def fit(image: Image.Image, size: tuple[int, int], rule: int = DECODE_RULE) -> NDArray[np.uint8]:
    """Return an upright `image` of any mode as (height, width, 3) RGB of `size` (height, width), by a decode rule.

    Transparent parts show a white background; a picture that is blank over white is shown over black.
    """
    profile = image.info.get("icc_profile") if rule > PLAIN_RULE else None
    pixels = _over("white", image, size, profile)
    if rule > PLAIN_RULE and is_blank(pixels) and image.has_transparency_data:
        other = _over("black", image, size, profile)
        return pixels if is_blank(other) else other
    return pixels


def is_blank(pixels: NDArray[np.uint8]) -> bool:
    """Tell whether `pixels`, (height, width, 3), have nearly the same colour everywhere (see `BLANK`)."""
    # A sample shows for nearly every picture that it is not blank, in a hundredth of the time.
    return _contrast(pixels[::8, ::8]) <= BLANK and _contrast(pixels) <= BLANK


def _contrast(pixels: NDArray[np.uint8]) -> int:
    """Return the largest difference between two pixels in one channel, in levels."""
    return int(np.ptp(pixels, axis=(0, 1)).max())


def _over(background: str, image: Image.Image, size: tuple[int, int], profile: bytes | None) -> NDArray[np.uint8]:
    """Return `image` over a background as RGB of `size` (height, width), in sRGB if there is a `profile`."""
    height, width = size
    mode = "CMYK" if image.mode == "CMYK" and colour.mode_of(profile) == "CMYK" else "RGB"
    small = _resized(image, (width, height), background, mode)
    if profile is not None:
        small = colour.in_srgb(small, profile)
    return np.asarray(small if small.mode == "RGB" else small.convert("RGB"))


def _resized(image: Image.Image, size: tuple[int, int], background: str, mode: str) -> Image.Image:
    """Return `image` over a background, in `mode` and of `size` (width, height).

    The result is that of `Image.resize` with a gap of `GAP`. A large picture is converted to `mode` strip by strip.
    """
    factors = int(image.width / size[0] / GAP) or 1, int(image.height / size[1] / GAP) or 1
    ends = _ends(image) if _is_deep(image) else (0.0, 255.0)
    if factors == (1, 1) or image.width * image.height <= STRIP:
        return _plain(image, background, mode, ends).resize(size, Image.Resampling.BILINEAR, reducing_gap=GAP)
    across, down = factors
    reduced = Image.new(mode, (-(-image.width // across), -(-image.height // down)))
    for box in _strips(image, down):
        part = _plain(image.crop(box), background, mode, ends)
        reduced.paste(part.reduce(factors), (0, box[1] // down))
    whole = 0, 0, image.width / across, image.height / down
    return reduced.resize(size, Image.Resampling.BILINEAR, box=whole)


def _strips(image: Image.Image, multiple: int = 1) -> Iterator[tuple[int, int, int, int]]:
    """Yield boxes that cut `image` into strips of about `STRIP` pixels.

    The number of rows of every strip except the last is a multiple of `multiple`.
    """
    rows = max(1, STRIP // image.width // multiple) * multiple
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


def _plain(image: Image.Image, background: str, mode: str, ends: tuple[float, float]) -> Image.Image:
    """Return `image` over a background, in `mode`; `ends` are the values of black and white of a deep picture."""
    if _is_deep(image):
        image = Image.fromarray(_eight_bits(image, ends, background))
    if image.mode == "La":  # Pillow converts this mode to no other
        image = image.convert("LA")
    if image.has_transparency_data:
        below = Image.new("RGBA", image.size, background)
        image = Image.alpha_composite(below, image.convert("RGBA"))
    return image if image.mode == mode else image.convert(mode)


# -- deep pictures: one channel of more than 8 bits -----------------------------------------------------------------


def _is_deep(image: Image.Image) -> bool:
    """Tell whether the values of `image` are floats, or whole numbers of more than 8 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def _eight_bits(image: Image.Image, ends: tuple[float, float], background: str) -> NDArray[np.uint8]:
    """Return the grey values of a deep picture as bytes. Its transparent value becomes the background."""
    values = np.array(image, dtype=np.float32)
    clear = values == image.info.get("transparency", np.nan)
    black, white = ends
    with np.errstate(all="ignore"):  # a file may hold any float; a value that overflows is black or white too
        values -= black
        values *= 255 / (white - black or 1)
        np.nan_to_num(values, copy=False, posinf=255, neginf=0)
    grey = np.clip(np.rint(values, out=values), 0, 255, out=values).astype(np.uint8)
    grey[clear] = 255 if background == "white" else 0
    return grey


def _ends(image: Image.Image) -> tuple[float, float]:
    """Return the values of a deep picture that are black and white.

    Whole numbers from 0 to 65535 go from 0 to 65535, or to 4095 in a TIFF of 12 bits. All other values go from the
    least to the largest in the picture.
    """
    low, high = np.inf, -np.inf
    for box in _strips(image):
        values = np.asarray(image.crop(box), dtype=np.float32)
        finite = np.isfinite(values)
        low = float(np.min(values, where=finite, initial=low))
        high = float(np.max(values, where=finite, initial=high))
    tags = getattr(image, "tag_v2", {})
    if image.mode != "F" and low >= 0 and high <= 65535:  # noqa: PLR2004
        low, high = 0, 4095 if tags.get(TiffImagePlugin.BITSPERSAMPLE) == (12,) else 65535
    # In some TIFFs white is 0. Pillow inverts these only if they have at most 8 bits.
    return (high, low) if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0 else (low, high)
