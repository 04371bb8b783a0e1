"""The classifier on top of a network, as directions: what a class looks like among the vectors.

The last layer of a network that was trained to tell classes has a row of numbers for each class, which its pooled
features are multiplied with. So a class is a direction, and its cosine with a vector tells how much of it is there.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.networks.weights import class_names, class_table
from retrieval.types import Vectors


@dataclass(frozen=True)
class Directions:
    """The classes that a network tells apart, as directions among its vectors."""

    names: Sequence[str]
    directions: Vectors
    """(classes, dim), of length 1."""


def directions_of(encoder: Mapping[str, Any]) -> Directions | None:
    """Return the classifier of an encoder, a row of that table; none where it pools as no classifier expects."""
    pooling = json.loads(encoder["backbone"]).get("pooling")
    return directions(Path(os.fsdecode(encoder["weights"])), encoder["dim"]) if pooling == "avg" else None


def directions(weights: Path, dim: int, environment: Mapping[str, str] = os.environ) -> Directions | None:
    """Return the classifier on top of the network whose `weights` those are, None where there is none.

    That is the file's only matrix of (dim, classes) numbers beside which a number a class lies. The names are in
    `TABLE`, beside the file or in Keras' cache; without them there is none either.
    """
    table = class_table(os.fspath(weights), environment)
    if table is None or not weights.is_file() or weights.suffix != ".h5":
        return None
    names = class_names(table)
    try:
        found = list(_matrices(weights, dim, len(names)))
    except OSError:  # no longer what it was when it was loaded
        return None
    return Directions(names, found[0]) if len(found) == 1 else None


def _matrices(weights: Path, dim: int, classes: int) -> Iterator[Vectors]:
    """Yield the matrices of a file of weights that may be a classifier, as (classes, dim) with rows of length 1."""
    import h5py
    import numpy as np

    found: list[Any] = []

    def look(_: str, item: Any) -> None:  # noqa: ANN401 - h5py has no types
        shape = getattr(item, "shape", ())
        if shape in {(dim, classes), (1, 1, dim, classes)}:  # dense, or a convolution of one pixel
            biases = [one for one in item.parent.values() if getattr(one, "shape", None) == (classes,)]
            found.extend([np.asarray(item, dtype=np.float32).reshape(dim, classes).T] * bool(biases))

    with h5py.File(weights) as file:
        file.visititems(look)
    for matrix in found:
        yield np.ascontiguousarray(matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12))
