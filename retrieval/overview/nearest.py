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


def nearest(vectors: Vectors, k: int, progress: Callable[[float], None] | None = None) -> Nearest:
    """Return the `k` nearest others of each of `vectors`, (n, dim), compared with every other vector.

    There are at most n - 1 others, so the second axis may be shorter than `k`.
    `progress` is called with the share of the work that is done.
    """
    count = len(vectors)
    k = max(0, min(k, count - 1))
    found = Nearest(np.zeros((count, k), np.int64), np.zeros((count, k), np.float32))
    for start in range(0, count if k else 0, ROWS):
        stop = min(start + ROWS, count)
        found.rows[start:stop], found.scores[start:stop] = _of_block(vectors, start, stop, k)
        if progress is not None:
            progress(stop / count)
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
        line, place = np.nonzero(_promising(products, scores[:, -1], k))
        rows, scores = _best(rows, scores, line, place + column, products[line, place])
    return rows, np.minimum(scores, np.float32(1))


def _promising(products: NDArray[np.float32], known: NDArray[np.float32], k: int) -> NDArray[np.bool_]:
    """Return which cosines may be among the `k` best of their line, so that few have to be sorted.

    `known` is the k-th best that each line has so far. Of cosines that equal the k-th best, only the first `k` can
    count; there may be thousands, where pictures look the same.
    """
    floor = known
    if products.shape[1] > k:
        floor = np.maximum(known, np.partition(products, -k, axis=1)[:, -k])
    found: NDArray[np.bool_] = products > floor[:, None]
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
