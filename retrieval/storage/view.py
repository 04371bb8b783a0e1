"""One committed state of an index as a reader sees it, with rows and vectors; and the changes that a commit makes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from retrieval.errors import IndexDamaged
from retrieval.storage.conditions import Condition
from retrieval.storage.records import FileRow
from retrieval.storage.rows import Rows
from retrieval.storage.signing import REPAIR
from retrieval.types import EXACT, Hits, Ids, Metadata, Picture, Vectors
from retrieval.vectors import VectorSnapshot

Statistic = TypeVar("Statistic")
MATCHING = "matching"
"""Name of the latest condition and the ids that meet it, among the statistics of a view."""


@dataclass(frozen=True)
class Change:
    """The changes that one commit makes."""

    files: Sequence[FileRow] = ()
    """Places to insert or renew."""
    pictures: Sequence[Picture] = ()
    """Images to insert, none of which is in the index."""
    vectors: Vectors | None = None
    """Vectors of `pictures`, in the same order, (n, dim)."""
    forget: Sequence[int] = ()
    """Ids of the places to forget."""
    metadata: Mapping[int, Metadata] = field(default_factory=dict)
    """Id of an image that is in the index -> its metadata, which were not read before."""


@dataclass(frozen=True)
class View:
    """One committed state: its rows, and the vectors of the segments that they name. It is valid in `Store.reading`."""

    rows: Rows
    snapshot: VectorSnapshot
    live: Ids | None
    """The ids of all images if some vectors no longer belong to an image; None if every vector has an image."""
    statistics: dict[str, Any]
    """Values that were computed from this state, by name. All views of the same state share them."""

    @property
    def images(self) -> int:
        """Number of images."""
        return self.rows.generation.images

    @property
    def is_exact(self) -> bool:
        """Whether every search compares every vector, because no segment has a search structure."""
        return all(part.form == EXACT for part in self.snapshot.forms)

    def search(self, queries: Vectors, k: int, only: Ids | None = None, *, exact: bool = False) -> Hits:
        """Return the `k` nearest images of each query, or all images if there are fewer than `k`.

        `queries` are (n, dim), the hits (n, min(k, images)), nearest first. `only` limits the search to some images;
        for several searches, pass the same array. With `exact`, every vector is compared.
        """
        count = self.images if only is None else len(only)
        among = self.live if only is None else only
        return self.snapshot.search(queries, max(1, min(k, count)), among, exact=exact)

    def vectors(self, ids: Ids) -> Vectors:
        """Return the stored vectors of images, (n, dim), in the order of `ids`; `IndexDamaged` if one is missing."""
        try:
            return self.snapshot.get(ids)
        except KeyError as error:
            raise IndexDamaged(f"the vector of image {error.args[0]} is missing", hint=REPAIR) from error

    def matching(self, condition: Condition) -> Ids:
        """Return the ids of the images that meet a condition, ascending. The latest answer is kept for this state."""
        kept: tuple[Condition, Ids] | None = self.statistics.get(MATCHING)  # read once: other threads renew it
        if kept is None or kept[0] != condition:
            kept = self.statistics[MATCHING] = condition, self.rows.matching(condition)
        return kept[1]

    def sample(self, most: int) -> Vectors:
        """Return the vectors of at most `most` images. They are a random sample, the same one for the same state."""
        return self.vectors(self.rows.image_ids(most))

    def statistic(self, name: str, compute: Callable[[], Statistic]) -> Statistic:
        """Return the value of `name` for this state. The first call for a state computes it; later ones share it."""
        if name not in self.statistics:
            self.statistics[name] = compute()
        found: Statistic = self.statistics[name]
        return found


def demand_fitting(rows: Rows, snapshot: VectorSnapshot) -> None:
    """Raise `IndexDamaged` if the number of vectors or their dimension differs from what the rows say."""
    dim = rows.encoder()["dim"]
    if snapshot.count != rows.generation.vectors or (snapshot.count and snapshot.dim != dim):
        raise IndexDamaged("the vectors of the index do not fit its rows", hint=REPAIR)
