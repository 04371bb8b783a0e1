"""TIFF: the page of a file that is its picture, and pages that Pillow refuses or reads wrongly.

first page -> the full page, if the first is a reduced version -> Pillow
                                                              └-> tifffile, an extra, for pages that Pillow cannot read
"""

import io
import logging
import math
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from retrieval import extras
from retrieval.errors import UnreadableImage
from retrieval.pictures import fitting, formats, limits, opening

NOT_READ = f"{formats.UNSUPPORTED}a rare kind of TIFF"
MISSING = f"{NOT_READ}; {extras.hint('read it', 'tiff')}"
PAGES = 64
"""Most pages of a file that are looked at, most pages below a page, and most numbers of a tag that are kept."""
ENTRIES = 4096
"""Most tags of a page that are looked at."""
SIZES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""Types of tags that hold whole numbers -> their names in `struct` (TIFF 6.0, section 2; BigTIFF)."""


class Tag(IntEnum):
    """The tags that are read here (TIFF 6.0, appendix A; TIFF/EP for `SUB_IFDS`; ICC.1:2022, B.4 for `PROFILE`)."""

    NEW_SUBFILE_TYPE = 254
    SUBFILE_TYPE = 255
    WIDTH = 256
    HEIGHT = 257
    BITS_PER_SAMPLE = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    ORIENTATION = 274
    SAMPLES_PER_PIXEL = 277
    PLANAR_CONFIGURATION = 284
    DATE_TIME = 306
    COLOUR_MAP = 320
    SUB_IFDS = 330
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    PROFILE = 34675


REDUCED, MASK = 1, 4
"""Bits of `NEW_SUBFILE_TYPE`: a smaller version of another page; a mask for another page."""
REDUCED_SUBFILE = 2
"""Value of `SUBFILE_TYPE`: a smaller version of another page."""
PLANES = 2
"""Value of `PLANAR_CONFIGURATION`: each channel is stored by itself."""
UNSIGNED, SIGNED = 1, 2
"""Values of `SAMPLE_FORMAT` for whole numbers."""
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, INKS, LAB = 0, 1, 2, 3, 5, 8
"""Values of `PHOTOMETRIC`, which says what the numbers of a pixel mean."""
PRIVATE = 32768
"""Values of `PHOTOMETRIC` from here on are private ones, such as those for raw data of a sensor (DNG: 32803, 34892)."""
CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, INKS: 4, LAB: 3}
"""Value of `PHOTOMETRIC` -> number of channels of a colour, for the pages that are read without Pillow."""
WEBP = 50001
"""A value of `COMPRESSION` that Pillow knows, but the libtiff in its wheels does not."""
ALPHA = {1: "a", 2: "A"}
"""Value of `EXTRA_SAMPLES` -> letter in Pillow's modes: 1 is alpha mixed into the colours, 2 is plain alpha."""

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # nobody could tell which file its remarks are about


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a TIFF file."""

    at: int
    """Offset of its tags in the file, in bytes."""
    tags: dict[int, tuple[int, ...]]
    """Tag -> its numbers, for the tags that hold up to `PAGES` whole numbers."""

    def first(self, tag: Tag, default: int = 0) -> int:
        """Return the first number of a tag, `default` if the page does not have the tag."""
        return self.tags.get(tag, (default,))[0]

    @property
    def pixels(self) -> int:
        """Number of pixels: width times height."""
        return self.first(Tag.WIDTH) * self.first(Tag.HEIGHT)

    @property
    def is_reduced(self) -> bool:
        """Whether the page is a smaller version of another page."""
        return bool(self.first(Tag.NEW_SUBFILE_TYPE) & REDUCED) or self.first(Tag.SUBFILE_TYPE) == REDUCED_SUBFILE

    @property
    def is_picture(self) -> bool:
        """Whether the page is a picture, not a mask and not raw data of a sensor."""
        is_mask = bool(self.first(Tag.NEW_SUBFILE_TYPE) & MASK)
        return not is_mask and self.first(Tag.PHOTOMETRIC) < PRIVATE and self.pixels > 0

    @property
    def misleads_pillow(self) -> bool:
        """Whether Pillow reads the page wrongly.

        Pillow misreads planes of more than 8 bits or with alpha mixed into the colours, signed bytes, unsigned numbers
        of more than 16 bits, and samples with different numbers of bits.
        """
        bits = self.tags.get(Tag.BITS_PER_SAMPLE, (1,))
        signs = self.first(Tag.SAMPLE_FORMAT, UNSIGNED)
        has_planes = self.first(Tag.PLANAR_CONFIGURATION, 1) == PLANES and self.first(Tag.SAMPLES_PER_PIXEL, 1) > 1
        return (
            (has_planes and (max(bits) > 8 or self.first(Tag.EXTRA_SAMPLES) == 1))  # noqa: PLR2004
            or (signs == SIGNED and max(bits) <= 8)  # noqa: PLR2004
            or (signs == UNSIGNED and max(bits) > 16)  # noqa: PLR2004
            or len(set(bits)) > 1
        )


# -- pages ------------------------------------------------------------------------------------------------------------


def beginning_with_shown(data: bytes) -> tuple[bytes, Page | None]:
    """Return `data` with the page to show as its first page, and this page; None if its tags cannot be read.

    The first page of a file is shown. If the first page is a reduced version, the first full picture is shown instead,
    or the largest picture if there is no full one.
    """
    file = _File.of(data)
    chain = list(file.chain(file.first))
    if not chain:
        return data, None
    best = chain[0]
    if best.is_reduced:
        inner = [page for at in best.tags.get(Tag.SUB_IFDS, ())[:PAGES] for page in file.chain(at, 1)]
        others = [page for page in (*chain, *inner) if page.is_picture]
        full = [page for page in others if not page.is_reduced]
        best = full[0] if full else max(others, key=lambda page: page.pixels, default=best)
    return data if best.at == file.first else file.beginning_at(best.at), best


@dataclass(frozen=True, slots=True)
class _File:
    """The directories of a TIFF file: each page has one, with its tags."""

    data: bytes
    order: str
    """Order of the bytes in numbers, as `struct` writes it."""
    big: bool
    """Whether the file is a BigTIFF, whose offsets have 8 bytes."""

    @classmethod
    def of(cls, data: bytes) -> "_File":
        """Return the file whose bytes are `data`."""
        return cls(data, order="<" if data[:2] == b"II" else ">", big=data[2:4] in {b"+\0", b"\0+"})

    @property
    def first(self) -> int:
        """Offset of the first page, in bytes."""
        return self._number("Q", 8) if self.big else self._number("I", 4)

    def beginning_at(self, at: int) -> bytes:
        """Return the bytes of the file, with the page at the offset `at` as the first page."""
        if self.big:
            return self.data[:8] + struct.pack(self.order + "Q", at) + self.data[16:]
        return self.data[:4] + struct.pack(self.order + "I", at) + self.data[8:]

    def chain(self, at: int, most: int = PAGES) -> Iterator[Page]:
        """Yield the page whose tags are at the offset `at`, and the pages that follow it, at most `most`."""
        seen: set[int] = set()
        with suppress(struct.error):
            while at and at not in seen and len(seen) < most:
                seen.add(at)
                count = self._number("Q" if self.big else "H", at)
                start, entry = (at + 8, 20) if self.big else (at + 2, 12)
                places = range(start, start + entry * min(count, ENTRIES), entry)
                entries = [self._tag(place) for place in places]
                yield Page(at, dict(found for found in entries if found is not None))
                at = self._number("Q" if self.big else "I", start + entry * count)

    def _tag(self, at: int) -> tuple[int, tuple[int, ...]] | None:
        """Return the tag whose entry is at the offset `at`, and its numbers; None if `Page.tags` does not keep it."""
        tag, kind = struct.unpack_from(self.order + "HH", self.data, at)
        inline = 8 if self.big else 4  # size in bytes of a count, of an offset, and of a value inside the entry
        count = self._number("Q" if self.big else "I", at + 4)
        if kind not in SIZES or not 0 < count <= PAGES:
            return None
        form = f"{self.order}{count}{SIZES[kind]}"
        place = at + 4 + inline
        if struct.calcsize(form) > inline:
            place = self._number("Q" if self.big else "I", place)
        return tag, struct.unpack_from(form, self.data, place)

    def _number(self, form: str, at: int) -> int:
        """Return the number at the offset `at`; `form` is its type in `struct`."""
        (number,) = struct.unpack_from(self.order + form, self.data, at)
        return int(number)


# -- with tifffile ------------------------------------------------------------------------------------------------


def suits_pillow(data: bytes, page: Page) -> bool:
    """Tell whether Pillow reads the first page of `data`, which is `page`, and reads it correctly."""
    compression = page.first(Tag.COMPRESSION, 1)
    if page.misleads_pillow or compression == WEBP or compression not in TiffImagePlugin.COMPRESSION_INFO:
        return False
    try:
        opening.opened(data, "TIFF")
    except UnidentifiedImageError:
        return False
    return True


def cost(page: Page) -> int:
    """Return the memory that `read` takes for a page, in bytes; `DecompressionBombError` if the page is too large."""
    bytes_per_sample = math.ceil(max(page.tags.get(Tag.BITS_PER_SAMPLE, (1,))) / 8)
    size = page.pixels * page.first(Tag.SAMPLES_PER_PIXEL, 1) * bytes_per_sample
    if size > 2 * limits.MAX_BYTES or page.pixels > limits.MAX_BYTES:
        raise Image.DecompressionBombError
    return 2 * size + limits.BYTES * page.pixels


def read(data: bytes, page: Page) -> Image.Image:
    """Return the first page of `data`, which is `page`, read by tifffile; may raise any error."""
    channels = CHANNELS.get(page.first(Tag.PHOTOMETRIC))
    if channels is None or page.first(Tag.SAMPLES_PER_PIXEL, 1) < channels:
        raise UnreadableImage(NOT_READ)
    try:
        import tifffile
    except ImportError:
        raise UnreadableImage(MISSING) from None
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            first = file.pages.first
            values = first.asarray(squeeze=False, maxworkers=1)
            colours = _value(first, Tag.COLOUR_MAP)
            profile = _value(first, Tag.PROFILE)
            taken = _value(first, Tag.DATE_TIME)
    except (ValueError, NotImplementedError, ImportError, KeyError) as error:
        # tifffile raises these for a compression or a layout that it does not know.
        raise UnreadableImage(NOT_READ) from error
    values = np.moveaxis(values[:, 0], 0, -2).reshape(page.first(Tag.HEIGHT), page.first(Tag.WIDTH), -1)
    image = _picture(values, page, channels, colours)
    image.info["icc_profile"] = profile
    image.getexif()[ExifTags.Base.Orientation] = page.first(Tag.ORIENTATION, 1)
    image.getexif()[ExifTags.Base.DateTime] = taken
    return image


def _value(page: Any, tag: Tag) -> Any:  # noqa: ANN401 - a page of tifffile, and any value
    """Return the value of a tag, None if the page does not have the tag."""
    return page.tags[tag].value if tag in page.tags else None


def _picture(values: NDArray[Any], page: Page, channels: int, colours: Any) -> Image.Image:  # noqa: ANN401 - numbers
    """Return `values`, (height, width, samples), as a PIL image.

    `page` says what the values mean, and `colours` is its colour map.
    """
    kind = page.first(Tag.PHOTOMETRIC)
    bits = page.first(Tag.BITS_PER_SAMPLE, 1)
    if kind == PALETTE:
        table = (np.asarray(colours, dtype=np.uint16).reshape(3, -1).T >> 8).astype(np.uint8)
        return Image.fromarray(table[values[..., 0]])
    if kind == LAB:
        if bits not in {8, 16}:
            raise UnreadableImage(NOT_READ)
        lab = (values[..., :3].view(f"u{bits // 8}") >> (bits - 8)).astype(np.uint8)
        return Image.frombytes("LAB", lab.shape[1::-1], lab.tobytes())
    levels = _levels(values[..., :channels], bits)
    if kind == WHITE_IS_ZERO:
        levels = 255 - levels
    if kind == INKS:
        return Image.frombytes("CMYK", levels.shape[1::-1], levels.tobytes())
    picture = Image.fromarray(levels if channels > 1 else levels[..., 0])
    extra = page.first(Tag.EXTRA_SAMPLES)
    has_alpha = values.shape[2] > channels and extra in ALPHA and np.issubdtype(values.dtype, np.integer)
    if has_alpha:
        alpha = _levels(values[..., channels : channels + 1], bits)
        bands = [*picture.split(), Image.fromarray(alpha[..., 0])]
        return Image.merge(("RGB" if channels > 1 else "L") + ALPHA[extra], bands)
    return picture


def _levels(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Return `values`, (height, width, channels), of any type, as levels from 0 (black) to 255 (white)."""
    black, white = _ends(values, bits)
    levels = np.empty(values.shape, dtype=np.uint8)
    rows = max(1, fitting.STRIP // (values.shape[1] * values.shape[2]))
    for top in range(0, len(values), rows):
        part = values[top : top + rows].astype(np.float32)
        with np.errstate(all="ignore"):  # a file may hold any float; a value that overflows is black or white too
            part = np.nan_to_num((part - black) * (255 / (white - black or 1)), posinf=255, neginf=0)
        levels[top : top + rows] = np.clip(np.rint(part), 0, 255)
    return levels


def _ends(values: NDArray[Any], bits: int) -> tuple[float, float]:
    """Return the values of black and white.

    Unsigned numbers of up to 16 bits: 0 and the largest number of `bits` bits. Other whole numbers from 0 to 65535: 0
    and 65535. Colours in floats from 0 to 1: 0 and 1. All other values: the least and the largest value.
    """
    if np.issubdtype(values.dtype, np.unsignedinteger) and bits <= 16:  # noqa: PLR2004
        return 0, 2**bits - 1
    if np.issubdtype(values.dtype, np.integer):
        low, high = float(values.min()), float(values.max())
        return (0, 65535) if low >= 0 and high <= 65535 else (low, high)  # noqa: PLR2004
    finite = np.isfinite(values)
    low = float(np.min(values, where=finite, initial=np.inf))
    high = float(np.max(values, where=finite, initial=-np.inf))
    return (0, 1) if values.shape[2] > 1 and low >= 0 and high <= 1 else (low, high)
