"""Queries over the rows of an index. Every function takes a connection that is in a transaction.

A function that returns rows raises `IndexDamaged` for a row that is not what was written: a bit that has flipped on the
disk is never believed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import sqlalchemy as sql

from retrieval.errors import IndexDamaged
from retrieval.storage import bounds, sqlite
from retrieval.storage.roots import path_of
from retrieval.storage.signing import REPAIR, signed, sound
from retrieval.storage.tables import (
    FileRow,
    Generation,
    ImageRow,
    Place,
    encoders,
    files,
    generations,
    images,
    segments,
    settings,
)
from retrieval.types import Ids, Picture

PART = 10_000
"""Number of rows or ids in one statement, at most. SQLite allows 32,766 variables."""
FETCH = 100
"""Number of rows that are fetched together: few enough to be in the processor's cache when they are checked."""

# -- reading -----------------------------------------------------------------------------------------------------------


def _sound(
    connection: sql.Connection, table: sql.Table, chosen: sql.Select[Any], **values: object
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows that `chosen` selects, all columns of `table`; `IndexDamaged` for a row that fails its digest."""
    return sound(table, chain.from_iterable(connection.execute(chosen, values).partitions(FETCH)))


# Every search runs these statements. They are compiled once, since that takes longer than SQLite takes to answer them.
_NEWEST = sql.select(generations).order_by(generations.c.number.desc()).limit(1)
_SEGMENTS = sql.select(segments).where(segments.c.generation == sql.bindparam("one")).order_by(segments.c.position)
_SHA256 = sql.select(images.c.sha256).where(images.c.id == sql.bindparam("one"))
_SETTING = sql.select(settings).where(settings.c.name == sql.bindparam("one"))
_PLACES = sql.select(images, files).where(files.c.image == images.c.id, sqlite.one_of(images.c.id, "some"))
_CONTENTS = sql.select(images.c.id, images.c.sha256).where(sqlite.one_of(images.c.id, "some"))
_IDS = sql.text("SELECT id FROM images ORDER BY id LIMIT :most")


# -- generations and encoders -------------------------------------------------------------------------------------


def latest(connection: sql.Connection) -> Generation:
    """Return the newest generation."""
    row = next(_sound(connection, generations, _NEWEST), None)
    if row is None:
        raise IndexDamaged("the index has no committed state", hint=REPAIR)
    parts = tuple((ref, count) for _, _, ref, count, _ in _sound(connection, segments, _SEGMENTS, one=row[0]))
    found = Generation(*(*row[:-1], parts))
    if sum(count for _, count in parts) != found.vectors:
        raise IndexDamaged("the index does not name all its segments", hint=REPAIR)
    return found


def following(connection: sql.Connection, before: Generation, parts: tuple[tuple[str, int], ...]) -> Generation:
    """Return the generation after `before`: with the segments `parts`, and the images and files that exist now."""
    counts = [connection.scalar(sql.select(sql.func.count()).select_from(table)) or 0 for table in (images, files)]
    total = sum(count for _, count in parts)
    return Generation(before.number + 1, before.fingerprint, counts[0], counts[1], total, parts)


def insert_generation(connection: sql.Connection, generation: Generation) -> None:
    """Insert `generation` and forget all but the one before; its primary key makes two writers at once impossible."""
    row = {name: getattr(generation, name) for name in ("number", "fingerprint", "images", "files", "vectors")}
    connection.execute(sql.insert(generations), signed(generations, row))
    parts = [
        signed(segments, {"generation": generation.number, "position": position, "ref": ref, "vectors": count})
        for position, (ref, count) in enumerate(generation.segments)
    ]
    if parts:
        connection.execute(sql.insert(segments), parts)
    connection.execute(sql.delete(segments).where(segments.c.generation < generation.number - 1))
    connection.execute(sql.delete(generations).where(generations.c.number < generation.number - 1))


def kept_refs(connection: sql.Connection) -> set[str]:
    """Return the refs of all kept generations."""
    return {row[2] for row in _sound(connection, segments, sql.select(segments))}


def encoder(connection: sql.Connection, fingerprint: str) -> dict[str, Any]:
    """Return the row of an encoder."""
    found = next(_sound(connection, encoders, sql.select(encoders).where(encoders.c.fingerprint == fingerprint)), None)
    if found is None:
        raise IndexDamaged("the index does not say what made its vectors", hint=REPAIR)
    return dict(zip(encoders.c.keys(), found, strict=True))


_PUT_ENCODER = sqlite.upsert(encoders, key=["fingerprint"], values=encoders.c.keys())


def put_encoder(connection: sql.Connection, row: Mapping[str, Any]) -> None:
    """Insert an encoder, or remember new facts about it."""
    connection.execute(_PUT_ENCODER, signed(encoders, row))


def setting(connection: sql.Connection, name: str) -> Any:  # noqa: ANN401 - what JSON holds
    """Return the setting `name`, None where nothing was set; `IndexDamaged` for what it cannot be."""
    return next((bounds.setting(name, row[1]) for row in _sound(connection, settings, _SETTING, one=name)), None)


def put_setting(connection: sql.Connection, name: str, value: Any) -> None:  # noqa: ANN401 - what JSON can hold
    """Set `name` to `value`, or to nothing for None."""
    connection.execute(sql.delete(settings).where(settings.c.name == name))
    if value is not None:
        row = {"name": name, "value": json.dumps(value, sort_keys=True)}
        connection.execute(sql.insert(settings), signed(settings, row))


# -- files ----------------------------------------------------------------------------------------------------------


def _file_rows(connection: sql.Connection, chosen: sql.Select[Any], **values: object) -> Iterator[FileRow]:
    return map(_file_row, _sound(connection, files, chosen, **values))


def _file_row(row: tuple[Any, ...]) -> FileRow:
    return FileRow._make((*row[1:-1], row[0]))


def _below(root: int, folder: bytes) -> sql.ColumnElement[bool]:
    """Say that a file is in `root` at `folder` or below it; `folder` is empty, a file, or ends in `/`."""
    condition = files.c.root == root
    if folder.endswith(b"/"):
        return condition & (files.c.path >= folder) & (files.c.path < folder[:-1] + b"0")  # "0" follows "/" in ASCII
    return condition & (files.c.path == folder) if folder else condition


def files_below(connection: sql.Connection, root: int, folder: bytes, after: bytes | None, limit: int) -> list[FileRow]:
    """Return up to `limit` files of `root` below `folder` whose paths follow `after`, in byte order."""
    statement = sql.select(files).where(_below(root, folder)).order_by(files.c.path).limit(limit)
    if after is not None:
        statement = statement.where(files.c.path > after)
    return list(_file_rows(connection, statement))


def images_below(
    connection: sql.Connection, root: int, folder: bytes, after: bytes | None, limit: int
) -> Iterator[tuple[bytes, int, Picture]]:
    """Yield path, `offline` and picture of up to `limit` places of images in `root` below `folder`.

    In byte order of the paths, those that follow `after`.
    """
    chosen = sql.select(images, files).where(files.c.image == images.c.id, _below(root, folder))
    if after is not None:
        chosen = chosen.where(files.c.path > after)
    for image, file in _pairs(connection, chosen.order_by(files.c.path).limit(limit)):
        yield file.path, file.offline, _picture(image)


def count_below(connection: sql.Connection, root: int, folder: bytes = b"", *, offline: bool = True) -> int:
    """Return how many places of images are known in `root` below `folder`, with those that are `offline` or without."""
    chosen = sql.select(sql.func.count()).select_from(files).where(_below(root, folder), files.c.image.is_not(None))
    return connection.scalar(chosen if offline else chosen.where(files.c.offline == 0)) or 0


def any_offline(connection: sql.Connection, root: int, folder: bytes) -> bool:
    """Tell whether a place in `root` below `folder` is offline."""
    chosen = sql.select(files.c.id).where(_below(root, folder), files.c.offline == 1).limit(1)
    return connection.scalar(chosen) is not None


def files_at(connection: sql.Connection, root: int, path: bytes) -> list[tuple[int, int | None]]:
    """Return id and image of the file at `path` of `root` and of those below it; "" stands for the root."""
    chosen = _below(root, path) | _below(root, path + b"/") if path else _below(root, path)
    return [(row.id, row.image) for row in connection.execute(sql.select(files.c.id, files.c.image).where(chosen))]


def image_at(connection: sql.Connection, root: int, path: bytes) -> int | None:
    """Return the image whose place that is, None for none."""
    return connection.scalar(sql.select(files.c.image).where(files.c.root == root, files.c.path == path))


def files_by_id(connection: sql.Connection, ids: Sequence[int]) -> Iterator[FileRow]:
    """Yield the files with these ids."""
    for some in chunks(ids):
        yield from _file_rows(connection, sql.select(files).where(files.c.id.in_(some)))


_FACTS = [name for name in FileRow._fields if name != "id"]
_PUT_FILE = sqlite.upsert(files, key=["root", "path"], values=[*_FACTS, "digest"])


def put_files(connection: sql.Connection, rows: Sequence[FileRow]) -> set[int]:
    """Insert places or renew them; return the images that any of them had before. Of one place, the last row counts."""
    last = {(row.root, row.path): row for row in rows}
    before: set[int | None] = {row.image for row in rows} if len(last) < len(rows) else set()
    for some in chunks(list(last.values())):
        for root in {row.root for row in some}:
            here = files.c.path.in_([row.path for row in some if row.root == root])
            before |= set(connection.scalars(sql.select(files.c.image).where(files.c.root == root, here)))
        connection.execute(_PUT_FILE, [signed(files, {name: getattr(row, name) for name in _FACTS}) for row in some])
    return {image for image in before if image is not None}


def delete_files(connection: sql.Connection, ids: Sequence[int]) -> set[int]:
    """Forget places; return the images that they had."""
    before: set[int | None] = set()
    for some in chunks(ids):
        before |= set(connection.scalars(sql.delete(files).where(files.c.id.in_(some)).returning(files.c.image)))
    return {image for image in before if image is not None}


def chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield `items` in parts of at most `PART`, each small enough for one statement."""
    for start in range(0, len(items), PART):
        yield items[start : start + PART]


# -- images -------------------------------------------------------------------------------------------------------


def sha256_of_id(connection: sql.Connection, id_: int) -> bytes | None:
    """Return the content that has this id, None where it is not in the index."""
    return connection.scalar(_SHA256, {"one": id_})


def contents_of(connection: sql.Connection, ids: Sequence[int]) -> dict[int, bytes]:
    """Return the SHA-256 of those of the images `ids` that are in the index: id -> SHA-256."""
    return dict(map(tuple, connection.execute(_CONTENTS, {"some": sqlite.listed(ids)})))


def insert_images(connection: sql.Connection, pictures: Sequence[Picture]) -> None:
    """Insert contents that are new."""
    names = [column.name for column in images.c if column.name != "digest"]
    rows = [signed(images, {name: getattr(picture, name) for name in names}) for picture in pictures]
    if rows:
        connection.execute(sql.insert(images), rows)


def delete_homeless(connection: sql.Connection, ids: Sequence[int]) -> None:
    """Forget those of the images `ids` that have no place any more."""
    homeless = ~sql.exists().where(files.c.image == images.c.id)
    for some in chunks(ids):
        connection.execute(sql.delete(images).where(images.c.id.in_(some), homeless))


def image_ids(connection: sql.Connection, most: int | None = None) -> Ids:
    """Return the ids of all images, ascending; or the first `most`, a random sample, as ids come from digests."""
    import numpy as np

    found = connection.execute(_IDS, {"most": -1 if most is None else most})
    return np.fromiter((id_ for (id_,) in found), dtype=np.int64)


def places(connection: sql.Connection, ids: Sequence[int], roots_at: Mapping[int, bytes]) -> list[Place]:
    """Return all places of the images `ids` in the roots `roots_at`, id of the root -> its place.

    The places that can be reached come first; then the order is that of `roots_at`, and of the paths.
    """
    order = {root: number for number, root in enumerate(roots_at)}
    found = [pair for pair in _pairs(connection, _PLACES, some=sqlite.listed(ids)) if pair[1].root in order]
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
        )
        for image, file in found
    ]


def _pairs(connection: sql.Connection, chosen: sql.Select[Any], **values: object) -> Iterator[tuple[ImageRow, FileRow]]:
    """Yield pairs of an image and a file, of which `chosen` selects all columns."""
    both = connection.execute(chosen, values).all()
    split = len(images.c)
    of_images, of_files = sound(images, (row[:split] for row in both)), sound(files, (row[split:] for row in both))
    return ((ImageRow._make(image), _file_row(file)) for image, file in zip(of_images, of_files, strict=True))


def _picture(image: ImageRow) -> Picture:
    return Picture(image.sha256, image.width, image.height, image.format, image.taken)


def unreadable_files(
    connection: sql.Connection, root: int, after: bytes | None = None, limit: int | None = None
) -> Iterator[FileRow]:
    """Yield the files and folders of `root` that could not be read, in byte order of path; a folder ends in `/`.

    At most `limit`, those whose paths follow `after`.
    """
    chosen = sql.select(files).where(files.c.root == root, files.c.reason.is_not(None))
    if after is not None:
        chosen = chosen.where(files.c.path > after)
    return _file_rows(connection, chosen.order_by(files.c.path).limit(limit))


def count_unreadable(connection: sql.Connection) -> int:
    """Return how many files and folders could not be read."""
    return connection.scalar(sql.select(sql.func.count()).select_from(files).where(files.c.reason.is_not(None))) or 0


def count_offline(connection: sql.Connection) -> int:
    """Return the number of images of which every place is offline."""
    away = files.alias("away")
    reachable = sql.exists().where(files.c.image == away.c.image, files.c.offline == 0)
    chosen = sql.select(sql.func.count(away.c.image.distinct())).where(away.c.offline == 1, ~reachable)
    return connection.scalar(sqlite.by_index(chosen, away, "files_offline")) or 0
