"""`agreement`: the share of the detail of two pictures that agrees."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.comparing.agreement import BLOCKS, agreement
from retrieval.comparing.looks import GRID, Grey


def squares(seed: int) -> Grey:
    small = np.random.default_rng(seed).integers(40, 200, (2, GRID // 4, GRID // 4), dtype=np.uint8)
    return small.repeat(4, axis=1).repeat(4, axis=2)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_picture_agrees_with_itself_and_the_order_does_not_matter(seed: int) -> None:
    grey = squares(seed)
    itself = agreement(grey, grey)
    assert (itself.near == 1).all()
    assert (itself.exact == 1).all()
    one, other = agreement(grey[:1], grey[1:]), agreement(grey[1:], grey[:1])
    assert (one.detail, one.near, one.alike, one.exact) == (other.detail, other.near, other.alike, other.exact)


def test_brightness_and_contrast_make_no_difference() -> None:
    grey = squares(3)
    darker = (0.7 * grey + 5).astype(np.uint8)
    assert (agreement(grey, darker).near == 1).all()


def test_even_blocks_say_nothing() -> None:
    blank = np.full((1, GRID, GRID), 100, np.uint8)
    assert agreement(blank, blank).detail[0] == 0
    half = squares(1)[:1].copy()
    half[:, :, GRID // 2 :] = 100
    assert 0 < agreement(half, half).detail[0] <= BLOCKS // 2 + 8


def test_what_one_picture_has_lost_to_overexposure_says_nothing() -> None:
    grey = squares(2)[:1]
    bright = np.minimum(grey.astype(int) * 2, 255).astype(np.uint8)
    assert agreement(grey, bright).near[0] > 0.9
    assert agreement(grey, bright).detail[0] < BLOCKS
