"""What of an index is not what was written, and what of that can be put right."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import sqlalchemy as sql

from retrieval import compiled, database, metadata, migrations
from retrieval.compiled import ENCODER, GRAPH
from retrieval.database import is_sound, signed
from retrieval.errors import IndexDamaged
from retrieval.metadata import Generation, encoders, files, generations, images, roots, segments, settings
from retrieval.store import VECTORS, Store
from retrieval.types import Ids, displayed, image_id
from retrieval.vectors import VectorSnapshot, structured
from retrieval.vectors.exact import SUFFIX, WRITTEN_HERE, sha256_of

BLOCK = 4096
"""Vectors looked at together."""
SAID = 20
"""Sentences of one kind at most."""
MENDED = 1000
"""Rows of one table at most in which a flipped bit is looked for: some milliseconds each."""
BELIEVED = 2**62
"""No number of a generation reaches that but by a flipped bit."""
AGAIN = "update their folders to read them again"
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

    @property
    def whole(self) -> bool:
        """Whether everything is as it was written."""
        return not self.damage


# -- looking ------------------------------------------------------------------------------------------------------


def verify(store: Store) -> Verification:
    """Read every byte that counts: rows against their digests, files against their names, images against vectors.

    Others may read and write meanwhile.
    """
    damage = list(_told(_row_damage(store)))
    try:
        damage += _file_damage(store)
        named = {digest for ref in _kept_refs(store) for digest in ref.split("+")}
    except IndexDamaged as error:
        return Verification(tuple(damage or [str(error)]))
    if not damage:
        damage += _told(_missing_vectors(store))
    damage += _told(_graph_damage(store))
    orphans = [name for name in _file_names(store) if WRITTEN_HERE.fullmatch(name) and _digest_of(name) not in named]
    return Verification(tuple(damage), orphans=len(orphans))


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
        generation = metadata.latest(connection)
        counted = generation.following(connection, ())
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
    """Yield what SQLite's own check, the foreign keys and the definition of the tables have to say."""
    complaints = (str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check(20)"))
    yield from (" ".join(complaint.split()) for complaint in complaints if complaint != "ok")
    for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"a row of {row[0]} refers to none of {row[2]}"
    if _definitions(connection) != _right_definitions(tuple(migrations.STEPS)):
        yield "the definition of the tables is not the one of this format"


@cache
def _right_definitions(steps: tuple[Any, ...]) -> set[tuple[str, ...]]:  # noqa: ARG001 - what they depend on
    with database.in_memory() as fresh:
        migrations.migrate(fresh)
        return _definitions(fresh)


def _definitions(connection: sql.Connection) -> set[tuple[str, ...]]:
    """Return what makes the tables and indexes, whatever its spacing."""
    rows = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_schema")
    return {tuple("".join(str(value).split()) for value in row) for row in rows}


def _file_damage(store: Store) -> list[str]:
    """Return what is wrong with the files that a kept generation names."""
    wrong = {ref: list(_wrong_files(store, ref)) for ref in sorted(_kept_refs(store))}
    named = _kept_refs(store)  # what a writer has swept meanwhile is not missing
    said = [sentence for ref, sentences in wrong.items() if ref in named for sentence in sentences]
    return list(dict.fromkeys(said))  # two refs may name one file


def _kept_refs(store: Store) -> set[str]:
    with store.connection() as connection:
        return metadata.kept_refs(connection)


def _wrong_files(store: Store, ref: str) -> Iterator[str]:
    for part, digest in enumerate(ref.split("+")):
        names = [name for name in _file_names(store) if _digest_of(name) == digest]
        what = "search structure" if part else "vectors"
        if not names:
            yield f"{what}: the file {digest[:16]}… is missing"
        for name in names:
            if not _is_whole(store, name):
                yield f"{what}: the file {name} is not what was written"


def _graph_damage(store: Store) -> Iterator[str]:
    with store.connection() as connection:
        facts = metadata.setting(connection, GRAPH)
    for path in () if facts is None else compiled.paths(store.folder / ENCODER, facts):
        if sha256_of(path) != _digest_of(path.name):
            yield f"compiled network: the file {path.name} is not what was written"


def _file_names(store: Store) -> list[str]:
    try:
        return sorted(path.name for path in (store.folder / VECTORS).iterdir())
    except OSError:
        return []


def _digest_of(name: str) -> str:
    return name.partition(".")[0]


def _is_whole(store: Store, name: str) -> bool:
    return sha256_of(store.folder / VECTORS / name) == _digest_of(name)


def _missing_vectors(store: Store) -> Iterator[str]:
    with store.reading(heal=False) as view:
        ids = metadata.image_ids(view.connection)
        yield from _said(_without_vector(view.snapshot, ids), "vectors: image {} has none")


def _without_vector(snapshot: VectorSnapshot, ids: Ids) -> Iterator[int]:
    """Yield those of `ids` that have no vector of length 1."""
    for start in range(0, len(ids), BLOCK):
        block = ids[start : start + BLOCK]
        try:
            lengths = np.linalg.norm(snapshot.get(block), axis=1)
        except KeyError:
            if len(block) == 1:
                yield int(block[0])
            else:
                yield from _without_vector(snapshot, block[: len(block) // 2])
                yield from _without_vector(snapshot, block[len(block) // 2 :])
        else:
            yield from block[~(np.abs(lengths - 1) < 1e-3)].tolist()  # noqa: PLR2004 - rounding, and not a number


# -- repairing ----------------------------------------------------------------------------------------------------


def repair(store: Store) -> Verification:
    """Rebuild what can be rebuilt, forget what cannot, and verify again.

    A row in which one bit has flipped is as it was before. Of the others, images and files are forgotten and read again
    by the next update of their folder; a root keeps its files under a name that says so. Structures are built anew from
    the vectors. Where the generations or their segments are damaged, vectors are taken from every file that is whole;
    images without a vector are forgotten like those above.
    """
    found = verify(store)
    if found.whole:
        return found
    with store.writing():
        try:
            lost = [*_repair_rows(store), *_repair_vectors(store)]
            if any(_graph_damage(store)):
                store.edit(metadata.put_setting, GRAPH, None)  # the next update puts it back
            store.fold()
            with store.connection() as connection:
                misshapen = any(structural_damage(connection))
            if misshapen:
                store.vacuum()
        except IndexDamaged as error:
            return Verification((*found.damage, f"this cannot be repaired: {error}"), orphans=found.orphans)
        finally:
            store.close()  # what it has opened may be what was damaged
    left = verify(store)
    damage = left.damage if left.whole else (*left.damage, "this cannot be repaired")
    return replace(left, damage=damage, lost=tuple(lost))


def _repair_rows(store: Store) -> list[str]:
    store.edit(_reindex)
    with store.connection() as connection:
        damaged = {table: list(damaged_rows(connection, table)) for table in SIGNED}
    lost = {table: store.edit(_mend, table, rows) for table, rows in damaged.items()}
    if lost[encoders]:
        raise IndexDamaged("what made the vectors is not known any more")
    return list(store.edit(_forget, lost))


def _reindex(connection: sql.Connection) -> None:
    """Build SQLite's own indexes anew from the tables."""
    connection.exec_driver_sql("REINDEX")


def _mend(connection: sql.Connection, table: sql.Table, rows: Sequence[Row]) -> list[Row]:
    """Put right the rows in which one bit has flipped, and return the others."""
    connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
    mended = [_mended(table, row) if number < MENDED else None for number, row in enumerate(rows)]
    right = [(old, new) for old, new in zip(rows, mended, strict=True) if new is not None]
    keys = [(column, table.c.keys().index(column.name)) for column in table.primary_key]
    for old, _ in right:  # all of them first: the flipped key of one may be the true key of another
        connection.execute(sql.delete(table).where(*(column == old[place] for column, place in keys)))
    for _, new in right:
        connection.execute(sql.insert(table), dict(zip(table.c.keys(), new, strict=True)))
    return [row for row, new in zip(rows, mended, strict=True) if new is None]


def _mended(table: sql.Table, row: Row) -> Row | None:
    """Return `row` as it was before one of its bits flipped, None where that is not what happened."""
    if table is images and is_sound(table, row):
        return (image_id(row[1]), *row[1:])
    for position, value in enumerate(row):
        for candidate in _flipped(value):
            mended = (*row[:position], candidate, *row[position + 1 :])
            if is_sound(table, mended):
                return mended
    return None


def _flipped(value: Any) -> Iterator[Any]:  # noqa: ANN401 - what SQLite stores
    """Yield what `value` may have been before one bit of what SQLite stores of it flipped."""
    match value:
        case bytes():
            for bit in range(8 * len(value)):
                byte = value[bit // 8] ^ (1 << bit % 8)
                yield value[: bit // 8] + bytes([byte]) + value[bit // 8 + 1 :]
        case str():
            for raw in _flipped(value.encode("utf-8", "surrogateescape")):
                yield raw.decode("utf-8", "surrogateescape")
        case int():
            yield from (value ^ (1 << bit) for bit in range(63))
            for size in (1, 2, 3, 4, 6, 8):  # bytes that SQLite may store of it; the first bit is the sign
                yield value + (1 if value < 0 else -1) * (1 << (8 * size - 1))


def _forget(connection: sql.Connection, damaged: Mapping[sql.Table, Sequence[Row]]) -> list[str]:
    """Forget rows that are not what was written, and what refers to rows that are not there; return what that means."""
    connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
    lost = list(_missing_rows(connection))
    for table in (files, images, settings):
        (key,) = table.primary_key
        for some in metadata.chunks([row[table.c.keys().index(key.name)] for row in damaged[table]]):
            connection.execute(sql.delete(table).where(key.in_(some)))
    lost += [f"{len(damaged[table])} {table.name}; {AGAIN}" for table in (images, files) if damaged[table]]
    lost += [f"the setting {row[0]}" for row in damaged[settings]]
    lost += [_keep_root(connection, row[0]) for row in damaged[roots]]
    rootless = sql.select(files.c.root).where(~sql.exists().where(roots.c.id == files.c.root)).distinct()
    lost += [_keep_root(connection, root) for root in list(connection.scalars(rootless)) if root is not None]
    _unlink(connection, ~sql.exists().where(images.c.id == files.c.image))
    connection.execute(sql.delete(images).where(~sql.exists().where(files.c.image == images.c.id)))
    return lost


def _missing_rows(connection: sql.Connection) -> Iterator[str]:
    """Say what the latest commit counted and the tables do not hold."""
    committed = connection.execute(sql.select(generations).order_by(generations.c.number.desc()))
    latest = next((row for row in committed if is_sound(generations, tuple(row))), None)
    if latest is None:
        yield "how many images and files there were; update all folders"
        return
    for table, count in ((images, latest.images), (files, latest.files)):
        missing = count - (connection.scalar(sql.select(sql.func.count()).select_from(table)) or 0)
        if missing > 0:
            yield f"{missing} {table.name}; {AGAIN}"


def _keep_root(connection: sql.Connection, root: int) -> str:
    """Keep a root that nobody knows the place of, so that its images need not be embedded again."""
    stands = f"/lost/{root}"
    unknown = dict.fromkeys(("beside", "exclude", "mounts", "identity"))
    row = signed(roots, {"id": root, "path": stands.encode(), **unknown})
    connection.execute(sql.delete(roots).where(roots.c.id == root))
    connection.execute(sql.insert(roots), row)
    return f"the place of a folder; index it again, then say: retrieval remove {stands}"


def _unlink(connection: sql.Connection, chosen: sql.ColumnElement[bool]) -> None:
    """Forget which images the chosen files hold, so that the next update reads them again."""
    ids = list(connection.scalars(sql.select(files.c.id).where(files.c.image.is_not(None), chosen)))
    for some in metadata.chunks(ids):
        rows = metadata.files_by_id(connection, some)
        metadata.put_files(connection, [row._replace(image=None, size=-1, mtime_ns=-1) for row in rows])


def _repair_vectors(store: Store) -> list[str]:
    """Commit segments that are whole; forget the images that have no vector in them."""
    with store.connection() as connection:
        live = metadata.image_ids(connection)
    parts = _whole_parts(store)
    if parts is None:
        parts = store.merged(list(_whole_segments(store)), live)
    missing = list(_without_vector(store.vectors.snapshot([ref for ref, _ in parts]), live))
    store.edit(_replace_state, missing, parts)
    return [f"the vectors of {len(missing)} images; update their folders to embed them again"] if missing else []


def _whole_parts(store: Store) -> Sequence[tuple[str, int]] | None:
    """Return the segments of the latest generation, structures built anew, if that and all their vectors are whole."""
    with suppress(IndexDamaged):
        with store.connection() as connection:
            parts = metadata.latest(connection).segments
        if not any(sentence for ref, _ in parts for sentence in _wrong_files(store, ref.split("+")[0])):
            return [part for ref, count in parts for part in _with_structure(store, ref, count)]
    return None


def _with_structure(store: Store, ref: str, count: int) -> Sequence[tuple[str, int]]:
    if not any(_wrong_files(store, ref)):
        return [(ref, count)]
    form = store.form
    return store.merged([ref], None, form if structured(ref) and count > store.most(form) else None)


def _whole_segments(store: Store) -> Iterator[str]:
    """Yield a ref of each segment whose vectors are whole, committed or not: they are this index's in any case."""
    for name in _file_names(store):
        with suppress(IndexDamaged):
            if name.endswith(SUFFIX) and _is_whole(store, name) and store.vectors.snapshot([_digest_of(name)]).count:
                yield _digest_of(name)


def _replace_state(connection: sql.Connection, lost: Sequence[int], parts: Sequence[tuple[str, int]]) -> None:
    """Forget the images `lost` and commit a generation of the segments `parts`; twice, so that no older one is kept."""
    for some in metadata.chunks(lost):
        _unlink(connection, files.c.image.in_(some))
        connection.execute(sql.delete(images).where(images.c.id.in_(some)))
    fingerprint = connection.scalar(sql.select(encoders.c.fingerprint))
    if fingerprint is None:
        raise IndexDamaged("what made the vectors is not known any more")
    numbers = [number for number in connection.scalars(sql.select(generations.c.number)) if number < BELIEVED]
    connection.execute(sql.delete(segments))
    connection.execute(sql.delete(generations))
    state = Generation(max(numbers, default=0), fingerprint, 0, 0, 0, ())
    for _ in range(2):
        state = state.following(connection, tuple(parts))
        metadata.insert_generation(connection, state)
