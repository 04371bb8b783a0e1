"""The measures of quality: compared with results by hand, and with scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from retrieval.measuring.metrics import (
    MEASURES,
    Estimate,
    JudgedAnswer,
    average_precision,
    estimate,
    gain,
    leave_one_out,
    ndcg,
    precision,
    recall,
)


def judged(*relevant: int, missed: int = 0) -> JudgedAnswer:
    """An answer by its results: 1 for a relevant image, 0 for another."""
    ranks = np.flatnonzero(relevant) + 1
    return JudgedAnswer(ranks, len(ranks) + missed)


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
def test_the_measures_are_those_of_scikit_learn(relevant: list[bool], k: int) -> None:
    scores = np.arange(len(relevant), 0, -1)
    one = judged(*relevant)
    assert average_precision(one) == pytest.approx(average_precision_score(relevant, scores))
    if len(relevant) > 1:
        assert ndcg(one, k) == pytest.approx(ndcg_score([relevant], [scores], k=k))


def test_leave_one_out_asks_about_each_vector_whose_label_has_others() -> None:
    angles = np.array([0.0, 0.1, 0.3, 1.0, 1.05, 2.2])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = leave_one_out(vectors, np.array([0, 0, 1, 1, 0, 2]))
    assert [(one.ranks.tolist(), one.relevant) for one in found] == [
        ([1, 4], 2),
        ([1, 4], 2),
        ([3], 1),
        ([2], 1),
        ([3, 4], 2),
    ]


def test_a_gain_is_computed_query_by_query_and_resampled_by_groups() -> None:
    chance = np.random.default_rng(2)
    before = [judged(*(chance.random(20) < 0.2), missed=1) for _ in range(200)]
    after = [JudgedAnswer(np.maximum(one.ranks - 1, np.arange(len(one.ranks)) + 1), one.relevant) for one in before]
    one, two = ([average_precision(one) for one in some] for some in (before, after))
    alone, together = gain(one, two, np.arange(200)), gain(one, two, np.arange(200) // 40)
    assert alone.value == pytest.approx(together.value) == pytest.approx(np.mean(two) - np.mean(one))
    assert 0 < alone.low < alone.value < alone.high
    assert gain(one, one, np.arange(200)) == Estimate(0, 0, 0)
    better = [1.0] * 100 + [0.5] * 100
    classes = gain([0.5] * 200, better, np.arange(200) // 50)
    queries = gain([0.5] * 200, better, np.arange(200))
    assert classes.high - classes.low > queries.high - queries.low, "four classes tell less than two hundred queries"


def test_means_have_intervals_that_shrink() -> None:
    chance = np.random.default_rng(1)
    many = [judged(*(chance.random(20) < 0.3), missed=1) for _ in range(400)]
    alone = [[one] for one in many]
    few, all_ = estimate(alone[:40]), estimate(alone)
    assert list(all_) == list(MEASURES)
    for name, mean in all_.items():
        assert mean.low - 1e-12 <= mean.value <= mean.high + 1e-12
        assert mean.value == pytest.approx(np.mean([MEASURES[name](one) for one in many]))
    assert all_["map"].high - all_["map"].low < few["map"].high - few["map"].low
    assert estimate(alone) == all_
    together = estimate([many[at : at + 7] for at in range(0, 399, 7)])["map"]
    assert together.value == pytest.approx(np.mean([average_precision(one) for one in many[:399]]))
    twins = estimate([[one] * 7 for one in many[:57]])["map"]
    assert twins == estimate(alone[:57])["map"], "what stands or falls together tells no more than one of it"
    certain = estimate([[judged(1, 1)]] * 5)["map"]
    assert (certain.value, certain.low, certain.high) == (1, 1, 1)
