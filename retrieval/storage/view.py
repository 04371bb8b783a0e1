"""One committed state of an index, as a reader sees it, and what a commit changes of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from retrieval.errors import IndexDamaged
from retrieval.storage.rows import Rows
from retrieval.storage.signing import REPAIR
from retrieval.storage.tables import FileRow
from retrieval.types import EXACT, Hits, Ids, Picture, Vectors
from retrieval.vectors import VectorSnapshot

Statistic = TypeVar("Statistic")


@dataclass(frozen=True)
class Change:
    """What one commit changes."""

    files: Sequence[FileRow] = ()
    """Places to insert or renew."""
    pictures: Sequence[Picture] = ()
    """Contents that are new, in the order of `vectors`."""
    vectors: Vectors | None = None
    forget: Sequence[int] = ()
    """Ids of the places to forget."""


@dataclass(frozen=True)
class View:
    """One committed state: its rows, and the vectors that they name. It is valid inside `Store.reading`."""

    rows: Rows
    snapshot: VectorSnapshot
    live: Ids | None
    """The ids of all images, where some vectors belong to no image any more; None where every vector has an image."""
    statistics: dict[str, Any]
    """What was computed from this state before, by name; other views of the same state share it."""

    @property
    def images(self) -> int:
        """Number of images."""
        return self.rows.generation.images

    @property
    def is_exact(self) -> bool:
        """Whether every search looks at every vector."""
        return all(part.form == EXACT for part in self.snapshot.forms)

    def search(self, queries: Vectors, k: int, *, exact: bool = False) -> Hits:
        """Return the `k` nearest images of each query, (n, k), or all images where there are fewer than `k`.

        With `exact`, every vector is looked at.
        """
        return self.snapshot.search(queries, max(1, min(k, self.images)), self.live, exact=exact)

    def vectors(self, ids: Ids) -> Vectors:
        """Return the stored vectors of images, (n, dim), in the order of `ids`; `IndexDamaged` where one is missing."""
        try:
            return self.snapshot.get(ids)
        except KeyError as error:
            raise IndexDamaged(f"the vector of image {error.args[0]} is missing", hint=REPAIR) from error

    def sample(self, most: int) -> Vectors:
        """Return the vectors of at most `most` images, chosen at random, the same ones for the same state."""
        return self.vectors(self.rows.image_ids(most))

    def statistic(self, name: str, compute: Callable[[], Statistic]) -> Statistic:
        """Return what `compute` returned for this state when it was first asked for under `name`."""
        if name not in self.statistics:
            self.statistics[name] = compute()
        found: Statistic = self.statistics[name]
        return found


def demand_fitting(rows: Rows, snapshot: VectorSnapshot) -> None:
    """Raise `IndexDamaged` where the number of vectors, or their dimension, is not what the rows say."""
    dim = rows.encoder()["dim"]
    if snapshot.count != rows.generation.vectors or (snapshot.count and snapshot.dim != dim):
        raise IndexDamaged("the vectors of the index are not those that its rows name", hint=REPAIR)
