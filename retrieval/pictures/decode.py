"""Bytes of a file -> upright RGB pixels of the size that a network wants.

    format_of -> limits.check -> opened -> loaded -> turned upright -> fitted to the size
                                   │ if this fails: again without the metadata
                                   │ if the file ends too early: the part that is there, if it is nearly all

The first bytes of a file tell its format, whatever its name is. The bytes may be hostile. A file that cannot be read
raises `UnreadableImage` with a reason for a person, and no other error.
"""

import ctypes
import io
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
from retrieval.pictures import animation, formats, incomplete, limits, metadata, quirks, stripped, tiff
from retrieval.pictures.fitting import PLAIN_RULE
from retrieval.pictures.fitting import fit as fit  # noqa: PLC0414 - for pictures that are in memory already
from retrieval.pictures.formats import Format
from retrieval.process import memory
from retrieval.process.threads import aside
from retrieval.types import DECODE_RULE, Metadata, displayed

log = logging.getLogger("retrieval")

# Pillow and its libtiff write remarks on damaged files to stderr, where nobody can tell which file is meant. Here a
# remark becomes the reason of the file, or does not matter (corrupt EXIF, a picture over half the limit). The remarks
# are silenced once for the process, because `warnings.catch_warnings` in `decode` would mix up the filters of its
# threads. Pillow is a library and should have set the log handler itself. Pillow gives no access to the error handler
# of libtiff. The handler is found only where Pillow links a shared libtiff, as its wheels for Linux and macOS do.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())
with suppress(AttributeError, OSError):
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture ready for a network."""

    pixels: NDArray[np.uint8]
    """(height, width, 3), RGB, 0-255, of the size that was asked for."""
    width: int
    """Width of the whole picture when it is upright, in pixels."""
    height: int
    """Height of the whole picture when it is upright, in pixels."""
    format: str
    """Name of the format, see `formats.Format.id`."""
    metadata: Metadata
    note: str = ""
    """A remark on how the picture was read, "" for none."""


def decode(data: bytes, size: tuple[int, int], rule: int = DECODE_RULE, *, path: bytes | None = None) -> Decoded:
    """Return the picture in a file, upright, over white, squashed to `size` (height, width).

    `rule` is the version of the decode rule, which says what is done to the pixels. All versions: channels of more than
    8 bits are scaled down to 8. Floats, and integers that do not fit into 16 bits, are stretched, so that the least
    value becomes black and the largest white. A large JPEG is scaled down by 2, 4 or 8 while it is decoded; other large
    pictures are first averaged over blocks of whole pixels. An antialiased bilinear filter does the rest.

    Version 2 takes colours as they are stored, and the first frame or page. Version 3 converts colours to sRGB by the
    profile of the picture (see `colour`); shows a picture that is blank over white over black; takes the first frame of
    an animation that is not blank (see `animation`); and takes the full page of a TIFF that begins with a reduced one
    (see `tiff`).

    `path` is the path of the file, if the bytes come from a file. Its name helps where the bytes do not tell the format
    (see `formats`).

    Raises `UnreadableImage`, and `ShortMemory` if there is too little memory now, which says nothing about the picture.
    """
    form = quirks.format_of(data, path)
    limits.check(data, form.id)
    decoded = aside(partial(_decoded_with_reasons, data, _Wanted(form, size, rule)))
    noted = metadata.read(io.BytesIO(data))
    return replace(decoded, metadata=replace(noted, taken=noted.taken or decoded.metadata.taken))


def _decoded_with_reasons(data: bytes, wanted: "_Wanted") -> Decoded:
    """Return the picture in `data`, or raise a reason. If decoding fails, try once more without the metadata."""
    with _reasons(wanted.form):
        try:
            return _decoded(data, wanted)
        except (UnreadableImage, MemoryError):
            raise
        except Exception:
            without = stripped.without_metadata(data, wanted.form.id)
            if without is None:
                raise
            profile = stripped.profile_of_png(data) if wanted.form.reader == "PNG" else None
            return _decoded(without, wanted, profile)


@contextmanager
def _reasons(form: Format) -> Iterator[None]:
    """Raise every error of a decoder as `UnreadableImage`, with a reason for a person."""
    try:
        yield
    except UnreadableImage:
        raise
    except Image.DecompressionBombError:
        raise UnreadableImage(limits.TOO_MANY_PIXELS) from None
    except MemoryError:
        raise ShortMemory(SHORT) from None
    except Exception as error:  # a decoder that meets a damaged file may raise anything
        if "out of memory" in str(error):  # the words of Pillow about its decoders
            raise ShortMemory(SHORT) from None
        raise UnreadableImage(_reason(form.name, error)) from error


def _decoded(data: bytes, wanted: "_Wanted", profile: bytes | None = None) -> Decoded:
    """Return the picture in `data`; may raise any error.

    `profile` is the colour profile of the picture if it was removed from `data` with the metadata.
    """
    if wanted.form.reader == "TIFF" and wanted.rule > PLAIN_RULE:
        data, page = tiff.beginning_with_shown(data)
        limits.check(data, wanted.form.id)  # the first check saw another page as the first
        if page is not None and not tiff.suits_pillow(data, page):
            with memory.shared().room(tiff.cost(page)):
                return _fitted(tiff.read(data, page), None, wanted, profile)
    try:
        image, full = wanted.opened(data)
        with image, memory.shared().room(limits.cost(image)):
            image.load()
            return _fitted(image, full, wanted, profile)
    except OSError as error:
        if not incomplete.is_short(error):
            raise
    image, full = wanted.opened(data)
    with image, memory.shared().room(incomplete.COPIES * limits.cost(image)):
        loaded = incomplete.loaded(data, lambda part: wanted.opened(part)[0])
        if loaded is None:
            raise UnreadableImage(_too_short(wanted.form.name))
        return replace(_fitted(loaded, full, wanted, profile), note=incomplete.NOTE)


def _fitted(image: Image.Image, full: tuple[int, int] | None, wanted: "_Wanted", profile: bytes | None) -> Decoded:
    """Return a loaded picture as it is wanted; `full` is its full width and height if it was loaded smaller."""
    if profile is not None:
        image.info["icc_profile"] = profile
    taken = Metadata(taken=_taken(image))
    whole = upright(image)
    width, height = full or whole.size
    pixels = fit(whole, wanted.size, wanted.rule)
    if wanted.rule > PLAIN_RULE:
        pixels = animation.first_visible(image, pixels, wanted.fitted)
    return Decoded(pixels, width, height, wanted.form.id, taken)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """How a picture is to be decoded."""

    form: Format
    size: tuple[int, int]
    rule: int

    def opened(self, data: bytes) -> tuple[ImageFile.ImageFile, tuple[int, int] | None]:
        """Open `data`; return the picture, and its full width and height if it will be loaded smaller."""
        image, full = quirks.opened(self.form, data, self.size)
        if image.format not in {"JPEG", "MPO"}:  # an MPO is a JPEG with more pictures behind it
            return image, full
        reduced = _reduced(image, self.size)
        return image, full or reduced

    def fitted(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the current frame of `image` as pixels of the wanted size."""
        return fit(upright(image), self.size, self.rule)


def _reduced(image: Image.Image, size: tuple[int, int]) -> tuple[int, int]:
    """Let a JPEG be decoded at the smallest scale that leaves both sides at least `size`; return its full size.

    `size` is (height, width); the result is (width, height) of the upright picture. For a photograph of 12 megapixels,
    one eighth of the width and the height is enough, and takes a sixth of the time.
    """
    sideways = _turn(image) in _SIDEWAYS
    full = image.size[::-1] if sideways else image.size
    image.draft(None, size if sideways else size[::-1])
    return full


def _reason(kind: str, error: Exception) -> str:
    """Return the reason for an error of a decoder: one of four sentences per format, so that files can be counted.

    The message of the error goes only to the log, because it may hold numbers, offsets and bytes of the file.
    """
    message = str(error).lower()
    log.debug("a picture was not decoded: %s: %s", type(error).__name__, displayed(message))
    if isinstance(error, EOFError) or any(word in message for word in _TOO_SHORT):
        return _too_short(kind)
    if isinstance(error, NotImplementedError | KeyError) or any(word in message for word in _TOO_RARE):
        return f"{formats.UNSUPPORTED}{kind} with a rare feature"
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
    """Return `image` turned as its EXIF says, or `image` itself if it is upright already.

    `ImageOps.exif_transpose` is not used: it writes the EXIF again, and fails to turn a picture if any tag is broken.
    """
    image.load()
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return the turn that makes `image` upright, None if it is upright already."""
    with suppress(Exception):  # EXIF that cannot be parsed says nothing
        return _TURNS.get(image.getexif()[ExifTags.Base.Orientation])
    return None


def _taken(image: Image.Image) -> str | None:
    """Return when the picture was taken, as the library says that decoded it; see `Metadata.taken`.

    This is for files of which `metadata` does not know the container: some RAW files, and BigTIFF.
    """
    with suppress(Exception):  # EXIF that cannot be parsed says nothing
        exif = image.getexif()
        text = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
        return datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S").isoformat()  # noqa: DTZ007 - cameras write no time zone
    return None
