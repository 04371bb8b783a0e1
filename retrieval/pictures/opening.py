"""Bytes of a known format -> a picture that Pillow has opened and not yet decoded, and what decoding it will take."""

import struct

from PIL import Image, ImageFile, UnidentifiedImageError

from retrieval.pictures.limits import Metered, check

MAX_PIXELS = 178_956_970
"""Pixels in colour that are decoded at most: where Pillow itself refuses (twice its `MAX_IMAGE_PIXELS`)."""

BYTES = 4
"""Of a pixel in colour, as Pillow holds it."""

FEWER_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Of a pixel in other modes."""

MAX_BYTES = MAX_PIXELS * BYTES
MILLION = 1_000_000
TOO_MANY_PIXELS = (
    f"over the limit of {MAX_PIXELS // MILLION} megapixels in colour, or {MAX_BYTES // MILLION} of one byte each"
)

COPIES = {"GIF": 9, "PNG": 2, "WEBP": 4, "AVIF": 4, "HEIF": 3, "TIFF": 2, "DIB": 2, "BMP": 2}
"""How often a decoder holds its picture, frames before and behind included; most do once."""


def opened(data: bytes, kind: str) -> ImageFile.ImageFile:
    """Open the picture in `data`, of that format of Pillow's; any error.

    `Image.open` refuses by the pixels of the file, whatever is to be decoded of them. Its bound could only be moved for
    all that use Pillow in this process.
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
    """Return how many bytes it takes to decode `image`, about; `DecompressionBombError` where it is too large."""
    pixels = image.width * image.height
    bytes_ = pixels * FEWER_BYTES.get(image.mode, BYTES)
    if bytes_ > MAX_BYTES:
        raise Image.DecompressionBombError
    return bytes_ * COPIES.get(image.format or "", 1) + _coefficients(image)


def _coefficients(image: ImageFile.ImageFile) -> int:
    """Return the bytes of what libjpeg keeps of a progressive JPEG: two a sample, at whatever scale it is decoded."""
    layers = getattr(image, "layer", ())
    if not layers or not image.info.get("progressive"):
        return 0
    scale = image.decoderconfig[0] if image.decoderconfig else 1
    areas: list[int] = [across * down for _, across, down, _ in layers]
    return int(2 * image.width * image.height * scale**2 * sum(areas) // max(1, *areas))
