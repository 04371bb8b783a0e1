"""Bytes of files -> upright RGB arrays: decode, fit.

A file is a picture by its bytes, whatever its name. Everything here may meet hostile input: what cannot be read raises
`UnreadableImage` with a reason for a person, and nothing else.
"""

import ctypes
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError, _imaging

from retrieval.errors import SHORT, ShortMemory, UnreadableImage
from retrieval.pictures import animation, bare, incomplete, limits, opening, quirks, tiff
from retrieval.pictures.fitting import PLAIN_RULE
from retrieval.pictures.fitting import fit as fit  # noqa: PLC0414 - for those who have pictures already
from retrieval.pictures.formats import Format
from retrieval.process import memory
from retrieval.process.threads import aside
from retrieval.types import DECODE_RULE, displayed

log = logging.getLogger("retrieval")

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
    note: str = ""
    """What is to be known of how it was read."""


def decode(data: bytes, size: tuple[int, int], rule: int = DECODE_RULE, *, path: bytes | None = None) -> Decoded:
    """Return the picture in `data`, upright, over white, squashed to `size` (height, width); else `UnreadableImage`.

    `rule` is the version of what is done to the pixels. All: more than 8 bits a channel are scaled down; floats, and
    integers that 16 bits cannot hold, are stretched from least to largest; a large JPEG is scaled down by 2, 4 or 8
    while it is decoded, others by whole numbers first; then comes an antialiased bilinear filter. Rule 2 takes colours
    as they are stored, and the first frame or page. Rule 3 takes colours to sRGB, as the picture's profile says (see
    `colour`); shows over black what is blank over white; of an animation whose first frame is blank, takes the first
    that is not (see `animation`); of a TIFF, the largest page that shows what the first does (see `tiff`).

    The name in `path`, if there is one, helps where the bytes do not tell the format: see `formats`.

    Raises `ShortMemory` where the trouble is no property of the picture.
    """
    form = quirks.format_of(data, path)
    limits.check(data, form.id)
    return aside(partial(_tried, data, _Wanted(form, size, rule)))


def _tried(data: bytes, wanted: "_Wanted") -> Decoded:
    """Return the picture in `data`; where that fails, without its metadata."""
    with _reasons(wanted.form):
        try:
            return _decoded(data, wanted)
        except (UnreadableImage, MemoryError):
            raise
        except Exception:
            without = bare.bare(data, wanted.form.id)  # metadata that nobody can read hinders no picture
            if without is None:
                raise
            profile = bare.profile_of_png(data) if wanted.form.reader == "PNG" else None
            return _decoded(without, wanted, profile)


@contextmanager
def _reasons(form: Format) -> Iterator[None]:
    """Raise what a decoder raises as `UnreadableImage`, with a reason for a person."""
    try:
        yield
    except UnreadableImage:
        raise
    except Image.DecompressionBombError:
        raise UnreadableImage(opening.TOO_MANY_PIXELS) from None
    except MemoryError:
        raise ShortMemory(SHORT) from None
    except Exception as error:  # decoders that meet a damaged file raise nearly anything
        if "out of memory" in str(error):  # as Pillow says of its decoders
            raise ShortMemory(SHORT) from None
        raise UnreadableImage(_trouble(form.name, error)) from error


def _decoded(data: bytes, wanted: "_Wanted", profile: bytes | None = None) -> Decoded:
    """Return the picture in `data`, with a `profile` that Pillow has not found; any error."""
    if wanted.form.reader == "TIFF" and wanted.rule > PLAIN_RULE:
        data, page = tiff.shown(data)
        limits.check(data, wanted.form.id)  # of the first page they were kept
        if page is not None and not tiff.suits_pillow(data, page):
            with memory.shared().room(tiff.cost(page)):
                return _shown(tiff.read(data, page), None, wanted, profile)
    try:
        image, full = wanted.opened(data)
        with image, memory.shared().room(opening.cost(image)):
            image.load()
            return _shown(image, full, wanted, profile)
    except OSError as error:
        if not incomplete.is_short(error):
            raise
    image, full = wanted.opened(data)
    with image, memory.shared().room(incomplete.COPIES * opening.cost(image)):
        whole = incomplete.shown(data, lambda some: wanted.opened(some)[0])
        if whole is None:
            raise UnreadableImage(_too_short(wanted.form.name))
        return replace(_shown(whole, full, wanted, profile), note=incomplete.NOTE)


def _shown(image: Image.Image, full: tuple[int, int] | None, wanted: "_Wanted", profile: bytes | None) -> Decoded:
    """Return a picture that is loaded; `full` is its width and height where it was loaded smaller."""
    if profile is not None:
        image.info["icc_profile"] = profile
    taken = _taken(image)
    whole = upright(image)
    width, height = full or whole.size
    pixels = fit(whole, wanted.size, wanted.rule)
    if wanted.rule > PLAIN_RULE:
        pixels = animation.later(image, pixels, wanted.fitted)
    return Decoded(pixels, width, height, wanted.form.id, taken)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """How a picture is to be decoded."""

    form: Format
    size: tuple[int, int]
    rule: int

    def opened(self, data: bytes) -> tuple[ImageFile.ImageFile, tuple[int, int] | None]:
        """Open `data`; a JPEG is to be loaded no larger than is needed, and comes with its full width and height."""
        image, full = quirks.opened(self.form, data, self.size)
        if image.format not in {"JPEG", "MPO"}:  # the latter is a JPEG with more behind it
            return image, full
        reduced = _reduced(image, self.size)
        return image, full or reduced

    def fitted(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return what is loaded, upright, as a network sees it."""
        return fit(upright(image), self.size, self.rule)


def _reduced(image: Image.Image, size: tuple[int, int]) -> tuple[int, int]:
    """Have a JPEG decoded at the least scale that leaves both sides at least `size`; return its width and height.

    Of a photograph of 12 megapixels, an eighth each way is enough, which takes a sixth of the time.
    """
    sideways = _turn(image) in _SIDEWAYS
    full = image.size[::-1] if sideways else image.size
    image.draft(None, size if sideways else size[::-1])
    return full


def _trouble(kind: str, error: Exception) -> str:
    """Return what is wrong with a picture, in one of four sentences for a kind, so that files can be counted by them.

    What Pillow says of it may hold numbers, places and bytes of the file: that goes to the log alone.
    """
    said = str(error).lower()
    log.debug("a picture was not decoded: %s: %s", type(error).__name__, displayed(said))
    if isinstance(error, EOFError) or any(word in said for word in _TOO_SHORT):
        return _too_short(kind)
    if isinstance(error, NotImplementedError | KeyError) or any(word in said for word in _TOO_RARE):
        return f"of a kind that is not read: {kind} with a rare feature"
    if isinstance(error, UnidentifiedImageError):
        return f"damaged {kind}: its header cannot be read"
    return f"damaged {kind}: its data cannot be decoded"


def _too_short(kind: str) -> str:
    return f"damaged {kind}: it ends too early"


_TOO_SHORT = ("truncated", "incomplete", "not enough", "end of file", "end-of-file", "unexpected end", "eof")
_TOO_RARE = ("unsupported", "not supported", "unknown", "cannot handle", "not available", "not implemented")


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
