"""A map of images: a point in the plane for each, near to the points of images that are like it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.arguments import call, word
from retrieval.errors import BadInput
from retrieval.index import Index
from retrieval.overview import projection
from retrieval.overview.gathered import gather
from retrieval.overview.layout import laid_out
from retrieval.overview.nearest import nearest
from retrieval.types import Vectors, displayed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from retrieval.searching.filters import Filter

NEIGHBOURS, PCA = "neighbours", "pca"
METHODS = (NEIGHBOURS, PCA)
"""Names of the ways to make a map: by `overview.layout`, and by principal components."""
COUNT = 15
"""Number of nearest others that are drawn to an image. With 30, fewer of the ten nearest stay near."""
FEWEST = 4
"""Number of images below which a map is made by principal components: fewer have no neighbourhoods."""


@dataclass(frozen=True, slots=True)
class Point:
    """The place of an image on a map."""

    id: int
    path: Path
    x: float
    """-1 to 1."""
    y: float
    """-1 to 1."""

    def as_dict(self) -> dict[str, Any]:
        """Return the point as JSON can hold it."""
        return asdict(self) | {"path": str(self.path)}


def place(
    index: Index,
    *,
    method: str = NEIGHBOURS,
    where: "str | Filter | None" = None,
    progress: Callable[[float], None] | None = None,
) -> tuple[Point, ...]:
    """Return a point for each image that meets the filter, in ascending order of id; an image with copies has one.

    The method "neighbours" keeps the nearest images of each image near, and says nothing by the distances between far
    points. "pca" is quick, and shows the two directions in which the images differ most. `progress` is called
    with the share of the work that is done.

    Raises `BadFilter` for a faulty filter, and `BadInput` for another value that cannot be used.
    """
    if word(method, "method") not in METHODS:
        raise BadInput(f"there is no map by {displayed(method)}", hint=f"choose one of: {', '.join(METHODS)}")
    call(progress, "progress")
    images = gather(index, where)
    begin = projection.components(images.vectors)
    points = _near(images.vectors, begin, progress) if method == NEIGHBOURS and len(images) >= FEWEST else begin
    rows = zip(images.ids.tolist(), images.paths, projection.fitted(points).tolist(), strict=True)
    return tuple(Point(id_, path, x, y) for id_, path, (x, y) in rows)


def _near(
    vectors: Vectors, begin: "NDArray[np.float32]", progress: Callable[[float], None] | None
) -> "NDArray[np.float64]":
    """Return points that keep near neighbours near, (n, 2); the search for neighbours counts as half of the work."""
    first = None if progress is None else lambda share: progress(share / 2)
    second = None if progress is None else lambda share: progress((1 + share) / 2)
    return laid_out(nearest(vectors, COUNT, first).rows, begin, second)
