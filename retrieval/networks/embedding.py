"""Pictures -> vectors through any encoder, in parts that fit the memory. The result of the encoder is checked.

The index and the queries embed by `vectors_of`, so that a picture has the same vector in both. Imports numpy.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import BadInput
from retrieval.networks.encoder import Encoder
from retrieval.types import Pixels, Vectors

Item = TypeVar("Item")

BATCH = 32
"""Most pictures that are read and embedded together."""
MOST_PIXELS = BATCH * 600 * 600
"""Most pixels that go through a network at once: a full batch at the largest input size of Keras' networks."""
NO_VECTOR = "the network finds nothing in it (its features are zero or not numbers)"
"""The reason of a picture that has no vector."""


def batches(items: Iterable[Item], most: int = BATCH) -> Iterator[list[Item]]:
    """Yield `items`, in their order, in lists of `most` or fewer."""
    remaining = iter(items)
    while batch := list(islice(remaining, most)):
        yield batch


def together(size: tuple[int, int], most: int) -> int:
    """Return how many pictures of `size` (height, width) go through a network at once: `most`, or fewer if large."""
    height, width = size
    return max(1, min(most, MOST_PIXELS // (height * width)))


def vectors_of(encoder: Encoder, pixels: Pixels) -> list[NDArray[np.float32] | None]:
    """Return the vector of each picture of `pixels`, (dim,) of length 1, in their order.

    A picture whose features are all zero, or are not numbers, has None in place of a vector. Large pictures go through
    the network in several parts. Raises `BadInput` if the encoder does not give the vectors that `Encoder` demands.
    """
    step = together((pixels.shape[1], pixels.shape[2]), len(pixels))
    parts = [pixels[start : start + step] for start in range(0, len(pixels), step)]
    vectors = np.concatenate([_checked(encoder.images(part), len(part), encoder.dim) for part in parts])
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(vectors, axis=1)
    finite = lengths[np.isfinite(lengths)]
    if (finite > 1.001).any():  # noqa: PLR2004 - 1, but for rounding
        raise BadInput(
            f"the encoder gives vectors of length {finite.max():.4g}, not 1", hint="divide each by its length"
        )
    is_unit = np.abs(lengths - 1) < 1e-3  # noqa: PLR2004 - 1, but for rounding
    return [vector if unit else None for vector, unit in zip(vectors, is_unit, strict=True)]


def _checked(given: Any, count: int, dim: int) -> Vectors:  # noqa: ANN401 - an encoder may give anything
    """Return the result of an encoder as float32; `BadInput` if it is not an array (count, dim) of floats."""
    vectors = np.asarray(given)
    if vectors.shape != (count, dim) or vectors.dtype.kind != "f":
        raise BadInput(
            f"the encoder gives an array {vectors.shape} of {vectors.dtype}, not ({count}, {dim}) of float32",
            hint="retrieval.networks.encoder.Encoder says what an encoder gives",
        )
    return vectors.astype(np.float32, copy=False)
