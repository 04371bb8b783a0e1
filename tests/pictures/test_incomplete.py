"""Files that lack their end, and files that have more in them than a picture."""

import io
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval import Index
from retrieval.errors import UnreadableImage
from retrieval.pictures import decode, incomplete, stripped
from tests.fakes import put

SIZE = (96, 128)


def scenery(width: int = 512, height: int = 384, mode: str = "RGB") -> Image.Image:
    """Draw smooth colours with some noise, and black near the bottom, which must not be taken for what is missing."""
    y, x = np.mgrid[0:height, 0:width]
    channels = 255 * x / width, 255 * y / height, np.where(x > 0.6 * width, 220, 40)
    pixels = np.stack(channels, axis=-1) * 0.8 + np.random.default_rng(1).integers(0, 40, (height, width, 1))
    pixels[-height // 20 : -height // 60] = 0
    return Image.fromarray(pixels.astype(np.uint8)).convert(mode)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def difference(data: bytes, plain: bytes) -> float:
    return float(np.abs(decode.decode(data, SIZE).pixels.astype(int) - decode.decode(plain, SIZE).pixels).mean())


SHORT: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved(scenery(), "JPEG"),
    "large jpeg, decoded small": lambda: saved(scenery(2048, 1536), "JPEG"),
    "grey jpeg": lambda: saved(scenery(mode="L"), "JPEG"),
    "cmyk jpeg": lambda: saved(scenery(mode="CMYK"), "JPEG"),
    "progressive jpeg": lambda: saved(scenery(), "JPEG", progressive=True),
    "small jpeg": lambda: saved(scenery(40, 30), "JPEG"),
    "png": lambda: saved(scenery(), "PNG"),
    "grey png": lambda: saved(scenery(mode="L"), "PNG"),
    "png with transparency": lambda: saved(scenery(mode="RGBA"), "PNG"),
    "palette png": lambda: saved(scenery().quantize(64), "PNG"),
    "gif": lambda: saved(scenery(), "GIF"),
    "bmp": lambda: saved(scenery(), "BMP"),
    "ppm": lambda: saved(scenery(), "PPM"),
    "tiff": lambda: saved(scenery(), "TIFF"),
}


@pytest.mark.parametrize("missing", [1, 2, 3, 20, 64])
@pytest.mark.parametrize("name", [name for name in SHORT if name not in {"tiff", "small jpeg"}])
def test_a_picture_that_lacks_a_few_bytes_is_nearly_the_same(name: str, missing: int) -> None:
    whole = SHORT[name]()
    assert difference(whole[:-missing], whole) < 2


def test_a_small_picture_without_its_end_marker_is_the_same() -> None:
    whole = SHORT["small jpeg"]()
    assert difference(whole[:-2], whole) < 1


@pytest.mark.parametrize("name", SHORT)
def test_a_picture_that_lacks_much_is_refused(name: str) -> None:
    whole = SHORT[name]()
    for share in (0.02, 0.04) if name.startswith("progressive") else (0.3, 0.8):  # a tenth shows all, but roughly
        with pytest.raises(UnreadableImage, match=r"^damaged [A-Z]+: "):
            decode.decode(whole[: int(share * len(whole))], SIZE)


def test_it_is_said_that_something_is_missing() -> None:
    whole = SHORT["jpeg"]()
    assert decode.decode(whole, SIZE).note == ""
    assert decode.decode(whole[:-30], SIZE).note == incomplete.NOTE


def test_an_update_and_a_query_tell_what_was_used_without_its_end(
    index: Index, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = SHORT["jpeg"]()
    put(tmp_path / "photos" / "short.jpg", whole[:-30])
    put(tmp_path / "photos" / "shorter.jpg", whole[:-40])
    put(tmp_path / "photos" / "whole.jpg", whole)
    report = index.add(tmp_path / "photos")
    assert (report.added, report.unreadable, report.notes) == (3, 0, {incomplete.NOTE: 2})
    assert index.add(tmp_path / "photos").notes == {}  # it was told when they were read
    index.search(whole, k=1)
    assert caplog.messages == []
    put(tmp_path / "asked.jpg", whole[:-20])
    index.search(tmp_path / "asked.jpg", k=1)
    assert caplog.messages == [f"{tmp_path}/asked.jpg: {incomplete.NOTE}"]


def test_a_progressive_jpeg_of_which_half_came_is_used_if_it_is_fine_enough() -> None:
    whole = saved(scenery(1024, 768), "JPEG", progressive=True, quality=90)
    assert difference(whole[: len(whole) * 2 // 3], whole) < 4
    starts = [at for at in range(len(whole)) if whole[at : at + 2] == b"\xff\xda"]
    with pytest.raises(UnreadableImage, match="it ends too early"):
        decode.decode(whole[: starts[2]], (768, 1024))
    assert difference(whole[: starts[2]], whole) < 12  # a quarter each way is there


def test_a_cut_within_a_marker_is_one_before_it() -> None:
    whole = saved(scenery(), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    for end in range(last - 30, last + 14):
        assert difference(whole[:end], whole) < 4


def test_the_scans_are_found_behind_bytes_that_are_no_marker() -> None:
    """Decoders pass over such bytes. Whoever takes them for a length may look behind the end of the file for ever."""
    whole = saved(scenery(128, 96), "JPEG", progressive=True)
    assert len(whole) < 0xFEFE
    cut = whole[: whole.rindex(b"\xff\xda") - 30]
    found: list[float] = []
    work = threading.Thread(
        target=lambda: found.append(difference(cut[:20] + b"\1\1\xfe\xfe" + cut[20:], cut)), daemon=True
    )
    work.start()
    work.join(60)
    assert found == [0]


def test_other_users_of_pillow_see_no_change() -> None:
    from PIL import ImageFile

    decode.decode(SHORT["jpeg"]()[:-30], SIZE)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(SHORT["jpeg"]()[:-30])).load()


# -- metadata -------------------------------------------------------------------------------------------------------


def chunk(name: bytes, data: bytes, checksum: int = 0) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) ^ checksum)


LARGE = zlib.compress(b"x" * 3_000_000)
CHUNKS = {
    "zTXt": chunk(b"zTXt", b"Comment\0\0" + LARGE),
    "iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LARGE),
    "iCCP": chunk(b"iCCP", b"large\0\0" + LARGE),
    "many": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 1_000_000)) * 80,
    "zTXt that is broken": chunk(b"zTXt", b"Comment\0\0" + LARGE[:50]),
    "zTXt of no method": chunk(b"zTXt", b"Comment\0\7" + LARGE),
    "tEXt with a wrong checksum": chunk(b"tEXt", b"Comment\0text", 1),
    "pHYs that is short": chunk(b"pHYs", b"\0"),
    "iCCP that is broken": chunk(b"iCCP", b"large\0\0" + LARGE[:50]),
    "gAMA that is short": chunk(b"gAMA", b"\0"),
    "eXIf with a wrong checksum": chunk(b"eXIf", b"MM\0*", 1),
}


@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize("name", CHUNKS)
def test_metadata_of_a_png_hinders_no_picture(name: str, place: str) -> None:
    plain = saved(scenery(), "PNG")
    at = 33 if place == "before" else len(plain) - 12
    assert difference(plain[:at] + CHUNKS[name] + plain[at:], plain) == 0


def test_a_large_profile_of_a_png_is_read() -> None:
    from tests.pictures.test_colour import PROFILES, converted

    icc = PROFILES["ProPhoto"] + bytes(1_500_000)
    icc = struct.pack(">I", len(icc)) + icc[4:]
    plain = saved(scenery(), "PNG")
    data = saved(converted(scenery(), PROFILES["ProPhoto"]), "PNG")
    data = data[:33] + chunk(b"iCCP", b"large\0\0" + zlib.compress(icc)) + data[33:]
    assert difference(data, plain) < 3


def test_metadata_of_a_webp_hinders_no_picture() -> None:
    plain = saved(scenery(), "WEBP", lossless=True)
    body = b"VP8X" + struct.pack("<IB3x", 10, 0b0010_1100) + struct.pack("<I", 511)[:3] + struct.pack("<I", 383)[:3]
    body += plain[12:] + b"EXIF" + struct.pack("<I", 1 << 30) + b"\0" * 8
    data = b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    without = stripped.without_metadata(data, "WEBP")
    assert without is not None
    assert difference(without, plain) == 0
    assert difference(data, plain) == 0


def test_a_jpeg_without_its_metadata_is_the_same_picture() -> None:
    plain = saved(scenery(), "JPEG", comment=b"c" * 60_000, exif=b"Exif\0\0MM\0*" + bytes(5000), icc_profile=bytes(500))
    without = stripped.without_metadata(plain, "JPEG")
    assert without is not None
    assert len(plain) - len(without) > 65_000
    assert difference(without, plain) == 0


def test_photographs_that_lack_their_end_are_as_near_as_copies(shared: Callable[[str], Path]) -> None:
    from retrieval.networks import loading
    from retrieval.networks.weights import choose

    network = loading.load(*choose("mini", None))
    files = [path.read_bytes() for path in sorted(shared("images/corel1k").rglob("*.jpg"))[::50]]
    for missing in (1, 2, 16, 64):
        pairs = [[decode.decode(part, network.size).pixels for part in (data, data[:-missing])] for data in files]
        whole, short = (network.images(np.stack(column)) for column in zip(*pairs, strict=True))
        assert (whole * short).sum(axis=1).min() > 0.98
