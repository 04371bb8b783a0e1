"""Queries with several views of a picture: its orientations, and its middle."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval import BadInput, Index, SearchOptions
from retrieval.pictures import decode
from retrieval.searching.options import ORIENTATIONS
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


def vector(pixels: np.ndarray) -> np.ndarray:
    return ColourEncoder().images(decode.fit(Image.fromarray(np.ascontiguousarray(pixels)), ColourEncoder.size)[None])[
        0
    ]


def scores(index: Index, query: object, views: tuple[str, ...]) -> tuple[list[float], np.ndarray]:
    """The scores of an answer by score, and the vectors of the matches."""
    found = index.search(query, 6, options=SearchOptions(views=views, ranking="none"))
    return [match.score for match in found], index.vectors([match.id for match in found])


def test_multiscale_is_the_mean_of_the_picture_and_its_middle(index: Index, halves: np.ndarray) -> None:
    mean = vector(halves) + vector(halves[12:68, 12:68])
    got, stored = scores(index, halves, ("multiscale",))
    assert got == pytest.approx(stored @ mean / np.linalg.norm(mean), abs=0.01)


TURNS = {
    "mirror": lambda a: a[:, ::-1],
    "flip": lambda a: a[::-1],
    "rot90": np.rot90,
    "rot180": lambda a: np.rot90(a, 2),
    "rot270": lambda a: np.rot90(a, 3),
    "transpose": lambda a: np.swapaxes(a, 0, 1),
    "transverse": lambda a: np.swapaxes(a[::-1, ::-1], 0, 1),
}


@pytest.mark.parametrize("views", [("mirror",), ("rot90", "flip"), ("all",), ("all", "multiscale")])
def test_the_score_is_the_highest_of_all_orientations(index: Index, views: tuple[str, ...]) -> None:
    four = np.zeros((80, 80, 3), np.uint8)
    four[:40, :40], four[:40, 40:], four[40:, :40], four[40:, 40:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)
    names = ORIENTATIONS if "all" in views else views
    turned = np.stack([vector(four), *(vector(TURNS[name](four)) for name in names)])
    got, stored = scores(index, four, views)
    assert got == pytest.approx((stored @ turned.T).max(axis=1), abs=0.02 if "multiscale" in views else 1e-3)
    assert got == sorted(got, reverse=True)


@pytest.mark.parametrize("name", ORIENTATIONS)
@pytest.mark.parametrize("ranking", ["none", "expansion"])
def test_a_turned_copy_is_found_first(index: Index, tmp_path: Path, name: str, ranking: str) -> None:
    four = np.zeros((40, 60, 3), np.uint8)
    four[:20, :30], four[:20, 30:], four[20:, :30], four[20:, 30:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)
    Image.fromarray(np.ascontiguousarray(TURNS[name](four))).save(tmp_path / "photos/turned.png")
    index.add(tmp_path / "photos")
    found = index.search(four, 3, options=SearchOptions(views=["all"], ranking=ranking, likelihood=True))
    assert (found[0].path.name, round(found[0].score, 4)) == ("turned.png", 1)
    assert len({match.id for match in found}) == 3
    alone = index.search(four, 7, options=SearchOptions(ranking="none"))
    assert next(match.score for match in alone if match.path.name == "turned.png") < 0.99


def test_a_network_that_is_not_square_gets_turned_pictures_in_its_size(tmp_path: Path) -> None:
    class Wide(ColourEncoder):
        size = (8, 16)

        def images(self, batch: np.ndarray) -> np.ndarray:
            assert batch.shape[1:] == (8, 16, 3)
            return super().images(batch[:, :, ::2])

    put(tmp_path / "photos/0.png", picture(colour(0), (60, 40)))
    with Index.create(tmp_path / "index", encoder=Wide()) as index:
        index.add(tmp_path / "photos")
        assert index.search(picture(colour(0), (20, 70)), options=SearchOptions(views=["all"]))[0].score > 0.99


def test_an_indexed_file_is_embedded_if_views_are_asked_for(index: Index, halves: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(halves).save(tmp_path / "photos/halves.png")
    index.add(tmp_path / "photos")
    plain = index.search(tmp_path / "photos/halves.png", 6)
    mirrored = index.search(tmp_path / "photos/halves.png", 6, options=SearchOptions(views=["mirror", "multiscale"]))
    assert "halves.png" not in [match.path.name for match in mirrored]
    assert {match.id for match in plain} == {match.id for match in mirrored}
    assert [match.score for match in plain] != [match.score for match in mirrored]


def test_an_unknown_view_is_refused(index: Index) -> None:
    with pytest.raises(BadInput, match="there is no view upside") as error:
        index.search(picture((1, 2, 3)), options=SearchOptions(views=["upside"]))
    assert "transverse, multiscale, all" in error.value.hint


@pytest.mark.slow
@pytest.mark.parametrize("name", ["corel1k", "caltech101"])
def test_turned_copies_of_photographs_are_found_first(name: str, tmp_path: Path, shared: Callable[[str], Path]) -> None:
    """Each in a set of 500 pictures that has the copy, in JPEG, and not the picture itself."""
    files = random.Random(0).sample(sorted(shared(f"images/{name}").rglob("*.jpg")), 500)
    asked = files[:56]
    for number, file in enumerate(files):
        target = tmp_path / f"photos/{number:03}.jpg"
        target.parent.mkdir(exist_ok=True)
        if number < len(asked):
            with Image.open(file) as opened:
                turned = np.ascontiguousarray(TURNS[ORIENTATIONS[number % 7]](np.asarray(opened.convert("RGB"))))
            Image.fromarray(turned).save(target, quality=95)
        else:
            target.write_bytes(file.read_bytes())
    with Index.create(tmp_path / "index", backbone="mini") as index:
        index.add(tmp_path / "photos")
        answers = index.search_many(asked, 1, SearchOptions(views=["all"]))
        first = [answer[0].path.stem == f"{number:03}" for number, answer in enumerate(answers)]
    assert sum(first) / len(first) >= 0.95
