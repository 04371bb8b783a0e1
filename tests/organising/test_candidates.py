"""`candidates`: pairs that may be copies; all copies are among them, and few others."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.organising.candidates import Candidate, candidates
from retrieval.organising.gallery import Gallery
from tests.organising.pictures import indexed, put_copies

WHOLE = ("jpeg", "half", "turned", "upside down", "mirrored", "grey", "brighter", "bordered")


@pytest.fixture(scope="module")
def place(shared: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two pictures with copies of each, of a part of the first, and of thirty others."""
    folder = tmp_path_factory.mktemp("candidates") / "photos"
    pictures = sorted(shared("images/corel1k").rglob("*.jpg"))
    put_copies(folder / "sea", pictures[120], (*WHOLE, "part"))
    put_copies(folder / "bus", pictures[333], WHOLE)
    (folder / "others").mkdir()
    for number, picture in enumerate(pictures[5::33]):
        shutil.copyfile(picture, folder / "others" / f"{number}.jpg")
    return folder


@pytest.fixture(scope="module")
def galleries(place: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Gallery]:
    """Galleries of all files, and of each folder."""
    within = tmp_path_factory.mktemp("kept")
    with indexed(place, within / "index") as index:
        made = {"": Gallery.of(index.images(), index.vectors, within=within)}
        for folder in ("sea", "bus", "others"):
            made[folder] = Gallery.of(index.images(place / folder), index.vectors, within=within)
    return made


def named(found: list[Candidate], first: Gallery, second: Gallery) -> set[tuple[str, str]]:
    """The pairs by folder and name."""
    return {
        tuple("/".join(made.images[number].path.parts[-2:]) for made, number in ((first, a), (second, b)))  # type: ignore[misc]
        for a, b, _ in found
    }


def test_whole_copies_are_proposed_in_all_orientations(galleries: dict[str, Gallery]) -> None:
    everything = galleries[""]
    found = candidates(everything)
    assert found == sorted(found)
    assert all(one.first < one.second for one in found)
    assert len({(one.first, one.second) for one in found}) == len(found)
    pairs = {frozenset(pair) for pair in named(found, everything, everything)}
    for folder in ("sea", "bus"):
        for name in WHOLE:
            assert {f"{folder}/original.jpg", f"{folder}/{name}.img"} in pairs


def test_a_part_is_proposed_because_its_vector_is_near(galleries: dict[str, Gallery]) -> None:
    sea = galleries["sea"]
    found = [pair for pair in candidates(sea) if pair.is_near]
    assert any("sea/part.img" in pair for pair in named(found, sea, sea))


def test_few_pairs_of_other_pictures_are_proposed(galleries: dict[str, Gallery]) -> None:
    others = galleries["others"]
    found = candidates(others)
    assert len([pair for pair in found if not pair.is_near]) <= 2
    assert len(found) <= 5 * len(others)


def test_between_two_galleries_the_order_of_the_galleries_does_not_matter(galleries: dict[str, Gallery]) -> None:
    sea, everything = galleries["sea"], galleries[""]
    there = named(candidates(sea, everything), sea, everything)
    back = named(candidates(everything, sea), everything, sea)
    for name in WHOLE:
        for pair in ("sea/original.jpg", f"sea/{name}.img"), (f"sea/{name}.img", "sea/original.jpg"):
            assert pair in there
            assert pair[::-1] in back
    assert ("sea/original.jpg", "sea/original.jpg") in there, "two galleries may have one picture"


def test_progress_ends_at_the_whole(galleries: dict[str, Gallery]) -> None:
    seen: list[float] = []
    candidates(galleries["bus"], progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_nothing_is_proposed_for_nothing_or_for_one(galleries: dict[str, Gallery]) -> None:
    empty = Gallery.of([], lambda _: galleries["sea"].vectors[:0])
    assert candidates(empty) == candidates(empty, galleries["sea"]) == candidates(galleries["sea"], empty) == []
    image = galleries["sea"].images[0]
    one = Gallery.of([image], lambda _: galleries["sea"].vectors[:1])
    assert candidates(one) == []
