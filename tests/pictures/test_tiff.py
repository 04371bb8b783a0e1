"""TIFF: each kind of page is read rightly or refused with a reason, and the page is the one that a person would see."""

import io
import struct
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from retrieval.errors import UnreadableImage
from retrieval.pictures import decode, tiff

tifffile = pytest.importorskip("tifffile", reason="the extra `tiff` is not installed")
SIZE = (48, 64)


def scenery() -> NDArray[np.uint8]:
    y, x = np.mgrid[0:96, 0:128]
    return np.stack((2 * x, 255 - 2 * y, np.where(x > 60, 220, 40)), axis=-1).clip(0, 255).astype(np.uint8)


RGB = scenery()
GREY = RGB[..., 0]


def written(values: NDArray[np.generic], **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def deeper(values: NDArray[np.uint8], dtype: str) -> NDArray[np.generic]:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (values / 255).astype(kind)
    scaled = values.astype(np.uint64) * (2 ** (8 * kind.itemsize) // 255)
    return (scaled.astype(np.int64) - (2 ** (8 * kind.itemsize - 1) if kind.kind == "i" else 0)).astype(kind)


def is_right(data: bytes, plain: NDArray[np.uint8]) -> bool:
    seen, wanted = decode.decode(data, SIZE).pixels, decode.fit(Image.fromarray(plain), SIZE)
    return bool(np.abs(seen.astype(int) - wanted).mean() < 3)


@pytest.mark.parametrize("options", [{}, {"compression": "lzw"}, {"compression": "zlib", "tile": (64, 64)}], ids=str)
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", "u4", "i1", "i2", "f2", "f4", "f8"])
def test_colours_of_any_depth_are_right(dtype: str, planes: str, options: dict[str, object]) -> None:
    values = deeper(RGB, dtype)
    if planes == "separate":
        values = np.ascontiguousarray(values.transpose(2, 0, 1))
    if values.dtype.byteorder == ">":
        options = options | {"byteorder": ">"}
    assert is_right(written(values, photometric="rgb", planarconfig=planes, **options), RGB)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "predictor": True}, {"bigtiff": True}], ids=str)
def test_greys_of_any_depth_are_right(dtype: str, options: dict[str, object]) -> None:
    if "predictor" in options and dtype == "u8":
        pytest.skip("there is none of 64 bits")
    assert is_right(written(deeper(GREY, dtype), photometric="minisblack", **options), np.dstack([GREY] * 3))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
def test_greys_in_which_white_is_0_are_right(dtype: str) -> None:
    assert is_right(written(deeper(255 - GREY, dtype), photometric="miniswhite"), np.dstack([GREY] * 3))


@pytest.mark.parametrize("bits", [4, 6, 10, 12, 14])
def test_odd_depths_are_right(bits: int) -> None:
    values = (RGB.astype(np.uint32) * (2**bits - 1) + 127) // 255
    packed = values.astype("u1" if bits <= 8 else "u2")
    assert is_right(
        written(packed, photometric="rgb", bitspersample=bits), (values * 255 // (2**bits - 1)).astype("u1")
    )


def test_inks_lab_and_palettes_of_any_depth_are_right() -> None:
    image = Image.fromarray(RGB)
    inks, lab = np.asarray(image.convert("CMYK")), np.asarray(image.convert("LAB"))
    plain = np.asarray(image.convert("CMYK").convert("RGB"))
    for dtype in ("u1", "u2"):
        for planes, values in (("contig", inks), ("separate", np.ascontiguousarray(inks.transpose(2, 0, 1)))):
            assert is_right(written(deeper(values, dtype), photometric="separated", planarconfig=planes), plain)
    assert is_right(written(lab, photometric="cielab"), RGB)
    assert is_right(written(lab.astype("u2") << 8, photometric="cielab"), RGB)
    few = image.quantize(100)
    table = np.array(few.getpalette()[:300], dtype="u2").reshape(-1, 3).T * 257
    colours = np.zeros((3, 65536), "u2")
    colours[:, : table.shape[1]] = table
    data = written(np.asarray(few).astype("u2"), photometric="palette", colormap=colours)
    assert is_right(data, np.asarray(few.convert("RGB")))


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("extra", ["unassalpha", "assocalpha", "unspecified"])
def test_extra_samples_are_right(extra: str, dtype: str, planes: str) -> None:
    alpha = np.full((*GREY.shape, 1), 255, "u1")
    alpha[:, :64] = 0 if extra != "unspecified" else 7
    values = np.concatenate([np.where(alpha, RGB, 0).astype("u1") if extra == "assocalpha" else RGB, alpha], axis=2)
    plain = RGB if extra == "unspecified" else np.where(alpha, RGB, 255).astype("u1")
    values = values if planes == "contig" else np.ascontiguousarray(values.transpose(2, 0, 1))
    data = written(deeper(values, dtype), photometric="rgb", planarconfig=planes, extrasamples=[extra])
    assert is_right(data, plain)


def test_a_kind_that_nobody_reads_is_said_to_be_one() -> None:
    data = written(deeper(RGB, "f4"), photometric=32845)  # LogLuv
    with pytest.raises(UnreadableImage, match=r"^unsupported format: a rare kind of TIFF$"):
        decode.decode(data, SIZE)


def test_without_the_extra_a_rare_kind_is_refused_and_others_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    rare = written(
        np.ascontiguousarray(deeper(RGB, "u2").transpose(2, 0, 1)), photometric="rgb", planarconfig="separate"
    )
    common = written(RGB, photometric="rgb")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(UnreadableImage, match=r"pip install 'retrieval\[tiff\]'"):
        decode.decode(rare, SIZE)
    assert is_right(common, RGB)


def test_an_older_index_sees_what_it_always_saw() -> None:
    data = written(
        np.ascontiguousarray(deeper(RGB, "u2").transpose(2, 0, 1)), photometric="rgb", planarconfig="separate"
    )
    assert np.abs(decode.decode(data, SIZE, 2).pixels.astype(int) - decode.decode(data, SIZE).pixels).mean() > 10


# -- pages ----------------------------------------------------------------------------------------------------------

SMALL = np.ascontiguousarray(255 - RGB[::8, ::8])
OTHER = np.ascontiguousarray(RGB[::-1])
MASK = RGB[..., 0] > 100


def pages(*parts: tuple[NDArray[np.uint8], int, int], big: bool = False) -> bytes:
    """Write pages, each with its NewSubfileType and the number of those behind it that are below it (SubIFDs)."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, bigtiff=big) as file:
        for values, kind, below in parts:
            photometric = "rgb" if values.ndim == 3 else "mask"
            file.write(values, photometric=photometric, subfiletype=kind, subifds=below, metadata=None)
    return buffer.getvalue()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    ("parts", "shown"),
    [
        ([(SMALL, 1, 0), (RGB, 0, 0)], RGB),
        ([(RGB, 0, 0), (SMALL, 1, 0)], RGB),
        ([(SMALL, 1, 0), (RGB, 0, 0), (SMALL, 1, 0), (OTHER, 0, 0)], RGB),
        ([(SMALL, 1, 1), (RGB, 0, 0)], RGB),
        ([(SMALL, 1, 2), (SMALL, 1, 0), (RGB, 1, 0)], RGB),
        ([(SMALL, 0, 0), (RGB, 0, 0)], SMALL),
        ([(SMALL, 2, 0), (RGB, 2, 0)], SMALL),
        ([(SMALL, 1, 0), (MASK, 4, 0)], SMALL),
        ([(SMALL, 1, 0)], SMALL),
    ],
    ids=["thumbnail first", "thumbnail last", "two scenes", "below", "reduced ones below", "a document", "its pages",
         "a mask", "alone"],
)  # fmt: skip
def test_the_page_is_the_largest_of_the_first_scene(parts: list, shown: NDArray[np.uint8], big: bool) -> None:
    data = pages(*parts, big=big)
    decoded = decode.decode(data, SIZE)
    assert (decoded.width, decoded.height) == shown.shape[1::-1]
    assert is_right(data, shown)


@pytest.mark.parametrize("at", range(0, 40, 4))
def test_tags_that_lead_anywhere_end(at: int) -> None:
    data = bytearray(pages((SMALL, 1, 0), (RGB, 0, 0)))
    (first,) = struct.unpack_from("<I", data, 4)
    for value in (0, 4, first, len(data) - 3, 0xFFFFFFFF):
        data[first + at : first + at + 4] = struct.pack("<I", value)
        found, page = tiff.beginning_with_shown(bytes(data))
        assert len(found) == len(data)
        assert page is None or page.at < len(data)
