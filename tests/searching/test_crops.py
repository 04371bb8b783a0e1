"""Queries that are a part of a picture."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from retrieval import BadInput, Blend, Index, SearchOptions, UnreadableImage
from retrieval.searching.crop import Crop
from tests.commands import lines, run
from tests.fakes import ColourEncoder, picture, put

QUARTERS = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250), "yellow": (250, 250, 10)}
PARTS = {"red": "0,0,50%,50%", "green": "50%,0,50%,50%", "blue": "0%,60,50%,60", "yellow": "100,60,100,60"}


def quartered() -> Image.Image:
    """A picture of 200 x 120 pixels with a colour in each quarter."""
    pixels = np.zeros((120, 200, 3), np.uint8)
    for number, colour in enumerate(QUARTERS.values()):
        upper, left = 60 * (number // 2), 100 * (number % 2)
        pixels[upper : upper + 60, left : left + 100] = colour
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("crops")
    for name, colour in QUARTERS.items():
        put(home / f"photos/{name}.png", picture(colour))
    put(home / "photos/whole.png", picture((130, 130, 70)))
    quartered().save(home / "query.png")
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 3  # upside down
    quartered().rotate(180).save(home / "turned.jpg", quality=95, exif=turned)
    return home


@pytest.fixture(scope="module")
def index(home: Path) -> Iterator[Index]:
    with Index.create(home / "own", encoder=ColourEncoder()) as index:
        index.add(home / "photos")
        yield index


@pytest.mark.parametrize("name", QUARTERS)
def test_the_part_finds_what_it_shows(index: Index, home: Path, name: str) -> None:
    """Whatever the kind of the query; the part is one of the upright picture."""
    kinds = [
        home / "query.png",
        (home / "query.png").read_bytes(),
        quartered(),
        np.asarray(quartered()),
        home / "turned.jpg",
    ]
    for query in kinds:
        for views in ((), ("mirror", "multiscale")):
            (found,) = index.search(query, 1, SearchOptions(crop=PARTS[name], views=views))
            assert found.path.stem == name
            assert found.score > 0.99


def test_a_part_of_an_indexed_picture_is_embedded_and_not_the_whole(index: Index, home: Path) -> None:
    put(home / "photos/query.png", (home / "query.png").read_bytes())
    index.add(home / "photos")
    options = SearchOptions(crop=PARTS["blue"], include_self=True)
    best = index.search(home / "photos/query.png", 6, options)
    assert best[0].path.stem == "blue"
    assert next(match.score for match in best if match.path.stem == "query") < 0.9
    assert "query" not in [
        match.path.stem for match in index.search(home / "photos/query.png", 6, SearchOptions(crop=PARTS["blue"]))
    ]
    (match,) = index.search(Blend([home / "query.png"]), 1, SearchOptions(crop=PARTS["green"]))
    assert match.path.stem == "green"


def test_a_small_part_of_a_large_picture_keeps_its_details(index: Index) -> None:
    pixels = np.full((2000, 3000, 3), 10, np.uint8)
    pixels[1000:1010, 1500:1510] = QUARTERS["red"]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    (found,) = index.search(file.getvalue(), 1, SearchOptions(crop="1500,1000,10,10"))
    assert (found.path.stem, found.score > 0.99) == ("red", True)


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        ("1,2,3", "is not a part of a picture"),
        ("1,2,3,4,5", "is not a part of a picture"),
        ("a,b,c,d", "is not a part of a picture"),
        ("-1,0,5,5", "is not a part of a picture"),
        ("0,0,0,50%", "has no area"),
        ("0,0,inf,5", "is not a part of a picture"),
        ("", "crop is empty"),
        (7, "crop must be a string"),
    ],
)
def test_what_is_no_part_is_refused(crop: object, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        SearchOptions(crop=crop)


def test_what_has_no_pixels_cannot_be_cropped(index: Index, home: Path) -> None:
    options = SearchOptions(crop="0,0,50%,50%")
    match = index.search(home / "photos/red.png", 1)[0]
    for query in (match, match.id):
        with pytest.raises(BadInput, match="only the file of an image can be cropped"):
            index.search(query, 1, options)
    with pytest.raises(BadInput, match="outside of the picture, which has 200x120 pixels"):
        index.search(home / "query.png", 1, SearchOptions(crop="200,0,5,5"))
    with pytest.raises(UnreadableImage, match="cannot be read"):
        index.search(home / "nothing.png", 1, options)


NUMBERS = st.tuples(st.integers(0, 120), st.sampled_from(["", "%"])).map(lambda part: f"{part[0]}{part[1]}")


@given(st.lists(NUMBERS, min_size=4, max_size=4).map(",".join))
def test_any_part_lies_in_the_picture_or_is_refused(index: Index, crop: str) -> None:
    try:
        box = Crop.parse(crop).box(200, 120)
    except BadInput:
        return
    assert 0 <= box[0] < box[2] <= 1
    assert 0 <= box[1] < box[3] <= 1
    assert len(index.search(quartered(), 1, SearchOptions(crop=crop))) == 1


def test_the_command_takes_a_part(home: Path) -> None:
    assert run("index", "photos", cwd=home).returncode == 0
    found = run("query", "query.png", "--crop", PARTS["green"], "-k", "1", "--paths", cwd=home)
    assert lines(found.stdout) == [f"{home}/photos/green.png"]
    failed = run("query", "query.png", "--crop", "everything", cwd=home)
    assert (failed.returncode, lines(failed.stderr)[0]) == (2, "error: everything is not a part of a picture")
