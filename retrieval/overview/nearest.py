"""The nearest others of every vector, in blocks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Vectors

ROWS = 1024
"""Number of vectors whose neighbours are looked for at once."""
COLUMNS = 8192
"""Number of vectors with which they are compared at once: 34 MB of cosines."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest others of n vectors, nearest first; equal cosines in ascending order of row."""

    rows: NDArray[np.int64]
    """(n, k), rows of the vectors."""
    scores: NDArray[np.float32]
    """(n, k), cosines."""


def nearest(vectors: Vectors, k: int, progress: Callable[[int], None] | None = None) -> Nearest:
    """Return the `k` nearest others of each of `vectors`, (n, dim), compared with every other vector.

    There are at most n - 1 others, so the second axis may be shorter than `k`. `progress` is called with the number of
    vectors that are done. The products take n * n * dim multiplications: 100,000 vectors of 1280 numbers take minutes.
    """
    count = len(vectors)
    k = max(0, min(k, count - 1))
    found = Nearest(np.zeros((count, k), np.int64), np.zeros((count, k), np.float32))
    for start in range(0, count if k else 0, ROWS):
        stop = min(start + ROWS, count)
        found.rows[start:stop], found.scores[start:stop] = _of_block(vectors, start, stop, k)
        if progress is not None:
            progress(stop)
    return found


def _of_block(vectors: Vectors, start: int, stop: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the rows and the scores of the nearest others of the vectors from `start` to `stop`."""
    own = np.arange(stop - start)
    rows = np.full((stop - start, k), -1, dtype=np.int64)
    scores = np.full((stop - start, k), -np.inf, dtype=np.float32)
    for column in range(0, len(vectors), COLUMNS):
        part = vectors[column : column + COLUMNS]
        products = vectors[start:stop] @ part.T
        inside = (own + start >= column) & (own + start < column + len(part))
        products[own[inside], own[inside] + start - column] = -np.inf
        if len(part) > k:
            # The k-th best of this part is a floor: only what reaches it, and beats what is known, is sorted.
            floor = np.maximum(scores[:, -1], -np.partition(-products, k - 1, axis=1)[:, k - 1])
        else:
            floor = scores[:, -1]
        line, place = np.nonzero((products >= floor[:, None]) & (products > -np.inf))
        rows, scores = _best(rows, scores, line, place + column, products[line, place])
    return rows, np.minimum(scores, np.float32(1))


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
