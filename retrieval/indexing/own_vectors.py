"""Vectors that the caller has computed, for files of one root: checked, scaled, and named by path from the root."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import BadInput
from retrieval.storage.records import Spot
from retrieval.types import Vectors, displayed

Vector = NDArray[np.float32]
"""(dim,), of length 1."""


def unit_vectors(given: Any, count: int, dim: int) -> Vectors:  # noqa: ANN401 - whatever a caller gave
    """Return `count` vectors of length `dim`, (count, dim), each scaled to length 1.

    Raises `BadInput` for another shape, for what is not numbers, and for a row without a direction: one that is all
    zeros, or has a value that is not finite.
    """
    try:
        vectors = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadInput("the vectors are not an array of numbers") from None
    if vectors.shape != (count, dim):
        raise BadInput(
            f"the vectors have the shape {vectors.shape}, not {(count, dim)}",
            hint=f"give a row for each image; the vectors of this index have {dim} numbers",
        )
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    useless = ~(np.isfinite(largest) & (largest > 0))[:, 0]
    if useless.any():
        raise BadInput(
            f"the vector in row {int(np.argmax(useless))} has no direction", hint="it is all zeros, or not all finite"
        )
    vectors = vectors / largest  # so that the squares of very large and very small numbers are finite and not zero
    scaled: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def by_place(paths: Sequence[bytes], vectors: Vectors, folder: bytes) -> Mapping[bytes, Vector]:
    """Return absolute path -> vector, for files in a folder. Links to folders are resolved, links to files are not.

    Raises `BadInput` for a path at which no file is, a file outside the folder, and a file that is given twice.
    """
    found: dict[bytes, Vector] = {}
    beginning = os.path.join(os.path.realpath(folder), b"")
    for path, vector in zip(paths, vectors, strict=True):
        above, name = os.path.split(os.path.abspath(path))
        place = os.path.join(os.path.realpath(above), name)
        if not os.path.isfile(place):
            raise BadInput(f"{displayed(path)} is not a file")
        if not place.startswith(beginning):
            raise BadInput(f"{displayed(path)} does not lie in the folder {displayed(folder)}")
        if place in found:
            raise BadInput(f"{displayed(path)} is given twice")
        found[place] = vector
    return found


def below(spot: Spot, given: Mapping[bytes, Vector]) -> Mapping[bytes, Vector]:
    """Return path from the root of `spot` -> vector, for files in that root by absolute path."""
    beginning = len(os.path.join(spot.place, b""))
    return {place[beginning:]: vector for place, vector in given.items()}
