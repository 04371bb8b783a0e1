"""What of a damaged index can be put right, and what has to be forgotten, which takes a further word."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import sqlalchemy as sql

from retrieval.errors import IndexDamaged
from retrieval.storage import artefacts, queries, sqlite, tag_store
from retrieval.storage.commit import MEAN, TAGGED, Store
from retrieval.storage.signing import is_sound, signed
from retrieval.storage.tables import Generation, encoders, files, generations, images, roots, segments, settings
from retrieval.storage.verify import (
    SIGNED,
    Row,
    Verification,
    damaged_rows,
    structural_damage,
    verify,
    without_vector,
)
from retrieval.types import image_id
from retrieval.vectors import SizedRef

MENDED = 1000
"""Rows of one table at most in which a flipped bit is looked for: some milliseconds each."""
BELIEVED = 2**62
"""No number of a generation reaches that but by a flipped bit."""
DERIVED = {*artefacts.NAMES, MEAN, TAGGED}
"""Settings that are made again from what else is there."""
AGAIN = "update their folders to read them again"


def verified(store: Store, *, repairs: bool, forget_lost: bool) -> Verification:
    """Verify; with `repairs`, repair what is found."""
    return repair(store, forget_lost=forget_lost) if repairs else verify(store)


def repair(store: Store, *, forget_lost: bool = False) -> Verification:
    """Rebuild what can be rebuilt, forget what cannot if `forget_lost`, and verify again.

    Flipped bits are put right in SQLite's log, in rows and in vectors. Structures are built anew from the vectors. What
    cannot be put right is said, as `unsaved`, and left as it is; with `forget_lost`, images and files are forgotten and
    read again by the next update of their folder, and a root keeps its files under a name that says so. Where the
    generations or their segments are damaged, vectors are taken from every file that is whole. `StorageError` where
    something cannot be read: then nothing is forgotten.
    """
    found = verify(store)
    if found.whole:
        return found
    with store.writing(damaged=True):
        try:
            given_up = [*_repair_log(store, forget=forget_lost)]
            if not store.losses.in_log():
                given_up += _repair_rest(store, forget=forget_lost)
        except IndexDamaged as error:
            return Verification((*found.damage, f"this cannot be repaired: {error}"), orphans=found.orphans)
        finally:
            store.close()  # what it has opened may be what was damaged
    left = verify(store)
    if given_up and not forget_lost:
        return replace(left, unsaved=tuple(given_up))
    damage = left.damage if left.whole else (*left.damage, "this cannot be repaired")
    return replace(left, damage=damage, lost=tuple(given_up))


def _repair_log(store: Store, *, forget: bool) -> Iterator[str]:
    """Put SQLite's log right, and yield what that gives up, or would."""
    damage = store.losses.in_log()
    if store.losses.mend_log(accept=forget):
        store.look()
    else:
        yield f"{damage}; what of them cannot be read"


def _repair_rest(store: Store, *, forget: bool) -> list[str]:
    given_up = _repair_rows(store, forget=forget)
    given_up += _repair_vectors(store, forget=forget, settled=not given_up)
    if store.losses.known:
        given_up.append(f"{store.losses.known}: what was committed later; update all folders")
    if any(artefacts.damage(store)):
        artefacts.forget(store)  # the next update puts them back
    if any(tag_store.damage(store)):
        tag_store.forget(store)  # the next update makes the tags again
    if forget or not given_up:
        store.fold()
        with store.connection() as connection:
            misshapen = any(structural_damage(connection))
        if misshapen:
            store.vacuum()
        store.losses.accept()
    return given_up


def _repair_rows(store: Store, *, forget: bool) -> list[str]:
    store.edit(sqlite.rebuild_indexes)
    with store.connection() as connection:
        damaged = {table: list(damaged_rows(connection, table)) for table in SIGNED}
    lost = {table: store.edit(_mend, table, rows) for table, rows in damaged.items()}
    for row in [row for row in lost[settings] if row[0] in DERIVED]:
        store.put_setting(row[0], None)  # nothing is lost: whoever needs it makes it again
        lost[settings].remove(row)
    if lost[encoders]:
        raise IndexDamaged("what made the vectors is not known any more")
    return list(store.edit(_forgotten, lost, forget))


def _forgotten(connection: sql.Connection, damaged: Mapping[sql.Table, Sequence[Row]], forget: bool) -> list[str]:  # noqa: FBT001 - one of `edit`'s arguments
    """Forget what has to be, and return what that means; undo it where nothing may be forgotten."""
    undoing = connection.begin_nested()
    given_up = _forget(connection, damaged)
    if given_up and not forget:
        undoing.rollback()
    else:
        undoing.commit()
    return given_up


def _mend(connection: sql.Connection, table: sql.Table, rows: Sequence[Row]) -> list[Row]:
    """Put right the rows in which one bit has flipped, and return the others."""
    sqlite.check_keys_at_the_end(connection)
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
    sqlite.check_keys_at_the_end(connection)
    lost = list(_missing_rows(connection))
    for table in (files, images, settings):
        (key,) = table.primary_key
        for some in queries.chunks([row[table.c.keys().index(key.name)] for row in damaged[table]]):
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
    for some in queries.chunks(ids):
        rows = queries.files_by_id(connection, some)
        queries.put_files(connection, [row._replace(image=None, size=-1, mtime_ns=-1) for row in rows])


def _repair_vectors(store: Store, *, forget: bool, settled: bool) -> list[str]:
    """Commit segments that are whole, and forget the images that have no vector in them; or say that that is needed.

    Nothing is committed without `forget` where rows are not `settled`: that would pass for a whole state.
    """
    with store.connection() as connection:
        live = queries.image_ids(connection)
    parts = _whole_parts(store)
    if parts is None:
        parts = store.merged(list(store.vectors.whole_segments()), live)
    missing = list(without_vector(store.vectors.snapshot([ref for ref, _ in parts]), live))
    if forget or (settled and not missing and not store.losses.known):
        store.edit(_replace_state, missing, parts)
    return [f"the vectors of {len(missing)} images; update their folders to embed them again"] if missing else []


def _whole_parts(store: Store) -> Sequence[SizedRef] | None:
    """Return the segments of the latest generation, structures built anew, if all their vectors are, or can be, whole.

    What is sound of vectors that cannot be put right is written beside them, as a segment that nobody names yet.
    """
    with suppress(IndexDamaged):
        with store.connection() as connection:
            parts = queries.latest(connection).segments
        whole = [_is_put_right(store, store.vectors.without_structure(ref)) for ref, _ in parts]
        if all(whole):
            return [part for ref, count in parts for part in _with_structure(store, ref, count)]
    return None


def _is_put_right(store: Store, ref: str) -> bool:
    return not store.vectors.damage(ref) or store.vectors.salvage(ref) == ref


def _with_structure(store: Store, ref: str, count: int) -> Sequence[SizedRef]:
    if not store.vectors.damaged_structures([ref], thorough=True):
        return [(ref, count)]
    return store.merged([ref], None, store.wanted_structure(count))


def _replace_state(connection: sql.Connection, lost: Sequence[int], parts: Sequence[SizedRef]) -> None:
    """Forget the images `lost` and commit a generation of the segments `parts`; twice, so that no older one is kept."""
    for some in queries.chunks(lost):
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
        state = queries.following(connection, state, tuple(parts))
        queries.insert_generation(connection, state)
