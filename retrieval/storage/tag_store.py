"""The tags of images: kept beside the index in a database of their own, which can be made again.

Where that database is deleted or damaged, the next update makes it again. What it says of images that the index no
longer has is passed over. Each tag has a number; the sum of these numbers is kept with each class and with each image.
So tags that are wrong or missing are noticed from either side, and are not shown.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from retrieval.errors import BadInput, IndexBusy, IndexDamaged, RetrievalError, StorageError
from retrieval.storage import queries, sqlite
from retrieval.storage.commit import TAGGED, Store
from retrieval.storage.signing import REPAIR
from retrieval.storage.sqlite import Database
from retrieval.storage.view import View
from retrieval.types import Ids, Tag, Vectors

DATABASE = "tags.db"
PART = 4096
"""Number of images that are tagged together."""
VERSION = 2
"""Version of the tables; tables of another version are made again. The first version kept no sums."""
_TABLES = (
    "CREATE TABLE IF NOT EXISTS classes (id INTEGER PRIMARY KEY, name TEXT NOT NULL, digest INTEGER, sum INTEGER)",
    "CREATE TABLE IF NOT EXISTS pictures (image INTEGER PRIMARY KEY, sum INTEGER)",
    """CREATE TABLE IF NOT EXISTS tags (class INTEGER NOT NULL, image INTEGER NOT NULL, score REAL NOT NULL,
    PRIMARY KEY (class, image)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS tags_image ON tags (image)",
)
_MODULUS = 2**62
"""Sums are taken modulo this number, so that the sum of two of them fits into SQLite's 64 bits."""
_ADD = sql.text(f"UPDATE classes SET sum = (sum + :number) % {_MODULUS} WHERE id = :class")  # noqa: S608 - a constant
_OF_CLASS = sql.text("SELECT class, image, score FROM tags WHERE class = :class")
_OF_IMAGES = sql.text(
    f"SELECT class, image, score FROM tags WHERE {sqlite.one_of(sql.column('image'), 'images')} "  # noqa: S608 - constants
    "ORDER BY image, score DESC"
)
_SUMS_OF_IMAGES = sql.text(f"SELECT image, sum FROM pictures WHERE {sqlite.one_of(sql.column('image'), 'images')}")  # noqa: S608

Row = tuple[int, int, float]
"""Class, image, score."""
log = logging.getLogger("retrieval")


@dataclass(frozen=True)
class Tagger:
    """What finds the tags of vectors."""

    names: Sequence[str]
    """The names of the classes, by number."""
    nearest: Callable[[Vectors], Iterator[list[tuple[int, float]]]]
    """(n, dim) -> for each vector, some classes with their scores, best first."""


# -- whether there are tags ---------------------------------------------------------------------------------------


def exist(store: Store) -> bool:
    """Tell whether images of the index were ever tagged."""
    state = _state(store)
    return bool(state.get("made")) and state.get("version") == VERSION and _path(store).is_file()


def behind(store: Store) -> bool:
    """Tell whether images may have come or gone since the latest `update`, or whether the tags are missing."""
    with store.rows() as rows:
        state = rows.setting(TAGGED) or {}
        if state.get("generation") != rows.generation.number:
            return True
    return bool(state.get("made")) and not exist(store)


def _state(store: Store) -> Mapping[str, Any]:
    with store.rows() as rows:
        return rows.setting(TAGGED) or {}


def _path(store: Store) -> Path:
    return store.folder / DATABASE


# -- writing ------------------------------------------------------------------------------------------------------


def update(store: Store, tagger: Callable[[], Tagger | None]) -> None:
    """Tag the images that have no tags yet, and forget the tags of images that are gone; within `writing`.

    `tagger` is called when images have to be tagged; it returns None where nothing can tag them. A process that is
    killed leaves images without tags, which the next call gives them. `BadInput` where a file with the name of the
    database is not the index's own.
    """
    state = _state(store)
    if not state.get("made") and _path(store).exists():
        raise BadInput(f"{DATABASE} in the folder of the index is not a file of the index")
    if state.get("version") != VERSION:
        _delete(store)
    try:
        _update(store, tagger)
    except IndexDamaged:
        if not exist(store):
            raise
        _delete(store)
        _update(store, tagger)


def catch_up(store: Store, tagger: Callable[[], Tagger | None]) -> None:
    """Run `update` where that is needed, and log it where it fails: nothing else depends on tags; within `writing`."""
    try:
        if behind(store):
            update(store, tagger)
    except RetrievalError as error:
        log.warning("the pictures could not be tagged: %s", error)


def forget(store: Store) -> None:
    """Give up the tags, which the next update makes again; within `writing`."""
    if _state(store).get("made"):
        _delete(store)
        store.put_setting(TAGGED, None)


def _delete(store: Store) -> None:
    for end in ("", "-wal", "-shm"):
        Path(f"{_path(store)}{end}").unlink(missing_ok=True)


def _update(store: Store, tagger: Callable[[], Tagger | None]) -> None:
    with store.reading() as view:
        ready = None if exist(store) else tagger()
        if ready is not None:  # the setting comes before the file, so that the file is known to be the index's own
            store.put_setting(TAGGED, {"generation": 0, "made": True, "version": VERSION})
        if ready is not None or exist(store):
            database = Database(_path(store), create=True)
            try:
                _bring_up_to_date(database, view, ready, tagger)
            finally:
                database.close()
        state = {"generation": view.rows.generation.number, "made": exist(store), "version": VERSION}
    store.put_setting(TAGGED, state)


def _bring_up_to_date(
    database: Database, view: View, ready: Tagger | None, tagger: Callable[[], Tagger | None]
) -> None:
    import numpy as np

    ids = view.rows.image_ids()
    with database.writing() as connection:
        ready = _with_classes(connection, ready, tagger)
        before = _tagged_images(connection)
        _forget_tags(connection, np.setdiff1d(before, ids, assume_unique=True).tolist())
    fresh = np.setdiff1d(ids, before, assume_unique=True)
    if len(fresh) and ready is None:
        ready = tagger()
        if ready is None:
            log.warning("new pictures have no tags: the classifier or its table of classes is not to be found")
    if ready is None:
        return
    for start in range(0, len(fresh), PART):
        part = fresh[start : start + PART]
        with database.writing() as connection:
            _put(connection, list(_rows_of(part, ready.nearest(view.vectors(part)))))


def _with_classes(
    connection: sql.Connection, ready: Tagger | None, tagger: Callable[[], Tagger | None]
) -> Tagger | None:
    """Make the tables, with the classes of a tagger; return it where it had to be asked."""
    for statement in _TABLES:
        connection.exec_driver_sql(statement)
    if connection.execute(sql.text("SELECT 1 FROM classes")).first() is None:
        ready = ready or tagger()
        if ready is not None:
            insert = sql.text("INSERT INTO classes VALUES (:id, :name, :digest, 0)")
            rows = [(number, name, _number((number, name))) for number, name in enumerate(ready.names)]
            connection.execute(insert, [dict(zip(("id", "name", "digest"), row, strict=True)) for row in rows])
    return ready


def _tagged_images(connection: sql.Connection) -> Ids:
    import numpy as np

    found = connection.execute(sql.text("SELECT image FROM pictures ORDER BY image"))
    return np.fromiter((image for (image,) in found), dtype=np.int64)


def _rows_of(ids: Ids, classes: Iterable[list[tuple[int, float]]]) -> Iterator[Row]:
    for image, nearest in zip(ids.tolist(), classes, strict=True):
        for number, score in nearest:
            yield number, image, score


def _put(connection: sql.Connection, rows: Sequence[Row]) -> None:
    """Insert tags, all of each image."""
    of_classes, of_images = _sums(rows)
    connection.execute(
        sql.text("INSERT INTO tags VALUES (:class, :image, :score)"),
        [{"class": number, "image": image, "score": score} for number, image, score in rows],
    )
    connection.execute(
        sql.text("INSERT INTO pictures VALUES (:image, :sum)"),
        [{"image": image, "sum": total} for image, total in of_images.items()],
    )
    _add(connection, of_classes)


def _add(connection: sql.Connection, of_classes: Mapping[int, int]) -> None:
    if of_classes:
        connection.execute(_ADD, [{"class": number, "number": total} for number, total in of_classes.items()])


def _forget_tags(connection: sql.Connection, gone: Sequence[int]) -> None:
    for some in queries.chunks(gone):
        images = {"images": sqlite.listed(some)}
        of_classes, _ = _sums(connection.execute(_OF_IMAGES, images))
        for table in ("tags", "pictures"):
            condition = sqlite.one_of(sql.column("image"), "images")
            connection.execute(sql.delete(sql.table(table, sql.column("image"))).where(condition), images)
        _add(connection, {number: _MODULUS - total for number, total in of_classes.items()})


# -- reading ------------------------------------------------------------------------------------------------------


def of_images(store: Store, ids: Iterable[int]) -> dict[int, tuple[Tag, ...]]:
    """Return the tags of images, best first: id -> tags. An image without tags is left out.

    Tags that cannot be read are logged, and left out as well.
    """
    if not exist(store):
        return {}
    try:
        return _of_images(store, ids)
    except (IndexBusy, IndexDamaged, StorageError) as error:
        log.warning("%s; %s", error, error.hint)
        return {}


def _of_images(store: Store, ids: Iterable[int]) -> dict[int, tuple[Tag, ...]]:
    images = {"images": sqlite.listed(ids)}
    with _reading(store) as connection:
        classes, rows = _classes(connection), connection.execute(_OF_IMAGES, images).all()
        sums = dict(map(tuple, connection.execute(_SUMS_OF_IMAGES, images)))
        _demand(dict(_sums(rows)[1]) == sums and all(number in classes for number, _, _ in rows))
    found: dict[int, list[Tag]] = {}
    for number, image, score in rows:
        found.setdefault(image, []).append(Tag(classes[number].name, score))
    return {image: tuple(tags) for image, tags in found.items()}


def images_of(store: Store, choose: Callable[[Mapping[int, str]], Iterable[int]]) -> dict[int, float]:
    """Return the images that are tagged with one of some classes: id -> its best score.

    `choose` is given the names of all classes, by number, and returns the numbers of the wanted ones. Some of the
    images may have left the index. `BadInput` where there are no tags; raises what `choose` raises.
    """
    best: dict[int, float] = {}
    with _reading(store) as connection:
        classes = _classes(connection)
        for number in choose({number: known.name for number, known in classes.items()}):
            rows = connection.execute(_OF_CLASS, {"class": number}).all()
            _demand(_sums(rows)[0][number] == classes[number].sum)
            for _, image, score in rows:
                best[image] = max(score, best.get(image, -1))
    return best


def damage(store: Store) -> Iterator[str]:
    """Yield what is wrong with the tags, one sentence each."""
    if not exist(store):
        return
    with _reading(store) as connection:
        yield from sqlite.complaints(connection)
        of_classes = {number: known.sum for number, known in _classes(connection).items() if known.sum}
        sums = _sums(connection.execute(sql.text("SELECT class, image, score FROM tags")))
        of_images = dict(map(tuple, connection.execute(sql.text("SELECT image, sum FROM pictures"))))
        if tuple(map(dict, sums)) != (of_classes, of_images):
            yield "they are not what was written"


@contextmanager
def _reading(store: Store) -> Iterator[sql.Connection]:
    """Give a read transaction over the tags; `BadInput` where there are none."""
    if not exist(store):
        raise BadInput("the pictures have no tags: the network's weights have no classifier on top")
    database = Database(_path(store))
    try:
        with database.reading() as connection:
            yield connection
    except IndexDamaged as error:
        hint = "give them up with: retrieval verify --repair; the next retrieval index makes them again"
        raise IndexDamaged("the tags of the index are damaged", hint=hint) from error
    finally:
        database.close()


@dataclass(frozen=True, slots=True)
class _Class:
    name: str
    sum: int
    """Sum of the numbers of its tags."""


def _classes(connection: sql.Connection) -> dict[int, _Class]:
    rows = connection.execute(sql.text("SELECT id, name, digest, sum FROM classes")).all()
    _demand(bool(rows) and all(digest == _number((number, name)) for number, name, digest, _ in rows))
    return {number: _Class(name, total) for number, name, _, total in rows}


def _demand(sound: bool) -> None:  # noqa: FBT001 - what is demanded
    if not sound:
        raise IndexDamaged("a tag is not what was written", hint=REPAIR)


# -- sums ---------------------------------------------------------------------------------------------------------


def _sums(rows: Iterable[Any]) -> tuple[Counter[int], Counter[int]]:
    """Return the sums of the numbers of tags, rows of (class, image, score): by class, and by image."""
    of_classes, of_images = Counter[int](), Counter[int]()
    for class_, image, score in rows:
        number = _number((class_, image, score))
        of_classes[class_] = (of_classes[class_] + number) % _MODULUS
        of_images[image] = (of_images[image] + number) % _MODULUS
    return of_classes, of_images


def _number(row: tuple[Any, ...]) -> int:
    return int.from_bytes(blake2b(ascii(row).encode(), digest_size=8).digest(), "big") % _MODULUS
