"""The facts of an index in SQLite: tables and queries. Every function takes a connection in a transaction.

Each row carries a digest of its other columns, and a function that returns rows raises `IndexDamaged` for one that is
not what was written: a flipped bit on the disk is not believed.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import sqlalchemy as sql
from sqlalchemy.dialects.sqlite import insert as upsert

from retrieval.errors import IndexDamaged
from retrieval.storage import bounds
from retrieval.storage.sqlite import BYTES, INTEGER, REPAIR, signed, signed_table, sound
from retrieval.types import Ids, Picture

PART = 10_000
"""Rows or ids that go into one statement."""
FETCH = 100
"""Rows fetched at a time: so few are still in the processor's cache when they are looked at."""

schema = sql.MetaData()
_table = partial(signed_table, schema)

encoders = _table(  # what made the vectors
    "encoders",
    sql.Column("fingerprint", sql.Text, primary_key=True),
    sql.Column("backbone", sql.Text, nullable=False),  # JSON
    sql.Column("weights", BYTES, nullable=False),  # a path, or one of the words of `backbones`
    sql.Column("dim", INTEGER, nullable=False),
    sql.Column("height", INTEGER, nullable=False),
    sql.Column("width", INTEGER, nullable=False),
    sql.Column("rule", INTEGER, nullable=False),  # the decode rule that all its pictures are read by
)
generations = _table(  # one row a commit; the current and the previous are kept
    "generations",
    sql.Column("number", INTEGER, primary_key=True, autoincrement=False),
    sql.Column("fingerprint", sql.Text, sql.ForeignKey(encoders.c.fingerprint), nullable=False),
    sql.Column("images", INTEGER, nullable=False),
    sql.Column("files", INTEGER, nullable=False),
    sql.Column("vectors", INTEGER, nullable=False),  # in its segments, those without an image included
)
segments = _table(
    "segments",
    sql.Column("generation", INTEGER, sql.ForeignKey(generations.c.number), primary_key=True),
    sql.Column("position", INTEGER, primary_key=True),
    sql.Column("ref", sql.Text, nullable=False),
    sql.Column("vectors", INTEGER, nullable=False),
)
images = _table(  # one row a content
    "images",
    sql.Column("id", INTEGER, primary_key=True, autoincrement=False),
    sql.Column("sha256", BYTES(32), nullable=False, unique=True),
    sql.Column("width", INTEGER, nullable=False),
    sql.Column("height", INTEGER, nullable=False),
    sql.Column("format", sql.Text, nullable=False),
    sql.Column("taken", sql.Text),
)
roots = _table(  # one row an indexed folder
    "roots",
    sql.Column("id", INTEGER, primary_key=True),
    sql.Column("path", BYTES, nullable=False, unique=True),  # absolute
    sql.Column("beside", BYTES),  # from the folder that holds the index, where the root is below that
    sql.Column("exclude", sql.Text),  # patterns of what is left out, in JSON
    sql.Column("mounts", BYTES),  # folders in it that were mount points, with a NUL between them
    sql.Column("identity", sql.Text),  # device and inode of the folder at its latest whole update
)
files = _table(  # one row a place
    "files",
    sql.Column("id", INTEGER, primary_key=True),
    sql.Column("root", INTEGER, sql.ForeignKey(roots.c.id), nullable=False),
    sql.Column("path", BYTES, nullable=False),  # relative to the root
    sql.Column("size", INTEGER, nullable=False),
    sql.Column("mtime_ns", INTEGER, nullable=False),
    sql.Column("image", INTEGER, sql.ForeignKey(images.c.id)),  # NULL: no picture, or never read
    sql.Column("offline", INTEGER, nullable=False),  # 1: could not be looked at by the latest run
    sql.Column("reason", sql.Text),  # why it is unreadable
    # `formats.reader()` that found it unreadable; of no picture, `formats.table()`; "": the system gave no bytes of it
    sql.Column("reader", sql.Text),
    sql.Column("ctime_ns", INTEGER),  # NULL: not known
    sql.UniqueConstraint("root", "path"),
)
sql.Index("files_image", files.c.image, files.c.offline)
sql.Index("files_unreadable", files.c.root, files.c.path, sqlite_where=files.c.reason.is_not(None))
sql.Index("files_offline", files.c.image, sqlite_where=files.c.offline == 1)
settings = _table(  # what was chosen for this index, or found out about it; one row a word of its users
    "settings",
    sql.Column("name", sql.Text, primary_key=True),
    sql.Column("value", sql.Text, nullable=False),  # JSON
)


class FileRow(NamedTuple):  # of which a run over a folder makes one for each file: no other class is made as fast
    """A place that is known: the columns of `files`, the id last."""

    root: int
    path: bytes
    size: int
    mtime_ns: int
    image: int | None = None
    offline: int = 0
    reason: str | None = None
    reader: str | None = None
    ctime_ns: int | None = None
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """A committed state of the index."""

    number: int
    fingerprint: str
    images: int
    files: int
    vectors: int
    segments: tuple[tuple[str, int], ...]
    """(ref, vectors in it), in order."""

    @property
    def refs(self) -> tuple[str, ...]:
        """The refs alone."""
        return tuple(ref for ref, _ in self.segments)

    def following(self, connection: sql.Connection, parts: tuple[tuple[str, int], ...]) -> "Generation":
        """Return the next generation: with the segments `parts`, and what the tables hold by now."""
        counts = [connection.scalar(sql.select(sql.func.count()).select_from(table)) or 0 for table in (images, files)]
        total = sum(count for _, count in parts)
        return Generation(self.number + 1, self.fingerprint, counts[0], counts[1], total, parts)


# -- reading -----------------------------------------------------------------------------------------------------------


def _sound(
    connection: sql.Connection, table: sql.Table, chosen: sql.Select[Any], **values: object
) -> Iterator[tuple[Any, ...]]:
    """Yield rows of `table`, of which `chosen` selects all columns; `IndexDamaged` for one that is not as written."""
    return sound(table, chain.from_iterable(connection.execute(chosen, values).partitions(FETCH)))


# What every search asks is put together once: that takes longer than SQLite takes to answer.
_NEWEST = sql.select(generations).order_by(generations.c.number.desc()).limit(1)
_SEGMENTS = sql.select(segments).where(segments.c.generation == sql.bindparam("one")).order_by(segments.c.position)
_SHA256 = sql.select(images.c.sha256).where(images.c.id == sql.bindparam("one"))
_SETTING = sql.select(settings).where(settings.c.name == sql.bindparam("one"))
_PLACES = sql.select(images, files).where(
    files.c.image == images.c.id, images.c.id.in_(sql.text("SELECT value FROM json_each(:some)"))
)


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


def put_encoder(connection: sql.Connection, row: Mapping[str, Any]) -> None:
    """Insert an encoder, or remember new facts about it."""
    values = signed(encoders, row)
    connection.execute(
        upsert(encoders).values(values).on_conflict_do_update(index_elements=["fingerprint"], set_=values)
    )


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


def images_below(connection: sql.Connection, root: int, folder: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the image and the path of each place of one in `root` below `folder`, in byte order."""
    chosen = sql.select(files).where(_below(root, folder)).order_by(files.c.path)
    return ((row.image, row.path) for row in _file_rows(connection, chosen) if row.image is not None)


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
_PUT_FILE = upsert(files).on_conflict_do_update(
    index_elements=["root", "path"], set_={name: upsert(files).excluded[name] for name in (*_FACTS, "digest")}
)


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
    """Cut `items` so that each part fits into one statement: SQLite allows 32,766 variables."""
    for start in range(0, len(items), PART):
        yield items[start : start + PART]


# -- images -------------------------------------------------------------------------------------------------------


def sha256_of_id(connection: sql.Connection, id_: int) -> bytes | None:
    """Return the content that has this id, None where it is not in the index."""
    return connection.scalar(_SHA256, {"one": id_})


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


def image_ids(connection: sql.Connection, most: int = -1) -> Ids:
    """Return the ids of all images, ascending, or the first so many: they come from digests, so those are a sample."""
    import numpy as np

    found = connection.exec_driver_sql("SELECT id FROM images ORDER BY id LIMIT ?", (most,))
    return np.fromiter((id_ for (id_,) in found), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Place:
    """An image with one of its places."""

    image: int
    width: int
    height: int
    root: int
    path: bytes
    offline: int


def places(connection: sql.Connection, ids: Sequence[int], among: Iterable[int]) -> list[Place]:
    """Return all places of the images `ids` in some roots: those that can be reached first, then by root and path."""
    order = {root: number for number, root in enumerate(among)}
    both = connection.execute(_PLACES, {"some": json.dumps(list(ids))}).all()
    split = len(images.c)
    contents, places = sound(images, (row[:split] for row in both)), sound(files, (row[split:] for row in both))
    found = [(image, _file_row(place)) for image, place in zip(contents, places, strict=True)]
    found = [(image, row) for image, row in found if row.root in order]
    found.sort(key=lambda pair: (pair[1].offline, order[pair[1].root], pair[1].path))
    return [Place(image[0], image[2], image[3], row.root, row.path, row.offline) for image, row in found]


def unreadable_files(connection: sql.Connection) -> Iterator[FileRow]:
    """Yield the files and folders that could not be read, in byte order of root and path; a folder's ends in `/`."""
    chosen = sql.select(files).where(files.c.root == roots.c.id, files.c.reason.is_not(None))
    return _file_rows(connection, chosen.order_by(roots.c.path, files.c.path))


def count_unreadable(connection: sql.Connection) -> int:
    """Return how many files and folders could not be read."""
    return connection.scalar(sql.select(sql.func.count()).select_from(files).where(files.c.reason.is_not(None))) or 0


def count_offline(connection: sql.Connection) -> int:
    """Return how many images have no place that the latest run could look at."""
    # By the index that holds a few rows, mostly: left to itself, SQLite goes through all of `files_image`.
    away = "SELECT DISTINCT image FROM files INDEXED BY files_offline WHERE offline = 1"
    reachable = "SELECT 1 FROM files WHERE files.image = away.image AND files.offline = 0"
    counted = f"SELECT count(image) FROM ({away}) AS away WHERE NOT EXISTS ({reachable})"  # noqa: S608 - constants
    return int(connection.exec_driver_sql(counted).scalar_one())
