"""Queries over the tables of an index. Every function takes a connection that is in a transaction.

A function that returns whole rows checks the digest of each row, and raises `IndexDamaged` for a damaged one.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import sqlalchemy as sql

from retrieval.errors import IndexDamaged
from retrieval.storage import metadata_rows, sqlite
from retrieval.storage.records import FileRow, Generation, Place
from retrieval.storage.roots import path_of
from retrieval.storage.settings import value_of
from retrieval.storage.signing import REPAIR, Row, signed, sound
from retrieval.storage.tables import ImageRow, encoders, files, generations, images, metadata, segments, settings
from retrieval.types import Ids, Picture

PART = 10_000
"""Largest number of rows or ids in one statement. SQLite allows 32,766 variables."""
FETCH = 100
"""Number of rows that are fetched at a time, so few that they are still in the processor's cache when checked."""

# -- reading -----------------------------------------------------------------------------------------------------------


def _sound(connection: sql.Connection, table: sql.Table, chosen: sql.Select[Any], **values: object) -> Iterator[Row]:
    """Yield the rows that `chosen` selects, all columns of `table`; `IndexDamaged` for a damaged row."""
    return sound(table, chain.from_iterable(connection.execute(chosen, values).partitions(FETCH)))


def count_of(connection: sql.Connection, table: sql.Table) -> int:
    """Return the number of rows of `table`."""
    return connection.scalar(sql.select(sql.func.count()).select_from(table)) or 0


# Every search runs these statements. They are made once, since making one takes longer than SQLite takes to answer it.
_NEWEST = sql.select(generations).order_by(generations.c.number.desc()).limit(1)
_SEGMENTS = sql.select(segments).where(segments.c.generation == sql.bindparam("key")).order_by(segments.c.position)
_SHA256 = sql.select(images.c.sha256).where(images.c.id == sql.bindparam("key"))
_SETTING = sql.select(settings).where(settings.c.name == sql.bindparam("key"))
_PLACES = sql.select(images, files).where(files.c.image == images.c.id, sqlite.one_of(images.c.id, "ids"))
_PICTURED = (
    sql.select(images, files, metadata)
    .join_from(files, images, files.c.image == images.c.id)
    .outerjoin(metadata, metadata.c.image == images.c.id)
)
_CONTENTS = sql.select(images.c.id, images.c.sha256).where(sqlite.one_of(images.c.id, "ids"))
_IDS = sql.select(images.c.id).order_by(images.c.id)


# -- generations and encoders -------------------------------------------------------------------------------------


def latest(connection: sql.Connection) -> Generation:
    """Return the newest generation."""
    row = next(_sound(connection, generations, _NEWEST), None)
    if row is None:
        raise IndexDamaged("the index has no committed state", hint=REPAIR)
    number, fingerprint, image_count, file_count, vector_count, _digest = row
    rows_of_segments = _sound(connection, segments, _SEGMENTS, key=number)
    sized_refs = tuple((ref, count) for _generation, _position, ref, count, _digest in rows_of_segments)
    if sum(count for _, count in sized_refs) != vector_count:
        raise IndexDamaged("the index does not name all its segments", hint=REPAIR)
    return Generation(number, fingerprint, image_count, file_count, vector_count, sized_refs)


def newest_number(connection: sql.Connection) -> int:
    """Return the largest number of a generation, without a look at the digest of its row; 0 if there is none."""
    return int(connection.scalar(sql.select(sql.func.max(generations.c.number))) or 0)


def following(connection: sql.Connection, before: Generation, sized_refs: tuple[tuple[str, int], ...]) -> Generation:
    """Return the generation after `before`: the images and files that exist now, and the segments `sized_refs`.

    `sized_refs` has the ref and the number of vectors of each segment.
    """
    return Generation(
        number=before.number + 1,
        fingerprint=before.fingerprint,
        images=count_of(connection, images),
        files=count_of(connection, files),
        vectors=sum(count for _, count in sized_refs),
        segments=sized_refs,
    )


def insert_generation(connection: sql.Connection, generation: Generation) -> None:
    """Insert `generation`, and delete all older ones except the one before it.

    The primary key of the table makes it impossible that two writers commit the same generation.
    """
    row = {name: getattr(generation, name) for name in ("number", "fingerprint", "images", "files", "vectors")}
    connection.execute(sql.insert(generations), signed(generations, row))
    segment_rows = [
        signed(segments, {"generation": generation.number, "position": position, "ref": ref, "vectors": count})
        for position, (ref, count) in enumerate(generation.segments)
    ]
    if segment_rows:
        connection.execute(sql.insert(segments), segment_rows)
    connection.execute(sql.delete(segments).where(segments.c.generation < generation.number - 1))
    connection.execute(sql.delete(generations).where(generations.c.number < generation.number - 1))


def kept_refs(connection: sql.Connection) -> set[str]:
    """Return the refs that the kept generations name."""
    rows = _sound(connection, segments, sql.select(segments))
    return {ref for _generation, _position, ref, _count, _digest in rows}


def encoder(connection: sql.Connection, fingerprint: str) -> dict[str, Any]:
    """Return the row of the encoder with this fingerprint, by names of columns."""
    chosen = sql.select(encoders).where(encoders.c.fingerprint == fingerprint)
    row = next(_sound(connection, encoders, chosen), None)
    if row is None:
        raise IndexDamaged("the index does not say which network made its vectors", hint=REPAIR)
    return dict(zip(encoders.c.keys(), row, strict=True))


_PUT_ENCODER = sqlite.upsert(encoders, key=["fingerprint"], values=encoders.c.keys())


def put_encoder(connection: sql.Connection, row: Mapping[str, Any]) -> None:
    """Insert an encoder, or renew its row."""
    connection.execute(_PUT_ENCODER, signed(encoders, row))


def setting(connection: sql.Connection, name: str) -> Any:  # noqa: ANN401 - what JSON holds
    """Return the setting `name`; None if it was never set, `IndexDamaged` if it is damaged."""
    row = next(_sound(connection, settings, _SETTING, key=name), None)
    if row is None:
        return None
    _name, text, _digest = row
    return value_of(name, text)


def setting_if_sound(connection: sql.Connection, name: str) -> Any:  # noqa: ANN401 - what JSON holds
    """Return the setting `name`; None if it was never set, or if it is damaged, which `verify` reports."""
    with suppress(IndexDamaged):
        return setting(connection, name)
    return None


def put_setting(connection: sql.Connection, name: str, value: Any) -> None:  # noqa: ANN401 - what JSON can hold
    """Set `name` to `value`; None deletes the setting."""
    connection.execute(sql.delete(settings).where(settings.c.name == name))
    if value is not None:
        row = {"name": name, "value": json.dumps(value, sort_keys=True)}
        connection.execute(sql.insert(settings), signed(settings, row))


# -- files ----------------------------------------------------------------------------------------------------------


def _file_rows(connection: sql.Connection, chosen: sql.Select[Any], **values: object) -> Iterator[FileRow]:
    return map(_file_row, _sound(connection, files, chosen, **values))


def _file_row(row: Row) -> FileRow:
    # The columns are unpacked one by one, because an update does this for each file, and this is the fastest way.
    id_, root, path, size, mtime_ns, image, offline, reason, reader, ctime_ns, _digest = row
    return FileRow(root, path, size, mtime_ns, image, offline, reason, reader, ctime_ns, id_)


def _below(root: int, folder: bytes) -> sql.ColumnElement[bool]:
    """Return the condition that a place is in `root`, and is `folder` or below it.

    `folder` is "" for all of the root, a folder that ends in `/`, or the path of one file.
    """
    in_root = files.c.root == root
    if not folder:
        return in_root
    if folder.endswith(b"/"):
        return in_root & (files.c.path >= folder) & (files.c.path < folder[:-1] + b"0")  # "0" follows "/" in ASCII
    return in_root & (files.c.path == folder)


def files_below(connection: sql.Connection, root: int, folder: bytes, after: bytes | None, limit: int) -> list[FileRow]:
    """Return up to `limit` places of `root` below `folder` whose paths follow `after`, in byte order of the paths."""
    statement = sql.select(files).where(_below(root, folder)).order_by(files.c.path).limit(limit)
    if after is not None:
        statement = statement.where(files.c.path > after)
    return list(_file_rows(connection, statement))


def images_below(
    connection: sql.Connection,
    root: int,
    folder: bytes,
    after: bytes | None,
    limit: int,
    condition: sql.ColumnElement[bool],
) -> Iterator[tuple[FileRow, Picture]]:
    """Yield up to `limit` places of images in `root` below `folder`, each with its picture.

    The places meet `condition`. They are in byte order of their paths. Those up to and including the path `after` are
    left out.
    """
    chosen = _PICTURED.where(_below(root, folder), condition)
    if after is not None:
        chosen = chosen.where(files.c.path > after)
    return _pictured(connection.execute(chosen.order_by(files.c.path).limit(limit)).all())


def files_of(connection: sql.Connection, ids: Sequence[int]) -> Iterator[tuple[FileRow, Picture]]:
    """Yield all places of the images `ids`, each with its picture, in no order."""
    chosen = _PICTURED.where(sqlite.one_of(images.c.id, "ids"))
    return _pictured(connection.execute(chosen, {"ids": sqlite.listed(ids)}).all())


def _pictured(rows: Sequence[sql.Row[Any]]) -> Iterator[tuple[FileRow, Picture]]:
    """Yield the place and the picture in each row of `_PICTURED`."""
    width = len(images.c) + len(files.c)
    for (image, file), row in zip(_split(rows), rows, strict=True):
        noted = metadata_rows.read(image.taken, row[width:])
        yield file, Picture(image.sha256, image.width, image.height, image.format, noted)


def count_below(connection: sql.Connection, root: int, folder: bytes = b"", *, offline: bool = True) -> int:
    """Return the number of places of images in `root` below `folder`, with or without those that are offline."""
    chosen = sql.select(sql.func.count()).select_from(files).where(_below(root, folder), files.c.image.is_not(None))
    if not offline:
        chosen = chosen.where(files.c.offline == 0)
    return connection.scalar(chosen) or 0


def any_offline(connection: sql.Connection, root: int, folder: bytes) -> bool:
    """Tell whether a place in `root` below `folder` is offline."""
    chosen = sql.select(files.c.id).where(_below(root, folder), files.c.offline == 1).limit(1)
    return connection.scalar(chosen) is not None


def files_at(connection: sql.Connection, root: int, path: bytes) -> list[tuple[int, int | None]]:
    """Return id and image of the place `path` of `root`, and of all places below it; "" stands for the root."""
    condition = _below(root, path)
    if path:
        condition |= _below(root, path + b"/")
    return [(row.id, row.image) for row in connection.execute(sql.select(files.c.id, files.c.image).where(condition))]


def image_at(connection: sql.Connection, root: int, path: bytes) -> int | None:
    """Return the id of the image at the place `path` of `root`; None if there is none."""
    return connection.scalar(sql.select(files.c.image).where(files.c.root == root, files.c.path == path))


def files_by_id(connection: sql.Connection, ids: Sequence[int]) -> Iterator[FileRow]:
    """Yield the places with these ids."""
    for part in chunks(ids):
        yield from _file_rows(connection, sql.select(files).where(files.c.id.in_(part)))


_FACTS = [name for name in FileRow._fields if name != "id"]
_PUT_FILE = sqlite.upsert(files, key=["root", "path"], values=[*_FACTS, "digest"])


def put_files(connection: sql.Connection, rows: Sequence[FileRow]) -> set[int]:
    """Insert places or renew them; return the ids of the images that were at these places before.

    If there are several rows for one place, the last one counts.
    """
    last = {(row.root, row.path): row for row in rows}
    before: set[int | None] = set()
    if len(last) < len(rows):
        before |= {row.image for row in rows}  # the image of an earlier row may be left without a place
    for part in chunks(list(last.values())):
        for root in {row.root for row in part}:
            here = files.c.path.in_([row.path for row in part if row.root == root])
            before |= set(connection.scalars(sql.select(files.c.image).where(files.c.root == root, here)))
        connection.execute(_PUT_FILE, [_signed_file(row) for row in part])
    return {image for image in before if image is not None}


def _signed_file(row: FileRow) -> dict[str, Any]:
    return signed(files, {name: getattr(row, name) for name in _FACTS})


def delete_files(connection: sql.Connection, ids: Sequence[int]) -> set[int]:
    """Forget places; return the ids of the images that were there."""
    before: set[int | None] = set()
    for part in chunks(ids):
        before |= set(connection.scalars(sql.delete(files).where(files.c.id.in_(part)).returning(files.c.image)))
    return {image for image in before if image is not None}


def chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield `items` in parts of at most `PART` items, which is few enough for one statement."""
    for start in range(0, len(items), PART):
        yield items[start : start + PART]


# -- images -------------------------------------------------------------------------------------------------------


def sha256_of_id(connection: sql.Connection, id_: int) -> bytes | None:
    """Return the SHA-256 of the image with this id; None if the index has no such image."""
    return connection.scalar(_SHA256, {"key": id_})


def contents_of(connection: sql.Connection, ids: Sequence[int]) -> dict[int, bytes]:
    """Return the SHA-256 of each of the images `ids` that is in the index, by id."""
    rows = connection.execute(_CONTENTS, {"ids": sqlite.listed(ids)})
    return {row.id: row.sha256 for row in rows}


def insert_images(connection: sql.Connection, pictures: Sequence[Picture]) -> None:
    """Insert images, none of which is in the index, with their metadata."""
    if not pictures:
        return
    names = [column.name for column in images.c if column.name not in {"taken", "digest"}]
    rows = [
        signed(images, {name: getattr(picture, name) for name in names} | {"taken": picture.metadata.taken})
        for picture in pictures
    ]
    connection.execute(sql.insert(images), rows)
    metadata_rows.insert(connection, pictures)


def delete_homeless(connection: sql.Connection, ids: Sequence[int]) -> None:
    """Forget those of the images `ids` that no longer have a place."""
    homeless = ~sql.exists().where(files.c.image == images.c.id)
    for part in chunks(ids):
        gone = connection.scalars(sql.select(images.c.id).where(images.c.id.in_(part), homeless)).all()
        connection.execute(sql.delete(metadata).where(metadata.c.image.in_(gone)))  # a row of it refers to an image
        connection.execute(sql.delete(images).where(images.c.id.in_(gone)))


def image_ids(connection: sql.Connection, most: int | None = None) -> Ids:
    """Return the ids of all images in ascending order, or the first `most` of them.

    Ids are made of digests of contents, so that the first ids are a random sample of the images.
    """
    import numpy as np

    chosen = _IDS if most is None else _IDS.limit(most)
    return np.fromiter((id_ for (id_,) in connection.execute(chosen)), dtype=np.int64)


def matching(connection: sql.Connection, condition: sql.ColumnElement[bool]) -> Ids:
    """Return the ids of the images that meet a condition, in ascending order."""
    import numpy as np

    chosen = sql.select(images.c.id).distinct().join(files, files.c.image == images.c.id)
    chosen = chosen.outerjoin(metadata, metadata.c.image == images.c.id)
    rows = connection.execute(chosen.where(condition).order_by(images.c.id))
    return np.fromiter((id_ for (id_,) in rows), dtype=np.int64)


def places(
    connection: sql.Connection,
    ids: Sequence[int],
    roots_at: Mapping[int, bytes],
    condition: sql.ColumnElement[bool] | None = None,
) -> list[Place]:
    """Return all places of the images `ids` that meet a condition, in the roots `roots_at`: id -> where the root is.

    Places that can be reached come before those that are offline. Then the order is that of `roots_at` and of the
    paths.
    """
    order = {root: number for number, root in enumerate(roots_at)}
    chosen = _PLACES
    if condition is not None:
        chosen = chosen.outerjoin_from(images, metadata, metadata.c.image == images.c.id).where(condition)
    pairs = _split(connection.execute(chosen, {"ids": sqlite.listed(ids)}).all())
    found = [(image, file) for image, file in pairs if file.root in order]
    found.sort(key=lambda pair: (pair[1].offline, order[pair[1].root], pair[1].path))
    return [
        Place(
            image=image.id,
            width=image.width,
            height=image.height,
            root=file.root,
            below=file.path,
            path=path_of(roots_at[file.root], file.path),
            offline=bool(file.offline),
            taken=image.taken,
        )
        for image, file in found
    ]


def _split(rows: Sequence[sql.Row[Any]]) -> Iterator[tuple[ImageRow, FileRow]]:
    """Yield the image and the place in each row, which begins with all columns of `images`, then of `files`."""
    first, last = len(images.c), len(images.c) + len(files.c)
    image_rows = sound(images, (row[:first] for row in rows))
    file_rows = sound(files, (row[first:last] for row in rows))
    for image, file in zip(image_rows, file_rows, strict=True):
        yield ImageRow._make(image), _file_row(file)


def unreadable_files(
    connection: sql.Connection, root: int, after: bytes | None = None, limit: int | None = None
) -> Iterator[FileRow]:
    """Yield up to `limit` files and folders of `root` that could not be read and whose paths follow `after`.

    They are in byte order of the paths. The path of a folder ends in `/`.
    """
    chosen = sql.select(files).where(files.c.root == root, files.c.reason.is_not(None))
    if after is not None:
        chosen = chosen.where(files.c.path > after)
    return _file_rows(connection, chosen.order_by(files.c.path).limit(limit))


def count_unreadable(connection: sql.Connection) -> int:
    """Return the number of files and folders that could not be read."""
    chosen = sql.select(sql.func.count()).select_from(files).where(files.c.reason.is_not(None))
    return connection.scalar(chosen) or 0


def count_offline(connection: sql.Connection) -> int:
    """Return the number of images that have only places that are offline."""
    away = files.alias("away")
    reachable = sql.exists().where(files.c.image == away.c.image, files.c.offline == 0)
    chosen = sql.select(sql.func.count(away.c.image.distinct())).where(away.c.offline == 1, ~reachable)
    return connection.scalar(sqlite.by_index(chosen, away, "files_offline")) or 0
