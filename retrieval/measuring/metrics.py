"""Measures of quality: pure functions on the ranks of the relevant images in the answer to a query.

The measure of an index is the mean over all queries, with a confidence interval. The query itself is never a result, as
in INRIA Holidays (Jegou et al. 2008, Hamming embedding and weak geometric consistency). A query without a relevant
image has no measure, so it must not be among the queries.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Ids, Vectors

Ranks = NDArray[np.int64]
"""(n,), ranks in an answer, from 1."""
RESAMPLES = 1000
"""Number of samples of a bootstrap, as Efron & Tibshirani 1993 (chapter 14) advise for intervals."""
CONFIDENCE = 0.95
"""Probability that an interval contains the true mean."""


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """The answer to one query, reduced to where the relevant images stand."""

    ranks: Ranks
    """Ranks of the relevant images that were found, from 1, ascending."""
    relevant: int
    """Number of relevant images, whether found or not; at least 1."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The mean of a measure with its confidence interval of 95 %."""

    value: float
    low: float
    high: float


# -- measures of one answer ---------------------------------------------------------------------------------------


def average_precision(answer: JudgedAnswer) -> float:
    """Return the mean of the precisions at the ranks of the relevant images, 0 to 1; an image not found counts as 0.

    It is not interpolated (Manning et al. 2008, Introduction to Information Retrieval, section 8.4), as in
    `sklearn.metrics.average_precision_score`. INRIA's script for Holidays interpolates by trapezoids.
    """
    precisions = np.arange(1, len(answer.ranks) + 1) / answer.ranks
    return float(precisions.sum() / answer.relevant)


def precision(answer: JudgedAnswer, k: int) -> float:
    """Return the share of the first `k` results that is relevant, 0 to 1. Fewer results are divided by `k` as well."""
    return float(np.searchsorted(answer.ranks, k, side="right") / k)


def recall(answer: JudgedAnswer, k: int) -> float:
    """Return 1 if a relevant image is among the first `k` results, else 0.

    This is "recall@R" of searches with one right answer (Jegou et al. 2011, Product quantization) and "Recall@K" of
    searches for a class (Song et al. 2016, Deep metric learning via lifted structured feature embedding).
    """
    return float(len(answer.ranks) > 0 and answer.ranks[0] <= k)


def ndcg(answer: JudgedAnswer, k: int) -> float:
    """Return the discounted cumulative gain of the first `k` results, as a share of that of the best order, 0 to 1.

    The gain is 1 for a relevant image, else 0. It is discounted by log2(1 + rank): Jarvelin & Kekalainen 2002,
    Cumulated gain-based evaluation of IR techniques, with the discount of Burges et al. 2005.
    """
    ranks_of_best_order = np.arange(1, min(k, answer.relevant) + 1)
    discounted = (1 / np.log2(1 + answer.ranks[answer.ranks <= k])).sum()
    discounted_of_best = (1 / np.log2(1 + ranks_of_best_order)).sum()
    return float(discounted / discounted_of_best)


MEASURES: Mapping[str, Callable[[JudgedAnswer], float]] = {
    "map": average_precision,
    "p@1": partial(precision, k=1),
    "p@10": partial(precision, k=10),
    "recall@1": partial(recall, k=1),
    "recall@10": partial(recall, k=10),
    "recall@100": partial(recall, k=100),
    "ndcg@10": partial(ndcg, k=10),
}
"""JSON name of a measure -> the function that measures one answer."""


# -- means over queries -------------------------------------------------------------------------------------------


def estimate(groups: Sequence[Sequence[JudgedAnswer]]) -> dict[str, Estimate]:
    """Return the mean of each of `MEASURES` over groups of answers, with its interval.

    A group has answers that depend on one another; most groups have one answer. All groups have the same weight. There
    must be at least one group. The interval comes from the percentiles of a bootstrap of the groups (Efron & Tibshirani
    1993, An introduction to the bootstrap, chapter 13), drawn with a fixed seed.
    """
    scores = np.array([_means(group) for group in groups])
    chance = np.random.default_rng(0)
    resampled = [scores[chance.integers(len(scores), size=len(scores))].mean(axis=0) for _ in range(RESAMPLES)]
    low, high = _interval(np.stack(resampled))
    columns = zip(scores.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Estimate(*column) for name, column in zip(MEASURES, columns, strict=True)}


def gain(before: Sequence[float], after: Sequence[float], groups: Ids) -> Estimate:
    """Return the mean of `after` - `before` with its interval. Both have a measure of the same queries, in one order.

    The difference is taken query by query, because the measures of two queries differ by more than the measures of two
    answers to one query. `groups` has the number of a group for each query; queries of one group depend on one another.
    Groups are weighted, and the interval is computed, as in `estimate`.
    """
    differences = means_by_group(np.array(after) - np.array(before), groups)
    count = len(differences)
    chance = np.random.default_rng(0)
    resampled = [differences[chance.integers(count, size=count)].mean() for _ in range(RESAMPLES)]
    low, high = _interval(np.array(resampled))
    return Estimate(float(differences.mean()), float(low), float(high))


def means_by_group(values: NDArray[np.float64], groups: Ids) -> NDArray[np.float64]:
    """Return the mean of the values in each group, in ascending order of the numbers of the groups."""
    _, position = np.unique(groups, return_inverse=True)
    return np.asarray(np.bincount(position, values) / np.bincount(position))


def _means(group: Sequence[JudgedAnswer]) -> NDArray[np.float64]:
    """Return the mean of each of `MEASURES` over the answers of a group."""
    return np.array([np.mean([measure(answer) for answer in group]) for measure in MEASURES.values()])


def _interval(means: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of the interval that holds the share `CONFIDENCE` of `means`, column by column."""
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return low, high


# -- answers from vectors alone -----------------------------------------------------------------------------------


def leave_one_out(vectors: Vectors, labels: Ids) -> list[JudgedAnswer]:
    """Search for each vector among the others, and return the answers in the order of the vectors.

    `vectors` is (n, dim) and `labels` is (n,). Vectors with the same label as the query are relevant. A vector that is
    the only one with its label has no answer. Equal scores stand in the order of the vectors.
    """
    answers = []
    for row, (vector, label) in enumerate(zip(vectors, labels, strict=True)):
        order = np.argsort(-(vectors @ vector), kind="stable")
        is_relevant = labels[order[order != row]] == label
        if is_relevant.any():
            answers.append(JudgedAnswer(np.flatnonzero(is_relevant) + 1, int(is_relevant.sum())))
    return answers
