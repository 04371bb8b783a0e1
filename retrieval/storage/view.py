"""One committed state of an index, as a reader sees it, and what a commit changes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from retrieval.errors import IndexDamaged
from retrieval.storage import tables
from retrieval.storage.sqlite import REPAIR
from retrieval.storage.tables import FileRow, Generation
from retrieval.types import Hits, Ids, Picture, Vectors
from retrieval.vectors import VectorSnapshot


def demand_fitting(connection: sql.Connection, generation: Generation, snapshot: VectorSnapshot) -> None:
    """Raise `IndexDamaged` where the segments are not as many vectors, or as long, as the rows say."""
    dim = tables.encoder(connection, generation.fingerprint)["dim"]
    if snapshot.count != generation.vectors or (snapshot.count and snapshot.dim != dim):
        raise IndexDamaged("the vectors of the index are not those that its rows name", hint=REPAIR)


@dataclass(frozen=True)
class Change:
    """What one commit changes."""

    files: Sequence[FileRow] = ()
    """Places to insert or renew."""
    pictures: Sequence[Picture] = ()
    """Contents that are new, in the order of `vectors`."""
    vectors: Vectors | None = None
    forget: Sequence[int] = ()
    """Ids of places to forget."""


@dataclass(frozen=True)
class View:
    """One committed state, inside one read transaction."""

    connection: sql.Connection
    generation: Generation
    snapshot: VectorSnapshot
    live: Ids | None
    """The ids of all images where some vectors have none; None where every vector has one."""
    kept: dict[str, Any]
    """What was made of this state, for whoever asks it again."""

    def search(self, queries: Vectors, k: int, *, exact: bool = False) -> Hits:
        """Return the `k` nearest images of each query, at most as many as there are; surely those if `exact`."""
        return self.snapshot.search(queries, max(1, min(k, self.generation.images)), self.live, exact=exact)

    def vector(self, id_: int) -> Vectors:
        """Return the stored vector of an image, (1, dim)."""
        import numpy as np

        try:
            return self.snapshot.get(np.array([id_]))
        except KeyError:
            raise IndexDamaged(f"the vector of image {id_} is missing", hint=REPAIR) from None
