"""What a file is taken for, and which pixels a picture gives."""

import io
import random
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from retrieval.errors import UnreadableImage
from retrieval.pictures import decode, fitting, formats
from tests.fakes import put

RED, BLUE, WHITE, GREY_200 = (255, 0, 0), (0, 0, 255), (255, 255, 255), (200, 200, 200)

# -- pictures, drawn here ---------------------------------------------------------------------------------------------


def halves(left: object, right: object, mode: str = "RGB") -> Image.Image:
    """Draw 48 x 32 pixels of two colours."""
    image = Image.new(mode, (48, 32), left)
    image.paste(right, (24, 0, 48, 32))
    return image


def clear() -> Image.Image:
    return halves((255, 0, 0, 0), (0, 0, 255, 255), "RGBA")


def deep(left: float, right: float, dtype: str) -> Image.Image:
    """Draw two greys of more than 8 bits."""
    return Image.fromarray(np.full((32, 48), (left,) * 24 + (right,) * 24, dtype))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif", reason="the extra `heif` is not installed").register_heif_opener()
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def animated(kind: str) -> bytes:
    others = [Image.new("RGB", (48, 32), "lime"), Image.new("RGB", (48, 32), "black")]
    return saved(halves(RED, BLUE), kind, save_all=True, append_images=others, duration=100)


def png(width: int, height: int, bits: int, kind: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """Write a PNG of a kind that Pillow does not write."""
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    made = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def tiff(bits: tuple[int, ...], photometric: int, strip: bytes, extra: int | None = None) -> bytes:
    """Write a TIFF of 48 x 32 pixels of a kind that Pillow does not write; `extra` says what the last sample is."""
    where = 8 + len(strip)
    shorts = struct.pack(f"<{len(bits)}H", *bits)
    entries = [
        (256, 3, 1, 48),
        (257, 3, 1, 32),
        (258, 3, len(bits), where if len(shorts) > 4 else int.from_bytes(shorts, "little")),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, 8),
        (277, 3, 1, len(bits)),
        (278, 3, 1, 32),
        (279, 4, 1, len(strip)),
        *([] if extra is None else [(338, 3, 1, extra)]),
    ]
    ifd = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return struct.pack("<2sHI", b"II", 42, where + len(shorts)) + strip + shorts + ifd


def strip(left: bytes, right: bytes) -> bytes:
    return (left * 24 + right * 24) * 32


def look(data: bytes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Decode and return the colours in the middle of the left and of the right half."""
    pixels = decode.decode(data, (8, 12)).pixels
    return tuple(pixels[4, 2].tolist()), tuple(pixels[4, 9].tolist())


def near(seen: tuple[int, ...], wanted: tuple[int, ...], distance: int = 6) -> bool:
    return max(abs(a - b) for a, b in zip(seen, wanted, strict=True)) <= distance


COLOURED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "jpeg": ("JPEG", lambda: saved(halves(RED, BLUE), "JPEG")),
    "progressive jpeg": ("JPEG", lambda: saved(halves(RED, BLUE), "JPEG", progressive=True)),
    "cmyk jpeg": ("JPEG", lambda: saved(halves(RED, BLUE).convert("CMYK"), "JPEG")),
    "many-picture jpeg": ("JPEG", lambda: animated("MPO")),
    "png": ("PNG", lambda: saved(halves(RED, BLUE), "PNG")),
    "palette png": ("PNG", lambda: saved(halves(RED, BLUE).quantize(4), "PNG")),
    "16-bit png": (
        "PNG",
        lambda: png(48, 32, 16, 2, (b"\0" + b"\xff\xff\0\0\0\0" * 24 + b"\0\0\0\0\xff\xff" * 24) * 32),
    ),
    "animated png": ("PNG", lambda: animated("PNG")),
    "webp": ("WEBP", lambda: saved(halves(RED, BLUE), "WEBP")),
    "lossless webp": ("WEBP", lambda: saved(halves(RED, BLUE), "WEBP", lossless=True)),
    "animated webp": ("WEBP", lambda: animated("WEBP")),
    "gif": ("GIF", lambda: saved(halves(RED, BLUE), "GIF")),
    "animated gif": ("GIF", lambda: animated("GIF")),
    "bmp": ("BMP", lambda: saved(halves(RED, BLUE), "BMP")),
    "palette bmp": ("BMP", lambda: saved(halves(RED, BLUE).quantize(4), "BMP")),
    "tiff": ("TIFF", lambda: saved(halves(RED, BLUE), "TIFF")),
    "lzw tiff": ("TIFF", lambda: saved(halves(RED, BLUE), "TIFF", compression="tiff_lzw")),
    "bigtiff": ("TIFF", lambda: saved(halves(RED, BLUE), "TIFF", big_tiff=True)),
    "cmyk tiff": ("TIFF", lambda: saved(halves(RED, BLUE).convert("CMYK"), "TIFF")),
    "lab tiff": ("TIFF", lambda: saved(halves(RED, BLUE).convert("LAB"), "TIFF")),
    "palette tiff": ("TIFF", lambda: saved(halves(RED, BLUE).quantize(4), "TIFF")),
    "16-bit tiff": ("TIFF", lambda: tiff((16,) * 3, 2, strip(b"\xff\xff\0\0\0\0", b"\0\0\0\0\xff\xff"))),
    "many-page tiff": ("TIFF", lambda: animated("TIFF")),
    "ppm": ("PPM", lambda: saved(halves(RED, BLUE), "PPM")),
    "plain ppm": ("PPM", lambda: b"P3\n# a comment\n2 1\n15\n15 0 0  0 0 15\n"),
    "16-bit ppm": ("PPM", lambda: b"P6 2 1 65535\n\xff\xff\0\0\0\0\0\0\0\0\xff\xff"),
    "avif": ("AVIF", lambda: saved(halves(RED, BLUE), "AVIF", quality=90)),
    "animated avif": ("AVIF", lambda: animated("AVIF")),
    "heic": ("HEIF", lambda: saved(halves(RED, BLUE), "HEIF", quality=90)),
}

GREY: dict[str, Callable[[], bytes]] = {  # black at the left, 200 of 255 at the right
    "jpeg": lambda: saved(halves(0, 200, "L"), "JPEG"),
    "png": lambda: saved(halves(0, 200, "L"), "PNG"),
    "webp": lambda: saved(halves(0, 200, "L"), "WEBP"),
    "gif": lambda: saved(halves(0, 200, "L"), "GIF"),
    "bmp": lambda: saved(halves(0, 200, "L"), "BMP"),
    "avif": lambda: saved(halves(0, 200, "L"), "AVIF"),
    "pgm": lambda: saved(halves(0, 200, "L"), "PPM"),
    "plain pgm": lambda: b"P2 2 1 255 0 200",
    "tiff": lambda: saved(halves(0, 200, "L"), "TIFF"),
    "tiff, white is 0": lambda: tiff((8,), 0, strip(b"\xff", b"\x37")),
    "16-bit png": lambda: saved(deep(0, 200 * 257, "uint16"), "PNG"),
    "16-bit pgm": lambda: saved(deep(0, 200 * 257, "uint16"), "PPM"),
    "16-bit tiff": lambda: saved(deep(0, 200 * 257, "uint16"), "TIFF"),
    "16-bit tiff, lzw": lambda: saved(deep(0, 200 * 257, "uint16"), "TIFF", compression="tiff_lzw"),
    "16-bit tiff, big-endian": lambda: saved(deep(0, 200 * 257, ">u2"), "TIFF"),
    "16-bit tiff, white is 0": lambda: tiff((16,), 0, strip(b"\xff\xff", b"\x37\x37")),
    "12-bit tiff": lambda: tiff((12,), 1, (b"\0\0\0" * 12 + b"\xc8\xcc\x8c" * 12) * 32),
    "32-bit tiff that 16 bits would hold": lambda: saved(deep(0, 200 * 257, "int32"), "TIFF"),
}

STRETCHED: dict[str, Callable[[], bytes]] = {  # what has no white of its own: from least to largest
    "32-bit integers": lambda: saved(deep(70_000, 2_000_000_000, "int32"), "TIFF"),
    "signed integers": lambda: saved(deep(-30_000, -3, "int32"), "TIFF"),
    "floats from 0 to 1": lambda: saved(deep(0, 1, "float32"), "TIFF"),
    "floats below 0": lambda: saved(deep(-7.5, -7.25, "float32"), "TIFF"),
    "huge floats": lambda: saved(deep(-3e38, 3e38, "float32"), "TIFF"),
    "an infinity": lambda: saved(deep(5, np.inf, "float32"), "TIFF"),
    "1-bit png": lambda: saved(halves(0, 1, "1"), "PNG"),
    "1-bit tiff": lambda: saved(halves(0, 1, "1"), "TIFF", compression="group4"),
    "pbm": lambda: saved(halves(0, 1, "1"), "PPM"),
    "plain pbm": lambda: b"P1 2 1 1 0",
}

TRANSPARENT: dict[str, tuple[tuple[int, ...], Callable[[], bytes]]] = {  # at the left; at the right the colour given
    "png": (BLUE, lambda: saved(clear(), "PNG")),
    "palette png": (BLUE, lambda: saved(clear().quantize(4), "PNG")),
    "png with a clear colour": (BLUE, lambda: saved(halves(RED, BLUE), "PNG", transparency=RED)),
    "png with a clear grey": (GREY_200, lambda: saved(halves(0, 200, "L"), "PNG", transparency=0)),
    "16-bit png with a clear grey": (GREY_200, lambda: saved(deep(0, 51400, "uint16"), "PNG", transparency=0)),
    "grey png": (GREY_200, lambda: saved(halves((0, 0), (200, 255), "LA"), "PNG")),
    "16-bit grey png": (
        GREY_200,
        lambda: png(48, 32, 16, 4, (b"\0" + b"\0\0\0\0" * 24 + b"\xc8\xc8\xff\xff" * 24) * 32),
    ),
    "webp": (BLUE, lambda: saved(clear(), "WEBP")),
    "gif": (BLUE, lambda: saved(clear(), "GIF")),
    "avif": (BLUE, lambda: saved(clear(), "AVIF", quality=90)),
    "heic": (BLUE, lambda: saved(clear(), "HEIF", quality=90)),
    "tiff": (BLUE, lambda: saved(clear(), "TIFF")),
    "grey tiff": (GREY_200, lambda: saved(halves((0, 0), (200, 255), "LA"), "TIFF")),
    "palette tiff": (BLUE, lambda: saved(clear().convert("PA"), "TIFF")),
    "premultiplied tiff": (BLUE, lambda: tiff((8,) * 4, 2, strip(b"\0\0\0\0", b"\0\0\xff\xff"), extra=1)),
    "premultiplied grey tiff": (GREY_200, lambda: tiff((8,) * 2, 1, strip(b"\0\0", b"\xc8\xff"), extra=1)),
}

NO_PICTURES = [
    b"",
    b"B",
    b"BM",
    b"BMW sells cars, and this is a text about them.",
    b"P1 is the first point on our list; P2 is the next.",
    b"P5",
    b"GIF images are described here",
    b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
    b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
    b"\0\0\0\x08ftyp",
    b"RIFF\x24\0\0\0WAVEfmt ",
    b"\xff\xd8",
    b"\0" * 64,
]
BRANDS = {
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic": "HEIF",
    b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf": "HEIF",
    b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf": "AVIF",
    b"\0\0\0\x18ftypavis\0\0\0\0avismsf1": "AVIF",
}

# -- identify ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COLOURED)
def test_a_picture_is_known_by_its_first_bytes(name: str) -> None:
    kind, make = COLOURED[name]
    assert formats.identified(make()[: formats.HEAD]).reader == kind


@pytest.mark.parametrize("head", BRANDS)
def test_the_relatives_of_heic_are_told_apart_by_their_brands(head: bytes) -> None:
    assert formats.identified(head).reader == BRANDS[head]


@pytest.mark.parametrize("data", NO_PICTURES, ids=repr)
def test_what_is_no_picture_is_not_taken_for_one(data: bytes) -> None:
    assert formats.identified(data) is None
    with pytest.raises(UnreadableImage, match="not a picture in a known format" if data else "empty file"):
        decode.decode(data, (8, 8))


@pytest.mark.parametrize(
    ("path", "promise"),
    [
        (b"a/b.JPG", True),
        (b"x.heic", True),
        (b"\xff.tif", True),
        (b"a.jpg/b", False),
        (b"jpg", False),
        (b"a.mp4", False),
    ],
)
def test_some_names_promise_a_picture(path: bytes, promise: bool) -> None:
    assert formats.promises_picture(path) is promise


# -- decode -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COLOURED)
def test_colours_are_right(name: str) -> None:
    kind, make = COLOURED[name]
    left, right = look(make())
    assert near(left, RED, 24), left  # blue is none of the colours that Lab holds in 8 bits
    assert near(right, BLUE, 24), right
    assert decode.decode(make(), (8, 12)).format == kind


@pytest.mark.parametrize("name", GREY)
def test_greys_are_right(name: str) -> None:
    left, right = look(GREY[name]())
    assert near(left, (0, 0, 0), 2), left
    assert near(right, GREY_200, 2), right


@pytest.mark.parametrize("name", STRETCHED)
def test_greys_without_a_scale_are_stretched_from_least_to_largest(name: str) -> None:
    assert look(STRETCHED[name]()) == ((0, 0, 0), WHITE)


@pytest.mark.parametrize("name", TRANSPARENT)
def test_what_is_transparent_is_white(name: str) -> None:
    right, make = TRANSPARENT[name]
    seen = look(make())
    assert near(seen[0], WHITE), seen
    assert near(seen[1], right), seen


def test_what_is_half_transparent_is_mixed_with_white() -> None:
    assert look(saved(halves((255, 0, 0, 128), (0, 0, 255, 0), "RGBA"), "PNG")) == ((255, 127, 127), WHITE)


def test_a_picture_comes_with_its_facts_and_at_the_size_asked() -> None:
    decoded = decode.decode(saved(halves(RED, BLUE), "PNG"), (5, 9))
    assert (decoded.width, decoded.height, decoded.format, decoded.metadata.taken) == (48, 32, "PNG", None)
    assert (decoded.pixels.shape, decoded.pixels.dtype) == ((5, 9, 3), np.uint8)
    assert decoded.pixels.flags.c_contiguous


def test_the_whole_picture_is_squashed_with_an_antialiased_filter() -> None:
    stripes = Image.fromarray(np.tile(np.uint8([[[0] * 3, [255] * 3]]), (64, 64, 1)))
    pixels = decode.decode(saved(stripes, "PNG"), (4, 4)).pixels
    assert np.abs(pixels.astype(int) - 128).max() <= 2
    plain = stripes.resize((4, 4), Image.Resampling.BILINEAR, reducing_gap=fitting.GAP)
    assert np.array_equal(pixels, np.asarray(plain))


def scenery(width: int, height: int) -> Image.Image:
    """Smooth colours with an edge, which differ in all four corners."""
    y, x = np.mgrid[0:height, 0:width]
    channels = (255 * x / width, 255 * y / height, np.where(x > 0.6 * width, 220, 40))
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(1601, 1203), (1203, 1601), (448, 224), (447, 900), (225, 8000)])
def test_a_jpeg_that_is_decoded_small_is_the_same_picture(size: tuple[int, int], orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = saved(scenery(*size), "JPEG", quality=95, exif=exif)
    decoded = decode.decode(data, (224, 160))
    whole = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert (decoded.width, decoded.height) == whole.size
    plain = np.asarray(whole.resize((160, 224), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decoded.pixels - plain).mean() < 2


def test_a_large_picture_shrinks_in_two_steps_to_nearly_the_same() -> None:
    plain = np.asarray(scenery(3001, 2003).resize((224, 224), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decode.fit(scenery(3001, 2003), (224, 224)) - plain).mean() < 1


@pytest.mark.parametrize(("width", "height"), [(4000, 3000), (3000, 4000)])
def test_a_jpeg_is_decoded_no_smaller_than_is_asked(width: int, height: int) -> None:
    with Image.open(io.BytesIO(saved(Image.new("RGB", (width, height)), "JPEG"))) as image:
        assert decode._reduced(image, (224, 224)) == (width, height)
        assert 224 <= min(image.size) < 448


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_the_thinnest_picture_is_one(size: tuple[int, int]) -> None:
    assert (decode.decode(saved(Image.new("RGB", size, RED), "PNG"), (4, 4)).pixels == RED).all()


MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV",
         "I;16", "I;16B", "I", "F"]  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_an_image_of_any_mode_fits(mode: str) -> None:
    pixels = decode.fit(Image.new(mode, (20, 10)), (4, 6))
    assert (pixels.shape, pixels.dtype) == ((4, 6, 3), np.uint8)


def test_many_threads_decode_at_once() -> None:
    data = [make() for kind, make in COLOURED.values() if kind != "HEIF"]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(look, data * 4)) == [look(each) for each in data] * 4


# -- EXIF -------------------------------------------------------------------------------------------------------------

UNDO = dict(enumerate([None, 0, 3, 1, 5, 2, 6, 4], start=1))  # EXIF orientation -> the transposition it undoes
LOSSLESS = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}
LOSSY = {"JPEG": {"quality": 95}, "AVIF": {"quality": 95}, "HEIF": {"quality": 95}}
ORIENTED = [(kind, orientation) for kind in LOSSLESS | LOSSY for orientation in range(1, 9)]


def exif(**tags: object) -> Image.Exif:
    made = Image.Exif()
    numbers = {"orientation": 0x0112, "changed": 0x0132}
    for name, value in tags.items():
        if name == "taken":
            made.get_ifd(0x8769)[0x9003] = value
        else:
            made[numbers[name]] = value
    return made


def quarters() -> Image.Image:
    """Draw a picture that no turn or flip leaves as it is."""
    image = halves(RED, BLUE)
    image.paste("lime", (0, 16, 24, 32))
    return image


@pytest.mark.parametrize(("kind", "orientation"), ORIENTED)
def test_every_orientation_gives_the_same_picture(kind: str, orientation: int) -> None:
    turned = quarters() if orientation == 1 else quarters().transpose(Image.Transpose(UNDO[orientation]))
    decoded = decode.decode(
        saved(turned, kind, exif=exif(orientation=orientation).tobytes(), **(LOSSLESS | LOSSY)[kind]), (32, 48)
    )
    assert (decoded.width, decoded.height) == (48, 32)
    difference = np.abs(decoded.pixels.astype(int) - np.asarray(quarters()))
    assert difference.mean() < (6 if kind in LOSSY else 0.001)


def test_an_image_in_memory_is_turned_upright_and_left_as_it_is() -> None:
    image = Image.open(io.BytesIO(saved(halves(RED, BLUE), "JPEG", exif=exif(orientation=6))))
    assert decode.upright(image).size == (32, 48)
    assert image.size == (48, 32)


def test_broken_exif_does_not_hinder_the_turn() -> None:
    """`ImageOps.exif_transpose` gives up here: it cannot write the tag 0x0142, a number, that holds a text."""
    broken = exif(orientation=6, changed="2026:01:02 03:04:05").tobytes().replace(b"\x01\x32", b"\x01\x42")
    decoded = decode.decode(saved(halves(RED, BLUE), "JPEG", exif=broken), (8, 8))
    assert (decoded.width, decoded.height) == (32, 48)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_broken_exif_does_not_make_a_picture_unreadable(kind: str) -> None:
    whole = exif(orientation=6, changed="2026:01:02 03:04:05", taken="2025:01:02 03:04:05").tobytes()
    for broken in [*mutations(whole[6:], 60), b"", b"II", b"MM\0*\xff\xff\xff\xff"]:
        decoded = decode.decode(saved(halves(RED, BLUE), kind, exif=b"Exif\0\0" + broken), (8, 12))
        assert {decoded.width, decoded.height} == {48, 32}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_the_day_it_was_taken_is_kept(kind: str) -> None:
    tags = exif(taken="2025:06:07 08:09:10", changed="2026:01:02 03:04:05")
    assert (
        decode.decode(saved(halves(RED, BLUE), kind, exif=tags.tobytes()), (8, 8)).metadata.taken
        == "2025-06-07T08:09:10"
    )


@pytest.mark.parametrize(
    ("tags", "taken"),
    [
        ({"changed": "2026:01:02 03:04:05"}, "2026-01-02T03:04:05"),
        ({"taken": "2025:06:07 08:09:10\0"}, "2025-06-07T08:09:10"),
        ({"taken": "0000:00:00 00:00:00"}, None),
        ({"taken": "    :  :     :  :  "}, None),
        ({"taken": "yesterday"}, None),
        ({"orientation": 1}, None),
    ],
)
def test_a_date_that_is_none_is_not_kept(tags: dict[str, object], taken: str | None) -> None:
    assert decode.decode(saved(halves(RED, BLUE), "JPEG", exif=exif(**tags)), (8, 8)).metadata.taken == taken


# -- hostile input ----------------------------------------------------------------------------------------------------

SIZE = struct.pack("<II", 50_000, 50_000)
BOMBS = {
    "png": png(50_000, 50_000, 8, 2, b"\0" * 1000),
    "bmp": b"BM"
    + struct.pack("<IIIIIIHHIIIIII", 1000, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 900, 0, 0, 0, 0)
    + bytes(900),
    "gif": b"GIF89a" + struct.pack("<HHBBB", 50_000, 50_000, 0, 0, 0) + b",\0\0\0\0\x01\0\x01\0\0\2\2D\1\0;",
    "tiff": tiff((8,), 1, strip(b"\0", b"\0")).replace(
        struct.pack("<HHII", 256, 3, 1, 48) + struct.pack("<HHII", 257, 3, 1, 32),
        struct.pack("<HHII", 256, 3, 1, 50_000) + struct.pack("<HHII", 257, 3, 1, 50_000),
    ),
    "ppm": b"P5 50000 50000 255\n" + bytes(1000),
}


@pytest.mark.parametrize("pillow", [Image.MAX_IMAGE_PIXELS, None], ids=["Pillow's limit", "no limit of Pillow's"])
@pytest.mark.parametrize("name", BOMBS)
def test_too_many_pixels_are_refused_before_decoding(
    name: str, pillow: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow)
    before = largest_size()
    with pytest.raises(UnreadableImage, match="larger than the limit of 178 megapixels"):
        decode.decode(BOMBS[name], (8, 8))
    assert largest_size() - before < 100e6  # the pixels would take 2.5e9


def largest_size() -> int:
    """Return how many bytes this process has had in memory at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def mutations(data: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Damage `data` in as many ways: cut off, flipped bits, bytes overwritten, rubbish after the first bytes."""
    rng = random.Random(seed)
    for number in range(count):
        damaged = bytearray(data)
        if number % 4 == 0:
            del damaged[rng.randrange(len(data)) :]
        elif number % 4 == 1:
            for _ in range(rng.choice([1, 1, 2, 5, 20])):
                damaged[rng.randrange(rng.choice([len(data), min(len(data), 400)]))] ^= 1 << rng.randrange(8)
        elif number % 4 == 2:
            start = rng.randrange(len(data))
            damaged[start : start + 20] = rng.randbytes(len(damaged[start : start + 20]))
        else:
            damaged[rng.choice([4, 8, 12, 16, 32]) :] = rng.randbytes(200)
        yield bytes(damaged)


def reason(data: bytes) -> str | None:
    """Decode and return why `data` is unreadable, None if it is not; any error but the promised one goes through."""
    try:
        decoded = decode.decode(data, (8, 8))
    except UnreadableImage as error:
        return str(error)
    assert decoded.pixels.shape == (8, 8, 3)
    return None


pillow_warns = pytest.mark.filterwarnings(  # pytest puts its own filters in front of those of `images`
    "ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning"
)


DAMAGED = {name: make for name, (_, make) in COLOURED.items()} | {
    f"grey {name}": make for name, make in (GREY | STRETCHED).items()
}


@pillow_warns
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_picture_is_readable_or_unreadable_and_nothing_else(name: str) -> None:
    reasons = [reason(damaged) for damaged in mutations(DAMAGED[name](), 100)]
    assert any(reasons)
    assert not any(" at 0x" in (each or "") for each in reasons)  # an address in memory


HEADS = [saved(halves(RED, BLUE), kind)[:12] for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM")]


@pillow_warns
@settings(max_examples=200, deadline=None)
@given(st.sampled_from([*HEADS, *BRANDS]), st.binary(max_size=200))
def test_rubbish_behind_the_right_first_bytes_is_unreadable_at_worst(head: bytes, rest: bytes) -> None:
    reason(head + rest)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "AVIF", "HEIF"])
def test_half_a_picture_is_unreadable(kind: str) -> None:
    whole = saved(Image.effect_noise((64, 64), 100).convert("RGB"), kind)
    assert (reason(whole[: len(whole) // 2]) or "").startswith(f"damaged {kind}: ")


def test_files_with_the_same_trouble_have_the_same_reason() -> None:
    whole = saved(Image.effect_noise((64, 64), 100), "BMP")
    assert reason(whole[:2000]) == reason(whole[:3000]) == "damaged BMP: it ends too early"
    assert reason(HEADS[1] + bytes(9)) == reason(HEADS[1] + b"x" * 99) == "damaged PNG: its header cannot be read"


def test_nothing_is_printed_about_damaged_files(tmp_path: Path) -> None:
    """In a process of its own, because pytest catches warnings, and libtiff writes to the descriptor."""
    whole = saved(Image.effect_noise((64, 64), 100), "TIFF", compression="tiff_lzw")
    many_samples = tiff((8,), 1, strip(b"\0", b"\0")).replace(
        struct.pack("<HHII", 277, 3, 1, 1), struct.pack("<HHII", 277, 4, 1, 99_999)
    )
    for number, data in enumerate([*mutations(whole, 40), many_samples, png(12_000, 10_000, 1, 0, b"")]):
        put(tmp_path / str(number), data)
    put(tmp_path / ".retrievalignore", b"[[:digit:]]\n")
    code = """if True:
        import os, sys
        from retrieval.errors import UnreadableImage
        from retrieval.pictures import decode, scan
        unreadable = 0
        for found in scan.find(os.fsencode(sys.argv[1])):
            with open(os.path.join(os.fsencode(sys.argv[1]), found.path), "rb") as file:
                try:
                    decode.decode(file.read(), (8, 8))
                except UnreadableImage:
                    unreadable += 1
        assert unreadable > 10
    """
    child = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert (child.stdout, child.stderr) == ("", "")


# -- the shared pictures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "size"),
    [
        ("Iggy.1024.ppm", "PPM", (1024, 1024)),
        ("baboon.pgm", "PPM", (512, 512)),
        ("copyleft.tiff", "TIFF", (220, 220)),
        ("giphy.gif", "GIF", (314, 400)),
        ("marbles.pbm", "PPM", (1152, 813)),
        ("ukbench09380.bmp", "JPEG", (640, 480)),
        ("ukbench09380.jpeg", "JPEG", (640, 480)),
        ("ukbench09380.png", "JPEG", (640, 480)),
        ("ukbench09380.svg", "JPEG", (640, 480)),
        ("ukbench09380.webp", "WEBP", (640, 480)),
    ],
)
def test_the_shared_files_of_many_formats(
    shared: Callable[[str], Path], name: str, kind: str, size: tuple[int, int]
) -> None:
    data = shared(f"images/near-duplicates/formats_images/{name}").read_bytes()
    decoded = decode.decode(data, (64, 64))
    assert (decoded.format, decoded.width, decoded.height) == (kind, *size)
    assert decoded.pixels.std() > 20


@pytest.mark.parametrize("series", ["Landscape", "Portrait"])
def test_the_shared_pictures_in_eight_orientations_look_alike(shared: Callable[[str], Path], series: str) -> None:
    folder = shared("images/exif-orientation")
    first, *others = (decode.decode((folder / f"{series}_{n}.jpg").read_bytes(), (224, 224)) for n in range(1, 9))
    for other in others:
        assert (other.width, other.height) == (first.width, first.height)
        assert np.abs(other.pixels.astype(int) - first.pixels).mean() < 3
