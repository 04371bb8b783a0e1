"""`sidecars`: what is written beside a picture is what is read, and nothing that somebody noted is lost."""

import io
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from retrieval.organising.sidecars import merged, text
from retrieval.pictures import metadata, xmp
from retrieval.types import Metadata

WORDS = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" &<>'\"]"), min_size=1, max_size=20)
WORD = WORDS.map(lambda word: " ".join(word.split())).filter(bool)
NOTED = st.builds(
    Metadata,
    taken=st.none() | st.datetimes().map(lambda time: time.isoformat(timespec="seconds")),
    rating=st.none() | st.sampled_from([-1.0, 0.0, 1.0, 2.5, 5.0]),
    keywords=st.lists(WORD, unique=True, max_size=5).map(tuple),
)
PLACED = st.builds(
    lambda noted, latitude, longitude: Metadata(
        taken=noted.taken, rating=noted.rating, keywords=noted.keywords, latitude=latitude, longitude=longitude
    ),
    NOTED,
    st.floats(-90, 90),
    st.floats(-180, 180),
)


def read_again(packet: str) -> Metadata:
    """What a picture says that has this packet in it."""
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG", pnginfo=_info(packet))
    return metadata.read(file)


def _info(packet: str) -> object:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet)
    return info


@given(st.one_of(NOTED, PLACED))
def test_what_is_written_is_what_is_read(noted: Metadata) -> None:
    again = read_again(text(noted))
    assert (again.taken, again.rating, again.keywords) == (noted.taken, noted.rating, noted.keywords)
    if noted.latitude is None:
        assert again.latitude is None
    else:
        assert again.latitude == pytest.approx(noted.latitude, abs=1e-8)
        assert again.longitude == pytest.approx(noted.longitude, abs=1e-8)


@given(st.dictionaries(st.sampled_from(["dc:subject"]), st.lists(WORD, min_size=1).map(tuple)))
def test_lists_come_back_in_their_order(properties: dict[str, tuple[str, ...]]) -> None:
    assert xmp.read(xmp.write(properties).encode()) == properties


@given(NOTED, st.lists(st.one_of(NOTED, PLACED), max_size=4))
def test_no_keyword_is_lost_and_nothing_that_the_kept_one_says_changes(kept: Metadata, others: list[Metadata]) -> None:
    found = merged(kept, others)
    assert set(found.keywords) == {word for one in (kept, *others) for word in one.keywords}
    assert found.keywords[: len(kept.keywords)] == kept.keywords
    assert kept.taken is None or found.taken == kept.taken
    assert kept.rating is None or found.rating == kept.rating
    assert (found == kept) == (merged(found, others) == kept)
    assert merged(found, others) == found


def test_the_earliest_time_the_highest_rating_and_a_place_that_all_agree_on() -> None:
    here, there = {"latitude": 52.5, "longitude": 13.4}, {"latitude": -33.9, "longitude": 151.2}
    others = [Metadata(taken="2020-05-01T10:00:00", rating=2.0, **here), Metadata(taken="2019-05-01", rating=4.0)]
    assert merged(Metadata(), others) == Metadata(taken="2019-05-01", rating=4.0, **here)
    assert merged(Metadata(), [*others, Metadata(**there)]).latitude is None, "nobody knows which one is right"
    nearly = Metadata(latitude=52.500001, longitude=13.4)
    assert merged(Metadata(), [*others, nearly]).latitude == 52.5
    assert merged(Metadata(**there), others).latitude == -33.9
    assert merged(Metadata(), []) == Metadata()


@pytest.mark.slow
def test_exiftool_reads_the_same(tmp_path: Path) -> None:
    tool = shutil.which("exiftool")
    if tool is None:
        pytest.skip("exiftool is not installed")
    (tmp_path / "a.xmp").write_text(
        text(Metadata(rating=3.0, keywords=("sea", "a & b"), latitude=-1.5, longitude=2.25))
    )
    asked = [tool, "-n", "-s3", "-Rating", "-Subject", "-GPSLatitude", "-GPSLongitude", tmp_path / "a.xmp"]
    assert subprocess.run(asked, capture_output=True, check=True, text=True).stdout.split("\n")[:4] == [
        "3",
        "sea, a & b",
        "-1.5",
        "2.25",
    ]
