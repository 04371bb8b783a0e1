"""Some images of an index: at random, or as different from each other as possible."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.arguments import call, integer
from retrieval.index import Index
from retrieval.overview.gathered import gather, paths_of
from retrieval.types import Vectors

if TYPE_CHECKING:
    from retrieval.searching.filters import Filter


@dataclass(frozen=True, slots=True)
class Sampled:
    """An image of a sample."""

    id: int
    path: Path

    def as_dict(self) -> dict[str, Any]:
        """Return the image as JSON can hold it."""
        return {"id": self.id, "path": str(self.path)}


def at_random(index: Index, count: int, *, where: "str | Filter | None" = None, seed: int = 0) -> tuple[Sampled, ...]:
    """Return `count` images that meet the filter, drawn at random without repetition; fewer if there are fewer.

    The same seed gives the same sample of the same index, and a smaller sample is the beginning of a larger one.
    """
    count, seed = integer(count, "count", 0), integer(seed, "seed", 0)
    images = list(paths_of(index, where).items())
    drawn = np.random.default_rng(seed).permutation(len(images))[:count]
    return tuple(Sampled(*images[row]) for row in drawn)


def diverse(
    index: Index,
    count: int,
    *,
    where: "str | Filter | None" = None,
    progress: Callable[[float], None] | None = None,
) -> tuple[Sampled, ...]:
    """Return `count` images that meet the filter and differ from each other; fewer if there are fewer.

    They are chosen as `farthest` chooses. A smaller sample is the beginning of a larger one. `progress` is called with
    the share of the work that is done.
    """
    count = integer(count, "count", 0)
    images = gather(index, where)
    rows = farthest(images.vectors, count, call(progress, "progress"))
    return tuple(Sampled(int(images.ids[row]), images.paths[row]) for row in rows.tolist())


def farthest(vectors: Vectors, count: int, progress: Callable[[float], None] | None = None) -> NDArray[np.int64]:
    """Return up to `count` rows of `vectors`, (n, dim), each as unlike those before it as possible.

    The first row is the most typical one, with the highest mean cosine with all. Then comes again and again the row
    whose highest cosine with the chosen ones is lowest; of equal ones, the first (Gonzalez 1985, Clustering to minimize
    the maximum intercluster distance).
    """
    chosen: list[int] = []
    closest = -(vectors @ vectors.sum(axis=0)) if len(vectors) else np.zeros(0, np.float32)
    wanted = min(count, len(vectors))
    for _ in range(wanted):
        row = int(np.argmin(closest))
        products = vectors @ vectors[row]
        closest = np.maximum(closest, products) if chosen else products
        chosen.append(row)
        closest[row] = np.inf
        if progress is not None:
            progress(len(chosen) / wanted)
    return np.array(chosen, dtype=np.int64)
