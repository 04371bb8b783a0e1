"""Which formats are read, which are counted, and what is said of them."""

import importlib.metadata
import io
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from retrieval import Index, UnreadableImage
from retrieval.pictures import camera, decode, formats, jxl, limits, quirks
from retrieval.process import memory
from retrieval.searching.options import SearchOptions
from tests.cameras import dng
from tests.fakes import picture, put
from tests.pictures.test_decode import BOMBS, largest_size, mutations, pillow_warns, reason

SIZE = (48, 64)  # height and width


def scene(width: int = 96, height: int = 64) -> Image.Image:
    """Draw a picture that no turn or flip leaves as it is, of colours that every format holds."""
    image = Image.new("RGB", (width, height), (200, 60, 40))
    image.paste((40, 80, 200), (width // 2, 0, width, height))
    image.paste((60, 180, 60), (0, height // 2, width // 2, height))
    image.paste((240, 230, 200), (width // 8, height // 8, width // 4, height // 3))
    return image


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def likeness(data: bytes, plain: Image.Image, path: bytes | None = None) -> float:
    """Return the cosine between the pixels, less grey, of a file and of the picture that it should show."""
    seen, wanted = decode.decode(data, SIZE, path=path).pixels.astype(float) - 128, decode.fit(plain, SIZE) - 128.0
    return float((seen * wanted).sum() / np.sqrt((seen**2).sum() * (wanted**2).sum()))


def tga(depth: int, flags: int, rows: bytes, kind: int = 2) -> bytes:
    return struct.pack("<BBB5xHHHHBB", 0, 0, kind, 0, 0, 96, 64, depth, flags) + rows


def pixels(image: Image.Image, order: str) -> bytes:
    return image.tobytes("raw", order)


def photoshop(image: Image.Image, layers: int | None = None, *more: int, mode: int = 3, depth: int = 8) -> bytes:
    """Write the composite picture of Photoshop's, with further channels of one value each."""
    head = struct.pack(
        ">4sH6xHIIHH", b"8BPS", 1, len(image.getbands()) + len(more), image.height, image.width, depth, mode
    )
    section = b"" if layers is None else struct.pack(">Ihxx", 4, layers)
    channels = [band.tobytes() for band in image.split()] + [
        bytes([value]) * image.width * image.height for value in more
    ]
    return head + bytes(8) + struct.pack(">I", len(section)) + section + bytes(2) + b"".join(channels)


def icons(kind: int, *entries: tuple[int, int, bytes]) -> bytes:
    """Write an icon or a cursor of pictures, each with a side and a number of bits a pixel."""
    head, body, at = struct.pack("<HHH", 0, kind, len(entries)), b"", 6 + 16 * len(entries)
    for side, bits, data in entries:
        words = (1, bits) if kind == 1 else (side // 2, 0)
        head += struct.pack("<BBBBHHII", side, side, 0, 0, *words, len(data), at + len(body))
        body += data
    return head + body


def doubled(image: Image.Image) -> bytes:
    """Return a bitmap as icons hold it: with a mask below, in which all is seen."""
    data = saved(image, "DIB")
    return (
        data[:8]
        + struct.pack("<i", 2 * image.height)
        + data[12:]
        + bytes(image.height * ((image.width + 31) // 32 * 4))
    )


def pixmap(image: Image.Image) -> bytes:
    rows = [[image.getpixel((x, y)) for x in range(image.width)] for y in range(image.height)]
    names = {colour: chr(97 + n) for n, colour in enumerate(sorted({colour for row in rows for colour in row}))}
    lines = [f"{image.width} {image.height} {len(names)} 1"]
    lines += [f"{name} c #{r:02x}{g:02x}{b:02x}" for (r, g, b), name in names.items()]
    lines += ["".join(names[colour] for colour in row) for row in rows]
    return ("/* XPM */\nstatic char *x[] = {\n" + ",\n".join(f'"{line}"' for line in lines) + "};\n").encode()


def square() -> Image.Image:
    return scene(64, 64)


def black() -> Image.Image:
    return Image.new("1", (64, 64))


def inks() -> Image.Image:
    """Draw as Photoshop keeps inks: 255 is none."""
    return Image.eval(scene().convert("CMYK"), lambda value: 255 - value)


def pale() -> Image.Image:
    """Draw a quarter of the picture, over white."""
    return Image.blend(Image.new("RGB", (96, 64), "white"), scene(), 64 / 255)


FLOATS = np.float32(np.asarray(scene().convert("L"))) / 255
READ: dict[str, tuple[str, Callable[[], bytes], Callable[[], Image.Image]]] = {
    "jp2": ("JPEG2000", lambda: saved(scene(), "JPEG2000"), scene),
    "j2k": ("JPEG2000", lambda: saved(scene(), "JPEG2000", no_jp2=True), scene),
    "grey.jp2": ("JPEG2000", lambda: saved(scene().convert("L"), "JPEG2000"), lambda: scene().convert("L")),
    "psd": ("PSD", lambda: photoshop(scene()), scene),
    "cmyk.psd": ("PSD", lambda: photoshop(inks(), mode=4), lambda: scene().convert("CMYK")),
    "selection.psd": ("PSD", lambda: photoshop(scene(), None, 0), scene),
    "layers-and-selection.psd": ("PSD", lambda: photoshop(scene(), 2, 0), scene),
    "transparent.psd": ("PSD", lambda: photoshop(scene(), -2, 64), pale),
    "ico": ("ICO", lambda: saved(square(), "ICO", sizes=[(16, 16), (64, 64)]), square),
    "bmp.ico": ("ICO", lambda: saved(square(), "ICO", sizes=[(16, 16), (64, 64)], bitmap_format="bmp"), square),
    "depths.ico": ("ICO", lambda: icons(1, (64, 1, doubled(black())), (64, 24, doubled(square()))), square),
    "cur": ("CUR", lambda: icons(2, (32, 0, doubled(scene(32, 32))), (64, 0, doubled(square()))), square),
    "icns": ("ICNS", lambda: saved(scene(1024, 1024), "ICNS"), lambda: scene(1024, 1024)),
    "tga": ("TGA", lambda: saved(scene(), "TGA"), scene),
    "packed.tga": ("TGA", lambda: saved(scene(), "TGA", compression="tga_rle"), scene),
    "palette.tga": ("TGA", lambda: saved(scene().quantize(16), "TGA"), scene),
    "grey.tga": ("TGA", lambda: saved(scene().convert("L"), "TGA"), lambda: scene().convert("L")),
    "from below.tga": ("TGA", lambda: tga(24, 0, pixels(ImageOps.flip(scene()), "BGR")), scene),
    "from the right.tga": ("TGA", lambda: tga(24, 0x30, pixels(ImageOps.mirror(scene()), "BGR")), scene),
    "from below and the right.tga": ("TGA", lambda: tga(24, 0x10, pixels(scene().rotate(180), "BGR")), scene),
    "qoi": ("QOI", lambda: saved(scene(), "QOI"), scene),
    "dds": ("DDS", lambda: saved(scene(), "DDS"), scene),
    "alpha.dds": ("DDS", lambda: saved(scene().convert("RGBA"), "DDS"), scene),
    "dxt5.dds": ("DDS", lambda: saved(scene(), "DDS", pixel_format="DXT5"), scene),
    "pcx": ("PCX", lambda: saved(scene(), "PCX"), scene),
    "palette.pcx": ("PCX", lambda: saved(scene().quantize(16), "PCX"), scene),
    "sgi": ("SGI", lambda: saved(scene(), "SGI"), scene),
    "dib": ("DIB", lambda: saved(scene(), "DIB"), scene),
    "blp": ("BLP", lambda: saved(scene().quantize(16), "BLP"), scene),
    "xpm": ("XPM", lambda: pixmap(scene()), scene),
    "xbm": ("XBM", lambda: saved(scene().convert("1"), "XBM"), lambda: scene().convert("1")),
    "msp": ("MSP", lambda: saved(scene().convert("1"), "MSP"), lambda: scene().convert("1")),
    "pfm": ("PPM", lambda: saved(Image.fromarray(FLOATS), "PPM"), lambda: Image.fromarray(FLOATS)),
    "jfif": ("JPEG", lambda: saved(scene(), "JPEG", quality=95), scene),
    "mpo": ("JPEG", lambda: saved(scene(), "MPO", quality=95, save_all=True, append_images=[square()]), scene),
}  # fmt: skip
"""File name -> the format it is kept as, the file and the picture in it."""


@pytest.mark.parametrize("name", READ)
def test_a_picture_of_each_format_is_upright_and_of_the_right_colours(name: str) -> None:
    kind, make, plain = READ[name]
    path = f"folder/a.{name}".encode()
    decoded = decode.decode(make(), SIZE, path=path)
    assert (decoded.format, (decoded.width, decoded.height)) == (kind, plain().size)
    assert likeness(make(), plain(), path) >= 0.98
    assert likeness(make(), plain()) >= 0.98  # as bytes that have no name


@pytest.mark.parametrize("name", READ)
def test_a_picture_is_found_below_a_name_of_another_format(name: str) -> None:
    assert formats.readable(READ[name][1]()[: formats.HEAD], b"a.png") is not None


# -- what is not read is counted --------------------------------------------------------------------------------------

INKSCAPE = b'<?xml version="1.0" encoding="UTF-8"?>\n<!-- Created with a program -->\n\n<svg width="1"/>'
ZIP_HEAD = b"PK\3\4\x14\0\0\0\0\0" + bytes(12) + struct.pack("<IHH", 0, 8, 0)
UNREAD = {  # what such a file begins with, whatever its name
    "SVG": [b"<svg xmlns='x'/>", INKSCAPE, b'\xef\xbb\xbf  <!DOCTYPE svg PUBLIC "x">', b"<!-- a --><!-- b --><svg>"],
    "EPS": [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\xc5\xd0\xd3\xc6" + bytes(26)],
    "WMF": [b"\xd7\xcd\xc6\x9a" + bytes(18), b"\1\0\x09\0\0\3" + bytes(20)],
    "EMF": [b"\1\0\0\0" + bytes(36) + b" EMF\0\0\1\0"],
    "Photoshop of large size (PSB)": [b"8BPS\0\2" + bytes(6) + b"\0\3\0\0\0\1\0\0\0\1\0\x08\0\3"],
    "Photoshop of 16 or 32 bits a channel": [photoshop(scene(), depth=16)],
    "GIMP (XCF)": [b"gimp xcf v011\0"],
    "Krita": [ZIP_HEAD + b"mimetypeapplication/x-krita"],
    "OpenRaster": [ZIP_HEAD + b"mimetypeimage/openraster"],
    "OpenEXR": [b"\x76\x2f\x31\1\2\0\0\0"],
    "Radiance HDR": [b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n", b"#?RGBE\n"],
    "DjVu": [b"AT&TFORM\0\0\1\0DJVUINFO", b"AT&TFORM\0\0\1\0DJVMDIRM"],
    "DICOM": [bytes(128) + b"DICM\2\0"],
    "FITS": [b"SIMPLE  =                    T"],
    "JPEG XR": [b"II\xbc\1\x20\0\0\0"],
    "JPEG-LS": [b"\xff\xd8\xff\xf7\0\x0b\x08"],
    "PNG of Xcode": [b"\x89PNG\r\n\x1a\n\0\0\0\4CgBIP\0\x20\2"],
    "PAM": [b"P7\nWIDTH 4\nHEIGHT 4\n"],
    "PFM in colour": [b"PF\n4 4\n-1.0\n"],
    "Amiga IFF": [b"FORM\0\0\1\0ILBMBMHD"],
    "BPG": [b"BPG\xfb\x20"],
    "CorelDRAW": [b"RIFF\0\0\1\0CDRAvrsn"],
}
CALLED = {  # names that tell where bytes do not
    "Adobe Illustrator": (b"logo.AI", b"%PDF-1.5\n"),
    "SVG": (b"logo.svg", b"a text that is called a drawing"),
    "EPS": (b"logo.eps", b"%!PS\n"),
    "Procreate": (b"a.procreate", ZIP_HEAD),
    "PICT": (b"a.pict", bytes(600)),
    "GIMP (XCF)": (b"a.xcf", b"rubbish"),
}
NO_PICTURES = {
    b"film.mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
    b"film.mov": b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
    b"film.avi": b"RIFF\0\0\1\0AVI LIST",
    b"song.mp3": b"ID3\3\0\0\0\0",
    b"text.txt": b"BMP, PNG and TGA are formats; P6 2 is none. " * 20,
    b"page.html": b"<!DOCTYPE html><html><svg/></html>",
    b"paper.pdf": b"%PDF-1.7\n",
    b"letter.ps": b"%!PS-Adobe-3.0\n%%Pages: 9\n",
    b"part.c": b"#define SCREEN_WIDTH 640\n#define SCREEN_HEIGHT 480\n",
    b"font.ttf": b"\0\1\0\0\0\x0c\0\x80\0\3\0\x40",
    b"data.npy": b"\x93NUMPY\1\0",
    b"zeros": bytes(600),
    b"disk.raw": bytes(600),
    b"points.pcd": b"# .PCD v0.7 - a cloud of points\n",
    b"comments.xml": b"<!--" + b"-->" * 150,
    b"empty": b"",
    b"listener.ora": b"LISTENER = (DESCRIPTION = x)",
    b"board.gbr": b"G04 a board*\n%FSLAX46Y46*%",
    b"archive.zip": ZIP_HEAD + b"word/document.xml",
    b"state.bin": b"\0\0\2\0\0\0\0\0\0\0\0\0\x10\0\x10\0\x18\0",  # begins as a TGA does, and nobody calls it a picture
}


@pytest.mark.parametrize("name", UNREAD)
@pytest.mark.parametrize("path", [None, b"a.png", b"a.bin"])
def test_what_is_not_read_is_told_by_its_first_bytes(name: str, path: bytes | None) -> None:
    for data in UNREAD[name]:
        with pytest.raises(UnreadableImage) as caught:
            formats.readable(data[: formats.HEAD], path)
        assert str(caught.value) == f"unsupported format: {name}"


@pytest.mark.parametrize("name", CALLED)
def test_what_is_not_read_is_told_by_its_name(name: str) -> None:
    path, data = CALLED[name]
    with pytest.raises(UnreadableImage, match=re.escape(f"unsupported format: {name}")):
        formats.readable(data, path)


@pytest.mark.parametrize("path", NO_PICTURES, ids=repr)
def test_films_texts_and_the_like_are_no_pictures(path: bytes) -> None:
    assert formats.readable(NO_PICTURES[path][: formats.HEAD], path) is None


def test_no_extension_belongs_to_two_formats() -> None:
    names = [name for form in formats.FORMATS for name in form.names.split()]
    assert len(names) == len(set(names))
    assert all(name.startswith(".") and name.islower() for name in names)


def test_a_folder_is_read_or_counted_and_a_query_says_why(index: Index, tmp_path: Path) -> None:
    """Nothing that is a picture, or called one, is passed over in silence."""
    photos = tmp_path / "photos"
    for name in ("jp2", "psd", "ico", "tga", "pcx", "qoi"):
        put(photos / f"a.{name}", READ[name][1]())
    for number, name in enumerate(["SVG", "EPS", "OpenEXR", "SVG"]):
        put(photos / f"{number}.bin", UNREAD[name][number % 2 if name == "SVG" else 0] + b"%d" % number)
    put(photos / "no.tga", b"a text" * 100)
    for path, data in NO_PICTURES.items():
        put(bytes(photos) + b"/" + path, data)
    report = index.add(photos)
    assert (report.added, report.unreadable) == (6, 5)
    assert report.reasons == {
        "unsupported format: SVG": 2,
        "unsupported format: EPS": 1,
        "unsupported format: OpenEXR": 1,
        formats.UNKNOWN: 1,
    }
    assert index.search(photos / "a.tga", k=1, options=SearchOptions(include_self=True))[0].score > 0.999
    with pytest.raises(UnreadableImage, match=r"0\.bin cannot be used: unsupported format: SVG$"):
        index.search(photos / "0.bin")


def test_what_was_no_picture_by_an_older_table_is_looked_at_again(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    put(photos / "a.jp2", READ["jp2"][1]())
    put(photos / "notes.txt", b"a text")
    with monkeypatch.context() as older:
        older.setattr(formats, "readable", lambda head, path: None)
        older.setattr(formats, "table", lambda: "older")
        assert index.add(photos).added == 0
    looked: list[bytes] = []
    readable = formats.readable
    monkeypatch.setattr(formats, "readable", lambda head, path: looked.append(path) or readable(head, path))
    assert index.add(photos).added == 1
    assert set(looked) == {b"a.jp2", b"notes.txt"}
    looked.clear()
    assert index.add(photos).unchanged == 1
    assert looked == []


# -- extras -----------------------------------------------------------------------------------------------------------

MODULES = {"heif": "pillow_heif", "jxl": "pillow_jxl", "raw": "rawpy"}
BEGINS = {
    "heif": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIF"),
    "jxl": (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    "raw": (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "camera RAW"),
}


@pytest.fixture(params=MODULES)
def without(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take an extra away, and name it."""
    monkeypatch.setitem(sys.modules, MODULES[request.param], None)
    monkeypatch.setattr(formats, "available", formats.available.__wrapped__)
    return request.param


def test_without_its_extra_a_picture_is_unreadable_and_says_how_to_change_that(without: str) -> None:
    data, name = BEGINS[without]
    with pytest.raises(UnreadableImage) as caught:
        decode.decode(data + bytes(500), SIZE)
    assert str(caught.value) == f"unsupported format: {name}; to read it: pip install 'retrieval[{without}]'"


def test_failures_are_tried_again_when_an_extra_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    before, found = formats.reader(), importlib.metadata.version
    for package in ("pillow", *formats.PACKAGES.values()):
        monkeypatch.setattr(
            importlib.metadata, "version", lambda name, new=package: "0" if name == new else found(name)
        )
        assert formats.reader() != before


# -- JPEG XL ----------------------------------------------------------------------------------------------------------


def xl(image: Image.Image, **options: object) -> bytes:
    pytest.importorskip("pillow_jxl", reason="the extra `jxl` is not installed")
    return saved(image, "JXL", **{"lossless": True, **options})


@pytest.mark.parametrize("container", [False, True])
def test_jpeg_xl_is_read(container: bool) -> None:
    data = xl(scene(), use_container=container)
    decoded = decode.decode(data, SIZE)
    assert (decoded.format, decoded.width, decoded.height) == ("JXL", 96, 64)
    assert likeness(data, scene()) > 0.9999
    assert likeness(data, scene(), b"a.jpg") > 0.9999


@pytest.mark.parametrize(
    "size", [(1, 1), (8, 8), (256, 256), (264, 264), (640, 480), (1200, 1000), (513, 9), (3, 9000)]
)
@pytest.mark.parametrize("container", [False, True])
def test_the_size_of_a_jpeg_xl_is_told_before_it_is_decoded(size: tuple[int, int], container: bool) -> None:
    assert jxl.size(xl(Image.new("RGB", size), use_container=container)) == size


def test_a_jpeg_xl_of_too_many_pixels_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pillow_jxl", reason="the extra `jxl` is not installed")
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it was opened"))
    side = 50_000 - 1
    bits = 0 | 2 << 1 | side << 3 | 1 << 21  # not small; 18 bits of height; as wide as high
    with pytest.raises(UnreadableImage, match=limits.TOO_MANY_PIXELS):
        decode.decode(b"\xff\x0a" + bits.to_bytes(4, "little") + bytes(100), SIZE)


def exif(orientation: int) -> bytes:
    made = Image.Exif()
    made[ExifTags.Base.Orientation] = orientation
    return made.tobytes()


def test_the_orientation_in_the_exif_of_a_jpeg_xl_is_not_heeded_twice() -> None:
    """The codestream has an orientation of its own, which the decoder heeds; EXIF is for information only."""
    assert likeness(xl(scene(), exif=exif(6)), scene()) > 0.9999


@pytest.mark.filterwarnings("ignore:Using JPEG reconstruction")
def test_a_jpeg_packed_in_a_jpeg_xl_is_upright(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg", saved(scene().transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=exif(6)))
    with Image.open(tmp_path / "a.jpg") as image:
        assert likeness(xl(image, lossless_jpeg=True), scene()) > 0.98


# -- RAW files of cameras ---------------------------------------------------------------------------------------------

needs_raw = pytest.mark.skipif(not formats.available("raw"), reason="the extra `raw` is not installed")
TURNED = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}


@needs_raw
@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("preview", ["none", "of full size", "too small", "turned already", "with black bars"])
def test_a_camera_s_raw_file_is_upright_and_of_the_right_colours(preview: str, orientation: int) -> None:
    plain = scene(640, 480)
    turn = TURNED[orientation]
    upright = plain if turn is None else plain.transpose(turn)
    if preview == "turned already" and upright.size == plain.size:
        pytest.skip("nobody could tell")
    shown = {
        "none": None,
        "of full size": plain,
        "too small": Image.new("RGB", (32, 24), "black"),
        "turned already": upright,
        "with black bars": Image.new("RGB", (640, 640), "black"),
    }[preview]
    data = dng(plain, orientation, shown)
    decoded = decode.decode(data, SIZE)
    assert (decoded.format, decoded.metadata.taken) == ("RAW", "2024-05-06T07:08:09")
    assert (decoded.width, decoded.height) == upright.size
    assert likeness(data, upright) >= (0.95 if preview in {"none", "too small", "with black bars"} else 0.999)


@pytest.mark.parametrize("name", [b"a.dng", b"a.tif", b"a.nef"])
def test_a_raw_file_never_shows_its_thumbnail_as_a_tiff(name: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DNG is a TIFF whose first picture is a thumbnail."""
    data = dng(scene(640, 480), 1, scene(32, 24))
    assert camera.is_raw(data)
    monkeypatch.setattr(formats, "available", lambda extra: False)
    with pytest.raises(
        UnreadableImage, match=r"unsupported format: camera RAW; to read it: pip install 'retrieval\[raw\]'"
    ):
        decode.decode(data, SIZE, path=name)


def test_a_tiff_is_no_raw_file() -> None:
    assert not camera.is_raw(saved(scene(), "TIFF"))
    assert not camera.is_raw(saved(scene(), "TIFF", big_tiff=True))
    endless = struct.pack("<2sHIHI", b"II", 42, 8, 0, 8)  # a directory that follows itself
    for data in (
        endless,
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff",
        *mutations(dng(scene()), 200),
    ):
        camera.is_raw(data)


@needs_raw
def test_a_raw_file_of_too_many_pixels_is_not_developed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PIXELS", 1_000_000)
    with pytest.raises(UnreadableImage, match=limits.TOO_MANY_PIXELS):
        decode.decode(dng(scene(1200, 900)), SIZE)


# -- reasons ----------------------------------------------------------------------------------------------------------

SENTENCES = {limits.TOO_MANY_PIXELS, memory.TOO_LARGE, formats.UNKNOWN, "empty file"}
for form in formats.FORMATS:
    SENTENCES |= {f"unsupported format: {form.name}{rare}" for rare in ("", " with a rare feature")}
    SENTENCES |= {f"larger than the limit of {most} megapixels for {form.name}" for most in quirks.SLOW.values()}
    for what in ("it ends too early", "its header cannot be read", "its data cannot be decoded"):
        SENTENCES.add(f"damaged {form.name}: {what}")


@pillow_warns
@pytest.mark.parametrize("name", READ)
def test_a_damaged_file_has_one_of_few_reasons(name: str) -> None:
    reasons = {reason(damaged) for damaged in mutations(READ[name][1](), 40)}
    assert reasons - {None} <= SENTENCES


@needs_raw
def test_damaged_files_of_the_extras_have_one_of_few_reasons_and_nothing_is_printed(tmp_path: Path) -> None:
    """In a process of its own, because libraries write to the descriptor."""
    whole = [
        dng(scene(640, 480)),
        dng(scene(640, 480), 6, scene(640, 480)),
        xl(scene()),
        xl(scene(), use_container=True),
    ]
    for number, data in enumerate(damaged for each in whole for damaged in mutations(each, 30)):
        put(tmp_path / str(number), data)
    code = """if True:
        import sys
        from pathlib import Path
        from retrieval.errors import UnreadableImage
        from retrieval.pictures import decode
        for path in Path(sys.argv[1]).iterdir():
            try:
                decode.decode(path.read_bytes(), (8, 8))
            except UnreadableImage as error:
                print(error)
    """
    child = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert child.stderr == ""
    assert set(child.stdout.splitlines()) <= SENTENCES
    assert len(child.stdout.splitlines()) > 20


def test_what_pillow_says_goes_to_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "retrieval")
    whole = picture((1, 2, 3), format="BMP")
    assert reason(whole.replace(b"\1\0\x18\0", b"\1\0\x63\0")) == "unsupported format: BMP with a rare feature"
    assert "99" in caplog.text


@pytest.mark.parametrize("kind", ["ICO", "ICNS"])
def test_icons_of_too_many_pixels_are_refused_before_decoding(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    bomb = BOMBS["png"]
    data = (
        icons(1, (0, 32, bomb))
        if kind == "ICO"
        else b"icns" + struct.pack(">I4sI", 16 + len(bomb), b"ic10", 8 + len(bomb)) + bomb
    )
    before = largest_size()
    assert reason(data) == limits.TOO_MANY_PIXELS
    assert largest_size() - before < 100e6


@pytest.mark.parametrize("kind", ["QOI", "DDS"])
def test_what_would_be_decoded_for_minutes_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(scene(), kind)
    if kind == "DDS":  # of an order of bytes that Pillow computes a pixel at a time
        data = data.replace(struct.pack("<II", 0xFF0000, 0xFF00), struct.pack("<II", 0xFF00, 0xFF0000))
    monkeypatch.setattr(quirks, "SLOW", dict.fromkeys(quirks.SLOW, 0))
    with pytest.raises(UnreadableImage, match=f"larger than the limit of 0 megapixels for {kind}"):
        decode.decode(data, SIZE)
