"""What of an index is not what was written."""

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
from retrieval.storage.signing import is_sound
from retrieval.storage.tables import encoders, files, generations, images, roots, segments, settings
from retrieval.types import Ids, displayed, image_id
from retrieval.vectors import VectorSnapshot

BLOCK = 4096
"""Vectors looked at together."""
SAID = 20
"""Sentences of one kind at most."""
SIGNED = (encoders, generations, segments, images, roots, files, settings)

Row = tuple[Any, ...]
"""All columns of a table in order."""


@dataclass(frozen=True)
class Verification:
    """The finding of `verify`."""

    damage: tuple[str, ...]
    """One sentence each; empty for a whole index."""
    lost: tuple[str, ...] = ()
    """What a repair had to give up, one sentence each."""
    orphans: int = 0
    """Vector files that no kept generation names: merged away, or left by an interruption; a later run sweeps them."""
    unsaved: tuple[str, ...] = ()
    """What a repair would have to give up, one sentence each: it does that with `forget_lost` only."""

    @property
    def whole(self) -> bool:
        """Whether everything is as it was written."""
        return not self.damage


# -- looking ------------------------------------------------------------------------------------------------------


def verify(store: Store) -> Verification:
    """Read every byte that counts: log and rows against their digests, files against their names, images and vectors.

    Others may read and write meanwhile. `StorageError` where something cannot be read, which is no damage.
    """
    if log := store.losses.in_log():
        return Verification((log,))  # SQLite would take a part of it for all
    damage = [f"database: {store.losses.known}"] if store.losses.known else []
    damage += _told(_row_damage(store))
    try:
        damage += _file_damage(store)
        orphans = store.vectors.orphans(_kept_refs(store))
    except IndexDamaged as error:
        return Verification(tuple(damage or [str(error)]))
    if not damage:
        damage += _told(_missing_vectors(store))
    damage += _told(artefacts.damage(store))
    damage += _said(_told(tag_store.damage(store)), "tags: {}")
    return Verification(tuple(damage), orphans=orphans)


def _told(sentences: Iterator[str]) -> Iterator[str]:
    """Yield `sentences`; damage that ends them is one more."""
    try:
        yield from sentences
    except IndexDamaged as error:
        yield str(error)


def _row_damage(store: Store) -> Iterator[str]:
    with store.connection() as connection:
        yield from _said(structural_damage(connection), "database: {}")
        for table in SIGNED:
            keys = (_key(table, row) for row in damaged_rows(connection, table))
            yield from _said(keys, f"database: the row {{}} of {table.name} is not what was written")
        homeless = sql.select(images.c.id).where(~sql.exists().where(files.c.image == images.c.id))
        yield from _said(connection.scalars(homeless), "database: image {} has no place")
        generation = queries.latest(connection)
        counted = queries.following(connection, generation, ())
        for name in ("images", "files"):
            if getattr(generation, name) != getattr(counted, name):
                yield f"database: {getattr(generation, name)} {name} were committed, {getattr(counted, name)} are there"


def _said(items: Iterable[object], sentence: str) -> Iterator[str]:
    """Yield `sentence` about each item, as one printable line; of very many items, the first and a number."""
    rest = iter(items)
    yield from (sentence.format(displayed(str(item))) for item in islice(rest, SAID))
    more = sum(1 for _ in rest)
    if more:
        yield sentence.format(f"… ({more} more)")


def damaged_rows(connection: sql.Connection, table: sql.Table) -> Iterator[Row]:
    """Yield the rows of `table` that are not what was written."""
    for row in connection.execute(sql.select(table)):
        if not is_sound(table, tuple(row)) or (table is images and row.id != image_id(row.sha256)):
            yield tuple(row)


def _key(table: sql.Table, row: Row) -> str:
    return ", ".join(str(row[table.c.keys().index(column.name)]) for column in table.primary_key)


def structural_damage(connection: sql.Connection) -> Iterator[str]:
    """Yield what the database's own checks complain about, and whether its tables are those of the newest format."""
    return sqlite.structural_damage(connection, _right_definitions(tuple(migrations.STEPS)))


@cache
def _right_definitions(steps: tuple[Any, ...]) -> set[sqlite.Definition]:  # noqa: ARG001 - what they depend on
    with sqlite.in_memory() as fresh:
        migrations.migrate(fresh)
        return sqlite.definitions_of(fresh)


def _file_damage(store: Store) -> list[str]:
    """Return what is wrong with the files that a kept generation names."""
    wrong = {ref: store.vectors.damage(ref) for ref in sorted(_kept_refs(store))}
    named = _kept_refs(store)  # what a writer has swept meanwhile is not missing
    said = [sentence for ref, sentences in wrong.items() if ref in named for sentence in sentences]
    return list(dict.fromkeys(said))  # two refs may name one file


def _kept_refs(store: Store) -> set[str]:
    with store.connection() as connection:
        return queries.kept_refs(connection)


def _missing_vectors(store: Store) -> Iterator[str]:
    with store.reading() as view:
        ids = view.rows.image_ids()
        yield from _said(without_vector(view.snapshot, ids), "vectors: image {} has none")


def without_vector(snapshot: VectorSnapshot, ids: Ids) -> Iterator[int]:
    """Yield those of `ids` that have no vector of length 1."""
    for start in range(0, len(ids), BLOCK):
        block = ids[start : start + BLOCK]
        try:
            lengths = np.linalg.norm(snapshot.get(block), axis=1)
        except KeyError:
            if len(block) == 1:
                yield int(block[0])
            else:
                yield from without_vector(snapshot, block[: len(block) // 2])
                yield from without_vector(snapshot, block[len(block) // 2 :])
        else:
            yield from block[~(np.abs(lengths - 1) < 1e-3)].tolist()  # noqa: PLR2004 - rounding, and not a number
