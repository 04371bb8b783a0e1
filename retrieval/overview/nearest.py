"""The nearest others of every vector, in blocks.

Long vectors are first compared by their principal components, and the best candidates then by all their numbers. On
11,172 varied photographs with MobileNetV2 (1280 numbers), this finds 0.9998 of the ten nearest others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Vectors

ROWS = 1024
"""Number of vectors whose neighbours are looked for at once."""
COLUMNS = 8192
"""Number of vectors with which they are compared at once: 34 MB of cosines."""
COMPONENTS = 256
"""Number of principal components. Vectors of up to twice this length are compared in full."""
CANDIDATES = 30
"""Number of candidates that are compared in full, in addition to those that are wanted."""
SAMPLE = 20_000
"""Number of vectors from which the principal components are computed."""
FEW = 4
"""Candidates are sorted without a closer look if there are at most this many times as many as are wanted."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest others of n vectors, nearest first; equal cosines in ascending order of row."""

    rows: NDArray[np.int64]
    """(n, k), rows of the vectors."""
    scores: NDArray[np.float32]
    """(n, k), cosines."""

    def first(self, k: int) -> "Nearest":
        """Return only the `k` nearest of them."""
        return Nearest(self.rows[:, :k], self.scores[:, :k])


def nearest(vectors: Vectors, k: int, progress: Callable[[float], None] | None = None) -> Nearest:
    """Return the `k` nearest others of each of `vectors`, (n, dim), among all of them.

    There are at most n - 1 others, so the second axis may be shorter than `k`. The time grows with the square of n.
    Beside the vectors, n * 1 KB of memory is needed for long vectors, n * k * 12 bytes for the answer, and 150 MB for a
    block. `progress` is called with the share of the work that is done.
    """
    count = len(vectors)
    k = max(0, min(k, count - 1))
    found = Nearest(np.zeros((count, k), np.int64), np.zeros((count, k), np.float32))
    short = _shortened(vectors)
    most = k if short is vectors else min(k + CANDIDATES, count - 1)
    for start in range(0, count if k else 0, ROWS):
        block = slice(start, min(start + ROWS, count))
        rows, scores = _of_block(short, block, most)
        if short is not vectors:
            rows, scores = _compared_in_full(vectors, block, rows, k)
        found.rows[block], found.scores[block] = rows, np.minimum(scores, np.float32(1))
        if progress is not None:
            progress(block.stop / count)
    return found


def _shortened(vectors: Vectors) -> Vectors:
    """Return the first principal components of long vectors, (n, COMPONENTS); short vectors as they are.

    The mean is not subtracted, because the components have to keep products.
    """
    if vectors.shape[1] <= 2 * COMPONENTS or len(vectors) <= COLUMNS // 2:
        return vectors
    sample = vectors[:: max(1, len(vectors) // SAMPLE)][:SAMPLE]
    directions = np.linalg.eigh(sample.T @ sample)[1]
    short: Vectors = vectors @ np.ascontiguousarray(directions[:, ::-1][:, :COMPONENTS])
    return short


def _compared_in_full(
    vectors: Vectors, block: slice, rows: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the best `k` of the candidates of each vector of a block, with their cosines."""
    scores = np.empty(rows.shape, dtype=np.float32)
    for line, candidates in enumerate(rows):
        scores[line] = vectors[candidates] @ vectors[block.start + line]
    best = np.lexsort((rows, -scores), axis=1)[:, :k]
    return np.take_along_axis(rows, best, axis=1), np.take_along_axis(scores, best, axis=1)


def _of_block(vectors: Vectors, block: slice, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the rows and the scores of the `k` nearest others of the vectors of a block."""
    own = np.arange(block.start, block.stop)
    rows = np.full((len(own), k), -1, dtype=np.int64)
    scores = np.full((len(own), k), -np.inf, dtype=np.float32)
    for column in range(0, len(vectors), COLUMNS):
        part = vectors[column : column + COLUMNS]
        products = vectors[block] @ part.T
        inside = np.flatnonzero((own >= column) & (own < column + len(part)))
        products[inside, own[inside] - column] = -np.inf
        line, place = np.nonzero(_promising(products, scores[:, -1], k))
        rows, scores = _best(rows, scores, line, place + column, products[line, place])
    return rows, scores


def _promising(products: NDArray[np.float32], known: NDArray[np.float32], k: int) -> NDArray[np.bool_]:
    """Return which cosines may be among the `k` best of their line, so that few have to be sorted.

    `known` is the k-th best that each line has so far. Of cosines that equal the k-th best, only the first `k` can
    count; there may be thousands, where pictures look the same.
    """
    found: NDArray[np.bool_] = products > known[:, None]
    if products.shape[1] <= k or np.count_nonzero(found) <= FEW * k * len(known):
        return found
    floor = np.maximum(known, np.partition(products, -k, axis=1)[:, -k])
    found = products > floor[:, None]
    higher = np.flatnonzero(floor > known)  # elsewhere, k earlier columns are as good
    is_equal = products[higher] == floor[higher, None]
    many = np.flatnonzero(np.count_nonzero(is_equal, axis=1) > k)
    is_equal[many] &= np.cumsum(is_equal[many], axis=1) <= k
    found[higher] |= is_equal
    return found


def _best(
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    line: NDArray[np.int64],
    found: NDArray[np.int64],
    found_scores: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the best of the known neighbours of each line and of those that were `found`, as many as are known."""
    count, k = rows.shape
    lines = np.concatenate([np.repeat(np.arange(count), k), line])
    all_rows, all_scores = np.concatenate([rows.ravel(), found]), np.concatenate([scores.ravel(), found_scores])
    order = np.lexsort((all_rows, -all_scores, lines))
    begins = np.searchsorted(lines[order], np.arange(count))
    kept = order[begins[:, None] + np.arange(k)]
    return all_rows[kept], all_scores[kept]
