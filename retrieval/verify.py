"""What of an index is not what was written, and what of that can be put right."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import sqlalchemy as sql

from retrieval import metadata
from retrieval.errors import IndexDamaged
from retrieval.store import VECTORS, Store
from retrieval.types import Ids
from retrieval.vectors import VectorSnapshot
from retrieval.vectors.exact import sha256_of

BLOCK = 4096


@dataclass(frozen=True)
class Verification:
    """The finding of `verify`."""

    damage: tuple[str, ...]
    """One sentence each; empty for a whole index."""
    lost: tuple[str, ...] = ()
    """What a repair had to give up, one sentence each."""
    orphans: int = 0
    """Vector files that no committed generation names: left by an interruption, swept by a later run; not damage."""

    @property
    def whole(self) -> bool:
        """Whether everything is as it was written."""
        return not self.damage


def verify(store: Store) -> Verification:
    """Read every byte that counts: rows against their digests, files against their names, images against vectors."""
    try:
        with store.connection() as connection:
            damage = [*_row_damage(connection), *_file_damage(connection, store)]
            if not damage:
                damage = list(_missing_vectors(connection, store))
            named = {digest for ref in metadata.kept_refs(connection) for digest in ref.split("+")}
    except IndexDamaged as error:
        return Verification((str(error),))
    orphans = sum(path.stem not in named for path in _folder(store).iterdir())
    return Verification(tuple(damage), orphans=orphans)


def _folder(store: Store) -> Path:
    return store.folder / VECTORS


def _row_damage(connection: sql.Connection) -> Iterator[str]:
    yield from (f"database: {complaint}" for complaint in metadata.structural_damage(connection))
    for table in metadata.SIGNED:
        for key in metadata.damaged_rows(connection, table):
            yield f"database: the row {', '.join(map(str, key))} of {table.name} is not what was written"
    generation = metadata.latest(connection)
    counted = generation.following(connection, 0, ())
    for name in ("images", "files"):
        if getattr(generation, name) != getattr(counted, name):
            yield f"database: {getattr(generation, name)} {name} were committed, {getattr(counted, name)} are there"


def _file_damage(connection: sql.Connection, store: Store) -> Iterator[str]:
    for ref in metadata.latest(connection).refs:
        for part, digest in enumerate(ref.split("+")):
            paths = list(_folder(store).glob(f"{digest}.*"))
            what = "search structure" if part else "vectors"
            if not paths:
                yield f"{what}: the file {digest[:16]}… is missing"
            elif sha256_of(paths[0]) != digest:
                yield f"{what}: the file {paths[0].name} is not what was written"


def _missing_vectors(connection: sql.Connection, store: Store) -> Iterator[str]:
    snapshot = store.vectors.snapshot(metadata.latest(connection).refs)
    ids = np.fromiter(metadata.image_ids(connection), dtype=np.int64)
    for start in range(0, len(ids), BLOCK):
        try:
            lengths = np.linalg.norm(snapshot.get(ids[start : start + BLOCK]), axis=1)
        except KeyError as error:
            yield f"vectors: image {error} has none"
        else:
            if not np.allclose(lengths, 1, atol=1e-3):
                yield "vectors: some are not of length 1"


def repair(store: Store) -> Verification:
    """Rebuild what can be rebuilt, forget what cannot, and verify again.

    Structures are built anew from the vectors. Vectors are taken from every file that is whole, committed or not. Rows that
    are not what was written are forgotten; so are images whose vectors are lost. Their files stay known and are read again by
    the next update of their folder.
    """
    if verify(store).whole:
        return verify(store)
    with store.writing():
        try:
            lost = list(_forget_damaged_rows(store))
            lost += _rebuild_vectors(store)
        except IndexDamaged as error:
            return Verification((f"{error}; this cannot be repaired",))
    return replace(verify(store), lost=tuple(lost))


def _forget_damaged_rows(store: Store) -> Iterator[str]:
    store.edit(metadata.reindex)
    with store.connection() as connection:
        damaged = {
            table: [key[0] for key in metadata.damaged_rows(connection, table)] for table in metadata.FORGETTABLE
        }
    store.edit(metadata.forget_rows, damaged)
    for table, keys in damaged.items():
        if keys:
            yield f"{len(keys)} rows of {table.name}; update their folders to read them again"


def _rebuild_vectors(store: Store) -> Iterator[str]:
    """Commit one segment of all vectors in whole files that have an image; forget the images that have none."""
    with store.connection() as connection:
        live: Ids = np.fromiter(metadata.image_ids(connection), dtype=np.int64)
    whole = list(_whole_segments(store))
    ref = store.vectors.merge(whole, live) if whole else ""
    kept = store.vectors.snapshot([ref] if ref else [])
    missing = [] if kept.count == len(live) else [int(id_) for id_ in live if not _has(kept, id_)]
    store.edit(metadata.replace_state, missing, ((ref, kept.count),) if ref else ())
    if missing:
        yield f"the vectors of {len(missing)} images; update their folders to embed them again"


def _whole_segments(store: Store) -> Iterator[str]:
    for path in sorted(_folder(store).iterdir()):
        with suppress(IndexDamaged):
            if sha256_of(path) == path.stem and store.vectors.snapshot([path.stem]).count:
                yield path.stem


def _has(snapshot: VectorSnapshot, id_: np.int64) -> bool:
    try:
        snapshot.get(np.array([id_]))
    except KeyError:
        return False
    return True
