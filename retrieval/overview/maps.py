"""A map of images: a point in the plane for each, near to the points of images that are like it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.arguments import call, flag, word
from retrieval.errors import BadInput
from retrieval.index import Index
from retrieval.overview import projection
from retrieval.overview.clusters import grouped
from retrieval.overview.gathered import Gathered, gather
from retrieval.overview.layout import laid_out
from retrieval.overview.nearest import Nearest, nearest
from retrieval.types import displayed

if TYPE_CHECKING:
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
    cluster: int | None = None
    """Number of the cluster, as `Cluster.number`; None if the image is in none, or the clusters were not asked for."""

    def as_dict(self) -> dict[str, Any]:
        """Return the point as JSON can hold it."""
        return asdict(self) | {"path": str(self.path)}


def place(
    index: Index,
    *,
    method: str = NEIGHBOURS,
    where: "str | Filter | None" = None,
    clusters: bool = False,
    progress: Callable[[float], None] | None = None,
) -> tuple[Point, ...]:
    """Return a point for each image that meets the filter, in ascending order of id; an image with copies has one.

    The method "neighbours" keeps the nearest images of each image near. The distances between far points say nothing.
    "pca" is quick, and shows the two directions in which the images differ most. With `clusters`, each point has the
    cluster that `clusters.cluster` finds by default. `progress` is called with the share of the work that is done.

    Raises `BadFilter` for a faulty filter, and `BadInput` for another value that cannot be used.
    """
    if word(method, "method") not in METHODS:
        raise BadInput(f"there is no map by {displayed(method)}", hint=f"choose one of: {', '.join(METHODS)}")
    wants_clusters, progress = flag(clusters, "clusters"), call(progress, "progress") or _ignored
    images = gather(index, where)
    points = projection.components(images.vectors)
    labels: list[int | None] = [None] * len(images)
    is_near = method == NEIGHBOURS and len(images) >= FEWEST
    if is_near or wants_clusters:
        found = nearest(images.vectors, COUNT, lambda share: progress(share / 2))
        if wants_clusters:
            labels = _labels(images, found)
        if is_near:
            points = laid_out(found.rows, points, lambda share: progress((1 + share) / 2))
    placed = zip(images.ids.tolist(), images.paths, projection.fitted(points).tolist(), labels, strict=True)
    return tuple(Point(id_, path, x, y, label) for id_, path, (x, y), label in placed)


def _ignored(share: float) -> None:
    """Take the share of the work that is done, of which nobody wants to know."""


def _labels(images: Gathered, found: Nearest) -> list[int | None]:
    """Return the number of the cluster of each image; None for an image in no cluster."""
    labels: list[int | None] = [None] * len(images)
    for number, (members, _) in enumerate(grouped(images, found)[0], 1):
        for row in members.tolist():
            labels[row] = number
    return labels
