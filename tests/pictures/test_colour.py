"""Colours are those that a picture's profile means, whatever it is stored as."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from retrieval.pictures import colour, decode
from retrieval.types import Pixels

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ROTATED = {"swapped": ((0.1431, 0.0606, 0.7141), (0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971))}
PRIMARIES = {  # X, Y, Z of red, green and blue, adapted to D50
    "Adobe RGB": ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)),
    "Display P3": ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)),
    "ProPhoto": ((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249)),
    "BT.2020": ((0.6735, 0.2790, -0.0019), (0.1657, 0.6753, 0.0300), (0.1251, 0.0456, 0.7969)),
    **ROTATED,
}
GAMMA = {"Adobe RGB": 2.2, "Display P3": 2.4, "ProPhoto": 1.8, "BT.2020": 2.4, "swapped": 2.2}


def numbers(values: tuple[float, ...]) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def pq(steps: int = 1024) -> bytes:
    """Return the curve of SMPTE ST 2084, of 1 for its largest light, as a table."""
    x = np.linspace(0, 1, steps) ** (1 / 78.84375)
    y = (np.maximum(x - 0.8359375, 0) / (18.8515625 - 18.6875 * x)) ** (1 / 0.1593017578125)
    return b"curv\0\0\0\0" + struct.pack(">I", steps) + (y * 65535).round().astype(">u2").tobytes()


def gamma(exponent: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256)) + b"\0\0"


def profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Write an ICC profile (ICC.1:2001-04) of a screen."""
    tags = {b"desc": b"desc\0\0\0\0\0\0\0\1\0" + bytes(79), b"wtpt": xyz(0.9642, 1, 0.8249), **tags}
    at, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += name + struct.pack(">II", at + len(body), len(padded))
        body += padded
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"lcms", 0x02400000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp").ljust(44, b"\0") + numbers((0.9642, 1, 0.8249))
    return head.ljust(128, b"\0") + table + body


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + numbers(values)


def matrix(name: str, curve: bytes | None = None) -> bytes:
    letters, curve = (b"r", b"g", b"b"), curve or gamma(GAMMA[name])
    tags = {letter + b"XYZ": xyz(*values) for letter, values in zip(letters, PRIMARIES[name], strict=True)}
    return profile(b"RGB ", tags | {letter + b"TRC": curve for letter in letters})


PROFILES = {name: matrix(name) for name in PRIMARIES} | {"BT.2020 PQ": matrix("BT.2020", pq())}


def scenery() -> Image.Image:
    """Draw smooth colours of no great strength, which all spaces have."""
    y, x = np.mgrid[0:96, 0:128]
    channels = 90 + x, 200 - y, 80 + (x + y) / 2
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def converted(image: Image.Image, icc: bytes, mode: str = "RGB") -> Image.Image:
    target = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    return ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), target, ImageCms.Intent.PERCEPTUAL, mode)


def seen(data: bytes, rule: int = 3) -> Pixels:
    return decode.decode(data, (48, 64), rule).pixels.astype(int)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("name", PROFILES)
def test_a_picture_looks_as_its_profile_means_it(name: str, kind: str) -> None:
    options = {} if kind in {"PNG", "TIFF"} else {"quality": 98}
    data = saved(converted(scenery(), PROFILES[name]), kind, icc_profile=PROFILES[name], **options)
    plain = seen(saved(scenery()))
    assert np.abs(seen(data) - plain).mean() < 3  # 8 bits of PQ are coarse
    assert np.abs(seen(data, rule=2) - plain).mean() > 3  # an older index sees what it always saw


def test_a_grey_profile_and_a_colour_profile_of_a_grey_picture_count() -> None:
    icc = profile(b"GRAY", {b"kTRC": gamma(1.0)})
    grey = scenery().convert("L")
    linear = Image.fromarray((((np.asarray(grey) / 255) ** 2.2) * 255).round().astype(np.uint8))
    for data in (saved(linear, icc_profile=icc), saved(linear, icc_profile=matrix("Display P3", gamma(1.0)))):
        assert np.abs(seen(data) - seen(saved(grey))).mean() < 6


def inks() -> bytes:
    """Make a profile in which cyan ink is red, no ink is white, and all else is black (ICC.1:2001-04, 6.5.9)."""
    white, red, black = b"\xff\x80\x80", b"\x87\xd0\xc3", b"\0\x80\x80"
    grid = {0b0000: white, 0b1000: red}
    linear, identity = bytes(range(256)), numbers((1, 0, 0, 0, 1, 0, 0, 0, 1))
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity + linear * 4
    lut += b"".join(grid.get(number, black) for number in range(16)) + linear * 3
    return profile(b"CMYK", {b"A2B0": lut}).replace(b"mntrCMYKXYZ ", b"prtrCMYKLab ")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_inks_look_as_their_profile_means_them(kind: str) -> None:
    cyan = Image.new("CMYK", (64, 48), (255, 0, 0, 0))
    cyan.paste((0, 0, 0, 0), (32, 0, 64, 48))
    pixels = seen(saved(cyan, kind, icc_profile=inks()))
    assert np.abs(pixels[24, 8] - (255, 0, 0)).max() < 12
    assert np.abs(pixels[24, 56] - (255, 255, 255)).max() < 12


@pytest.mark.parametrize(
    "icc", [b"", b"nonsense", SRGB[:200], SRGB[:16] + b"CMYK" + SRGB[20:], SRGB[:16] + b"GRAY" + SRGB[20:], bytes(999)]
)
def test_a_profile_that_is_broken_or_of_another_kind_says_nothing(icc: bytes) -> None:
    assert np.array_equal(seen(saved(scenery(), icc_profile=icc)), seen(saved(scenery())))


def test_srgb_costs_nothing() -> None:
    for icc in (SRGB, matrix("Display P3")):
        colour._transform(icc)
    assert colour._transform(SRGB) is None
    assert colour._transform(matrix("Display P3")) is not None
    assert np.array_equal(seen(saved(scenery(), icc_profile=SRGB)), seen(saved(scenery())))


def test_what_is_transparent_stays_white_in_any_space() -> None:
    clear = Image.new("RGBA", (64, 48), (255, 0, 0, 0))
    clear.paste((0, 0, 255, 255), (32, 0, 64, 48))
    pixels = seen(saved(clear, icc_profile=PROFILES["ProPhoto"]))
    assert pixels[:, :30].min() >= 253


def test_photographs_in_other_spaces_are_as_near_as_copies(shared: Callable[[str], Path]) -> None:
    from retrieval.networks import loading
    from retrieval.networks.weights import choose

    network = loading.load(*choose("mini", None))
    files = sorted(shared("images/corel1k").rglob("*.jpg"))[::125]
    photographs = [Image.open(path).convert("RGB") for path in files]
    plain = network.images(np.stack([decode.fit(photograph, network.size) for photograph in photographs]))
    for icc in PROFILES.values():
        made = [saved(converted(each, icc), "JPEG", quality=95, icc_profile=icc) for each in photographs]
        vectors = network.images(np.stack([decode.decode(data, network.size).pixels for data in made]))
        assert (plain * vectors).sum(axis=1).mean() > 0.98
