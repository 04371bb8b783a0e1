"""Parity: how the vectors of a converted network are compared with those of the network itself.

`convert` compares them on pictures that are made up here, `training.run` on pictures of the user. Imports numpy.
"""

from typing import TYPE_CHECKING

from retrieval.types import Pixels, Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARITY = 0.999
"""Least cosine between the vectors that two runtimes of one network give for the same picture. A runtime that differs
more from Keras is not used."""
PICTURES = 4
"""Number of pictures that are made up."""


def made_up(size: tuple[int, int]) -> Pixels:
    """Return the same `PICTURES` pictures of a size (height, width) each time, with details of all scales."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(7)
    made = []
    for _ in range(PICTURES):
        layers = [generator.integers(0, 256, (2**n, 2**n, 3), dtype=np.uint8) for n in range(1, 7)]
        large = [Image.fromarray(layer).resize(size[::-1], Image.Resampling.BICUBIC) for layer in layers]
        made.append(np.mean([np.asarray(layer, dtype=np.float32) for layer in large], axis=0))
    return np.clip(128 + 2.5 * (np.stack(made) - 128), 0, 255).astype(np.uint8)


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
