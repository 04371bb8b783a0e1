"""The measures of quality, against what can be computed by hand, and against scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.evaluate import MEASURES, Judged, average_precision, measured, ndcg, precision, recall


def judged(*relevant: int, missed: int = 0) -> Judged:
    """A query by its results, 1 for a relevant one."""
    ranks = np.flatnonzero(relevant) + 1
    return Judged(ranks, len(ranks) + missed)


BY_HAND = judged(0, 1, 1, 0, 0, 1)


def test_average_precision_by_hand() -> None:
    assert average_precision(BY_HAND) == pytest.approx((1 / 2 + 2 / 3 + 3 / 6) / 3)
    assert average_precision(judged(1, 1, 0)) == 1
    assert average_precision(judged(1, missed=1)) == 0.5, "what was not found counts as 0"
    assert average_precision(judged(0, 0, missed=1)) == 0


def test_precision_and_recall_by_hand() -> None:
    assert [precision(BY_HAND, k) for k in (1, 2, 3, 6, 10)] == [0, 0.5, pytest.approx(2 / 3), 0.5, 0.3]
    assert [recall(BY_HAND, k) for k in (1, 2, 10)] == [0, 1, 1]
    assert recall(judged(0, 0, missed=2), 10) == 0


def test_ndcg_by_hand() -> None:
    best = 1 + 1 / math.log2(3) + 1 / 2
    assert ndcg(BY_HAND, 10) == pytest.approx((1 / math.log2(3) + 1 / 2 + 1 / math.log2(7)) / best)
    assert ndcg(BY_HAND, 2) == pytest.approx(1 / math.log2(3) / (1 + 1 / math.log2(3)))
    assert ndcg(judged(*[1] * 12), 10) == 1


@given(st.lists(st.booleans(), min_size=1, max_size=40).filter(any), st.integers(1, 15))
def test_they_are_those_of_scikit_learn(relevant: list[bool], k: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    scores = np.arange(len(relevant), 0, -1)
    one = judged(*relevant)
    assert average_precision(one) == pytest.approx(sklearn.average_precision_score(relevant, scores))
    if len(relevant) > 1:
        assert ndcg(one, k) == pytest.approx(sklearn.ndcg_score([relevant], [scores], k=k))


def test_means_have_intervals_that_shrink_and_queries_without_anything_relevant_are_left_out() -> None:
    chance = np.random.default_rng(1)
    many = [judged(*(chance.random(20) < 0.3), missed=1) for _ in range(400)]
    few, all_ = measured(many[:40]), measured([*many, Judged(np.zeros(0, dtype=np.int64), 0)])
    assert list(all_) == list(MEASURES)
    for name, estimate in all_.items():
        assert estimate.low - 1e-12 <= estimate.value <= estimate.high + 1e-12
        assert estimate.value == pytest.approx(np.mean([MEASURES[name](one) for one in many]))
    assert all_["map"].high - all_["map"].low < few["map"].high - few["map"].low
    assert measured(many) == measured(many)
    certain = measured([judged(1, 1)] * 5)["map"]
    assert (certain.value, certain.low, certain.high) == (1, 1, 1)
