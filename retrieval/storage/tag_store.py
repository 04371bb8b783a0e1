"""The tags of images, in a database beside the index that can always be made again.

    update(store, tagger)    images without tags -> their vectors -> tagger -> tags, with sums
    of_images, images_of     tags -> sums compared -> the tags of images, the images of classes

If the database is deleted or damaged, the next update makes it again. Tags of images that have left the index are
ignored. Each tag has a number, which is a digest of it. The sum of these numbers is kept with each class and with each
image. So wrong and missing tags are noticed whether one looks up a class or an image, and are never shown.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import sqlalchemy as sql

from retrieval.errors import BadInput, IndexBusy, IndexDamaged, RetrievalError, StorageError
from retrieval.storage import queries, sqlite
from retrieval.storage.commit import Store
from retrieval.storage.settings import TAGGED
from retrieval.storage.signing import REPAIR
from retrieval.storage.sqlite import INTEGER, WITHOUT_ROWID, Database
from retrieval.storage.tag_state import DATABASE, VERSION, behind, exist, path_of, state_of
from retrieval.storage.view import View
from retrieval.types import Ids, Tag, Vectors

PART = 4096
"""Number of images that are tagged in one transaction."""

schema = sql.MetaData()
classes = sql.Table(
    "classes",
    schema,
    sql.Column("id", INTEGER, primary_key=True),
    sql.Column("name", sql.Text, nullable=False),
    sql.Column("digest", INTEGER),  # number of (id, name), see `_number`
    sql.Column("sum", INTEGER),  # sum of the numbers of the tags with this class
)
pictures = sql.Table(  # one row per tagged image
    "pictures",
    schema,
    sql.Column("image", INTEGER, primary_key=True),
    sql.Column("sum", INTEGER),  # sum of the numbers of the tags of this image
)
tags = sql.Table(
    "tags",
    schema,
    sql.Column("class", INTEGER, primary_key=True),
    sql.Column("image", INTEGER, primary_key=True),
    sql.Column("score", sql.REAL, nullable=False),
    **WITHOUT_ROWID,
)
sql.Index("tags_image", tags.c.image)

MODULUS = 2**62
"""Sums are taken modulo this number, so that the sum of two of them fits into the 64 bits of SQLite's integers."""
_OF_CLASS = sql.select(tags).where(tags.c["class"] == sql.bindparam("key"))
_OF_IMAGES = sql.select(tags).where(sqlite.one_of(tags.c.image, "ids")).order_by(tags.c.image, tags.c.score.desc())
_SUMS_OF_IMAGES = sql.select(pictures).where(sqlite.one_of(pictures.c.image, "ids"))
_ADD = (
    sql.update(classes)
    .where(classes.c.id == sql.bindparam("key"))
    .values(sum=(classes.c.sum + sql.bindparam("number")) % MODULUS)
)

Row = tuple[int, int, float]
"""Class, image and score of a tag: the columns of the table `tags`."""
log = logging.getLogger("retrieval")


@dataclass(frozen=True)
class Tagger:
    """A classifier, which finds the tags of vectors."""

    names: Sequence[str]
    """Names of the classes. The number of a class is its position."""
    nearest: Callable[[Vectors], Iterator[list[tuple[int, float]]]]
    """Takes vectors, (n, dim), and yields for each vector the numbers and the scores of some classes, best first."""


# -- writing ------------------------------------------------------------------------------------------------------


def update(store: Store, make_tagger: Callable[[], Tagger | None]) -> None:
    """Tag the images that have no tags yet, and forget the tags of images that are gone; within `writing`.

    `make_tagger` is called if images have to be tagged. It returns None if nothing can tag them. If the process is
    killed, the next call tags the images that are left. Raises `BadInput` if a file with the name of the database does
    not belong to the index.
    """
    state = state_of(store)
    if not state.get("made") and path_of(store).exists():
        raise BadInput(f"{DATABASE} in the folder of the index is not a file of the index")
    if state.get("version") != VERSION:
        sqlite.delete(path_of(store))
    try:
        _update(store, make_tagger)
    except IndexDamaged:
        if not exist(store):
            raise
        sqlite.delete(path_of(store))
        _update(store, make_tagger)


def catch_up(store: Store, make_tagger: Callable[[], Tagger | None]) -> None:
    """Run `update` if it is needed; within `writing`. An error is only logged, because nothing else needs the tags."""
    try:
        if behind(store):
            update(store, make_tagger)
    except RetrievalError as error:
        log.warning("the pictures could not be tagged: %s", error)


def forget(store: Store) -> None:
    """Delete the tags, which the next update makes again; within `writing`."""
    if state_of(store).get("made"):
        sqlite.delete(path_of(store))
        store.put_setting(TAGGED, None)


def _update(store: Store, make_tagger: Callable[[], Tagger | None]) -> None:
    with store.reading() as view:
        tagger = None if exist(store) else make_tagger()
        if tagger is not None:  # the setting is written before the file: then the file is known to be the index's own
            store.put_setting(TAGGED, {"generation": 0, "made": True, "version": VERSION})
        if tagger is not None or exist(store):
            database = Database(path_of(store), create=True)
            try:
                _bring_up_to_date(database, view, tagger, make_tagger)
            finally:
                database.close()
        state = {"generation": view.rows.generation.number, "made": exist(store), "version": VERSION}
    store.put_setting(TAGGED, state)


def _bring_up_to_date(
    database: Database, view: View, tagger: Tagger | None, make_tagger: Callable[[], Tagger | None]
) -> None:
    """Forget and add tags; `make_tagger` is called if `tagger` is None and one is needed."""
    import numpy as np

    ids = view.rows.image_ids()
    with database.writing() as connection:
        tagger = _with_classes(connection, tagger, make_tagger)
        before = _tagged_images(connection)
        _forget_tags(connection, np.setdiff1d(before, ids, assume_unique=True).tolist())
    untagged = np.setdiff1d(ids, before, assume_unique=True)
    if len(untagged) and tagger is None:
        tagger = make_tagger()
        if tagger is None:
            log.warning("new pictures have no tags: the classifier or its table of classes cannot be found")
    if tagger is None:
        return
    for start in range(0, len(untagged), PART):
        part = untagged[start : start + PART]
        with database.writing() as connection:
            _put(connection, list(_rows_of(part, tagger.nearest(view.vectors(part)))))


def _with_classes(
    connection: sql.Connection, tagger: Tagger | None, make_tagger: Callable[[], Tagger | None]
) -> Tagger | None:
    """Make missing tables, fill in the classes if there are none, and return the tagger if there is one by then."""
    schema.create_all(connection)
    if connection.execute(sql.select(classes.c.id).limit(1)).first() is None:
        tagger = tagger or make_tagger()
        if tagger is not None:
            rows = [
                {"id": number, "name": name, "digest": _number((number, name)), "sum": 0}
                for number, name in enumerate(tagger.names)
            ]
            connection.execute(sql.insert(classes), rows)
    return tagger


def _tagged_images(connection: sql.Connection) -> Ids:
    import numpy as np

    return np.fromiter(connection.scalars(sql.select(pictures.c.image).order_by(pictures.c.image)), dtype=np.int64)


def _rows_of(ids: Ids, classes_of_images: Iterable[list[tuple[int, float]]]) -> Iterator[Row]:
    for image, nearest in zip(ids.tolist(), classes_of_images, strict=True):
        for number, score in nearest:
            yield number, image, score


def _put(connection: sql.Connection, rows: Sequence[Row]) -> None:
    """Insert all tags of some images."""
    of_classes, of_images = _sums(rows)
    names = tags.c.keys()
    connection.execute(sql.insert(tags), [dict(zip(names, row, strict=True)) for row in rows])
    connection.execute(sql.insert(pictures), [{"image": image, "sum": total} for image, total in of_images.items()])
    _add_to_classes(connection, of_classes)


def _forget_tags(connection: sql.Connection, gone: Sequence[int]) -> None:
    """Delete all tags of the images `gone`."""
    for part in queries.chunks(gone):
        images = {"ids": sqlite.listed(part)}
        of_classes, _ = _sums(connection.execute(_OF_IMAGES, images))
        for table in (tags, pictures):
            connection.execute(sql.delete(table).where(sqlite.one_of(table.c.image, "ids")), images)
        _add_to_classes(connection, {number: MODULUS - total for number, total in of_classes.items()})


def _add_to_classes(connection: sql.Connection, of_classes: Mapping[int, int]) -> None:
    """Add to the sum of each class: number of the class -> what to add."""
    if of_classes:
        connection.execute(_ADD, [{"key": number, "number": total} for number, total in of_classes.items()])


# -- reading ------------------------------------------------------------------------------------------------------


def of_images(store: Store, ids: Iterable[int]) -> dict[int, tuple[Tag, ...]]:
    """Return the tags of each image, best first, by id of the image. Images without tags are left out.

    If the tags cannot be read, that is logged, and no tags are returned.
    """
    if not exist(store):
        return {}
    try:
        return _of_images(store, ids)
    except (IndexBusy, IndexDamaged, StorageError) as error:
        log.warning("%s; %s", error, error.hint)
        return {}


def _of_images(store: Store, ids: Iterable[int]) -> dict[int, tuple[Tag, ...]]:
    images = {"ids": sqlite.listed(ids)}
    with _reading(store) as connection:
        known = _classes(connection)
        rows = connection.execute(_OF_IMAGES, images).all()
        sums = {row.image: row.sum for row in connection.execute(_SUMS_OF_IMAGES, images)}
        _, of_images = _sums(rows)
        _demand_sound(dict(of_images) == sums and all(number in known for number, _, _ in rows))
    found: dict[int, list[Tag]] = {}
    for number, image, score in rows:
        found.setdefault(image, []).append(Tag(known[number].name, score))
    return {image: tuple(tags_of_image) for image, tags_of_image in found.items()}


def images_of(store: Store, choose: Callable[[Mapping[int, str]], Iterable[int]]) -> dict[int, float]:
    """Return the images that have a tag of some classes, each with its best score: id -> score.

    `choose` is given the names of all classes by number, and returns the numbers of the wanted classes. Some of the
    images may have left the index. Raises `BadInput` if there are no tags, and what `choose` raises.
    """
    best: dict[int, float] = {}
    with _reading(store) as connection:
        known = _classes(connection)
        for number in choose({number: each.name for number, each in known.items()}):
            rows = connection.execute(_OF_CLASS, {"key": number}).all()
            of_classes, _ = _sums(rows)
            _demand_sound(of_classes[number] == known[number].sum)
            for _, image, score in rows:
                best[image] = max(score, best.get(image, -1))
    return best


def damage(store: Store) -> Iterator[str]:
    """Yield a sentence for each damage of the tags."""
    if not exist(store):
        return
    with _reading(store) as connection:
        yield from sqlite.complaints(connection)
        known = _classes(connection)
        of_classes, of_images = _sums(connection.execute(sql.select(tags)))
        right_of_classes = {number: each.sum for number, each in known.items() if each.sum}
        right_of_images = {row.image: row.sum for row in connection.execute(sql.select(pictures))}
        if dict(of_classes) != right_of_classes or dict(of_images) != right_of_images:
            yield "some tags are wrong or missing"


@contextmanager
def _reading(store: Store) -> Iterator[sql.Connection]:
    """Give a read transaction over the tags; `BadInput` if there are none."""
    if not exist(store):
        raise BadInput("the pictures have no tags: the network's weights have no classifier on top")
    database = Database(path_of(store))
    try:
        with database.reading() as connection:
            yield connection
    except IndexDamaged as error:
        hint = "delete them with: retrieval verify --repair; the next retrieval index makes them again"
        raise IndexDamaged("the tags of the index are damaged", hint=hint) from error
    finally:
        database.close()


@dataclass(frozen=True, slots=True)
class _Class:
    name: str
    sum: int
    """Sum of the numbers of the tags with this class."""


def _classes(connection: sql.Connection) -> dict[int, _Class]:
    """Return the classes by number; `IndexDamaged` if one is damaged or all are missing."""
    rows = connection.execute(sql.select(classes)).all()
    _demand_sound(bool(rows) and all(row.digest == _number((row.id, row.name)) for row in rows))
    return {row.id: _Class(row.name, row.sum) for row in rows}


def _demand_sound(sound: bool) -> None:  # noqa: FBT001 - the condition
    if not sound:
        raise IndexDamaged("some tags are wrong or missing", hint=REPAIR)


# -- sums ---------------------------------------------------------------------------------------------------------


def _sums(rows: Iterable[Any]) -> tuple[Counter[int], Counter[int]]:
    """Return the sums of the numbers of tags, by class and by image."""
    of_classes, of_images = Counter[int](), Counter[int]()
    for class_, image, score in rows:
        number = _number((class_, image, score))
        of_classes[class_] = (of_classes[class_] + number) % MODULUS
        of_images[image] = (of_images[image] + number) % MODULUS
    return of_classes, of_images


def _number(row: tuple[Any, ...]) -> int:
    """Return the number of a tag or a class: a digest of its values, below `MODULUS`."""
    return int.from_bytes(blake2b(ascii(row).encode(), digest_size=8).digest(), "big") % MODULUS
