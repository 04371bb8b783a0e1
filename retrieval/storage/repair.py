"""Repair an index: correct what can be corrected, and forget the rest only if that is asked for.

log          correct its words by its checksums
rows         correct rows in which one bit has flipped; count the others as lost, except for metadata
vectors      correct flipped bits; build structures anew; count images without a vector as lost
artefacts    forget damaged ones: the next update makes them again
tags         forget damaged ones: the next update makes them again
state        commit one whole state, if nothing is lost or if what is lost may be forgotten
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import sqlalchemy as sql

from retrieval.errors import IndexDamaged
from retrieval.storage import artefacts, metadata_rows, queries, sqlite, tag_store
from retrieval.storage.commit import Store
from retrieval.storage.records import Generation
from retrieval.storage.settings import MEAN, TAGGED, UNREAD
from retrieval.storage.signing import Row, is_sound, signed
from retrieval.storage.tables import ImageRow, encoders, files, generations, images, metadata, roots, segments, settings
from retrieval.storage.verify import (
    SIGNED,
    Verification,
    by_name,
    damaged_rows,
    structural_damage,
    verify,
    without_vector,
)
from retrieval.types import image_id
from retrieval.vectors import SizedRef

CORRECTED = 1000
"""Largest number of rows per table in which a flipped bit is looked for: that takes some milliseconds per row."""
LARGEST_NUMBER = 2**62
"""A generation with a larger number than this has a flipped bit in its number."""
DERIVED = {*artefacts.NAMES, MEAN, TAGGED}
"""Settings that are computed again from the rest of the index."""
READ_AGAIN = "index their folders again to read them"
NO_ENCODER = "the index does not say which network made its vectors"


def repair(store: Store, *, forget_lost: bool = False) -> Verification:
    """Repair what can be repaired, forget the rest if `forget_lost`, and verify again.

    Flipped bits are corrected in SQLite's log, in rows and in vectors. Search structures are built anew from the
    vectors. What cannot be repaired is reported as `unsaved` and stays as it is. With `forget_lost`, the images and
    files concerned are forgotten, and the next update of their folder reads them again; a root whose place is unknown
    keeps its files under the path /lost/NUMBER. If the rows of generations or segments are damaged, vectors are taken
    from all sound files. Raises `StorageError` if something cannot be read; then nothing is forgotten.
    """
    found = verify(store)
    if found.whole:
        return found
    with store.writing(damaged=True):
        try:
            given_up = _repair_log(store, forget=forget_lost)
            if not store.losses.in_log():
                given_up += _repair_rest(store, forget=forget_lost)
        except IndexDamaged as error:
            return Verification((*found.damage, f"this cannot be repaired: {error}"), orphans=found.orphans)
        finally:
            store.close()  # the files that are open may be those that were damaged
    left = verify(store)
    if given_up and not forget_lost:
        return replace(left, unsaved=tuple(given_up))
    damage = left.damage if left.whole else (*left.damage, "this cannot be repaired")
    return replace(left, damage=damage, lost=tuple(given_up))


def _repair_log(store: Store, *, forget: bool) -> list[str]:
    """Repair SQLite's log; if that cannot be done unless changes are forgotten, return a sentence about them."""
    damage = store.losses.in_log()
    if not store.losses.mend_log(accept=forget):
        return [f"changes that cannot be read: {damage}"]
    store.look()
    return []


def _repair_rest(store: Store, *, forget: bool) -> list[str]:
    """Repair everything except SQLite's log, and return what is given up, one sentence each."""
    given_up = _repair_rows(store, forget=forget)
    given_up += _repair_vectors(store, forget=forget, rows_are_whole=not given_up)
    if store.losses.known:
        given_up.append(f"all later changes: {store.losses.known}; index all folders again")
    if any(artefacts.damage(store)):
        artefacts.forget(store)
    if any(tag_store.damage(store)):
        tag_store.forget(store)
    if forget or not given_up:
        store.segments.fold()
        with store.connection() as connection:
            is_damaged = any(structural_damage(connection))
        if is_damaged:
            store.vacuum()
        store.losses.accept()
    return given_up


# -- rows ---------------------------------------------------------------------------------------------------------


def _repair_rows(store: Store, *, forget: bool) -> list[str]:
    """Correct rows, forget derived settings that are damaged, and return what else is lost, one sentence each."""
    store.edit(sqlite.rebuild_indexes)
    with store.connection() as connection:
        damaged = {table: list(damaged_rows(connection, table)) for table in SIGNED}
    lost = {table: store.edit(_correct, table, rows) for table, rows in damaged.items()}
    for row in list(lost[settings]):
        name = by_name(settings, row)["name"]
        if name in DERIVED:
            store.put_setting(name, None)
            lost[settings].remove(row)
    if lost[metadata]:
        store.edit(_forget_metadata, lost.pop(metadata))
        store.put_setting(UNREAD, value=True)
    if lost[encoders]:
        raise IndexDamaged(NO_ENCODER)
    return list(store.edit(_forget_if_allowed, lost, forget))


def _correct(connection: sql.Connection, table: sql.Table, rows: Sequence[Row]) -> list[Row]:
    """Correct the rows in which one bit has flipped, and return the other rows."""
    sqlite.check_keys_at_the_end(connection)
    corrected: list[tuple[Row, Row]] = []
    lost: list[Row] = []
    for number, row in enumerate(rows):
        right = _corrected(table, row) if number < CORRECTED else None
        if right is None:
            lost.append(row)
        else:
            corrected.append((row, right))
    for damaged, _ in corrected:  # all deletions come first: the flipped key of one row may be the right key of another
        values = by_name(table, damaged)
        is_row = [column == values[column.name] for column in table.primary_key]
        connection.execute(sql.delete(table).where(*is_row))
    for _, right in corrected:
        connection.execute(sql.insert(table), by_name(table, right))
    return lost


def _corrected(table: sql.Table, row: Row) -> Row | None:
    """Return `row` as it was before one of its bits flipped; None if no flip of one bit explains the damage."""
    if table is images and is_sound(table, row):  # only the id is damaged, which is no part of the digest
        image = ImageRow._make(row)
        return image._replace(id=image_id(image.sha256))
    for position, value in enumerate(row):
        for candidate in sqlite.one_bit_away(value):
            corrected = (*row[:position], candidate, *row[position + 1 :])
            if is_sound(table, corrected):
                return corrected
    return None


def _forget_if_allowed(
    connection: sql.Connection,
    damaged: Mapping[sql.Table, Sequence[Row]],
    forget: bool,  # noqa: FBT001 - an argument of `Store.edit`
) -> list[str]:
    """Forget damaged rows and what refers to missing rows, and return what is lost; undo it unless `forget`."""
    savepoint = connection.begin_nested()
    lost = _forget(connection, damaged)
    if lost and not forget:
        savepoint.rollback()
    else:
        savepoint.commit()
    return lost


def _forget(connection: sql.Connection, damaged: Mapping[sql.Table, Sequence[Row]]) -> list[str]:
    """Forget damaged rows, and what refers to missing rows; return what is lost, one sentence each."""
    sqlite.check_keys_at_the_end(connection)
    lost = list(_missing_rows(connection))
    for table in (files, images, settings):
        (key,) = table.primary_key
        keys = [by_name(table, row)[key.name] for row in damaged[table]]
        for part in queries.chunks(keys):
            connection.execute(sql.delete(table).where(key.in_(part)))
    lost += [f"{len(damaged[table])} {table.name}; {READ_AGAIN}" for table in (images, files) if damaged[table]]
    lost += [f"the setting {by_name(settings, row)['name']}" for row in damaged[settings]]
    lost += [_keep_root(connection, by_name(roots, row)["id"]) for row in damaged[roots]]
    lost += [_keep_root(connection, root) for root in _missing_roots(connection)]
    _unlink(connection, ~sql.exists().where(images.c.id == files.c.image))
    connection.execute(sql.delete(images).where(~sql.exists().where(files.c.image == images.c.id)))
    metadata_rows.delete_stray(connection)
    return lost


def _forget_metadata(connection: sql.Connection, damaged: Sequence[Row]) -> None:
    """Forget damaged rows of metadata. The next update reads these metadata again."""
    for part in queries.chunks([by_name(metadata, row)["image"] for row in damaged]):
        connection.execute(sql.delete(metadata).where(metadata.c.image.in_(part)))


def _missing_rows(connection: sql.Connection) -> Iterator[str]:
    """Yield a sentence for each table that has fewer rows than the latest commit counted."""
    committed = connection.execute(sql.select(generations).order_by(generations.c.number.desc()))
    latest = next((row for row in committed if is_sound(generations, tuple(row))), None)
    if latest is None:
        yield "how many images and files there were; index all folders again"
        return
    for table, count in ((images, latest.images), (files, latest.files)):
        missing = count - queries.count_of(connection, table)
        if missing > 0:
            yield f"{missing} {table.name}; {READ_AGAIN}"


def _missing_roots(connection: sql.Connection) -> list[int]:
    """Return the ids of roots that have places but no row."""
    rootless = sql.select(files.c.root).where(~sql.exists().where(roots.c.id == files.c.root)).distinct()
    return [root for root in connection.scalars(rootless) if root is not None]


def _keep_root(connection: sql.Connection, root: int) -> str:
    """Give a root whose place is unknown the path /lost/NUMBER, so that its images need not be embedded again."""
    path = f"/lost/{root}"
    row = {"id": root, "path": path.encode(), "beside": None, "exclude": None, "mounts": None, "identity": None}
    connection.execute(sql.delete(roots).where(roots.c.id == root))
    connection.execute(sql.insert(roots), signed(roots, row))
    return f"the place of a folder; index the folder again, then run: retrieval remove {path}"


def _unlink(connection: sql.Connection, chosen: sql.ColumnElement[bool]) -> None:
    """Forget which images are at the chosen places, so that the next update reads these files again."""
    ids = list(connection.scalars(sql.select(files.c.id).where(files.c.image.is_not(None), chosen)))
    for part in queries.chunks(ids):
        rows = queries.files_by_id(connection, part)
        queries.put_files(connection, [row._replace(image=None, size=-1, mtime_ns=-1) for row in rows])


# -- vectors ------------------------------------------------------------------------------------------------------


def _repair_vectors(store: Store, *, forget: bool, rows_are_whole: bool) -> list[str]:
    """Commit sound segments without the images that have no vector in them, and return a sentence about these images.

    Without `forget`, a generation is committed only if no image, no row (`rows_are_whole`) and no later change is lost:
    it would make the rest look like a whole state.
    """
    with store.connection() as connection:
        live = queries.image_ids(connection)
    sound = _sound_segments(store)
    if sound is None:
        sound = store.segments.merged(list(store.vectors.whole_segments()), live)
    missing = list(without_vector(store.vectors.snapshot([ref for ref, _ in sound]), live))
    nothing_is_lost = rows_are_whole and not missing and not store.losses.known
    if forget or nothing_is_lost:
        store.edit(_replace_state, missing, sound)
    if not missing:
        return []
    return [f"the vectors of {len(missing)} images; index their folders again to embed them"]


def _sound_segments(store: Store) -> Sequence[SizedRef] | None:
    """Return the segments of the newest generation, with search structures built anew where they are damaged.

    Return None if the rows of the segments are damaged, or if some vectors cannot be corrected. In the latter case, the
    sound vectors are written as a segment of their own, which no generation names yet.
    """
    with suppress(IndexDamaged):
        stored = store.segments.generation().segments
        # A list, not a generator: each damaged segment is corrected as far as possible, also after one that cannot be.
        are_sound = [_is_corrected(store, store.vectors.without_structure(ref)) for ref, _ in stored]
        if all(are_sound):
            rebuilt: list[SizedRef] = []
            for ref, count in stored:
                rebuilt += _with_structure(store, ref, count)
            return rebuilt
    return None


def _is_corrected(store: Store, ref: str) -> bool:
    """Correct the vectors of a segment, and tell whether all of them are sound now."""
    return not store.vectors.damage(ref) or store.vectors.salvage(ref) == ref


def _with_structure(store: Store, ref: str, count: int) -> Sequence[SizedRef]:
    """Return a segment whose search structure is sound: itself, or one whose structure was built anew."""
    if not store.vectors.damaged_structures([ref], thorough=True):
        return [(ref, count)]
    return store.segments.merged([ref], None, store.segments.wanted_structure(count))


def _replace_state(connection: sql.Connection, lost: Sequence[int], sound: Sequence[SizedRef]) -> None:
    """Forget the images `lost`, and commit the segments `sound` in two generations, so that no older one is kept."""
    for part in queries.chunks(lost):
        _unlink(connection, files.c.image.in_(part))
        connection.execute(sql.delete(metadata).where(metadata.c.image.in_(part)))
        connection.execute(sql.delete(images).where(images.c.id.in_(part)))
    fingerprint = connection.scalar(sql.select(encoders.c.fingerprint))
    if fingerprint is None:
        raise IndexDamaged(NO_ENCODER)
    numbers = [number for number in connection.scalars(sql.select(generations.c.number)) if number < LARGEST_NUMBER]
    connection.execute(sql.delete(segments))
    connection.execute(sql.delete(generations))
    state = Generation(max(numbers, default=0), fingerprint, 0, 0, 0, ())
    for _ in range(2):
        state = queries.following(connection, state, tuple(sound))
        queries.insert_generation(connection, state)
