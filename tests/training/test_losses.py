"""The losses of a training, compared with the formulas of their papers, written out in Python."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.training.losses import ArcFace, SupervisedContrastive, VICReg


def cross_entropy(logits: list[float], own: int) -> float:
    return math.log(sum(math.exp(one) for one in logits)) - logits[own]


def value(loss: object, truth: list[int], given: list[list[float]]) -> float:
    return float(loss(np.array(truth, np.int32), np.array(given, np.float32)))


def test_arcface_adds_its_margin_to_the_angle_of_the_own_class() -> None:
    turned = math.cos(math.acos(0.5) + 0.3)
    expected = cross_entropy([4 * turned, 4 * 0.2, 4 * -0.1], 0)
    assert value(ArcFace(0.3, 4), [0], [[0.5, 0.2, -0.1]]) == pytest.approx(expected, rel=1e-5)


def test_arcface_is_the_mean_over_pictures_and_softmax_without_a_margin() -> None:
    rows = [[0.5, 0.2, -0.1], [0.0, 0.9, 0.3]]
    expected = [cross_entropy([2 * one for one in row], own) for row, own in zip(rows, (2, 1), strict=True)]
    assert value(ArcFace(0, 2), [2, 1], rows) == pytest.approx(sum(expected) / 2, rel=1e-5)


def test_arcface_goes_on_in_a_straight_line_where_the_angle_would_pass_the_opposite() -> None:
    margin = 0.5
    assert math.acos(-0.95) + margin > math.pi
    line = -0.95 - margin * math.sin(margin)
    assert value(ArcFace(margin, 4), [0], [[-0.95, 0.1]]) == pytest.approx(cross_entropy([4 * line, 0.4], 0), rel=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.floats(-1, 1), st.floats(-1, 1))
def test_arcface_is_less_the_nearer_a_picture_is_to_its_class(one: float, two: float) -> None:
    nearer, further = max(one, two), min(one, two)
    losses = [value(ArcFace(), [0], [[own, 0.0]]) for own in (nearer, further)]
    assert all(map(math.isfinite, losses))
    assert losses[0] <= losses[1] + 1e-4


def test_supervised_contrastive_by_hand() -> None:
    angles, truth, temperature = [0.0, 0.4, 1.5, 1.9, 3.0], [0, 0, 1, 1, 2], 0.5
    vectors = [[math.cos(angle), math.sin(angle)] for angle in angles]
    each = []
    for at, own in enumerate(truth):
        others = [other for other in range(5) if other != at]
        scores = {other: math.cos(angles[at] - angles[other]) / temperature for other in others}
        whole = sum(math.exp(score) for score in scores.values())
        alike = [scores[other] for other in others if truth[other] == own]
        if alike:  # the fifth has no other of its class
            each.append(-sum(score - math.log(whole) for score in alike) / len(alike))
    found = value(SupervisedContrastive(temperature), truth, vectors)
    assert found == pytest.approx(sum(each) / 4, rel=1e-4)


def test_supervised_contrastive_is_zero_without_pairs_of_a_class() -> None:
    assert value(SupervisedContrastive(), [0, 1], [[1, 0], [0, 1]]) == 0


def test_vicreg_by_hand() -> None:
    one, two = np.random.default_rng(0).normal(size=(2, 6, 3)) * [0.2, 1, 3]
    apart = ((one - two) ** 2).mean()
    lacking, between = 0.0, 0.0
    for view in (one, two):
        table = np.cov(view.T)
        lacking += np.maximum(0, 1 - np.sqrt(np.diag(table) + 1e-4)).mean() / 2
        between += (table[~np.eye(3, dtype=bool)] ** 2).sum() / 3
    expected = 25 * apart + 25 * lacking + between
    assert value(VICReg(), [0] * 6, np.concatenate([one, two]).tolist()) == pytest.approx(expected, rel=1e-4)


def test_vicreg_punishes_vectors_that_are_all_the_same() -> None:
    assert value(VICReg(), [0] * 4, [[1.0, 2.0]] * 8) == pytest.approx(25 * (1 - 0.01), rel=1e-4)
