"""Find all damage in an index: in SQLite's log, in rows, in files of vectors, in artefacts and in tags."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import sqlalchemy as sql

from retrieval.errors import IndexDamaged
from retrieval.storage import artefacts, migrations, queries, sqlite, tag_store
from retrieval.storage.commit import Store
from retrieval.storage.signing import Row, is_sound
from retrieval.storage.tables import encoders, files, generations, images, metadata, roots, segments, settings
from retrieval.types import Ids, displayed, image_id
from retrieval.vectors import VectorSnapshot

BLOCK = 4096
"""Number of vectors that are read at a time."""
SHOWN = 20
"""Number of items that are reported one by one; the rest is counted."""
TOLERANCE = 1e-3
"""How far the length of a vector may be from 1: more than the rounding of float16 makes it."""
SIGNED = (encoders, generations, segments, images, metadata, roots, files, settings)
"""All tables whose rows carry a digest."""


@dataclass(frozen=True)
class Verification:
    """What `verify` or `repair` found."""

    damage: tuple[str, ...]
    """The damage that the index has now, one sentence each; empty for a whole index."""
    lost: tuple[str, ...] = ()
    """What the repair had to give up, one sentence each."""
    orphans: int = 0
    """Number of files of vectors that no kept generation names. They are no damage: a later run deletes them.

    They were merged into other files, or a run was interrupted before it named them."""
    unsaved: tuple[str, ...] = ()
    """What a repair with `forget_lost` would give up, one sentence each. A repair without it leaves this as it is."""

    @property
    def whole(self) -> bool:
        """Whether there is no damage."""
        return not self.damage


# -- all checks ---------------------------------------------------------------------------------------------------


def verify(store: Store) -> Verification:
    """Check every checksum of the index, and report what is damaged.

    Checked are SQLite's log, all rows with their digests and references, the files of vectors and of artefacts with the
    digests in their names, the length of every vector, and the tags. Other processes may read and write meanwhile.
    Raises `StorageError` if something cannot be read, which is not damage.
    """
    log = store.losses.in_log()
    if log:
        return Verification((log,))  # SQLite would show the part before the damage as if it were everything
    damage = []
    if store.losses.known:
        damage.append(f"database: {store.losses.known}")
    damage += _with_error(_row_damage(store))
    try:
        damage += _file_damage(store)
        orphans = store.vectors.orphans(_kept_refs(store))
    except IndexDamaged as error:
        return Verification(tuple(damage or [str(error)]))
    if not damage:
        damage += _with_error(_vector_damage(store))
    damage += _with_error(artefacts.damage(store))
    damage += _listed(_with_error(tag_store.damage(store)), "tags: {}")
    return Verification(tuple(damage), orphans=orphans)


def _with_error(sentences: Iterator[str]) -> Iterator[str]:
    """Yield `sentences`; if `IndexDamaged` ends them, yield its sentence as the last one."""
    try:
        yield from sentences
    except IndexDamaged as error:
        yield str(error)


def _listed(items: Iterable[object], sentence: str) -> Iterator[str]:
    """Yield `sentence` about each item, as one printable line; at the end, one with the number of further items."""
    rest = iter(items)
    for item in islice(rest, SHOWN):
        yield sentence.format(displayed(str(item)))
    more = sum(1 for _ in rest)
    if more:
        yield sentence.format(f"… ({more} more)")


# -- rows ---------------------------------------------------------------------------------------------------------


def _row_damage(store: Store) -> Iterator[str]:
    """Yield the damage of the database: its structure, its rows, images without a place, and counts that differ."""
    with store.connection() as connection:
        yield from _listed(structural_damage(connection), "database: {}")
        for table in SIGNED:
            keys = (_key(table, row) for row in damaged_rows(connection, table))
            yield from _listed(keys, f"database: the row {{}} of the table {table.name} is damaged")
        homeless = sql.select(images.c.id).where(~sql.exists().where(files.c.image == images.c.id))
        yield from _listed(connection.scalars(homeless), "database: image {} has no place")
        generation = queries.latest(connection)
        counts = {"images": (generation.images, images), "files": (generation.files, files)}
        for name, (committed, table) in counts.items():
            count = queries.count_of(connection, table)
            if count != committed:
                yield f"database: {committed} {name} were committed, but there are {count}"


def damaged_rows(connection: sql.Connection, table: sql.Table) -> Iterator[Row]:
    """Yield the damaged rows of `table`."""
    for row in connection.execute(sql.select(table)):
        if not is_sound(table, tuple(row)) or (table is images and row.id != image_id(row.sha256)):
            yield tuple(row)


def by_name(table: sql.Table, row: Row) -> dict[str, Any]:
    """Return the values of a row by the names of their columns."""
    return dict(zip(table.c.keys(), row, strict=True))


def _key(table: sql.Table, row: Row) -> str:
    values = by_name(table, row)
    return ", ".join(str(values[column.name]) for column in table.primary_key)


def structural_damage(connection: sql.Connection) -> Iterator[str]:
    """Yield a sentence for each complaint of the database about itself, and for tables of another format."""
    return sqlite.structural_damage(connection, _right_definitions(tuple(migrations.STEPS)))


@cache
def _right_definitions(steps: tuple[Any, ...]) -> set[sqlite.Definition]:  # noqa: ARG001 - the key of the cache
    with sqlite.in_memory() as fresh:
        migrations.migrate(fresh)
        return sqlite.definitions_of(fresh)


# -- files and vectors --------------------------------------------------------------------------------------------


def _file_damage(store: Store) -> list[str]:
    """Return the damage of the files that the kept generations name."""
    damage = {ref: store.vectors.damage(ref) for ref in sorted(_kept_refs(store))}
    still_kept = _kept_refs(store)  # a file that a writer has swept meanwhile is not missing
    sentences: list[str] = []
    for ref, of_ref in damage.items():
        if ref in still_kept:
            sentences += of_ref
    return list(dict.fromkeys(sentences))  # two refs may name the same file


def _kept_refs(store: Store) -> set[str]:
    with store.connection() as connection:
        return queries.kept_refs(connection)


def _vector_damage(store: Store) -> Iterator[str]:
    with store.reading() as view:
        yield from _listed(without_vector(view.snapshot, view.rows.image_ids()), "vectors: image {} has no vector")


def without_vector(snapshot: VectorSnapshot, ids: Ids) -> Iterator[int]:
    """Yield those of `ids` that have no vector, or a vector whose length is not 1."""
    for start in range(0, len(ids), BLOCK):
        block = ids[start : start + BLOCK]
        try:
            lengths = np.linalg.norm(snapshot.get(block), axis=1)
        except KeyError:  # an id of the block has no vector
            if len(block) == 1:
                yield int(block[0])
            else:
                yield from without_vector(snapshot, block[: len(block) // 2])
                yield from without_vector(snapshot, block[len(block) // 2 :])
        else:
            is_right = np.abs(lengths - 1) < TOLERANCE  # False for a length that is not a number
            yield from block[~is_right].tolist()
