"""Groups of images that are alike, each with an exemplar and, if the index has tags, a name."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.arguments import call, integer, number
from retrieval.index import Index
from retrieval.overview.communities import communities
from retrieval.overview.gathered import PART, Gathered, gather
from retrieval.overview.nearest import Nearest, nearest
from retrieval.types import Scored, Vectors

if TYPE_CHECKING:
    from retrieval.searching.filters import Filter

NEIGHBOURS = 10
"""Largest number of nearest others by which images are grouped."""
FEWEST, SHARE = 2, 4
"""Least number of nearest others by which images are grouped. Of a small index, not more than one image in four is such
a neighbour: otherwise all would be joined with all."""
RESOLUTION = 1.0
"""Default resolution: that of plain modularity."""
HIGHEST = 1000.0
"""Largest resolution."""
SMALLEST = 3
"""Default least number of images in a cluster."""
NAMES = 3
"""Largest number of tags that a cluster gets."""
Group = tuple[NDArray[np.int64], NDArray[np.float32]]
"""The rows of the images of a cluster, the exemplar first, and their cosines with the exemplar, both (members,)."""


@dataclass(frozen=True, slots=True)
class Member:
    """An image with the cluster that it is in."""

    id: int
    path: Path
    cluster: int | None = None
    """Number of the cluster, from 1; None if the image is in no cluster."""
    score: float | None = None
    """Cosine with the exemplar of the cluster, -1 to 1; 1 for the exemplar itself. None without a cluster."""

    def as_dict(self) -> dict[str, Any]:
        """Return the image as JSON can hold it."""
        return asdict(self) | {"path": str(self.path)}


@dataclass(frozen=True, slots=True)
class Cluster:
    """A group of images that are alike."""

    number: int
    """Position among the clusters, from 1."""
    members: tuple[Member, ...]
    """The images, nearest to the exemplar first, equal ones in ascending order of id. The first one is the exemplar:
    the image with the highest mean cosine with all members."""
    tags: tuple[Scored, ...] = ()
    """Up to three tags that tell this cluster from the others, best first, each with the share of the members that have
    it; empty if the index has no tags."""

    @property
    def exemplar(self) -> Member:
        """The most typical image."""
        return self.members[0]

    @property
    def path(self) -> Path:
        """The path of the exemplar."""
        return self.exemplar.path

    @property
    def name(self) -> str:
        """The first tag; empty if the index has no tags."""
        return self.tags[0].label if self.tags else ""

    def as_dict(self) -> dict[str, Any]:
        """Return the cluster as JSON can hold it."""
        return {
            "cluster": self.number,
            "size": len(self.members),
            "name": self.name,
            "path": str(self.path),
            "tags": [asdict(tag) for tag in self.tags],
            "members": [{"id": one.id, "path": str(one.path), "score": one.score} for one in self.members],
        }


@dataclass(frozen=True, slots=True)
class Clusters:
    """All images that were looked at, in clusters."""

    clusters: tuple[Cluster, ...]
    """Largest first, equal ones in ascending order of the id of the exemplar."""
    rest: tuple[Member, ...]
    """Images in no cluster, in ascending order of id."""

    def rest_as_dict(self) -> dict[str, Any]:
        """Return the images in no cluster as JSON can hold them, with the keys of `Cluster.as_dict`."""
        members = [{"id": one.id, "path": str(one.path), "score": None} for one in self.rest]
        return {"cluster": None, "size": len(members), "name": "", "path": None, "tags": [], "members": members}


def cluster(
    index: Index,
    *,
    where: "str | Filter | None" = None,
    min_size: int = SMALLEST,
    resolution: float = RESOLUTION,
    progress: Callable[[float], None] | None = None,
) -> Clusters:
    """Group the images of an index that meet the filter `where`; an image with copies counts once.

    Images are grouped by the neighbours that they share (see `overview.communities`). A larger `resolution`, over 0,
    makes more and smaller clusters. An image that is among the nearest of none of its own nearest
    is in no cluster, and neither are groups of fewer than `min_size` (>= 1). `progress` is
    called with the share of the work that is done.

    Raises `BadFilter` for a faulty filter, and `BadInput` for another value that cannot be used.
    """
    least = integer(min_size, "min_size", 1)
    resolution = number(resolution, "resolution", 1 / HIGHEST, HIGHEST)
    images = gather(index, where)
    found = nearest(images.vectors, NEIGHBOURS, call(progress, "progress"))
    groups, rest = grouped(images, found, least, resolution)
    names = _names(index, images, [rows for rows, _ in groups])
    clusters = [
        Cluster(number, _members(images, number, rows, scores), tags)
        for number, ((rows, scores), tags) in enumerate(zip(groups, names, strict=True), 1)
    ]
    return Clusters(tuple(clusters), tuple(Member(int(images.ids[row]), images.paths[row]) for row in rest.tolist()))


def grouped(
    images: Gathered, found: Nearest, least: int = SMALLEST, resolution: float = RESOLUTION
) -> tuple[list[Group], NDArray[np.int64]]:
    """Return the clusters of images, largest first, and the rows of the images in no cluster, ascending.

    `found` has the nearest others of each image; up to `NEIGHBOURS` of them are used.
    """
    joined = min(NEIGHBOURS, max(FEWEST, len(images) // SHARE))
    labels = communities(found.first(joined), resolution)
    order = np.argsort(labels, kind="stable")
    alone, *groups = np.split(order, np.cumsum(np.bincount(labels + 1))[:-1]) if len(labels) else [order]
    large = [_by_nearness(images.vectors, group) for group in groups if len(group) >= least]
    large.sort(key=lambda group: (-len(group[0]), images.ids[group[0][0]]))
    small = [group for group in groups if len(group) < least]
    return large, np.sort(np.concatenate([alone, *small]))


def _by_nearness(vectors: Vectors, group: NDArray[np.int64]) -> Group:
    """Return the rows of a group with their cosines with its exemplar, nearest first.

    The exemplar has the highest mean cosine, which is the product with the sum of all vectors of the group.
    """
    inside = vectors[group]
    exemplar = int(np.argmax(inside @ inside.sum(axis=0)))
    scores = np.minimum(inside @ inside[exemplar], np.float32(1))
    scores[exemplar] = 1
    is_other = np.arange(len(group)) != exemplar
    order = np.lexsort((group, -scores, is_other))
    return group[order], scores[order]


def _members(images: Gathered, number: int, rows: NDArray[np.int64], scores: NDArray[np.float32]) -> tuple[Member, ...]:
    return tuple(
        Member(int(images.ids[row]), images.paths[row], number, score)
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
    )


def _names(index: Index, images: Gathered, groups: Sequence[NDArray[np.int64]]) -> list[tuple[Scored, ...]]:
    """Return for each group the tags that tell it from all images, best first; nothing if the index has no tags.

    A tag is the better, the more members have it and the fewer other images: its value is p * log(p / q), with the
    share p of the members and the share q of all images (its part of the Kullback-Leibler divergence).
    """
    tags: dict[int, list[str]] = {}
    for start in range(0, len(images), PART):
        found = index.tags(images.ids[start : start + PART].tolist())
        tags |= {image: [tag.name for tag in of_image] for image, of_image in found.items()}
    everywhere = Counter(name for names in tags.values() for name in names)
    answers = []
    for group in groups:
        inside = Counter(name for row in group for name in tags.get(int(images.ids[row]), ()))
        shares = {name: count / len(group) for name, count in inside.items()}
        values = {name: share * np.log(share * len(images) / everywhere[name]) for name, share in shares.items()}
        best = sorted(values, key=lambda name: (-values[name], name))[:NAMES]
        answers.append(tuple(Scored(name, shares[name]) for name in best))
    return answers
