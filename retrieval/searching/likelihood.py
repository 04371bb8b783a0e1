"""Which matches are likely related to the query. The index alone tells, without labels.

The same score means different things for different networks and indexes. So a score is compared with a background:
images drawn at random from the index, most pairs of which are unrelated.

1. The cosine of the query and a match, after the mean of the background was subtracted, is transformed by `atanh`
   (Fisher 1915, Frequency distribution of the values of the correlation coefficient).
2. Its distance from the median of the query's own cosines to the background is taken, in units of their spread; and in
   the same way its distance for the match. The smaller of the two counts: an image that is near to everything is
   related to nothing.
3. How far out that distance is among the pairs of the background is measured by the lower half of these pairs, which
   holds hardly any related pair (an empirical null: Efron 2004, Large-scale simultaneous hypothesis testing).
4. How often unrelated images come so near, times the number of images, is the expected number of false matches
   (Desolneux, Moisan & Morel 2000, Meaningful alignments).
5. The number of matches that are as near, divided by itself plus the number of false matches, is the probability (as in
   Benjamini & Hochberg 1995, Controlling the false discovery rate).

Only likely matches get a probability. Another match may be related or not: in an index of one theme and in an index of
no theme, the scores look the same, because there is no gap among them. So the answer there is "cannot tell".
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Vectors

Column = NDArray[np.float64]

SAMPLE = 500
"""Largest number of images in a background. With 256, the figures of `scripts/bench --only likely` differ by up to
0.03."""
FEWEST = 50
"""Least number of images that an index must have. With 12, 20, 30 and 50 images, this share of the queries of classes
that the index does not hold has a likely match: 0.30, 0.19, 0.14, 0.13 (means of six kinds of index, four networks)."""
DEPTH = 100
"""Least number of matches that are looked at, even if the caller wants fewer. So the probability of the first match
does not depend on the number of matches that the caller wants."""
LOWER = 0.05, 0.25
"""Quantiles of the distances in the background whose difference is the unit. Up to a fifth of the pairs is related in
the sets of `scripts/bench --only reliability`. A unit from the upper half would grow with them, and hide them."""
WEIGHT, STEEP, KNEE, BEYOND = 40.0, 3.0, 12.0, 2.0
"""Number of unrelated images that come as near as u units above the median, per image: WEIGHT * exp(-STEEP * sqrt(u))
up to u = KNEE, and from there on exp(BEYOND) times fewer for each unit. Of the pairs of values that were tried, WEIGHT
and STEEP are within 0.02 of the least mean log-loss on Corel-1k, Caltech-101 and both mixed (50 to 1,000 pictures, four
networks), and call fewer matches likely of classes that the index does not hold. With this STEEP, the best WEIGHT is 20
on one set and 40 on the other. The greater is taken, because a match that is wrongly called likely does more harm than
one that gets no probability. With KNEE and BEYOND, a picture with a twentieth cut off each side stays likely among a
million images; they cost 0.01."""
SPREAD = 1.4826
"""The standard deviation of a normal distribution is this times the median distance from the median (Hampel 1974, The
influence curve)."""
NARROWEST = 0.01
"""Least spread, a tenth of that of photographs. It is needed where all images are alike, or all equally unlike."""
CLOSEST = 1 - 1e-6
"""Largest cosine that is transformed, because `atanh` of 1 is infinite."""


class Background:
    """Images drawn from an index, with which scores are compared."""

    def __init__(self, vectors: Vectors, images: int) -> None:
        """Take vectors, (n, dim), drawn at random from an index of `images` images; n is at least `FEWEST`."""
        self._images = images
        self._mean = vectors.mean(axis=0)
        self._vectors = self._centred(vectors)
        nearness = _nearness(self._vectors @ self._vectors.T)
        centres = _Centres.of(nearness)
        pairs = np.triu_indices(len(vectors), 1)
        distances = _distances(nearness, centres, centres)[pairs]
        low, high, self._median = np.quantile(distances, (*LOWER, 0.5))
        self._unit = max(high - low, NARROWEST)

    def false_matches(self, query: NDArray[np.float32], near: Vectors) -> NDArray[np.float64]:
        """Return how many unrelated images are expected to be as near to `query`, (dim,), as each of `near`, (n, dim).

        The result is (n,). Where it is more than the number of images in the index, nothing can be told.
        """
        queries, matches = self._centred(query[None]), self._centred(near)
        of_query = _Centres.of(_nearness(queries @ self._vectors.T))
        of_matches = _Centres.of(_nearness(matches @ self._vectors.T))
        distances = _distances(_nearness(queries @ matches.T), of_query, of_matches)[0]
        units = (distances - self._median) / self._unit
        exponent = STEEP * np.sqrt(np.clip(units, 0, KNEE)) + BEYOND * np.maximum(units - KNEE, 0)
        return np.asarray(self._images * WEIGHT * np.exp(-exponent))

    def _centred(self, vectors: Vectors) -> Vectors:
        """Return vectors after the mean was subtracted, scaled to length 1."""
        centred = vectors - self._mean
        return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.float32(1e-12)))


def probabilities(false_matches: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of the match at each rank, (n,), in descending order.

    `false_matches`, (n,), has the expected number of false matches of each match, in any order. The probability at a
    rank is never lower than at the next rank.
    """
    rank = np.arange(1, len(false_matches) + 1)
    shares = rank / (rank + np.sort(false_matches))
    return np.maximum.accumulate(shares[::-1])[::-1]


@dataclass(frozen=True, slots=True)
class _Centres:
    """Where the scores of some images lie: one image a row."""

    median: Column
    spread: Column
    """The standard deviation, estimated by the median distance from the median."""

    @classmethod
    def of(cls, nearness: NDArray[np.float64]) -> "_Centres":
        """Return the centre of each row. An image's nearness to itself, if it is in its row, counts little."""
        median = np.median(nearness, axis=1)
        spread = SPREAD * np.median(np.abs(nearness - median[:, None]), axis=1)
        return cls(median, np.maximum(spread, NARROWEST))


def _nearness(cosines: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return cosines transformed by `atanh`."""
    return np.arctanh(np.clip(cosines.astype(np.float64), -CLOSEST, CLOSEST))


def _distances(nearness: NDArray[np.float64], rows: _Centres, columns: _Centres) -> NDArray[np.float64]:
    """Return the distance of each pair from the centre of its row or of its column, the smaller of the two."""
    from_rows = (nearness - rows.median[:, None]) / rows.spread[:, None]
    from_columns = (nearness - columns.median[None]) / columns.spread[None]
    return np.minimum(from_rows, from_columns)
