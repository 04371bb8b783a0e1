"""Scan one segment: compare each query with every vector, exactly and fast.

A matrix product in float32 proposes rows, and sums in float64 decide. The scores and their order equal those of
`oracle.scan` to the last bit. A float32 score differs from the float64 score by at most `margin`. So each of the k best
rows has at least the k-th best float32 score minus two margins, and only rows with such a score are computed in
float64.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Hits, Vectors
from retrieval.vectors.hits import nearest, no_hits
from retrieval.vectors.segment import Segment

BLOCK = 4096
"""Number of rows multiplied at a time: 21 MB at 1,280 dimensions, and 4 MB of scores for `QUERIES` queries."""
QUERIES = 256
"""Number of queries that are compared with a block of rows at a time."""
PAIRS = 64
"""Number of pairs of a query and a row that are summed in float64 at a time.

They take 0.7 MB at 1,280 dimensions, so that they stay in the processor's cache.
"""
TOGETHER = 4
"""Number of queries whose own candidates are multiplied at a time, so that they stay in the processor's cache."""
SHARE = 64
"""Number of queries whose candidates one thread ranks at a time."""
THREADS = 8
"""Largest number of threads that rank candidates. For many candidates, each thread takes 84 MB."""
ALONE = 2048
"""Number of rows that one thread multiplies with a single query at a time: 10 MB at 1,280 dimensions, in 0.35 ms."""
COSINE_LIMIT = 2
"""Largest size of a score. A larger score, far over 1, is not a cosine: its vector is damaged."""

Number = TypeVar("Number", bound=np.generic)
Mask = NDArray[np.bool_]
"""(n,), one value for each row of a segment: whether the row may be found."""
Rows = NDArray[np.int64]
"""Rows of a segment; -1 stands for no row."""


def margin(dim: int) -> float:
    """Return the largest difference between the float32 and the float64 score of two vectors of length 1.

    It holds for sums in any order. The error of an inner product is at most dim * u * sum |x_i y_i| with u = 2**-24
    (Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1), and this sum is at most the product of
    the lengths. Another 2 u are for rounding both scores, and one per cent is for terms of higher order and for lengths
    that are only nearly 1.
    """
    return 1.01 * (dim + 2) * 2.0**-24


def search(
    segment: Segment,
    queries: Vectors,
    k: int,
    allowed: Mask | None = None,
    least: NDArray[np.float32] | None = None,
) -> Hits:
    """Return the ids of the `k` nearest rows of each query, (queries, k); with `allowed`, among those rows.

    `least` has a score for each query, (queries,). A row with a lower score may be left out, because the caller knows k
    other rows that are nearer. Raises `IndexDamaged` if the segment is damaged.
    """
    if least is None:
        least = np.full(len(queries), -np.inf, dtype=np.float32)
    if not len(queries):  # a structure has found enough rows for every query: the segment need not be read and checked
        return no_hits(0, k)
    segment.demand_sound()
    parts = [slice(start, start + QUERIES) for start in range(0, len(queries), QUERIES)]
    return _joined([_search(segment, queries[part], k, allowed, least[part]) for part in parts])


def _joined(parts: Sequence[Hits]) -> Hits:
    """Return the hits of several groups of queries, one group after the other."""
    if len(parts) == 1:
        return parts[0]
    return Hits(np.concatenate([hits.ids for hits in parts]), np.concatenate([hits.scores for hits in parts]))


def _search(segment: Segment, queries: Vectors, k: int, allowed: Mask | None, least: NDArray[np.float32]) -> Hits:
    """Return what `search` returns for at most `QUERIES` queries."""
    best = np.repeat(least[:, None], k, axis=1)
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    for number, (rows, scores) in enumerate(_scored(segment.vectors, queries, allowed)):
        if number == 0:  # no scores are known before the first block, so that all scores of this block count
            best = _largest(np.concatenate([best, scores], axis=1), k)
        asking, columns = np.nonzero((scores >= _reach(best, segment.dim)[:, None]) & (scores > -np.inf))
        candidates = scores[asking, columns]
        parts.append((asking, rows[columns], candidates))
        if number > 0 and len(candidates):
            found = padded(asking, candidates, len(queries), -np.inf)
            best = _largest(np.concatenate([best, found], axis=1), k)
    asking, rows, candidates = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not len(rows):
        return no_hits(len(queries), k)
    kept = np.flatnonzero(candidates >= _reach(best, segment.dim)[asking])
    kept = kept[np.argsort(asking[kept], kind="stable")]
    return rescored(segment, queries, asking[kept], rows[kept], k)


def widened(vectors: NDArray[np.floating]) -> Vectors:
    """Return vectors as float32, without rounding.

    float16 is converted by moving bits, which is several times as fast as numpy's conversion. Sign, exponent and
    fraction move to their places in a float32, and a multiplication corrects the bias of the exponent, also for
    subnormal numbers. The rows are converted in blocks that stay in the processor's cache.
    """
    if vectors.dtype != np.float16:
        return np.asarray(vectors, dtype=np.float32)
    numbers = np.empty(vectors.shape, dtype=np.float32)
    for start in range(0, len(vectors), PAIRS):
        bits = numbers[start : start + PAIRS].view(np.uint32)
        bits[...] = vectors[start : start + PAIRS].view(np.uint16)
        sign = bits & 0x8000
        sign <<= 3
        bits &= 0x7FFF
        bits |= sign
        bits <<= 13
    numbers *= np.float32(2.0**112)
    return numbers


def _reach(best: NDArray[np.float32], dim: int) -> NDArray[np.float64]:
    """Return for each query the float32 score that a row needs to be among its k best, (queries,)."""
    return np.asarray(best.min(axis=1), dtype=np.float64) - 2 * margin(dim)


def _scored(vectors: Vectors, queries: Vectors, allowed: Mask | None) -> Iterator[tuple[Rows, NDArray[np.float32]]]:
    """Yield allowed rows with their float32 scores, (queries, rows), in blocks; for a single query all at once.

    A single query is answered without a matrix product, by threads of our own. The threads of a matrix product keep the
    processor busy for some milliseconds after it, and would slow down the network that embeds the next query.
    """
    size = ALONE if len(queries) == 1 else BLOCK
    count, chosen = len(vectors), None
    if allowed is not None:
        chosen = np.flatnonzero(allowed)
        if 2 * len(chosen) < count:  # to pick out few rows is faster than to compare all of them
            count = len(chosen)

    def scored(start: int) -> tuple[Rows, NDArray[np.float32]]:
        part = slice(start, min(start + size, count))
        if chosen is None or allowed is None:
            return np.arange(part.start, part.stop), _multiplied(queries, vectors[part])
        if count < len(vectors):
            return chosen[part], _multiplied(queries, vectors[chosen[part]])
        columns = np.flatnonzero(allowed[part])
        return columns + start, _multiplied(queries, vectors[part])[:, columns]

    starts = range(0, max(count, 1), size)
    if len(queries) == 1 < len(starts):
        later = [_threads().submit(scored, start) for start in starts[1:]]
        try:
            rows, scores = zip(scored(0), *(future.result() for future in later), strict=True)
        finally:  # after an error or Ctrl-C, blocks that no thread has begun are not computed
            for future in later:
                future.cancel()
        yield np.concatenate(rows), np.concatenate(scores, axis=1)
    else:
        yield from map(scored, starts)


@cache
def _threads() -> ThreadPoolExecutor:
    """Return threads that wait for single queries: starting threads for each query would take as long as they save."""
    return ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1), thread_name_prefix="retrieval-search")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)  # a forked process has none of these threads


def _multiplied(queries: Vectors, rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the float32 scores, (queries, rows)."""
    rows = widened(rows)
    if len(queries) == 1:
        return _finite(np.vecdot(rows, queries[0])[None])
    return _finite(queries @ rows.T)


def _finite(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Set the scores of damaged vectors to -inf, in place, so that they do not take the place of other rows.

    The score of a damaged vector is not finite, or is large because `widened` makes large numbers of those in float16
    that are not finite.
    """
    scores[~(np.abs(scores) <= COSINE_LIMIT)] = -np.inf
    return scores


def _largest(scores: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """Return the `k` largest scores of each row, (rows, k), in no order."""
    return np.partition(scores, scores.shape[1] - k, axis=1)[:, -k:]


def padded(asking: Rows, values: NDArray[Number], count: int, missing: float) -> NDArray[Number]:
    """Return `values` as a matrix of `count` rows; rows with fewer values than others end with `missing`.

    `asking` has for each value the number of its row in the matrix, in ascending order.
    """
    counts = np.bincount(asking, minlength=count)
    first_of_row = np.cumsum(counts) - counts
    columns = np.arange(len(asking)) - np.repeat(first_of_row, counts)
    matrix = np.full((count, counts.max(initial=0)), missing, dtype=values.dtype)
    matrix[asking, columns] = values
    return matrix


def rescored(segment: Segment, queries: Vectors, asking: Rows, rows: Rows, k: int) -> Hits:
    """Return the `k` best candidates of each query, (queries, k), with scores summed in float64.

    `asking` has the number of a query and `rows` a candidate of that query, in ascending order of query.
    """
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), PAIRS):
        part = slice(start, start + PAIRS)
        products = segment.vectors[rows[part]].astype(np.float64)
        products *= queries[asking[part]]
        scores[part] = products.sum(axis=1)
    ids = padded(asking, segment.ids[rows], len(queries), -1)
    return nearest(ids, padded(asking, scores, len(queries), -np.inf), k)


def refined(segment: Segment, queries: Vectors, proposed: Rows, k: int) -> Hits:
    """Return the `k` best of each query, (queries, k), among the rows `proposed` for it, (queries, m); -1 is no row."""
    if len(queries) <= SHARE:
        return _refined(segment, queries, proposed, k)
    parts = [slice(start, start + SHARE) for start in range(0, len(queries), SHARE)]
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        return _joined(list(pool.map(lambda part: _refined(segment, queries[part], proposed[part], k), parts)))


def _refined(segment: Segment, queries: Vectors, proposed: Rows, k: int) -> Hits:
    """Do the work of `refined` for some of the queries, in one thread."""
    scores = products(segment, queries, proposed)
    best = _largest(scores, min(k, scores.shape[1]))
    asking, columns = np.nonzero((scores >= _reach(best, segment.dim)[:, None]) & (scores > -np.inf))
    return rescored(segment, queries, asking, proposed[asking, columns], k)


def products(segment: Segment, queries: Vectors, rows: Rows) -> NDArray[np.float32]:
    """Return the float32 scores of each query with its own rows, (queries, m); -inf for row -1."""
    segment.demand_sound(rows[rows >= 0])
    scores = np.empty(rows.shape, dtype=np.float32)
    for start in range(0, len(rows), TOGETHER):
        group = slice(start, start + TOGETHER)
        for first in range(0, rows.shape[1], BLOCK):
            part = group, slice(first, first + BLOCK)
            vectors = np.asarray(segment.vectors[rows[part]], dtype=np.float32)
            # einsum starts no threads, as a matrix product would: there is too little work for several threads
            scores[part] = np.einsum("qcd,qd->qc", vectors, queries[group])
    scores[rows < 0] = -np.inf
    return _finite(scores)
