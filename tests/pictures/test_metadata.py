"""What cameras and people noted about a picture is read from every container, and damage to it costs nothing."""

import io
import os
import random
import shutil
import struct
import subprocess
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from retrieval.pictures import formats, metadata
from retrieval.types import Metadata

XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:aux="http://ns.adobe.com/exif/1.0/aux/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmp:Rating="4" aux:Lens="A lens" tiff:Make="Another maker"
 exif:FNumber="28/10" exif:GPSLatitude="52,31.2N" exif:GPSLongitude="13,24,18W">
 <dc:subject><rdf:Bag><rdf:li>red car</rdf:li><rdf:li>Grün &amp; blau</rdf:li></rdf:Bag></dc:subject>
 <exif:ISOSpeedRatings><rdf:Seq><rdf:li>200</rdf:li></rdf:Seq></exif:ISOSpeedRatings>
 <exif:DateTimeOriginal>2019-03-04T05:06:07.5+01:00</exif:DateTimeOriginal>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[ExifTags.Base.Make], tags[ExifTags.Base.Model] = "NIKON CORPORATION", "NIKON D90 "
    tags[0x4746] = 3
    inner = tags.get_ifd(ExifTags.IFD.Exif)
    inner[ExifTags.Base.DateTimeOriginal] = "2024:06:15 12:30:45"
    inner[ExifTags.Base.SubsecTimeOriginal], inner[ExifTags.Base.OffsetTimeOriginal] = "25", "+02:00"
    inner[ExifTags.Base.ISOSpeedRatings], inner[ExifTags.Base.FNumber] = 400, 2.8
    inner[ExifTags.Base.ExposureTime], inner[ExifTags.Base.FocalLength] = 0.004, 50.0
    inner[ExifTags.Base.LensModel] = "50mm f/1.8"
    place = tags.get_ifd(ExifTags.IFD.GPSInfo)
    place.update({1: "S", 2: (33.0, 51.0, 36.0), 3: "E", 4: (151.0, 12.0, 0.0)})
    return tags


NOTED = Metadata(
    taken="2024-06-15T12:30:45.250+02:00", make="NIKON CORPORATION", model="NIKON D90", lens="50mm f/1.8", iso=400,
    aperture=2.8, exposure=0.004, focal_length=50.0, latitude=-33.86, longitude=151.2, rating=3.0,
)  # fmt: skip


def saved(kind: str, **options: object) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (16, 8), (200, 90, 30)).save(data, kind, **options)
    return data.getvalue()


def read(data: bytes) -> Metadata:
    return metadata.read(io.BytesIO(data))


def rounded(noted: Metadata) -> dict[str, object]:
    facts = {name: getattr(noted, name) for name in Metadata.__dataclass_fields__}
    return {name: round(fact, 6) if isinstance(fact, float) else fact for name, fact in facts.items()}


KINDS = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", *(["HEIF"] if formats.available("heif") else [])]


@pytest.mark.parametrize("kind", KINDS)
def test_exif_is_read_from_every_container(kind: str) -> None:
    assert rounded(read(saved(kind, exif=exif().tobytes()))) == rounded(NOTED)


def with_xmp(kind: str, packet: bytes) -> bytes:
    if kind == "PNG":
        from PIL import PngImagePlugin

        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        return saved(kind, pnginfo=info)
    if kind == "TIFF":
        return saved(kind, tiffinfo={700: packet})
    return saved(kind, xmp=packet)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "JPEG"] + ["JPEG"])
def test_xmp_is_read_from_every_container(kind: str) -> None:
    noted = read(with_xmp(kind, XMP.encode()))
    assert (noted.taken, noted.rating, noted.lens) == ("2019-03-04T05:06:07.500+01:00", 4.0, "A lens")
    assert (noted.make, noted.iso, noted.aperture) == ("Another maker", 200, 2.8)
    assert noted.keywords == ("red car", "Grün & blau")
    assert (noted.latitude, noted.longitude) == (pytest.approx(52.52), pytest.approx(-13.405))


def test_exif_comes_before_xmp_but_for_the_rating() -> None:
    noted = read(saved("JPEG", exif=exif().tobytes(), xmp=XMP.encode()))
    assert (noted.make, noted.iso, noted.lens) == (NOTED.make, 400, NOTED.lens)
    assert (noted.rating, noted.keywords) == (4.0, ("red car", "Grün & blau"))


def iptc(*sets: tuple[int, int, bytes]) -> bytes:
    records = b"".join(struct.pack(">BBBH", 0x1C, record, number, len(text)) + text for record, number, text in sets)
    block = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + records + b"\0" * (len(records) % 2)
    return b"Photoshop 3.0\0" + block


@pytest.mark.parametrize(
    ("sets", "taken", "keywords"),
    [
        ([(2, 25, b"sea"), (2, 25, "Düne".encode())], None, ("sea", "Düne")),
        ([(2, 25, "Düne".encode("latin-1"))], None, ("Düne",)),
        ([(1, 90, b"\x1b%G"), (2, 25, "Düne".encode())], None, ("Düne",)),
        ([(2, 55, b"20200229"), (2, 60, b"101112+0100")], "2020-02-29T10:11:12+01:00", ()),
        ([(2, 55, b"20200230")], None, ()),
        ([(2, 25, b"a"), (2, 25, b"a"), (2, 25, b" ")], None, ("a",)),
    ],
)
def test_iptc_is_read(sets: list[tuple[int, int, bytes]], taken: str | None, keywords: tuple[str, ...]) -> None:
    plain, block = saved("JPEG"), iptc(*sets)
    noted = read(plain[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + plain[2:])
    assert (noted.taken, noted.keywords) == (taken, keywords)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({ExifTags.Base.FNumber: 0.0, ExifTags.Base.ApertureValue: 3.0}, {"aperture": None}),
        ({ExifTags.Base.ApertureValue: 3.0}, {"aperture": 2.828}),
        ({ExifTags.Base.ShutterSpeedValue: 5.0}, {"exposure": 0.03125}),
        ({ExifTags.Base.ISOSpeedRatings: 65535, 0x8832: 102400}, {"iso": 102400}),
        ({ExifTags.Base.ISOSpeedRatings: (200, 0)}, {"iso": 200}),
        ({ExifTags.Base.DateTimeOriginal: "0000:00:00 00:00:00"}, {"taken": None}),
        ({ExifTags.Base.DateTimeDigitized: "2001/02/03 04:05:06"}, {"taken": "2001-02-03T04:05:06"}),
        ({ExifTags.Base.LensModel: "  \x01 two\nlines "}, {"lens": "two lines"}),
        ({ExifTags.Base.LensModel: "x" * 5000}, {"lens": "x" * metadata.LONGEST}),
    ],
)
def test_oddities_of_cameras(tags: Mapping[int, object], expected: dict[str, object]) -> None:
    made = Image.Exif()
    made.get_ifd(ExifTags.IFD.Exif).update(tags)
    noted = read(saved("JPEG", exif=made.tobytes()))
    for name, value in expected.items():
        assert getattr(noted, name) == (pytest.approx(value, rel=1e-3) if isinstance(value, float) else value)


@pytest.mark.parametrize("place", [{2: (1.0, 2.0, 3.0)}, {1: "N", 2: (91.0, 0.0, 0.0), 3: "E", 4: (1.0, 0.0, 0.0)}])
def test_a_place_that_is_not_whole_is_none(place: dict[int, object]) -> None:
    made = Image.Exif()
    made.get_ifd(ExifTags.IFD.GPSInfo).update(place)
    noted = read(saved("JPEG", exif=made.tobytes()))
    assert (noted.latitude, noted.longitude) == (None, None)


def test_the_place_zero_has_no_sign() -> None:
    """A database does not keep the sign of -0."""
    made = Image.Exif()
    made.get_ifd(ExifTags.IFD.GPSInfo).update({1: "S", 2: (0.0, 0.0, 0.0), 3: "W", 4: (0.0, 0.0, 0.0)})
    assert str(read(saved("JPEG", exif=made.tobytes())).latitude) == "0.0"


def test_entities_are_refused() -> None:
    bomb = XMP.replace("<x:xmpmeta", '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x:xmpmeta', 1)
    assert read(with_xmp("WEBP", bomb.replace("red car", "&b;").encode())).keywords == ()


def segment(code: int, body: bytes) -> bytes:
    return bytes([0xFF, code]) + struct.pack(">H", len(body) + 2) + body


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + name + body


PACKET = b"http://ns.adobe.com/xap/1.0/\0"
RDF = b"<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
NESTED, CLOSED = b"<rdf:Description><rdf:Description>", b"</rdf:Description></rdf:Description>"
BOMB = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 9\n" + b"00" * 2_000_000)
ITEMS = struct.pack(">BxxxHH", 0, 0, 9000) + struct.pack(">HHH", 1, 0, 65535) * 9000
HOSTILE = {
    "many starts": b"\xff\xd8" + segment(0xE1, PACKET + b"<x:RDF" * 10_000) * 200,
    "nested": with_xmp("WEBP", RDF + NESTED * 40_000),
    "nested and closed": with_xmp("WEBP", RDF + NESTED * 9000 + CLOSED * 9000 + b"</rdf:RDF>"),
    "many packets": b"\xff\xd8" + segment(0xE1, PACKET + XMP.encode()) * 20_000,
    "many bombs": b"\x89PNG\r\n\x1a\n" + chunk(b"zTXt", BOMB) * 9000,
    "many parts": box(b"ftyp", b"heic" + bytes(8))
    + box(b"meta", bytes(4) + box(b"iinf", bytes(6)) + box(b"iloc", ITEMS)),
    "one tag many times": b"II*\0\x08\0\0\0"
    + struct.pack("<H", 1000)
    + struct.pack("<HHII", 700, 1, 4_000_000, 0) * 1000
    + bytes(4_000_000),
    "boxes in boxes": box(b"ftyp", b"crx " + b"\0" * 8) + struct.pack(">I4s", 0, b"moov") * 5000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_read_in_little_time(name: str) -> None:
    """Each of these would take minutes, if the work were not bounded."""
    assert read(HOSTILE[name]).make in {None, "Another maker"}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 2**32), st.integers(1, 40))
def test_damage_never_raises(kind: str, seed: int, count: int) -> None:
    chance = random.Random(seed)
    data = bytearray(saved(kind, exif=exif().tobytes()))
    for _ in range(count):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.3:
        del data[chance.randrange(len(data)) :]
    noted = read(bytes(data))
    assert noted.iso is None or noted.iso >= 1
    for text in (noted.make, noted.model, noted.lens):
        assert text is None or (text.isprintable() and len(text) <= metadata.LONGEST)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("kind", KINDS)
def test_exiftool_reads_the_same(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(saved(kind, exif=exif().tobytes()))
    names = {"Make": "make", "Model": "model", "LensModel": "lens", "ISO": "iso", "FNumber": "aperture"}
    names |= {"ExposureTime": "exposure", "FocalLength": "focal_length", "GPSLatitude": "latitude", "Rating": "rating"}
    command = ["exiftool", "-n", "-s3", "-f", *(f"-{name}" for name in names), os.fspath(path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    noted = read(path.read_bytes())
    for text, name in zip(found, names.values(), strict=True):
        value = getattr(noted, name)
        assert value == (text.strip() if isinstance(value, str) else pytest.approx(float(text), rel=1e-6))
