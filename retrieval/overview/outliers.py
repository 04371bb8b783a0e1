"""The images that are least like all others."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.arguments import call, integer
from retrieval.index import Index
from retrieval.overview.gathered import gather
from retrieval.overview.nearest import Nearest, nearest
from retrieval.searching.diversity import ALIKE

if TYPE_CHECKING:
    from retrieval.searching.filters import Filter

NEIGHBOURS = 10
"""Number of nearest others that count."""
COPIES = 5
"""Largest number of nearest others that do not count because they look the same. More of them are no copies of one
unusual picture, but a kind of picture."""


@dataclass(frozen=True, slots=True)
class Outlier:
    """An image with the measure of how unusual it is."""

    id: int
    path: Path
    score: float
    """Mean cosine with the ten nearest others that count, -1 to 1; lower is more unusual. It is -1 if there is no other
    image, and 1 if there are only some that look the same."""
    nearest: Path | None
    """The nearest of the others that count; None if there is none."""

    def as_dict(self) -> dict[str, Any]:
        """Return the image as JSON can hold it."""
        return asdict(self) | {"path": str(self.path), "nearest": None if self.nearest is None else str(self.nearest)}


def outliers(
    index: Index,
    count: int = 20,
    *,
    where: "str | Filter | None" = None,
    progress: Callable[[float], None] | None = None,
) -> tuple[Outlier, ...]:
    """Return the `count` most unusual images that meet the filter, most unusual first; fewer if there are fewer.

    Each image is compared with the others that meet the filter. Its score is the mean cosine with the ten nearest.
    Up to five that look the same, with a cosine of 0.95 or more, do not count: so pictures that were saved again do not
    hide an unusual one. Equal scores stand in ascending order of id. `progress` is called with the share of the work
    that is done.

    Raises `BadFilter` for a faulty filter, and `BadInput` for another value that cannot be used.
    """
    count = integer(count, "count", 0)
    images = gather(index, where)
    found = nearest(images.vectors, NEIGHBOURS + COPIES, call(progress, "progress"))
    counts = counted(found)
    scores = scores_of(found, counts)
    order = np.lexsort((images.ids, scores))[:count].tolist()
    answers = []
    for row in order:
        others = found.rows[row][counts[row]]
        closest = images.paths[others[0]] if len(others) else None
        answers.append(Outlier(int(images.ids[row]), images.paths[row], float(scores[row]), closest))
    return tuple(answers)


def counted(found: Nearest) -> NDArray[np.bool_]:
    """Return which neighbours count, (n, k): the first ten after those that look the same."""
    copies = np.minimum(np.count_nonzero(found.scores >= ALIKE, axis=1), COPIES)[:, None]
    place = np.arange(found.scores.shape[1])
    among: NDArray[np.bool_] = (place >= copies) & (place < copies + NEIGHBOURS)
    return among


def scores_of(found: Nearest, counts: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean cosine of each image with the neighbours that count, (n,).

    Without a neighbour that counts, it is 1, as all look the same; it is -1 if there is no other image.
    """
    number = counts.sum(axis=1)
    sums = np.where(counts, found.scores, 0).sum(axis=1, dtype=np.float64)
    return np.where(number > 0, sums / np.maximum(number, 1), 1.0 if found.scores.shape[1] else -1.0)
