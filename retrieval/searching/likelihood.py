"""Which matches are likely related to the query. This is computed from the index alone, without labels.

The same score means different things for different networks and indexes. So a score is compared with a background:
images drawn at random from the index, most pairs of which are unrelated.

1. The cosine of the query and a match, after the mean of the background was subtracted, is transformed by `atanh`
   (Fisher 1915, Frequency distribution of the values of the correlation coefficient).
2. The transformed cosines of the query and the background have a median and a spread. The distance of the match from
   this median is taken, in units of the spread. The same is done with the cosines of the match and the background. The
   smaller of the two distances counts, because an image that is near to everything is related to nothing.
3. The pairs of the background have such distances too. Hardly any related pair is in the lower half of these distances,
   so the lower half tells how far out the distance of the match is (an empirical null: Efron 2004, Large-scale
   simultaneous hypothesis testing).
4. The expected number of false matches is the share of unrelated images that come so near, times the number of images
   (Desolneux, Moisan & Morel 2000, Meaningful alignments).
5. Let m be the number of matches that are at least as near, and f the expected number of false matches. The probability
   is m / (m + f) (as in Benjamini & Hochberg 1995, Controlling the false discovery rate).

Only likely matches get a probability. Any other match may be related or not: the scores of an index of one theme and of
an index without a theme look the same, because there is no gap among them. So for these matches nothing can be told.
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
"""Least number of images that an index must have. Of the queries whose class is not in the index, the share that has a
likely match all the same is 0.30 with 12 images, 0.19 with 20, 0.14 with 30 and 0.13 with 50 (means over six kinds of
index and four networks)."""
DEPTH = 100
"""Least number of matches that are looked at, even if the caller wants fewer. With it, the probability of the first
match does not depend on the number of matches that the caller wants."""
LOWER = 0.05, 0.25
"""Two quantiles of the distances in the background. Their difference is the unit u of the constants below. In the sets
of `scripts/bench --only reliability`, up to a fifth of the pairs is related. A unit from the upper half would grow with
these pairs, and hide them."""
WEIGHT, STEEP, KNEE, BEYOND = 40.0, 3.0, 12.0, 2.0
"""Constants of the expected number of false matches per image of the index, for a match whose distance is u units above
the median: WEIGHT * exp(-STEEP * sqrt(u)) up to u = KNEE, and from there on exp(BEYOND) times fewer for each unit.

Several values of WEIGHT and STEEP were tried on Corel-1k, Caltech-101 and both mixed (50 to 1,000 pictures, four
networks). The mean log-loss of these two is within 0.02 of the least one, and they call fewer matches likely if the
index does not hold the class of the query. With this STEEP, the best WEIGHT is 20 on one set and 40 on the other. The
greater one is taken, because a match that is wrongly called likely does more harm than a match without a probability.
With KNEE and BEYOND, a picture with a twentieth cut off each side stays likely among a million images; they raise the
log-loss by 0.01."""
SPREAD = 1.4826
"""Standard deviation of a normal distribution, divided by its median distance from the median (Hampel 1974, The
influence curve)."""
NARROWEST = 0.01
"""Least spread: a tenth of the spread of photographs. It keeps a division from failing where all images are alike, or
all are equally unlike."""
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

    def false_matches(self, query: NDArray[np.float32], neighbours: Vectors) -> NDArray[np.float64]:
        """Return the expected number of unrelated images that are as near to a query as each of its neighbours, (n,).

        `query` is (dim,) and `neighbours` is (n, dim). The number can be more than the number of images in the index,
        which means that nothing can be told.
        """
        queries, matches = self._centred(query[None]), self._centred(neighbours)
        of_query = _Centres.of(_nearness(queries @ self._vectors.T))
        of_matches = _Centres.of(_nearness(matches @ self._vectors.T))
        distances = _distances(_nearness(queries @ matches.T), of_query, of_matches)[0]
        units = (distances - self._median) / self._unit
        exponent = STEEP * np.sqrt(np.clip(units, 0, KNEE)) + BEYOND * np.maximum(units - KNEE, 0)
        return np.asarray(self._images * WEIGHT * np.exp(-exponent))

    def _centred(self, vectors: Vectors) -> Vectors:
        """Subtract the mean of the background from vectors, and return them scaled to length 1."""
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
    """The centre of the transformed cosines of images to the background: one row per image."""

    median: Column
    spread: Column
    """Standard deviation, estimated from the median distance from the median."""

    @classmethod
    def of(cls, nearness: NDArray[np.float64]) -> "_Centres":
        """Return the centre of each row. A row may contain the nearness of an image to itself; it changes little."""
        median = _median(nearness)
        spread = SPREAD * _median(np.abs(nearness - median[:, None]))
        return cls(median, np.maximum(spread, NARROWEST))


def _median(rows: NDArray[np.float64]) -> Column:
    """Return the median of each row, as `np.median` does, which takes ten times as long."""
    half = rows.shape[1] // 2
    parts = np.partition(rows, half, axis=1)
    if rows.shape[1] % 2:
        return np.asarray(parts[:, half])
    return np.asarray((parts[:, :half].max(axis=1) + parts[:, half]) / 2)


def _nearness(cosines: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return cosines transformed by `atanh`."""
    return np.arctanh(np.clip(cosines.astype(np.float64), -CLOSEST, CLOSEST))


def _distances(nearness: NDArray[np.float64], rows: _Centres, columns: _Centres) -> NDArray[np.float64]:
    """Return the distance of each pair from the centre of its row or of its column, the smaller of the two."""
    from_rows = (nearness - rows.median[:, None]) / rows.spread[:, None]
    from_columns = (nearness - columns.median[None]) / columns.spread[None]
    return np.minimum(from_rows, from_columns)
