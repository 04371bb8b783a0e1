"""Colours in the colour space that the ICC profile of a picture describes -> sRGB, on which networks are trained.

A profile that cannot be read, or that is made for another kind of picture, is ignored.
"""

import io
from functools import lru_cache
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

MOST = 16 << 20
"""Size of the largest profile that is read, in bytes: the profiles of printers have up to 10 million."""

SAME = 3
"""Largest change of a colour by the conversion from a profile that counts as sRGB, in levels of 0 to 255. There are
many versions of the sRGB profile, which differ by rounding."""

MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
"""Colour space in the header of a profile (ICC.1:2022, table 19) -> Pillow's mode."""


def mode_of(profile: bytes | None) -> str | None:
    """Return Pillow's mode of the pictures for which `profile` is made, None if `profile` is missing or unusable."""
    return MODES.get(profile[16:20]) if profile and len(profile) <= MOST else None


def in_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Return `picture`, in the mode RGB or CMYK, converted from `profile` to sRGB.

    Returns `picture` itself if the profile cannot be used or is sRGB.
    """
    mode = mode_of(profile)
    fits = mode is not None and (mode == "CMYK") == (picture.mode == "CMYK")
    transform = _transform(profile) if fits else None
    if transform is None:
        return picture
    return transform.apply(picture if picture.mode == mode else picture.convert(mode))


@lru_cache(maxsize=8)
def _transform(profile: bytes) -> "ImageCmsTransform | None":
    """Return the conversion from `profile` to sRGB; None for a profile that is broken or is sRGB itself.

    The rendering intent is perceptual, as in browsers: profiles with tables do this intent best, and all other profiles
    have only one intent.
    """
    from PIL import ImageCms

    mode = MODES[profile[16:20]]
    try:
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        flags = ImageCms.Flags.NOCACHE | ImageCms.Flags.BLACKPOINTCOMPENSATION  # no cache, since threads share it
        transform = ImageCms.buildTransform(source, target, mode, "RGB", ImageCms.Intent.PERCEPTUAL, flags)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return None if _changes_nothing(transform, mode) else transform


def _changes_nothing(transform: "ImageCmsTransform", mode: str) -> bool:
    """Tell whether `transform` leaves RGB colours or greys as they are, within `SAME` levels."""
    if mode == "CMYK":
        return False
    steps = range(0, 256, 51)
    if mode == "RGB":
        colours = [(red, green, blue) for red in steps for green in steps for blue in steps]
    else:
        colours = [(level, level, level) for level in steps]
    before = Image.new("RGB", (len(colours), 1))
    before.putdata(colours)
    after = transform.apply(before.convert(mode))
    return all(abs(new - old) <= SAME for new, old in zip(after.tobytes(), before.tobytes(), strict=True))
