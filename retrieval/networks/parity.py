"""Parity: how a compiled network is compared with Keras, which decides whether it may be used.

The vectors that both give for the same pictures are compared by their cosines. `compiled` does that on the first
pictures, `training.run` for a network that was trained.
"""

from typing import TYPE_CHECKING

from retrieval.types import Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARITY = 0.999
"""Least cosine between the vectors that two runtimes of one network give for the same picture. A runtime that differs
more from Keras is not used."""


def cosines_of(vectors: Vectors, expected: Vectors) -> "NDArray[np.float64]":
    """Return the cosine of each vector to the expected one, -1 for a vector that is zero or not of finite numbers.

    Pictures whose expected vector does not have the length 1 are left out: the reference found nothing in them.
    """
    import numpy as np

    usable = np.abs(np.linalg.norm(expected, axis=1) - 1) < 1e-3  # noqa: PLR2004 - 1, but for rounding
    compared = vectors[usable].astype(np.float64)
    with np.errstate(all="ignore"):
        cosines = (compared * expected[usable]).sum(axis=1) / np.linalg.norm(compared, axis=1)
    return np.where(np.isfinite(cosines), cosines, -1.0)
