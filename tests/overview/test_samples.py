"""Samples: at random, and as different as possible."""

from pathlib import Path

import numpy as np
import pytest

from retrieval import BadInput, Index
from retrieval.overview import samples
from tests.overview.conftest import blobs


def test_a_random_sample_is_repeatable_and_has_no_image_twice(index: Index) -> None:
    ten = samples.at_random(index, 10)
    assert len({one.id for one in ten}) == 10
    assert samples.at_random(index, 10) == ten
    assert samples.at_random(index, 4) == ten[:4]
    assert samples.at_random(index, 10, seed=1) != ten
    assert {one.id for one in samples.at_random(index, 1000)} == {image.id for image in index.images()}


def test_a_diverse_sample_has_every_colour_before_it_has_one_twice(index: Index) -> None:
    four = samples.diverse(index, 4)
    assert {one.path.parent.name for one in four} == {"photos", "red", "green", "blue"}
    assert samples.diverse(index, 2) == four[:2]
    assert len(samples.diverse(index, 1000)) == len(index)


def test_each_further_one_is_least_like_the_chosen_ones() -> None:
    vectors, _ = blobs([30, 20, 10])
    rows = samples.farthest(vectors, 8).tolist()
    assert rows[0] == np.argmax((vectors @ vectors.T).mean(axis=1))
    for number in range(1, 8):
        closest = (vectors @ vectors[rows[:number]].T).max(axis=1)
        assert closest[rows[number]] == pytest.approx(closest.min(), abs=1e-6)


def test_equal_vectors_are_chosen_in_order_and_once() -> None:
    same = np.full((5, 4), 0.5, dtype=np.float32)
    assert samples.farthest(same, 9).tolist() == [0, 1, 2, 3, 4]
    assert samples.farthest(same[:0], 3).tolist() == []


def test_a_filter_chooses(index: Index, empty: Index) -> None:
    for found in (samples.at_random(index, 99, where="path:*/red"), samples.diverse(index, 99, where="path:*/red")):
        assert {one.path.parent.name for one in found} == {"red"}
        assert len(found) == 20
    assert samples.at_random(empty, 3) == samples.diverse(empty, 3) == ()


@pytest.mark.parametrize("count", [-1, 1.5, "3", True])
def test_what_is_no_number_is_refused(index: Index, count: object) -> None:
    for draw in (samples.at_random, samples.diverse):
        with pytest.raises(BadInput):
            draw(index, count)  # type: ignore[operator]


def test_the_record_is_what_json_says(index: Index) -> None:
    (one,) = samples.at_random(index, 1)
    assert one.as_dict() == {"id": one.id, "path": str(one.path)}
    assert Path(one.as_dict()["path"]).exists()
