"""All pairs of near vectors, in blocks: the candidates for duplicates.

Two vectors are compared by their first principal components, and by a bound for the rest: the sum over the other
components is at most the product of the lengths of both rests (Cauchy-Schwarz). So no pair is lost, and few pairs are
compared in full. The memory that is needed depends on the size of a block, not on the number of vectors.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Vectors

BLOCK = 4096
"""Number of vectors in each half of a block of pairs: 67 MB of bounds."""
COMPONENTS = 256
"""Number of principal components. Of 20,000 vectors of MobileNetV2 (1,280 dimensions), 256 leave a rest of length 0.37
in the mean. At 0.95, 4 times as many pairs pass the bound as are near; at 0.9, 5 times; at 0.8, 12 times."""
SAMPLE = 20_000
"""Number of vectors from which the principal components are computed."""
NOTHING = -2.0
"""Stands for a pair that does not count: less than any cosine."""
SLACK = 1e-4
"""Added to a bound: more than float32 rounds."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of rows with their cosines, nearest first; equal cosines in ascending order of the rows."""

    first: NDArray[np.int64]
    """(n,), rows of the first set of vectors; less than `second` if there is one set only."""
    second: NDArray[np.int64]
    """(n,), rows of the second set."""
    scores: NDArray[np.float32]
    """(n,), cosines."""

    def __len__(self) -> int:
        return len(self.scores)


_NONE = Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))


def near(
    vectors: Vectors,
    least: float,
    most: int,
    others: Vectors | None = None,
    progress: Callable[[float], None] | None = None,
) -> Pairs:
    """Return the pairs of vectors whose cosine is `least` or more: of `vectors`, or of one of them and one of `others`.

    `vectors` are (n, dim), `others` (m, dim), of length 1. A row has at most `most` pairs for which it is the first
    row, those with the highest cosines, so that many copies of one picture do not make the square of their number.
    `progress` is called with the share of the work that is done.
    """
    basis = _basis(vectors)
    short = _shortened(vectors, basis)
    short_others = short if others is None else _shortened(others, basis)
    parts = [_NONE]
    for start in range(0, len(vectors), BLOCK):
        rows = slice(start, min(start + BLOCK, len(vectors)))
        best = _NONE
        for found in _of_rows(vectors, short, rows, others, short_others, least, most):
            best = _best([best, found], most)
        parts.append(best)
        if progress is not None:
            progress(rows.stop / len(vectors))
    return _sorted(parts)


def nearest(vectors: Vectors, k: int, others: Vectors | None = None) -> Pairs:
    """Return the pairs of each vector with its `k` nearest ones among the rest, or among `others`.

    The neighbours are chosen by their first principal components, so a few are missed; the cosines are exact. Among the
    vectors themselves, a pair is returned once, with the lesser row first.
    """
    compared = vectors if others is None else others
    basis = _basis(vectors)
    short, short_others = (each if basis is None else each @ basis for each in (vectors, compared))
    found = min(k + (others is None), len(compared))
    height = max(1, BLOCK * BLOCK // max(1, len(compared)))
    parts = [_NONE]
    for start in range(0, len(vectors), height):
        products = short[start : start + height] @ short_others.T
        second = np.argpartition(products, len(compared) - found, axis=1)[:, len(compared) - found :].ravel()
        first = np.repeat(np.arange(start, start + len(products)), found)
        if others is None:
            apart = first != second
            first, second = np.minimum(first, second)[apart], np.maximum(first, second)[apart]
        parts.append(Pairs(first, second, _products(vectors, compared, first, second)))
    return _distinct(_sorted(parts))


def _distinct(pairs: Pairs) -> Pairs:
    """Return sorted pairs, each once."""
    if not len(pairs):
        return pairs
    again = (np.diff(pairs.first) == 0) & (np.diff(pairs.second) == 0)
    kept = np.concatenate([[True], ~again])
    return Pairs(pairs.first[kept], pairs.second[kept], pairs.scores[kept])


def _basis(vectors: Vectors) -> NDArray[np.float32] | None:
    """Return the first principal components as columns, (dim, COMPONENTS); None if the vectors are short or few.

    The mean is not subtracted, because the components have to keep products.
    """
    if vectors.shape[1] <= 2 * COMPONENTS or len(vectors) <= BLOCK:
        return None
    sample = vectors[:: max(1, len(vectors) // SAMPLE)][:SAMPLE]
    _, directions = np.linalg.eigh(sample.T @ sample)
    return np.ascontiguousarray(directions[:, ::-1][:, :COMPONENTS])


def _shortened(vectors: Vectors, basis: NDArray[np.float32] | None) -> Vectors:
    """Return for each vector its components and, last, the length of its rest. Products of these bound the cosines."""
    if basis is None:
        return vectors
    short = np.empty((len(vectors), basis.shape[1] + 1), dtype=np.float32)
    for start in range(0, len(vectors), BLOCK):
        part = slice(start, start + BLOCK)
        short[part, :-1] = vectors[part] @ basis
        rest = 1.0 - np.square(short[part, :-1], dtype=np.float64).sum(axis=1)
        short[part, -1] = np.sqrt(np.maximum(rest, 0.0))
    return short


def _of_rows(
    vectors: Vectors,
    short: Vectors,
    rows: slice,
    others: Vectors | None,
    short_others: Vectors,
    least: float,
    most: int,
) -> Iterator[Pairs]:
    """Yield the near pairs whose first row is one of `rows`, a block of second rows after the other."""
    begin = rows.start if others is None else 0
    compared = vectors if others is None else others
    for start in range(begin, len(compared), BLOCK):
        bounds = short[rows] @ short_others[start : start + BLOCK].T
        if others is None and start == rows.start:
            bounds[np.tril_indices_from(bounds)] = NOTHING
        if short is vectors:  # the bounds are the cosines, and no more than the best are needed
            bounds = _thinned(bounds, least, most + 1)
        first, second = np.nonzero(bounds >= least - SLACK)
        first, second = first + rows.start, second + start
        scores = _products(vectors, compared, first, second)
        kept = scores >= least
        yield Pairs(first[kept], second[kept], scores[kept])


def _thinned(bounds: Vectors, least: float, most: int) -> Vectors:
    """Return bounds in which each row has at most `most` values of `least` or more, the largest ones.

    One more than a row may have is asked for, because a row may be near itself.
    """
    if bounds.shape[1] <= most or np.count_nonzero(bounds >= least) <= most * len(bounds):
        return bounds
    kept = np.argpartition(bounds, bounds.shape[1] - most, axis=1)[:, -most:]
    thinned = np.full_like(bounds, NOTHING)
    np.put_along_axis(thinned, kept, np.take_along_axis(bounds, kept, axis=1), axis=1)
    return thinned


def _products(vectors: Vectors, others: Vectors, first: NDArray[np.int64], second: NDArray[np.int64]) -> Vectors:
    """Return the cosine of each pair, (n,)."""
    scores = np.empty(len(first), dtype=np.float32)
    for start in range(0, len(first), BLOCK):
        part = slice(start, start + BLOCK)
        scores[part] = np.vecdot(vectors[first[part]], others[second[part]])
    return scores


def _best(found: list[Pairs], most: int) -> Pairs:
    """Return the `most` best pairs of each first row."""
    whole = _sorted(found)
    order = np.argsort(whole.first, kind="stable")
    first = whole.first[order]
    begins = np.concatenate([[True], first[1:] != first[:-1]]) if len(first) else np.zeros(0, bool)
    position = np.arange(len(first)) - np.maximum.accumulate(np.where(begins, np.arange(len(first)), 0))
    kept = np.sort(order[position < most])
    return Pairs(whole.first[kept], whole.second[kept], whole.scores[kept])


def _sorted(parts: list[Pairs]) -> Pairs:
    first = np.concatenate([part.first for part in parts])
    second = np.concatenate([part.second for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    order = np.lexsort((second, first, -scores))
    return Pairs(first[order], second[order], scores[order])
