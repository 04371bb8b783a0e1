"""Bytes of a known format -> a picture that Pillow has opened and not yet decoded, and the memory to decode it."""

import struct

from PIL import Image, ImageFile, UnidentifiedImageError

from retrieval.pictures.limits import Metered, check

MAX_PIXELS = 178_956_970
"""Most pixels of a picture in colour that is decoded: Pillow's own limit, which is twice its `MAX_IMAGE_PIXELS`."""

BYTES = 4
"""Size of a pixel in colour in Pillow's memory, in bytes."""

FEWER_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Pillow's mode -> size of a pixel in its memory, in bytes; `BYTES` for all other modes."""

MAX_BYTES = MAX_PIXELS * BYTES
"""Size of the largest picture that is decoded, in Pillow's memory, in bytes."""
MILLION = 1_000_000
TOO_MANY_PIXELS = (
    f"larger than the limit of {MAX_PIXELS // MILLION} megapixels in colour, "
    f"or of {MAX_BYTES // MILLION} megapixels of one byte each"
)

COPIES = {"GIF": 9, "PNG": 2, "WEBP": 4, "AVIF": 4, "HEIF": 3, "TIFF": 2, "DIB": 2, "BMP": 2}
"""Format -> number of copies of the picture that its decoder holds at a time, where this is not 1. Frames before and
after the picture count too."""


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


def cost(image: ImageFile.ImageFile) -> int:
    """Return about how much memory it takes to decode `image`, in bytes.

    Raises `PIL.Image.DecompressionBombError` if the picture is too large.
    """
    pixels = image.width * image.height
    bytes_ = pixels * FEWER_BYTES.get(image.mode, BYTES)
    if bytes_ > MAX_BYTES:
        raise Image.DecompressionBombError
    return bytes_ * COPIES.get(image.format or "", 1) + _coefficients(image)


def _coefficients(image: ImageFile.ImageFile) -> int:
    """Return the memory in which libjpeg keeps the coefficients of a progressive JPEG, in bytes.

    These are two bytes per sample of the full picture, even if the picture is decoded at a smaller scale.
    """
    layers = getattr(image, "layer", ())
    if not layers or not image.info.get("progressive"):
        return 0
    scale = image.decoderconfig[0] if image.decoderconfig else 1
    areas: list[int] = [across * down for _, across, down, _ in layers]
    return int(2 * image.width * image.height * scale**2 * sum(areas) // max(1, *areas))
