"""Queries that are the mean of several views of a picture."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval import BadInput, Index, SearchOptions
from retrieval.pictures import decode
from tests.fakes import ColourEncoder, colour, picture, put


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    for number in range(6):
        put(tmp_path / f"photos/{number}.png", picture(colour(number)))
    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
        index.add(tmp_path / "photos")
        yield index


@pytest.fixture
def halves() -> np.ndarray:
    """A picture that is red on the left, green on the right, and blue all around."""
    pixels = np.zeros((80, 80, 3), np.uint8)
    pixels[..., 2] = 255
    pixels[20:60, 20:40], pixels[20:60, 40:60] = (255, 0, 0), (0, 255, 0)
    return pixels


def test_the_vector_is_the_mean_of_the_views(index: Index, halves: np.ndarray) -> None:
    encoder, size = ColourEncoder(), ColourEncoder.size

    def vector(pixels: np.ndarray) -> np.ndarray:
        return encoder.images(decode.fit(Image.fromarray(np.ascontiguousarray(pixels)), size)[None])[0]

    parts = {
        "mirror": vector(halves)[[3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8, 12]],
        "multiscale": vector(halves[12:68, 12:68]),
    }
    for views in (("mirror",), ("multiscale",), ("mirror", "multiscale")):
        mean = vector(halves) + sum(parts[name] for name in views)
        found = index.search(halves, 6, options=SearchOptions(views=views))
        stored = {match.id: vector(np.asarray(Image.open(match.path).convert("RGB"))) for match in found}
        expected = [float(stored[match.id] @ mean / np.linalg.norm(mean)) for match in found]
        assert [match.score for match in found] == pytest.approx(expected, abs=0.01)


def test_an_indexed_file_is_embedded_if_views_are_asked_for(index: Index, halves: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(halves).save(tmp_path / "photos/halves.png")
    index.add(tmp_path / "photos")
    plain = index.search(tmp_path / "photos/halves.png", 6)
    mirrored = index.search(tmp_path / "photos/halves.png", 6, options=SearchOptions(views=["mirror"]))
    assert "halves.png" not in [match.path.name for match in mirrored]
    assert {match.id for match in plain} == {match.id for match in mirrored}
    assert [match.score for match in plain] != [match.score for match in mirrored]


def test_an_unknown_view_is_refused(index: Index) -> None:
    with pytest.raises(BadInput, match="there is no view upside") as error:
        index.search(picture((1, 2, 3)), options=SearchOptions(views=["upside"]))
    assert "mirror, multiscale" in error.value.hint
