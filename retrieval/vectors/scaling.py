"""Vectors that a caller hands in -> vectors of length 1, checked."""

from typing import Any

import numpy as np

from retrieval.errors import BadInput
from retrieval.types import Vectors

BLOCK = 1024
"""Number of rows that are scaled at a time: 34 MB in float64 at the 4,032 dimensions of the widest backbone."""


def unit_vectors(given: Any, count: int, dim: int) -> Vectors:  # noqa: ANN401 - whatever a caller gave
    """Return `count` vectors of length `dim`, (count, dim), each scaled to length 1.

    Raises `BadInput` for another shape, for what is not numbers, and for a row without a direction: one that is all
    zeros, or has a value that is not finite.
    """
    try:
        vectors = np.asarray(given)
    except (TypeError, ValueError):  # rows of several lengths
        raise BadInput("the vectors are not an array of numbers") from None
    if vectors.dtype.kind not in "fiu":
        raise BadInput("the vectors are not an array of numbers")
    if vectors.shape != (count, dim):
        raise BadInput(
            f"the vectors have the shape {vectors.shape}, not {(count, dim)}",
            hint=f"give a row for each image; the vectors of this index have {dim} numbers",
        )
    scaled = np.empty((count, dim), dtype=np.float32)
    for start in range(0, count, BLOCK):
        rows = vectors[start : start + BLOCK].astype(np.float64)
        largest = np.abs(rows).max(axis=1, keepdims=True)
        useless = ~(np.isfinite(largest) & (largest > 0))[:, 0]
        if useless.any():
            row = start + int(np.argmax(useless))
            raise BadInput(f"the vector in row {row} has no direction", hint="it is all zeros, or not all finite")
        rows /= largest  # so that the squares of very large and very small numbers are finite and not zero
        scaled[start : start + BLOCK] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled
