"""The classifier on top of a network, as directions among its vectors. The pictures of a class lie in its direction.

The last layer of a network that was trained to tell classes multiplies the pooled features with one row of weights per
class. So a class is a direction. The cosine between a vector and this direction says how much the picture shows the
class.
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
    """Names of the classes."""
    directions: Vectors
    """One direction per class, (classes, dim), of length 1."""


def directions_of(encoder: Mapping[str, Any]) -> Directions | None:
    """Return the classifier of an encoder, None if it has none. `encoder` is a row of the table `encoders`.

    Classifiers are trained on average-pooled features, so an encoder with another pooling has none.
    """
    if json.loads(encoder["backbone"]).get("pooling") != "avg":
        return None
    return directions_in(Path(os.fsdecode(encoder["weights"])), encoder["dim"])


def directions_in(weights: Path, dim: int, environment: Mapping[str, str] = os.environ) -> Directions | None:
    """Return the classifier in a file of weights of a network with `dim` features; None if the file has none.

    The classifier is the only matrix of (dim, classes) numbers in the file that has one bias per class. The names of
    the classes come from `weights.TABLE`, beside the file or in Keras' cache; without the names, None is returned.
    """
    table = class_table(os.fspath(weights), environment)
    if table is None or not weights.is_file() or weights.suffix != ".h5":
        return None
    names = class_names(table)
    try:
        matrices = list(_matrices(weights, dim, len(names)))
    except OSError:  # the file has changed since the network was loaded from it
        return None
    return Directions(names, matrices[0]) if len(matrices) == 1 else None


def _matrices(weights: Path, dim: int, classes: int) -> Iterator[Vectors]:
    """Yield the matrices of a file that may be a classifier, as (classes, dim) with rows of length 1."""
    import h5py
    import numpy as np

    matrices: list[Any] = []

    def visit(_: str, item: Any) -> None:  # noqa: ANN401 - h5py has no types
        shape = getattr(item, "shape", ())
        if shape in {(dim, classes), (1, 1, dim, classes)}:  # a dense layer, or a convolution of one pixel
            has_bias = any(getattr(sibling, "shape", None) == (classes,) for sibling in item.parent.values())
            if has_bias:
                matrices.append(np.asarray(item, dtype=np.float32).reshape(dim, classes).T)

    with h5py.File(weights) as file:
        file.visititems(visit)
    for matrix in matrices:
        lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
        yield np.ascontiguousarray(matrix / np.maximum(lengths, 1e-12))  # a row of zeros stays zero
