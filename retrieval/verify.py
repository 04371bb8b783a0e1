"""What of an index is not what was written, and what of that can be put right."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sql

from retrieval import database, metadata
from retrieval.errors import IndexDamaged
from retrieval.metadata import encoders, files, generations, images, roots, segments
from retrieval.store import VECTORS, Store
from retrieval.types import Ids, image_id
from retrieval.vectors import VectorSnapshot
from retrieval.vectors.exact import sha256_of

BLOCK = 4096
"""Vectors looked at together."""
SIGNED = (encoders, generations, segments, images, roots, files)
FORGETTABLE = (files, images, roots)
"""Tables whose damaged rows can be forgotten: reading the folders again brings them back."""


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
    yield from (f"database: {complaint}" for complaint in structural_damage(connection))
    for table in SIGNED:
        for key in damaged_rows(connection, table):
            yield f"database: the row {', '.join(map(str, key))} of {table.name} is not what was written"
    generation = metadata.latest(connection)
    counted = generation.following(connection, 0, ())
    for name in ("images", "files"):
        if getattr(generation, name) != getattr(counted, name):
            yield f"database: {getattr(generation, name)} {name} were committed, {getattr(counted, name)} are there"


def damaged_rows(connection: sql.Connection, table: sql.Table) -> Iterator[tuple[Any, ...]]:
    """Yield the primary keys of the rows of `table` that are not what was written."""
    key = [column.name for column in table.primary_key]
    for row in connection.execute(sql.select(table)).mappings():
        sound = row["digest"] == metadata.digest_of(table, dict(row))
        if not sound or (table is images and row["id"] != image_id(row["sha256"])):
            yield tuple(row[name] for name in key)


def structural_damage(connection: sql.Connection) -> Iterator[str]:
    """Yield what SQLite's own check, the foreign keys and the definition of the tables have to say."""
    yield from (row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check(20)") if row[0] != "ok")
    for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"a row of {row[0]} refers to none of {row[2]}"
    with database.in_memory().begin() as fresh:
        metadata.migrate(fresh)
        expected = _definitions(fresh)
    if _definitions(connection) != expected:
        yield "the definition of the tables is not the one of this format"


def _definitions(connection: sql.Connection) -> set[tuple[Any, ...]]:
    rows = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_schema")
    return {tuple(row) for row in rows}


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

    Structures are built anew from the vectors. Vectors are taken from every file that is whole, committed or not. Rows
    that are not what was written are forgotten; so are images whose vectors are lost. Their files are read again by the
    next update of their folder.
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
    store.edit(_reindex)
    with store.connection() as connection:
        damaged = {table: [key[0] for key in damaged_rows(connection, table)] for table in FORGETTABLE}
    store.edit(_forget_rows, damaged)
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
    store.edit(_replace_state, missing, ((ref, kept.count),) if ref else ())
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


def _reindex(connection: sql.Connection) -> None:
    """Build SQLite's own indexes anew from the tables."""
    connection.exec_driver_sql("REINDEX")


def _forget_rows(connection: sql.Connection, damaged: Mapping[sql.Table, Sequence[int]]) -> None:
    """Forget rows of the tables `FORGETTABLE`, and what depends on them."""
    chosen = damaged[roots]
    connection.execute(sql.delete(files).where(files.c.id.in_(damaged[files]) | files.c.root.in_(chosen)))
    connection.execute(sql.delete(roots).where(roots.c.id.in_(chosen)))
    _unlink_images(connection, damaged[images])
    connection.execute(sql.delete(images).where(~sql.exists().where(files.c.image == images.c.id)))


def _unlink_images(connection: sql.Connection, ids: Sequence[int]) -> None:
    """Forget images, and have their files read again by the next update."""
    for some in metadata.chunks(ids):
        rows = metadata.files_of_images(connection, some)
        metadata.put_files(connection, [replace(row, image=None, size=-1, mtime_ns=-1) for row in rows])
        connection.execute(sql.delete(images).where(images.c.id.in_(some)))


def _replace_state(connection: sql.Connection, lost: Sequence[int], parts: tuple[tuple[str, int], ...]) -> None:
    """Forget the images `lost` and commit a generation of the segments `parts`; twice, so that no older one is kept."""
    _unlink_images(connection, lost)
    fingerprint = connection.scalar(sql.select(encoders.c.fingerprint)) or ""
    for _ in range(2):
        before = replace(metadata.latest(connection), fingerprint=fingerprint)
        metadata.insert_generation(connection, before.following(connection, sum(count for _, count in parts), parts))
