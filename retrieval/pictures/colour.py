"""Colours as their profile means them -> sRGB, which the networks have seen.

A profile is an ICC profile that a picture brings along. One that cannot be read, or is for another kind of picture,
says nothing.
"""

import io
from functools import lru_cache
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

MOST = 16 << 20
"""Bytes of the largest profile that is looked at: those of printers have up to 10 million."""

SAME = 3
"""Levels of 255 by which a profile may differ from sRGB that is taken for it: the many versions differ by rounding."""

MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
"""Colour space in the header of a profile (ICC.1:2022, table 19) -> Pillow's mode."""


def mode_of(profile: bytes | None) -> str | None:
    """Return the mode of the pictures that `profile` is for; None where it has nothing to say."""
    return MODES.get(profile[16:20]) if profile and len(profile) <= MOST else None


def in_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Return `picture`, RGB or CMYK, in sRGB as `profile` means it; itself where that changes nothing."""
    mode = mode_of(profile)
    fits = mode is not None and (mode == "CMYK") == (picture.mode == "CMYK")
    transform = _transform(profile) if fits else None
    if transform is None:
        return picture
    return transform.apply(picture if picture.mode == mode else picture.convert(mode))


@lru_cache(maxsize=8)
def _transform(profile: bytes) -> "ImageCmsTransform | None":
    """Return what turns colours into sRGB; None for a profile that is broken or that is sRGB.

    The intent is perceptual, as in browsers: it is what profiles with tables are best at, and all others have but one.
    """
    from PIL import ImageCms

    mode = MODES[profile[16:20]]
    try:
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        flags = ImageCms.Flags.NOCACHE | ImageCms.Flags.BLACKPOINTCOMPENSATION  # no cache: threads share it
        found = ImageCms.buildTransform(source, target, mode, "RGB", ImageCms.Intent.PERCEPTUAL, flags)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return None if _is_same(found, mode) else found


def _is_same(transform: "ImageCmsTransform", mode: str) -> bool:
    """Tell whether `transform` leaves RGB or grey as it is."""
    if mode == "CMYK":
        return False
    steps = range(0, 256, 51)
    colours = [(r, g, b) for r in steps for g in steps for b in steps] if mode == "RGB" else [(v,) * 3 for v in steps]
    before = Image.new("RGB", (len(colours), 1))
    before.putdata(colours)
    after = transform.apply(before.convert(mode))
    return all(abs(new - old) <= SAME for new, old in zip(after.tobytes(), before.tobytes(), strict=True))
