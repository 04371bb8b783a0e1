"""Queries get their vectors: the pixels of all queries of a batch go through the network together."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import BadInput, UnreadableImage
from retrieval.networks import embedding
from retrieval.networks.encoder import Encoder
from retrieval.searching.query import PreparedQuery, Unusable
from retrieval.types import Timing

SHORTEST = 1e-3
"""Least length of the vector of a blend. A shorter one is hardly more than rounding."""


def embed(
    queries: Sequence[PreparedQuery | Unusable], encoder: Callable[[], Encoder], timing: Timing
) -> list[PreparedQuery | Unusable]:
    """Return `queries` with their vectors, in the same order. All pixels are embedded together; errors are kept.

    A query whose picture has no vector becomes an `UnreadableImage`. `encoder` is called only if there are pixels.
    """
    parts = [[part for _, part in query.parts] if _is_blend(query) else [query] for query in queries]
    embedded = iter(_embed(list(chain.from_iterable(parts)), encoder, timing))
    return [
        _blended(query, [next(embedded) for _ in query.parts]) if _is_blend(query) else next(embedded)
        for query in queries
    ]


def _is_blend(query: PreparedQuery | Unusable) -> TypeGuard[PreparedQuery]:
    return isinstance(query, PreparedQuery) and bool(query.parts)


def _blended(query: PreparedQuery, parts: Sequence[PreparedQuery | Unusable]) -> PreparedQuery | Unusable:
    """Return a blend with the weighted sum of the vectors of its pictures, scaled to length 1.

    The error of a picture without a vector is the error of the blend.
    """
    total = np.zeros(1, dtype=np.float32)
    for (weight, _), part in zip(query.parts, parts, strict=True):
        if not isinstance(part, PreparedQuery):
            return part
        assert part.vector is not None  # noqa: S101 - `_embed` gives a vector to every picture
        total = total + np.float32(weight) * part.vector
    length = float(np.linalg.norm(total))
    if length < SHORTEST:
        return BadInput("the pictures of the query cancel each other out")
    return replace(query, vector=total / np.float32(length))


def _embed(
    queries: Sequence[PreparedQuery | Unusable], encoder: Callable[[], Encoder], timing: Timing
) -> list[PreparedQuery | Unusable]:
    """Return `queries`, none of which is a blend, as `embed` does."""
    pixels = [query.pixels for query in queries if isinstance(query, PreparedQuery) and query.pixels is not None]
    if not pixels:
        return list(queries)
    with timing.of("load"):
        network = encoder()
    with timing.of("encode"):
        vectors = iter(embedding.vectors_of(network, np.concatenate(pixels)))
    embedded: list[PreparedQuery | Unusable] = []
    for query in queries:
        if isinstance(query, PreparedQuery) and query.pixels is not None:
            embedded.append(_with_vectors(query, list(islice(vectors, len(query.pixels)))))
        else:
            embedded.append(query)
    return embedded


def _with_vectors(
    query: PreparedQuery, vectors: Sequence[NDArray[np.float32] | None]
) -> PreparedQuery | UnreadableImage:
    """Return a query with a vector for each of its orientations: the mean of those of its scales, of length 1."""
    means: list[NDArray[np.float32]] = []
    for start in range(0, len(vectors), query.scales):
        known = [vector for vector in vectors[start : start + query.scales] if vector is not None]
        if len(known) > 1:
            mean = np.mean(known, axis=0)
            known = [mean / np.linalg.norm(mean)]
        means += known
    if not means:
        return UnreadableImage(f"the query cannot be used: {embedding.NO_VECTOR}")
    return replace(query, vector=means[0], turned=np.stack(means[1:]) if means[1:] else None)
