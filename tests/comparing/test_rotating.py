"""`rotating`: the angle between two pictures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval.comparing import cropping, rotating
from retrieval.comparing.looks import Box, luminance


@pytest.mark.parametrize("angle", [5, 25, 45, 100, 200, 315])
def test_the_angle_is_found(shared: Callable[[str], Path], angle: int) -> None:
    paths = sorted(shared("images/corel1k").rglob("*.jpg"))[::101]
    right = 0
    for path in paths:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((256, 256))
        one = luminance(np.asarray(picture))
        other = luminance(np.asarray(picture.rotate(angle, Image.Resampling.BILINEAR)))
        right += any(abs(found - angle) <= 2 for found in rotating.angles_between(one, other))
    assert right >= 0.9 * len(paths)


def test_noise_has_no_angle() -> None:
    one, other = (np.random.default_rng(seed).integers(0, 256, (200, 256), dtype=np.uint8) for seed in (1, 2))
    assert rotating.angles_between(one, other) == ()


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (200, 1)])
def test_the_smallest_pictures_raise_nothing(shape: tuple[int, int]) -> None:
    small = np.zeros(shape, np.uint8)
    assert rotating.angles_between(small, small) == ()


@pytest.mark.parametrize("angle", [4.4, 15.5, 75.3, 200.2])
def test_a_copy_is_laid_on_its_picture_to_a_part_of_a_pixel(shared: Callable[[str], Path], angle: float) -> None:
    for path in sorted(shared("images/corel1k").rglob("*.jpg"))[::250]:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((256, 256))
        still = luminance(np.asarray(picture))
        rotated = luminance(np.asarray(picture.rotate(angle, Image.Resampling.BICUBIC)))
        guess = round(angle)  # as exact as the first search
        place = cropping.place_of(rotating.straightened(rotated, guess), still)
        assert place is not None
        laid = rotating.laid_on(still, rotated, guess, place.box)
        assert laid is not None
        assert laid.angle == pytest.approx(min(angle, 360 - angle), abs=0.1)
        assert 0.5 < laid.seen.mean() < 1
        errors = np.abs(laid.picture.astype(int) - still)[laid.seen]
        wrong = np.abs(np.asarray(picture.rotate(1).convert("L")).astype(int) - still)[laid.seen]
        assert errors.mean() < 0.5 * wrong.mean()


def test_pictures_that_hardly_meet_are_not_laid_on_each_other() -> None:
    still = np.random.default_rng(0).integers(0, 256, (200, 256), dtype=np.uint8)
    assert rotating.laid_on(still, still, 30, Box(250, 190, 256, 200)) is None
    assert rotating.laid_on(np.zeros_like(still), np.zeros_like(still), 30, Box(64, 50, 192, 150)) is None
