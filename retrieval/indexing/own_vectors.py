"""Vectors that the caller has computed, for files of one root: file -> vector."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import BadInput
from retrieval.storage.records import Spot
from retrieval.types import Vectors, displayed

Vector = NDArray[np.float32]
"""(dim,), of length 1."""


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
