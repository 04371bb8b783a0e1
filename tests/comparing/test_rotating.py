"""`rotating`: the angle between two pictures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval.comparing import rotating
from retrieval.comparing.looks import luminance


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
