"""Bytes of a known format -> a picture that Pillow has opened and not yet decoded."""

import struct

from PIL import Image, ImageFile, UnidentifiedImageError

from retrieval.pictures.limits import Metered, check


def opened(data: bytes, kind: str) -> ImageFile.ImageFile:
    """Open the picture in `data`, which has Pillow's format `kind`; may raise any error.

    `Image.open` is not used: it refuses a file with too many pixels even if the file will be decoded at a smaller
    scale, and its limit could be changed only for all users of Pillow in this process.
    """
    check(data, kind)
    Image.preinit()
    if kind not in Image.OPEN:
        Image.init()
    factory, _ = Image.OPEN[kind]
    try:
        return factory(Metered(data), "")
    except (SyntaxError, IndexError, TypeError, struct.error) as error:  # as in `Image.open`
        raise UnidentifiedImageError from error
