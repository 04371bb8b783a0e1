"""Where likely matches end, told from the index alone: scores mean other things with each network, index and query.

What a score is worth is told by a background: pictures drawn from the index, most pairs of which are unrelated. The
cosine of a query and a match, about the mean of the background, becomes `atanh` of it (Fisher 1915, Frequency
distribution of the values of the correlation coefficient), and then a distance from the median of the query's own
cosines to the background, in units of their spread; likewise from the match's own. The lesser of both counts: what is
near to everything is near to nobody. How often unrelated pairs come so near is the tail of the background, and that
times the pictures of the index the number of false matches to expect (Desolneux, Moisan & Morel 2000, Meaningful
alignments). The share of them among the matches that are as near is what is false of these (Benjamini & Hochberg 1995,
Controlling the false discovery rate), and the rest the probability.
"""

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Vectors

SAMPLE = 500
"""Pictures of a background, at most. Of 256, what `scripts/bench --only likely` measures differs by up to 0.03."""
FEWEST = 10
"""Pictures that an index must have, to tell anything."""
DEPTH = 100
"""Matches that are looked at where fewer are asked for, so that what is told of the first is the same for all those."""
TAIL, SHAPE, KNEE = 0.16, 0.6, 5.0
"""Share of the background's pairs from which the tail goes on, and how: a pair is t times as near as those with the
probability TAIL ** (t ** SHAPE) up to t = KNEE, and from there on TAIL times that for each 1 that t grows. Measured on
Corel-1k and Caltech-101, four networks: unrelated pairs follow 0.65 to 0.95, and related ones among the background bend
that, so less was taken; beyond t = 5, what labels call unrelated is mostly alike, while of sets without such pairs the
tail falls faster than so. Of the shapes 0.6 to 0.75 and knees 4 to 6, these two are right most often on both sets."""
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
        self._unit = max(float(np.quantile(far, 1 - TAIL)), NARROWEST)

    def false_matches(self, query: NDArray[np.float32], near: Vectors) -> NDArray[np.float64]:
        """Return how many images, of those unrelated to `query`, (dim,), come as near as each of `near`, (n, dim)."""
        one, others = self._centred(query[None]), self._centred(near)
        own, their = (_middle(_nearness(vectors @ self._vectors.T)) for vectors in (one, others))
        far = _lesser(_nearness(one @ others.T), own, their)[0] / self._unit
        bent = np.clip(far, 0, KNEE) ** SHAPE + np.maximum(far - KNEE, 0)
        return np.asarray(self._images * TAIL**bent)

    def _centred(self, vectors: Vectors) -> Vectors:
        about = vectors - self._mean
        return np.asarray(about / np.maximum(np.linalg.norm(about, axis=1, keepdims=True), np.float32(1e-12)))


def probabilities(false: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of the match at each rank, (n,), descending, from the false matches to expect, (n,).

    `false` is of the matches in any order. That many are false, among those with no more false matches to expect; a
    rank is no less likely than the next.
    """
    share = np.sort(false) / np.arange(1, len(false) + 1)
    return np.maximum.accumulate(np.maximum(1 - share, 0)[::-1])[::-1]


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
