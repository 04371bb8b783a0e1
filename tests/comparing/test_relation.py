"""`relation`: what two pictures are to each other."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2), (5000, 3)])
def test_the_smallest_pictures_raise_nothing(pictures: list[Image.Image], size: tuple[int, int]) -> None:
    small = subject(encoded(Image.fromarray(noise(size[::-1])), "PNG"))
    for other in (small, subject(encoded(pictures[0]))):
        compare(small, other)
        compare(other, small)
