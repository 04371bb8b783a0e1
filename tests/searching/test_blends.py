"""Queries made of several pictures: near to some, far from others."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from retrieval import BadInput, Blend, Index, Matches, SearchOptions, Tagged, UnreadableImage
from retrieval.searching.query import FAR
from tests.commands import lines, run
from tests.fakes import Colour, ColourEncoder, picture, put

COLOURS: dict[str, Colour] = {
    "red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250), "yellow": (250, 250, 10),
    "violet": (250, 10, 250), "white": (250, 250, 250), "black": (5, 5, 5),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blends") / "photos"
    for name, colour in COLOURS.items():
        put(folder / f"{name}.png", picture(colour))
    put(folder / "copy of red.png", picture(COLOURS["red"]))
    return folder


@pytest.fixture(scope="module")
def index(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with Index.create(tmp_path_factory.mktemp("index"), encoder=ColourEncoder()) as index:
        index.add(folder)
        yield index


def names(matches: list) -> list[str]:
    return [match.path.stem for match in matches]


def test_a_blend_is_near_to_what_it_likes_and_far_from_what_it_does_not(index: Index, folder: Path) -> None:
    red, green, blue = (folder / f"{name}.png" for name in ("red", "green", "blue"))
    assert names(index.search(Blend([red, green]), 1)) == ["yellow"]
    assert names(index.search(Blend([red, blue]), 1)) == ["violet"]
    plain, without = (index.search(Blend([red, green], unlike), 9) for unlike in ([], [folder / "yellow.png"]))
    assert names(plain)[0] == "yellow"
    assert "yellow" not in names(without)
    last = names(index.search(Blend([folder / "white.png"], [blue]), 9))
    assert last.index("yellow") < last.index("violet")


def test_the_score_is_the_cosine_to_the_weighted_sum(index: Index, folder: Path) -> None:
    ids = {image.path.stem: image.id for image in index.images()}
    red, green, blue = (index.vectors([ids[name]])[0] for name in ("red", "green", "blue"))
    total = (3 * red + green) / 4 - FAR * blue
    total /= np.linalg.norm(total)
    blend = Blend(["red", "green"], ["blue"], [3, 1, 0.2])
    asked = Blend([folder / f"{name}.png" for name in blend.like], [folder / "blue.png"], blend.weights)
    found = index.search(asked, 9)
    for match in found:
        assert match.score == pytest.approx(float(index.vectors([match.id])[0] @ total), abs=1e-5)
    assert [match.score for match in found] == sorted((match.score for match in found), reverse=True)


def test_only_proportions_of_weights_count(index: Index, folder: Path) -> None:
    like, unlike = [folder / "red.png", folder / "green.png"], [folder / "blue.png"]
    found = [index.search(Blend(like, unlike, weights), 9) for weights in ([1, 2, 1], [10, 20, 7], (0.5, 1, 1e-9))]
    assert names(found[0]) == names(found[1]) == names(found[2])
    assert [match.score for match in found[0]] == pytest.approx([match.score for match in found[1]], abs=1e-6)
    alike = [index.search(Blend(like, unlike, weights), 9) for weights in (None, [1, 1, 1])]
    assert alike[0] == alike[1]


def test_one_picture_is_the_query_itself(index: Index, folder: Path) -> None:
    alone, blend = index.search(folder / "red.png", 9), index.search(Blend([folder / "red.png"]), 9)
    assert names(alone) == names(blend)
    assert [match.score for match in alone] == pytest.approx([match.score for match in blend], abs=1e-6)


def test_the_pictures_of_the_question_are_no_answers_but_their_copies_are(index: Index, folder: Path) -> None:
    found = index.search(Blend([folder / "red.png", folder / "green.png"], [folder / "blue.png"]), 9)
    assert {"green", "blue"}.isdisjoint(names(found))
    assert [match.path.name for match in found if match.path.stem.endswith("red")] == ["copy of red.png"]
    everything = index.search(Blend([folder / "red.png"], [folder / "blue.png"]), 9, SearchOptions(include_self=True))
    assert len(everything) == len(COLOURS)


def test_all_kinds_of_pictures_can_be_mixed(index: Index, folder: Path) -> None:
    first = index.search(folder / "red.png", 1)[0]
    red = Image.open(folder / "red.png")
    kinds = [folder / "green.png", (folder / "blue.png").read_bytes(), red, np.asarray(red), first.id, first]
    many = index.search_many([Blend(kinds[:3], kinds[3:]), folder / "red.png", Blend(kinds), Blend([b"", kinds[0]])], 3)
    assert [type(answer) for answer in many] == [Matches, Matches, Matches, UnreadableImage]
    assert names(many[1]) == names(index.search(folder / "red.png", 3))
    assert [len(near.ids) for near in index.neighbours([Blend(kinds)], 4)] == [4]


@pytest.mark.parametrize(
    ("blend", "message"),
    [
        (Blend([]), "like is empty"),
        (Blend([], [b"x"]), "like is empty"),
        (Blend("red.png"), "like must be a list of pictures"),
        (Blend([Tagged("red")]), "a blend is made of pictures, not of a Tagged"),
        (Blend([Blend([1])]), "a blend is made of pictures, not of a Blend"),
        (Blend([1], weights=[1, 2]), "there are 1 pictures and 2 weights"),
        (Blend([1], weights=[0]), "a weight must be more than 0"),
        (Blend([1], weights=[-1]), "a weight must be a number from 0"),
        (Blend([1], weights=[float("nan")]), "a weight must be a number from 0"),
        (Blend([1], weights=1), "weights must be a list of numbers"),
        (Blend([1]), "no image of the index has the id 1"),
        (Blend([None]), "a query is a path"),
    ],
)
def test_a_blend_that_cannot_be_used_is_refused(index: Index, blend: Blend, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        index.search(blend)


def test_pictures_that_cancel_each_other_out_are_refused(index: Index, folder: Path) -> None:
    """The sum of vectors of length 1 with weights 1 and `FAR` is never 0, except for what points away."""
    found = index.search(Blend([folder / "red.png"], [folder / "red.png"]), 3)
    assert names(found) == names(index.search(folder / "red.png", 3))


@given(
    st.lists(st.sampled_from(sorted(COLOURS)), min_size=1, max_size=4),
    st.lists(st.sampled_from(sorted(COLOURS)), max_size=3),
)
def test_the_order_of_the_pictures_makes_no_difference(
    index: Index, folder: Path, like: list[str], unlike: list[str]
) -> None:
    def scores(first: list[str], second: list[str]) -> dict[int, float]:
        blend = Blend([folder / f"{name}.png" for name in first], [folder / f"{name}.png" for name in second])
        return {match.id: match.score for match in index.search(blend, 9, SearchOptions(include_self=True))}

    assert scores(like, unlike) == pytest.approx(scores(like[::-1], unlike[::-1]), abs=1e-5)


# -- on the command line -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    for name, colour in COLOURS.items():
        put(home / f"photos/{name}.png", picture(colour))
    put(home / "2:b.png", picture((1, 2, 3)))
    assert run("index", "photos", cwd=home).returncode == 0
    return home


def test_signs_make_one_question(home: Path) -> None:
    one = run("query", "photos/red.png", "+", "3:photos/green.png", "-", "photos/blue.png", "--json", cwd=home)
    assert (one.returncode, one.stderr) == (0, b"")
    rows = lines(one.stdout)
    assert all('"query": "photos/red.png + 3:photos/green.png - photos/blue.png"' in row for row in rows)
    assert len(rows) == len(COLOURS) - 3
    leading = run("query", "+", "photos/red.png", "-", "photos/blue.png", "--paths", cwd=home)
    assert leading.returncode == 0
    assert run("query", "2:b.png", "+", "photos/red.png", cwd=home).returncode == 0


def test_a_question_that_cannot_be_read_is_an_error(home: Path) -> None:
    for words, message in (
        (("photos/red.png", "+"), "there is no picture after +"),
        (("photos/red.png", "+", "-", "photos/red.png"), "there is no picture after +"),
        (("photos/red.png", "photos/red.png", "+", "photos/blue.png"), "there is no + or - before photos/red.png"),
        (("+", "nothing.png"), "nothing.png cannot be read: no such file or directory"),
        (("-", "photos/red.png", "+", "0:photos/blue.png"), "a weight must be more than 0"),
    ):
        failed = run("query", *words, cwd=home)
        assert (failed.returncode, failed.stdout) == (2, b"")
        assert lines(failed.stderr)[0] == f"error: {message}"
    listed = run("query", "photos/red.png", "+", "photos/blue.png", "--files-from", "list", cwd=home)
    assert lines(listed.stderr)[0] == "error: --files-from cannot be used with +"


# -- on real pictures -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_pictures_find_more_of_a_class_and_one_that_is_subtracted_less(
    shared: Callable[[str], Path], tmp_path: Path
) -> None:
    weights = shared("weights/mobilenet_v2_1.0_224_no_top.weights.h5")
    with Index.create(tmp_path / "index", backbone="mobilenet_v2", weights=weights) as index:
        index.add(shared("images/corel1k"))
        of_class: dict[str, list[int]] = {}
        for image in index.images():
            of_class.setdefault(image.path.parent.name, []).append(image.id)
        labels = {image: name for name, images in of_class.items() for image in images}
        chance = random.Random(0)

        def share(blend: Blend, name: str, k: int) -> float:
            found = next(index.neighbours([blend], k + len(blend.like) + len(blend.unlike)))
            ids = [image for image in found.ids.tolist() if image not in {*blend.like, *blend.unlike}]
            return sum(labels[image] == name for image in ids[:k]) / k

        shares = []
        for _ in range(200):
            name, other = chance.sample(sorted(of_class), 2)
            (one, two), (three, four) = chance.sample(of_class[name], 2), chance.sample(of_class[other], 2)
            shares.append(
                (
                    share(Blend([one]), name, 10),
                    share(Blend([one, two]), name, 10),
                    share(Blend([one, three]), other, 20),
                    share(Blend([one, three], [four]), other, 20),
                )
            )
    single, double, both, without = np.mean(shares, axis=0)
    assert double > single + 0.01
    assert without <= 0.2 * both
