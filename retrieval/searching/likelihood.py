"""Which matches are likely related, told from the index alone: scores mean other things with each network and index.

What a score is worth is told by a background: pictures drawn from the index, most pairs of which are unrelated. The
cosine of a query and a match, about the mean of the background, becomes `atanh` of it (Fisher 1915, Frequency
distribution of the values of the correlation coefficient), and then a distance from the median of the query's own
cosines to the background, in units of their spread; likewise from the match's own. The lesser of both counts: what is
near to everything is near to nobody. How far out that is among the pairs of the background is measured by their lower
half, which holds hardly any related pair (an empirical null: Efron 2004, Large-scale simultaneous hypothesis testing).
How often unrelated pairs come so near, times the pictures of the index, is the number of false matches to expect
(Desolneux, Moisan & Morel 2000, Meaningful alignments). The matches that are as near stand against that number, and
their share of both is the probability (as in Benjamini & Hochberg 1995, Controlling the false discovery rate).

Only what is likely is told. A match below that may be related or not: pictures of one theme and pictures of no theme
look the same from inside, as there is no gap among the scores of either. So there the answer is "cannot tell".
"""

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Vectors

SAMPLE = 500
"""Pictures of a background, at most. Of 256, what `scripts/bench --only likely` measures differs by up to 0.03."""
FEWEST = 50
"""Pictures that an index must have, to tell anything. Of 12, 20, 30 and 50 pictures, this share of queries of classes
that the index does not hold has a likely match: 0.30, 0.19, 0.14, 0.13 (means of six kinds of index, four networks)."""
DEPTH = 100
"""Matches that are looked at where fewer are asked for, so that what is told of the first is the same for all those."""
LOWER = 0.05, 0.25
"""Quantiles of the distances in the background whose difference is the unit. Up to a fifth of the pairs is related in
the sets of `scripts/bench --only reliability`; a unit from the upper half grows with them, and hides them."""
WEIGHT, STEEP, KNEE, BEYOND = 40.0, 3.0, 12.0, 2.0
"""How many unrelated pictures come as near as u units above the median, of one picture: WEIGHT * exp(-STEEP * sqrt(u))
up to u = KNEE, and from there on exp(BEYOND) times fewer for each unit. Of the pairs tried, WEIGHT and STEEP are
within 0.02 of the least mean log-loss on Corel-1k, Caltech-101 and both mixed (50 to 1,000 pictures, four networks) and
call fewer matches likely of classes that the index does not hold. With this STEEP, the best WEIGHT is 20 on the one set
and 40 on the other; the greater is taken, as a match that is wrongly called likely does more harm than one that is not
told. KNEE and BEYOND keep a picture with a twentieth cut off each side likely among a million, and cost 0.01."""
SPREAD = 1.4826
"""Times the median distance from the median is the standard deviation, of what is normal (Hampel 1974, The influence
curve)."""
NARROWEST = 0.01
"""What a spread is at least, a tenth of what it is with photographs: where all are alike, or equally unlike."""
CLOSEST = 1 - 1e-6
"""Cosine that is as near as can be: `atanh` of 1 is infinite."""


class Background:
    """Pictures of an index that scores are held against."""

    def __init__(self, vectors: Vectors, images: int) -> None:
        """Take some vectors, (n, dim), drawn at random from an index of so many images; n is at least `FEWEST`."""
        self._images = images
        self._mean = vectors.mean(axis=0)
        self._vectors = self._centred(vectors)
        among = _nearness(self._vectors @ self._vectors.T)
        middle, spread = _middle(among)
        pairs = np.triu_indices(len(vectors), 1)
        far = _lesser(among, (middle, spread), (middle, spread))[pairs]
        low, high, self._median = np.quantile(far, (*LOWER, 0.5))
        self._unit = max(high - low, NARROWEST)

    def false_matches(self, query: NDArray[np.float32], near: Vectors) -> NDArray[np.float64]:
        """Return how many images, of those unrelated to `query`, (dim,), come as near as each of `near`, (n, dim).

        Where that is more than the index holds, nothing is to be told.
        """
        one, others = self._centred(query[None]), self._centred(near)
        own, their = (_middle(_nearness(vectors @ self._vectors.T)) for vectors in (one, others))
        far = (_lesser(_nearness(one @ others.T), own, their)[0] - self._median) / self._unit
        fewer = STEEP * np.sqrt(np.clip(far, 0, KNEE)) + BEYOND * np.maximum(far - KNEE, 0)
        return np.asarray(self._images * WEIGHT * np.exp(-fewer))

    def _centred(self, vectors: Vectors) -> Vectors:
        about = vectors - self._mean
        return np.asarray(about / np.maximum(np.linalg.norm(about, axis=1, keepdims=True), np.float32(1e-12)))


def probabilities(false: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of the match at each rank, (n,), descending, from the false matches to expect, (n,).

    `false` is of the matches in any order. A rank is no less likely than the next.
    """
    rank = np.arange(1, len(false) + 1)
    return np.maximum.accumulate((rank / (rank + np.sort(false)))[::-1])[::-1]


def _nearness(cosines: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.arctanh(np.clip(cosines.astype(np.float64), -CLOSEST, CLOSEST))


def _middle(nearness: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the median of each row, and the spread about it; the row's own picture, if it is there, counts little."""
    middle = np.median(nearness, axis=1)
    spread = SPREAD * np.median(np.abs(nearness - middle[:, None]), axis=1)
    return middle, np.maximum(spread, NARROWEST)


def _lesser(
    nearness: NDArray[np.float64],
    rows: tuple[NDArray[np.float64], NDArray[np.float64]],
    columns: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Return how far out each pair is, for the one or for the other, whichever is less."""
    of_rows = (nearness - rows[0][:, None]) / rows[1][:, None]
    return np.minimum(of_rows, (nearness - columns[0][None]) / columns[1][None])
