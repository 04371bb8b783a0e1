"""Make and combine hits, the nearest ids of each query with their scores; cut bitmaps of rows into segments."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Hits


def cut(bitmap: NDArray[np.bool_], lengths: Sequence[int]) -> list[NDArray[np.bool_]]:
    """Return the part of a bitmap for each segment, as views; `lengths` are the numbers of vectors of the segments.

    Raises `ValueError` if the bitmap has another length than all segments together.
    """
    if bitmap.shape != (sum(lengths),):
        raise ValueError(f"a bitmap of shape {bitmap.shape} for {sum(lengths)} vectors")
    return np.split(bitmap, np.cumsum(lengths)[:-1]) if lengths else []


def no_hits(queries: int, k: int) -> Hits:
    """Return hits without any neighbour, (queries, k): every id is -1, and every score -inf."""
    return Hits(np.full((queries, k), -1, dtype=np.int64), np.full((queries, k), -np.inf, dtype=np.float32))


def nearest(ids: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Hits:
    """Return the `k` best hits of each row of `ids` and `scores`, both (queries, m).

    The highest score comes first; equal scores are in ascending order of id. If m < k, the rest is id -1 and score
    -inf.
    """
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    best = no_hits(len(order), k)
    best.ids[:, : order.shape[1]] = np.take_along_axis(ids, order, 1)
    best.scores[:, : order.shape[1]] = np.take_along_axis(scores, order, 1)
    return best


def combined(parts: Sequence[Hits]) -> Hits:
    """Return the k best of several hits for the same queries, each (queries, k).

    An id that is in several of the hits of a query counts once, with its best score.
    """
    ids = np.concatenate([part.ids for part in parts], axis=1)
    scores = np.concatenate([part.scores for part in parts], axis=1)
    order = np.lexsort((-scores, ids), axis=1)
    ids, scores = np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)
    repeated = ids[:, 1:] == ids[:, :-1]
    ids[:, 1:][repeated], scores[:, 1:][repeated] = -1, -np.inf
    return nearest(ids, scores, parts[0].ids.shape[1])
