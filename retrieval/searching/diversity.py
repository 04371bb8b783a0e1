"""Answers that do not say the same thing many times: near-identical images under the best of them, or spread answers.

`grouped` walks through the neighbours, best first, and puts each one under the first better one that looks the same.
`spread` is maximal marginal relevance (Carbonell & Goldstein 1998, The use of MMR, diversity-based reranking).
"""

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Vectors

ALIKE = 0.95
"""Least cosine of images that look the same. Of 1,000 pictures of Corel-1k, 2 have another one so near with
MobileNetV2 and 51 with mini; of Caltech-101, which has real copies, 10 and 119. Of 200 pictures of each set that were
saved again as WebP (quality 75), 97 % are so near with MobileNetV2 and all with mini; as JPEG (quality 50), 84 to 100 %
and all; at half the width, 3 to 6 % and 91 to 100 %."""
POOL = 100
"""Least number of neighbours among which answers are grouped or spread."""


def grouped(vectors: Vectors) -> NDArray[np.int64]:
    """Return for each of some neighbours, best first, the position of the one under which it stands: its own if none.

    `vectors` are (n, dim). A neighbour stands under the first better one that is a head and has a cosine of `ALIKE` or
    more with it. So all neighbours under a head look like the head, and not only like each other.
    """
    products = vectors @ vectors.T
    heads = np.arange(len(vectors))
    for position in range(len(vectors)):
        near = np.flatnonzero((products[position, :position] >= ALIKE) & (heads[:position] == np.arange(position)))
        if len(near):
            heads[position] = near[0]
    return heads


def spread(scores: NDArray[np.float32], vectors: Vectors, balance: float, count: int) -> NDArray[np.int64]:
    """Return the positions of up to `count` neighbours, each chosen with regard to those that were chosen before it.

    The value of a neighbour is `balance` times its score, less the rest of 1 times its highest cosine with a chosen
    one. With a balance of 1, the order is that of the scores. Of equal values, the first one is chosen.
    """
    values = balance * scores.astype(np.float64)
    nearest = np.full(len(scores), -np.inf)
    chosen: list[int] = []
    is_left = np.ones(len(scores), dtype=bool)
    for _ in range(min(count, len(scores))):
        penalty = (1 - balance) * nearest if chosen else np.zeros(len(scores))
        best = int(np.argmax(np.where(is_left, values - penalty, -np.inf)))
        chosen.append(best)
        is_left[best] = False
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return np.array(chosen, dtype=np.int64)
