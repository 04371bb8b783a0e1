"""One segment searched by multiplying everything with everything, fast: a matrix product proposes, float64 decides.

The answer is that of `exact` to the last bit. A float32 score is within `margin` of the float64 one, so what belongs
among the k best scores at least the k-th best float32 score less two margins; only that is computed in float64.
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
"""Rows multiplied at a time: 21 MB at 1,280 dimensions, and 4 MB of scores for the 256 queries below."""
QUERIES = 256
"""Queries looked at together."""
PAIRS = 64
"""Pairs of a query and a row whose products in float64 are summed at a time: 0.7 MB at 1,280 dimensions, so that they
stay in the processor's cache."""
TOGETHER = 4
"""Queries whose own candidates are multiplied at a time, for the same reason."""
SHARE = 64
"""Queries whose candidates one thread ranks at a time."""
THREADS = 8
"""Threads that rank, at most: of many candidates, each takes 84 MB."""
ALONE = 2048
"""Rows that one thread multiplies with a single query at a time: 10 MB at 1,280 dimensions, 0.35 ms."""

Number = TypeVar("Number", bound=np.generic)
Mask = NDArray[np.bool_]
"""(n,), which rows of a segment may be found."""
Rows = NDArray[np.int64]
"""Positions in a segment."""


def margin(dim: int) -> float:
    """Return how far a float32 score of two rows of length 1 may be from the float64 one, in any order of summation.

    The bound for an inner product is dim * u * sum |x_i y_i| with u = 2**-24 (Higham 2002, Accuracy and Stability of
    Numerical Algorithms, section 3.1), and the sum is at most the product of the lengths. 2 u more for rounding both
    scores; one per cent for higher orders and for lengths that are 1 only nearly.
    """
    return 1.01 * (dim + 2) * 2.0**-24


def search(
    segment: Segment,
    queries: Vectors,
    k: int,
    allowed: Mask | None = None,
    least: NDArray[np.float32] | None = None,
) -> Hits:
    """Return the `k` nearest of each query, (queries, k), as `segment.scan` does; with `allowed`, among those rows.

    What scores under `least` of its query, (queries,), may be left out: as many others are known to be nearer.
    """
    if least is None:
        least = np.full(len(queries), -np.inf, dtype=np.float32)
    if not len(queries):  # as where a structure has found enough for each: then nothing is read
        return no_hits(0, k)
    segment.demand_sound()
    some = [slice(start, start + QUERIES) for start in range(0, len(queries), QUERIES)]
    return _joined([_search(segment, queries[part], k, allowed, least[part]) for part in some])


def _joined(found: Sequence[Hits]) -> Hits:
    if len(found) == 1:
        return found[0]
    return Hits(np.concatenate([hits.ids for hits in found]), np.concatenate([hits.scores for hits in found]))


def _search(segment: Segment, queries: Vectors, k: int, allowed: Mask | None, least: NDArray[np.float32]) -> Hits:
    best = np.repeat(least[:, None], k, axis=1)
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    for rows, scores in _scored(segment.vectors, queries, allowed):
        if len(parts) == 1:
            best = _largest(np.concatenate([best, scores], axis=1), k)
        asking, columns = np.nonzero((scores >= _reach(best, segment.dim)[:, None]) & (scores > -np.inf))
        near = scores[asking, columns]
        parts.append((asking, rows[columns], near))
        if len(parts) > 2 and len(near):  # noqa: PLR2004 - the first block has been seen to
            best = _largest(np.concatenate([best, padded(asking, near, len(queries), -np.inf)], axis=1), k)
    asking, rows, near = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not len(rows):
        return no_hits(len(queries), k)
    kept = np.flatnonzero(near >= _reach(best, segment.dim)[asking])
    kept = kept[np.argsort(asking[kept], kind="stable")]
    return rescored(segment, queries, asking[kept], rows[kept], k)


def widened(vectors: NDArray[np.floating]) -> Vectors:
    """Return vectors as float32, exactly.

    Of float16 by their bits, several times as fast as numpy converts them: sign, exponent and fraction move to their
    places, and a product makes up for the smaller bias of the exponent, of subnormal numbers too. Some rows at a time,
    which stay in the processor's cache.
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
    """Return the score under which nothing can be among the k best of a query."""
    return np.asarray(best.min(axis=1), dtype=np.float64) - 2 * margin(dim)


def _scored(vectors: Vectors, queries: Vectors, allowed: Mask | None) -> Iterator[tuple[Rows, NDArray[np.float32]]]:
    """Yield the float32 scores (queries, rows) of the allowed rows, some at a time; for a single query all at once.

    That one is answered without a matrix product, by threads of our own: those that a product starts go on turning for
    milliseconds, in which the next query's network has to share the processor with them.
    """
    size = ALONE if len(queries) == 1 else BLOCK

    def scored(start: int) -> tuple[Rows, NDArray[np.float32]]:
        return _block(vectors[start : start + size], queries, start, None if allowed is None else allowed[start:])

    starts = range(0, len(vectors), size)
    if len(queries) == 1 < len(starts):
        later = [_threads().submit(scored, start) for start in starts[1:]]
        try:
            rows, scores = zip(scored(0), *(future.result() for future in later), strict=True)
        finally:  # whatever happens, Ctrl-C too, nobody goes on computing
            for future in later:
                future.cancel()
        yield np.concatenate(rows), np.concatenate(scores, axis=1)
    else:
        yield from map(scored, starts)


def _block(
    block: NDArray[np.floating], queries: Vectors, start: int, allowed: Mask | None
) -> tuple[Rows, NDArray[np.float32]]:
    """Return the allowed rows of `block`, whose first row has the number `start`, and their scores."""
    rows = np.arange(start, start + len(block))
    if allowed is None:
        return rows, _multiplied(queries, block)
    chosen = np.flatnonzero(allowed[: len(block)])
    if 2 * len(chosen) < len(block):
        return rows[chosen], _multiplied(queries, block[chosen])
    return rows[chosen], _multiplied(queries, block)[:, chosen]


@cache
def _threads() -> ThreadPoolExecutor:
    """Return threads that wait for single queries: to start some for each would take as long as it saves."""
    return ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1), thread_name_prefix="retrieval-search")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)  # which has none of them


def _multiplied(queries: Vectors, rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the float32 scores (queries, rows)."""
    rows = widened(rows)
    return _finite(np.vecdot(rows, queries[0])[None] if len(queries) == 1 else queries @ rows.T)


def _finite(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `scores` with nothing for a vector that is damaged, so that it does not keep others from being found.

    Such are no cosines: not finite, or, of what was not finite as float16, large.
    """
    scores[~(np.abs(scores) <= 2)] = -np.inf  # noqa: PLR2004 - over 1 by far
    return scores


def _largest(scores: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """Return the `k` largest of each row, in no order."""
    return np.partition(scores, scores.shape[1] - k, axis=1)[:, -k:]


def padded(asking: Rows, values: NDArray[Number], count: int, missing: float) -> NDArray[Number]:
    """Return `values` as a matrix of `count` rows, each behind those of the same number in `asking`, which ascends."""
    counts = np.bincount(asking, minlength=count)
    places = np.arange(len(asking)) - np.repeat(np.cumsum(counts) - counts, counts)
    matrix = np.full((count, counts.max(initial=0)), missing, dtype=values.dtype)
    matrix[asking, places] = values
    return matrix


def rescored(segment: Segment, queries: Vectors, asking: Rows, rows: Rows, k: int) -> Hits:
    """Return the `k` best of each query by the scores of the oracle, of the pairs (asking, rows); `asking` ascends."""
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), PAIRS):
        part = slice(start, start + PAIRS)
        products = segment.vectors[rows[part]].astype(np.float64)
        products *= queries[asking[part]]
        scores[part] = products.sum(axis=1)
    ids = padded(asking, segment.ids[rows], len(queries), -1)
    return nearest(ids, padded(asking, scores, len(queries), -np.inf), k)


def refined(segment: Segment, queries: Vectors, proposed: Rows, k: int) -> Hits:
    """Return the `k` best of each query among the rows proposed for it, (queries, m); -1 proposes none."""
    if len(queries) <= SHARE:
        return _refined(segment, queries, proposed, k)
    some = [slice(start, start + SHARE) for start in range(0, len(queries), SHARE)]
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        return _joined(list(pool.map(lambda part: _refined(segment, queries[part], proposed[part], k), some)))


def _refined(segment: Segment, queries: Vectors, proposed: Rows, k: int) -> Hits:
    near = products(segment, queries, proposed)
    best = _largest(near, min(k, near.shape[1]))
    asking, columns = np.nonzero((near >= _reach(best, segment.dim)[:, None]) & (near > -np.inf))
    return rescored(segment, queries, asking, proposed[asking, columns], k)


def products(segment: Segment, queries: Vectors, rows: Rows) -> NDArray[np.float32]:
    """Return the float32 scores of each query with its own rows, (queries, m); -inf for row -1."""
    segment.demand_sound(rows[rows >= 0])
    scores = np.empty(rows.shape, dtype=np.float32)
    for start in range(0, len(rows), TOGETHER):
        some = slice(start, start + TOGETHER)
        for at in range(0, rows.shape[1], BLOCK):
            part = some, slice(at, at + BLOCK)
            near = np.asarray(segment.vectors[rows[part]], dtype=np.float32)
            scores[part] = np.einsum("qcd,qd->qc", near, queries[some])  # too little work for the threads of a product
    scores[rows < 0] = -np.inf
    return _finite(scores)
