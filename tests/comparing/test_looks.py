"""`looks`: parts, signatures and their orientations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from retrieval.comparing import looks

SEEDS = st.integers(0, 2**32 - 1)


def squares(seed: int, count: int = 3) -> looks.Grey:
    return np.random.default_rng(seed).integers(0, 256, (count, looks.GRID, looks.GRID), dtype=np.uint8)


@settings(deadline=None)
@given(SEEDS, st.sampled_from(looks.TURNS))
def test_a_turned_signature_is_the_signature_of_the_turned_picture(seed: int, turn: int) -> None:
    grey = squares(seed)
    turned = looks.signatures(looks.turned(grey, turn))
    assert_allclose(looks.turned_signatures(looks.signatures(grey), turn), turned, atol=1e-5)


@settings(deadline=None)
@given(SEEDS, st.sampled_from(looks.TURNS))
def test_each_turn_has_a_reverse(seed: int, turn: int) -> None:
    grey = squares(seed)
    assert_array_equal(looks.turned(looks.turned(grey, turn), looks.REVERSE[turn]), grey)


def test_signatures_have_length_1_and_those_of_one_colour_none() -> None:
    assert_allclose(np.linalg.norm(looks.signatures(squares(1)), axis=1), 1, atol=1e-5)
    blank = np.full((1, looks.GRID, looks.GRID), 90, np.uint8)
    assert np.abs(looks.signatures(blank)).max() < 1e-2


@pytest.mark.parametrize("colour", [0, 128, 255])
def test_a_border_of_one_colour_is_left_out_of_the_second_part(colour: int) -> None:
    picture = np.full((200, 256, 3), colour, np.uint8)
    picture[20:170, 30:236] = np.random.default_rng(0).integers(0, 256, (150, 206, 3))
    whole, inner = looks.look_of(picture).boxes
    assert (whole.left, whole.top, whole.right, whole.bottom) == (0, 0, 256, 200)
    assert_allclose([inner.left, inner.top, inner.right, inner.bottom], [30, 20, 236, 170], atol=1)


def test_a_picture_without_a_border_has_one_part() -> None:
    assert len(looks.look_of(np.random.default_rng(0).integers(0, 256, (90, 60, 3), dtype=np.uint8)).boxes) == 1
    assert len(looks.look_of(np.zeros((90, 60, 3), np.uint8)).boxes) == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 256), (256, 1), (2, 3)])
def test_the_smallest_pictures_have_a_look(shape: tuple[int, int]) -> None:
    assert looks.look_of(np.zeros((*shape, 3), np.uint8)).grey.shape[1:] == (looks.GRID, looks.GRID)
