"""Sample vectors in clusters, as the vectors of pictures are; and the recall of a search."""

import numpy as np

from retrieval.types import Hits
from tests.contracts.vectors import normalised, some

COUNT, DIM = 3000, 40


def clustered(count: int = COUNT, dim: int = DIM) -> tuple[np.ndarray, np.ndarray]:
    """Return ids with vectors in clusters, as pictures are."""
    generator = np.random.default_rng(3)
    centres = generator.standard_normal((count // 20, dim))
    vectors = centres[generator.integers(len(centres), size=count)] + 0.5 * generator.standard_normal((count, dim))
    return np.sort(some(count)[0]), normalised(vectors)


def recall(found: Hits, right: Hits) -> float:
    """Return the share of the neighbours in `right` that stand in `found`."""
    return float(np.mean([len({*a} & {*b}) / len(b) for a, b in zip(found.ids, right.ids, strict=True)]))
