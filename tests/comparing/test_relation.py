"""`relation`: what two pictures are to each other."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from retrieval.comparing import looks
from retrieval.comparing.relation import Relation, Subject, compare
from tests.comparing.made import COPIES, encoded, noise, subject


@pytest.fixture(scope="module")
def pictures(shared: Callable[[str], Path]) -> list[Image.Image]:
    """A picture of each class of Corel-1k."""
    found = []
    for folder in sorted(path for path in shared("images/corel1k").iterdir() if path.is_dir()):
        with Image.open(min(folder.iterdir())) as opened:
            found.append(opened.convert("RGB"))
    return found


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_told_in_both_directions(pictures: list[Image.Image], name: str) -> None:
    wanted, change = COPIES[name]
    found = []
    for picture in pictures:
        one, other = subject(encoded(picture)), subject(change(picture))
        verdict, reverse = compare(one, other), compare(other, one)
        assert (verdict is None) == (reverse is None)
        if verdict is not None and reverse is not None:
            assert verdict.relation is reverse.relation
            assert verdict.because
            assert 0 <= verdict.agreement <= 1
        found.append(None if verdict is None else verdict.relation)
    assert found.count(wanted) >= 0.8 * len(pictures), found


def test_distinct_pictures_of_one_class_have_no_relation(shared: Callable[[str], Path]) -> None:
    for folder in sorted(path for path in shared("images/corel1k").iterdir() if path.is_dir()):
        subjects = [subject(path.read_bytes()) for path in sorted(folder.iterdir())[:8]]
        for number, one in enumerate(subjects):
            for other in subjects[number + 1 :]:
                verdict = compare(one, other)
                assert verdict is None or verdict.relation is Relation.SAME_SCENE


@pytest.mark.parametrize("angle", [0, 4, 20])
def test_one_thing_before_two_backgrounds_is_no_copy(pictures: list[Image.Image], angle: float) -> None:
    """As portraits of one face, rotated a little: the middle of both agrees, and no more."""
    for front, back in ((1, 5), (5, 1), (3, 8)):
        one, other = (pictures[number].resize((384, 256)) for number in (front, back))
        mask = Image.new("L", one.size)
        ImageDraw.Draw(mask).rectangle((70, 40, 314, 216), fill=255)
        made = Image.composite(one, other, mask).rotate(angle, Image.Resampling.BICUBIC)
        verdict = compare(subject(encoded(one)), subject(encoded(made)))
        assert verdict is None or verdict.relation is Relation.EDITED


@pytest.mark.parametrize("turn", range(1, 8))
def test_each_orientation_is_told(pictures: list[Image.Image], turn: int) -> None:
    picture = pictures[1]
    pixels = looks.turned(np.asarray(picture).transpose(2, 0, 1), turn).transpose(1, 2, 0)
    other = subject(encoded(Image.fromarray(np.ascontiguousarray(pixels))))
    wanted = Relation.ROTATED if turn in looks.ROTATIONS else Relation.MIRRORED
    for pair in ((subject(encoded(picture)), other), (other, subject(encoded(picture)))):
        verdict = compare(*pair)
        assert verdict is not None
        assert verdict.relation is wanted


def test_parts_are_looked_for_only_where_it_was_asked_for(pictures: list[Image.Image]) -> None:
    _, change = COPIES["part"]
    found = [compare(subject(encoded(one)), subject(change(one)), parts=False) for one in pictures]
    assert not [one for one in found if one is not None and one.relation is Relation.CROPPED]


@pytest.mark.parametrize("colour", ["white", "black", "navy"])
@pytest.mark.parametrize("wide", [20, 60, 100])
def test_distinct_pictures_in_the_same_frame_have_no_relation(
    pictures: list[Image.Image], colour: str, wide: int
) -> None:
    """Slides and instant pictures all have one frame, which agrees wherever two of them are laid on each other."""
    framed = [subject(encoded(ImageOps.expand(picture, wide, colour))) for picture in pictures]
    for number, one in enumerate(framed):
        for other in framed[number + 1 :]:
            verdict = compare(one, other)
            assert verdict is None or verdict.relation is Relation.SAME_SCENE


def page(words: str) -> Subject:
    """A page of large letters."""
    made = Image.new("RGB", (600, 800), "white")
    draw, font = ImageDraw.Draw(made), ImageFont.load_default(36)
    for line in range(14):
        draw.text((40, 40 + 52 * line), f"{words} {line * line * 37}"[line % 5 :], "black", font)
    return subject(encoded(made))


def test_pages_of_other_words_are_no_copies() -> None:
    pages = [
        page(words) for words in ("We met by the river at noon", "Total price of goods sold", "Dear madam, dear sir")
    ]
    for number, one in enumerate(pages):
        for other in pages[number + 1 :]:
            verdict = compare(one, other)
            assert verdict is None or verdict.relation is Relation.SAME_SCENE


def sky(seed: int) -> Subject:
    """A clear sky: a gradient with the grain of a camera."""
    height = np.linspace(120, 220, 300)[:, None, None] * np.array([0.5, 0.8, 1.0])
    grain = np.random.default_rng(seed).normal(0, 3, (300, 400, 3))
    return subject(encoded(Image.fromarray((height + grain).clip(0, 255).astype(np.uint8))))


def test_pictures_without_detail_are_not_taken_for_copies() -> None:
    assert compare(sky(1), sky(2)) is None
    for colours in ((255, 255), (0, 0), (250, 255)):
        blank = [subject(encoded(Image.new("RGB", (300, 200), (level, level, level)))) for level in colours]
        assert compare(*blank) is None


def test_a_picture_that_is_its_own_mirror_image_is_not_called_mirrored() -> None:
    half = noise((40, 20)).repeat(6, axis=0).repeat(6, axis=1)
    whole = Image.fromarray(np.concatenate([half, half[:, ::-1]], axis=1))
    verdict = compare(subject(encoded(whole)), subject(encoded(whole, quality=40)))
    assert verdict is not None
    assert verdict.relation is Relation.REENCODED


def test_pictures_taken_within_seconds_are_a_burst(pictures: list[Image.Image]) -> None:
    data, other = encoded(pictures[0]), encoded(pictures[0], quality=50)
    times = "2024-05-01T10:00:00", "2024-05-01T10:00:02", "2024-05-01T12:00:00"
    one, soon, later = subject(data, times[0]), subject(other, times[1]), subject(other, times[2])
    burst, copy, unknown = compare(one, soon), compare(one, later), compare(one, subject(other))
    assert burst is not None and burst.relation is Relation.BURST  # noqa: PT018 - for the type
    assert copy is not None and copy.relation is Relation.REENCODED  # noqa: PT018 - a clock that was set
    assert unknown is not None and unknown.relation is Relation.REENCODED  # noqa: PT018 - as above


@pytest.mark.parametrize(
    ("first", "second", "is_burst"),
    [
        ("2024-05-01T10:00:00", "2024-05-01T10:00:03", True),
        ("2024-05-01T10:00:00.250", "2024-05-01T10:00:00.500", True),
        ("2024-05-01T10:00:00", "2024-05-01T10:00:03.001", False),
        ("2024-05-01T10:00:00", "2024-05-01T10:00:00", False),
        ("2024-05-01T10:00:00+02:00", "2024-05-01T10:00:01+01:00", False),
        ("2024-05-01T10:00:00+02:00", "2024-05-01T09:00:01+01:00", True),
        ("2024-05-01T10:00:00+02:00", "2024-05-01T10:00:01", False),
        ("2024-05", "2024-05-01T10:00:01", False),
    ],
)
def test_a_burst_lasts_three_seconds_by_full_times_of_like_zones(
    pictures: list[Image.Image], first: str, second: str, *, is_burst: bool
) -> None:
    one, other = subject(encoded(pictures[0]), first), subject(encoded(pictures[0], quality=50), second)
    for pair in ((one, other), (other, one)):
        verdict = compare(*pair)
        assert verdict is not None
        assert (verdict.relation is Relation.BURST) == is_burst


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2), (5000, 3)])
def test_the_smallest_pictures_raise_nothing(pictures: list[Image.Image], size: tuple[int, int]) -> None:
    small = subject(encoded(Image.fromarray(noise(size[::-1])), "PNG"))
    for other in (small, subject(encoded(pictures[0]))):
        compare(small, other)
        compare(other, small)
