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
from retrieval.types import displayed

if TYPE_CHECKING:
    from retrieval.searching.filters import Filter

PCA = "pca"
METHODS = (PCA,)
"""Names of the ways to make a map."""


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
    method: str = PCA,
    where: "str | Filter | None" = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[Point, ...]:
    """Return a point for each image that meets the filter, in ascending order of id; an image with copies has one."""
    if word(method, "method") not in METHODS:
        raise BadInput(f"there is no map by {displayed(method)}", hint=f"choose one of: {', '.join(METHODS)}")
    call(progress, "progress")
    images = gather(index, where)
    points = projection.fitted(projection.components(images.vectors))
    rows = zip(images.ids.tolist(), images.paths, points.tolist(), strict=True)
    return tuple(Point(id_, path, x, y) for id_, path, (x, y) in rows)
