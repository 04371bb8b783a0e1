"""Bytes of files -> upright RGB arrays: decode, fit.

A file is a picture by its bytes, whatever its name. Everything here may meet hostile input: what cannot be read raises
`UnreadableImage` with a reason for a person, and nothing else.
"""

import ctypes
import io
import logging
import warnings
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError, _imaging

from retrieval import formats
from retrieval.errors import SHORT, ShortMemory, UnreadableImage
from retrieval.types import DECODE_RULE

GAP = 3.0
"""Pictures that are to shrink by more than twice that are averaged over whole pixels first, to this many times the
size: three times as fast at 12 megapixels, cosine 0.9993 and more to the plain filter (MobileNetV2, 60 photographs)."""

MAX_PIXELS = 178_956_970
"""Largest picture that is decoded: the limit at which Pillow itself refuses (twice `PIL.Image.MAX_IMAGE_PIXELS`)."""

# What Pillow and its libtiff remark on a damaged file goes to stderr, where nobody can tell which file was meant; here
# it ends in a reason, or (corrupt EXIF, a picture over half the limit) it does not matter. All three switches are
# thrown once for the process: `warnings.catch_warnings` in `decode` would mix up the filters of its threads. The
# handler is what Pillow, being a library, should have set itself; libtiff's (Pillow offers no way to it) is found only
# where Pillow links a shared libtiff, as its wheels for Linux and macOS do.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())
with suppress(AttributeError, OSError):
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture ready for a network."""

    pixels: NDArray[np.uint8]
    """(height, width, 3), RGB, 0-255, of the size asked."""
    width: int
    """Of the whole picture, upright."""
    height: int
    format: str
    taken: str | None


def decode(data: bytes, size: tuple[int, int], rule: int = DECODE_RULE) -> Decoded:
    """Return the picture in `data`, upright, over white, squashed to `size` (height, width); else `UnreadableImage`.

    Of an animation, the first frame. More than 8 bits a channel are scaled down; floats, and integers that 16 bits
    cannot hold, are stretched from least to largest.
    """
    kind = formats.identify(data[: formats.HEAD])
    if kind is None:
        raise UnreadableImage("empty file" if not data else "not a picture in a known format")
    if kind == "HEIF":
        formats.register_heif()
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            _check_size(image)
            full = _reduced(image, size) if kind == "JPEG" else None
            image.load()
            taken = _taken(image)
            whole = upright(image)
            width, height = full or whole.size
            return Decoded(fit(whole, size, rule), width, height, kind, taken)
    except Image.DecompressionBombError:
        raise UnreadableImage(f"over the limit of {MAX_PIXELS // 1_000_000} megapixels") from None
    except MemoryError:
        raise ShortMemory(SHORT) from None
    except Exception as error:  # decoders that meet a damaged file raise nearly anything
        raise UnreadableImage(f"damaged {kind}: {_sentence(error)}") from error


def _reduced(image: Image.Image, size: tuple[int, int]) -> tuple[int, int]:
    """Have a JPEG decoded at the least scale that leaves both sides at least `size`; return its width and height.

    Of a photograph of 12 megapixels, an eighth each way is enough, which takes a sixth of the time.
    """
    sideways = _turn(image) in _SIDEWAYS
    full = image.size[::-1] if sideways else image.size
    image.draft(None, size if sideways else size[::-1])
    return full


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:  # Pillow checks too, unless a caller has told it not to
        raise Image.DecompressionBombError


def fit(image: Image.Image, size: tuple[int, int], rule: int = DECODE_RULE) -> NDArray[np.uint8]:
    """Return an upright `image` of any mode as (height, width, 3) RGB of `size` (height, width)."""
    height, width = size
    return np.asarray(_rgb(image).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=GAP))


def reader() -> str:
    """Name what decides whether a file can be read, so that a failure is tried again when it changes."""
    return f"rule {DECODE_RULE}, Pillow {PIL.__version__}, {formats.extras()}"


def _sentence(error: Exception) -> str:
    """Return what is wrong, without counts and places in brackets: files with the same trouble have the same reason."""
    if isinstance(error, UnidentifiedImageError):
        return "its header cannot be read"
    return " ".join(str(error).split()).partition(" (")[0][:200] or type(error).__name__


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF 2.32, tag 0x0112
_SIDEWAYS = {_TURNS[tag] for tag in (5, 6, 7, 8)}


def upright(image: Image.Image) -> Image.Image:
    """Return `image` turned as its EXIF asks, itself where that asks nothing.

    `ImageOps.exif_transpose` writes the EXIF anew, which fails, and with it the turn, where another tag is broken.
    """
    image.load()
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    with suppress(Exception):  # EXIF that cannot be parsed says nothing about the picture
        return _TURNS.get(image.getexif()[ExifTags.Base.Orientation])
    return None


def _taken(image: Image.Image) -> str | None:
    with suppress(Exception):  # likewise
        exif = image.getexif()
        text = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
        return datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S").isoformat()  # noqa: DTZ007 - cameras note no zone
    return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_eight_bits(image))
    if image.mode == "La":  # which Pillow converts to nothing else
        image = image.convert("LA")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Return the grey values of a picture with one deep channel as bytes; what it declares transparent is white."""
    values = np.array(image, dtype=np.float32)
    clear = values == image.info.get("transparency", np.nan)
    black, white = _ends(image, values)
    with np.errstate(all="ignore"):  # a file may hold any float: what overflows is black or white too
        values -= black
        values *= 255 / (white - black or 1)
        np.nan_to_num(values, copy=False, posinf=255, neginf=0)
    grey = np.clip(np.rint(values, out=values), 0, 255, out=values).astype(np.uint8)
    grey[clear] = 255
    return grey


def _ends(image: Image.Image, values: NDArray[np.float32]) -> tuple[float, float]:
    """Return which of the `values` are black and white."""
    finite = np.isfinite(values)
    low, high = (
        float(end(values, where=finite, initial=first)) for end, first in ((np.min, np.inf), (np.max, -np.inf))
    )
    tags = getattr(image, "tag_v2", {})
    if image.mode != "F" and low >= 0 and high <= 65535:  # noqa: PLR2004
        low, high = 0, 4095 if tags.get(TiffImagePlugin.BITSPERSAMPLE) == (12,) else 65535
    # Pillow turns round the greys of a TIFF in which white is 0, if they have at most 8 bits.
    return (high, low) if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0 else (low, high)
