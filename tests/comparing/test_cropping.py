"""`cropping`: where one picture lies in another."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval.comparing import cropping
from retrieval.comparing.looks import luminance


@pytest.fixture
def whole(shared: Callable[[str], Path]) -> Image.Image:
    with Image.open(next(shared("images/corel1k").rglob("*.jpg"))) as opened:
        return opened.convert("RGB")


def grey(picture: Image.Image) -> np.ndarray:
    small = picture.copy()
    small.thumbnail((256, 256))
    return luminance(np.asarray(small))


@pytest.mark.parametrize("share", [0.9, 0.75, 0.6, 0.5])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_part_is_found_where_it_was_cut_out(whole: Image.Image, share: float, seed: int) -> None:
    width, height = (round(share * side) for side in whole.size)
    generator = np.random.default_rng(seed)
    left, top = int(generator.integers(whole.width - width + 1)), int(generator.integers(whole.height - height + 1))
    place = cropping.place_of(grey(whole.crop((left, top, left + width, top + height))), grey(whole))
    assert place is not None
    scale = 256 / max(whole.size)
    expected = [value * scale for value in (left, top, left + width, top + height)]
    found = [place.box.left, place.box.top, place.box.right, place.box.bottom]
    assert np.abs(np.subtract(found, expected)).max() <= 5
    assert place.share == pytest.approx(share * share, abs=0.06)


def test_noise_is_no_part(whole: Image.Image) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (150, 200), dtype=np.uint8)
    assert cropping.place_of(noise, grey(whole)) is None
    assert cropping.place_of(grey(whole), noise) is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (200, 1), (7, 256)])
def test_the_smallest_pictures_raise_nothing(whole: Image.Image, shape: tuple[int, int]) -> None:
    small = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    cropping.place_of(small, grey(whole))
    cropping.place_of(grey(whole), small)
    cropping.place_of(small, small)
