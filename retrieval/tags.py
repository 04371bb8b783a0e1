"""Tags: the classes that a picture is nearest to, by the classifier of the network that made its vector.

The last layer of a network that was trained to tell classes has a row of numbers for each of them, which its pooled
features are multiplied with. So a class is a direction, and a picture's tags are those with the largest cosine to its
vector: they come from the vectors that are stored, and nothing is embedded for them. Of 200 photographs of as many
classes of ImageNet (MobileNetV2), that names 0.780 right, and 0.960 among five; the classifier itself 0.780 and 0.965.

They are kept beside the index in a database of their own, which is derived: where it is deleted or damaged, the next
update makes it again, and what it says of pictures that are no more in the index is passed over.
"""

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from retrieval import metadata
from retrieval.database import REPAIR, Database
from retrieval.errors import BadInput, IndexBusy, IndexDamaged, RetrievalError, StorageError
from retrieval.store import Store, View
from retrieval.types import Ids, Tag, Vectors
from retrieval.weights import TABLE, class_names, class_table

DATABASE = "tags.db"
BEST = 5
"""Tags of a picture."""
PART = 4096
"""Pictures that are tagged together: 16 MB of cosines."""
TAGGED = "tagged"
"""The setting that holds up to which generation pictures are tagged, and whether there are tags."""
_TABLES = (
    "CREATE TABLE IF NOT EXISTS classes (id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
    "CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (name, tokenize = 'porter unicode61')",
    "CREATE TABLE IF NOT EXISTS pictures (image INTEGER PRIMARY KEY)",
    """CREATE TABLE IF NOT EXISTS tags (class INTEGER NOT NULL, image INTEGER NOT NULL, score REAL NOT NULL,
    PRIMARY KEY (class, image)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS tags_image ON tags (image)",
)

log = logging.getLogger("retrieval")


@dataclass(frozen=True)
class Classifier:
    """The classes that a network tells."""

    names: Sequence[str]
    directions: Vectors
    """(classes, dim), of length 1."""


def classifier_of(encoder: Mapping[str, Any]) -> Classifier | None:
    """Return the classifier of an encoder, a row of that table; none where it pools as no classifier expects."""
    pooling = json.loads(encoder["backbone"]).get("pooling")
    return classifier(Path(os.fsdecode(encoder["weights"])), encoder["dim"]) if pooling == "avg" else None


def classifier(weights: Path, dim: int, environment: Mapping[str, str] = os.environ) -> Classifier | None:
    """Return the classifier on top of the network whose `weights` those are, None where there is none.

    That is the file's only matrix of (dim, classes) numbers beside which a number a class lies. The names are in
    `TABLE`, beside the file or in Keras' cache; without them there is none either.
    """
    table = class_table(os.fspath(weights), environment)
    if table is None or not weights.is_file() or weights.suffix != ".h5":
        return None
    names = class_names(table)
    try:
        found = list(_matrices(weights, dim, len(names)))
    except OSError:  # no longer what it was when it was loaded
        return None
    return Classifier(names, found[0]) if len(found) == 1 else None


def _matrices(weights: Path, dim: int, classes: int) -> Iterator[Vectors]:
    """Yield the matrices of a file of weights that may be a classifier, as (classes, dim) with rows of length 1."""
    import h5py
    import numpy as np

    found: list[Any] = []

    def look(_: str, item: Any) -> None:  # noqa: ANN401 - h5py has no types
        shape = getattr(item, "shape", ())
        if shape in {(dim, classes), (1, 1, dim, classes)}:  # dense, or a convolution of one pixel
            biases = [one for one in item.parent.values() if getattr(one, "shape", None) == (classes,)]
            found.extend([np.asarray(item, dtype=np.float32).reshape(dim, classes).T] * bool(biases))

    with h5py.File(weights) as file:
        file.visititems(look)
    for matrix in found:
        yield np.ascontiguousarray(matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12))


def exist(store: Store) -> bool:
    """Tell whether pictures of the index were ever tagged."""
    return (store.folder / DATABASE).is_file()


def behind(store: Store) -> bool:
    """Tell whether pictures may have come or gone since `update`, or the tags are missing."""
    with store.connection() as connection:
        told = metadata.setting(connection, TAGGED) or {}
        if told.get("generation") != metadata.latest(connection).number:
            return True
    return bool(told["made"]) and not exist(store)


def update(store: Store, classes: Callable[[], Classifier | None]) -> None:
    """Tag what has no tags yet, if there are `classes`, and forget those of pictures that are gone; within `writing`.

    Whoever is killed meanwhile leaves pictures without tags, which the next call gives them.
    """
    try:
        _update(store, classes)
    except IndexDamaged:
        if not exist(store):
            raise
        for end in ("", "-wal", "-shm"):  # what can be made again is not repaired
            Path(f"{store.folder / DATABASE}{end}").unlink(missing_ok=True)
        _update(store, classes)


def catch_up(store: Store, encoder: Mapping[str, Any]) -> None:
    """Tag what is new, if the weights have a classifier, which nothing else depends on; within `writing`."""
    try:
        if behind(store):
            update(store, partial(classifier_of, encoder))
    except RetrievalError as error:
        log.warning("the pictures could not be tagged: %s", error)


def _update(store: Store, classes: Callable[[], Classifier | None]) -> None:
    with store.reading() as view:
        known = classes() if not exist(store) else None
        if known is not None or exist(store):
            opened = Database(store.folder / DATABASE, create=True)
            try:
                _bring_up_to_date(opened, view, known, classes)
            finally:
                opened.close()
        state = {"generation": view.generation.number, "made": exist(store)}
    store.edit(metadata.put_setting, TAGGED, state)


def _bring_up_to_date(
    opened: Database, view: View, known: Classifier | None, classes: Callable[[], Classifier | None]
) -> None:
    import numpy as np

    with opened.writing() as connection:
        for statement in _TABLES:
            connection.exec_driver_sql(statement)
        if connection.exec_driver_sql("SELECT 1 FROM classes").first() is None and (known := known or classes()):
            rows = list(enumerate(known.names))
            connection.exec_driver_sql("INSERT INTO classes VALUES (?, ?)", rows)
            connection.exec_driver_sql("INSERT INTO words (rowid, name) VALUES (?, ?)", rows)
        found = connection.exec_driver_sql("SELECT image FROM pictures ORDER BY image")
        before, ids = np.fromiter((id_ for (id_,) in found), dtype=np.int64), metadata.image_ids(view.connection)
        if gone := [(id_,) for id_ in np.setdiff1d(before, ids, assume_unique=True).tolist()]:
            for table in ("tags", "pictures"):
                connection.exec_driver_sql(f"DELETE FROM {table} WHERE image = ?", gone)  # noqa: S608 - constants
    fresh = np.setdiff1d(ids, before, assume_unique=True)
    if len(fresh) and known is None:
        known = classes()
        if known is None:
            log.warning("new pictures have no tags: the classifier or its table of classes is not to be found")
    if known is None:
        return
    for start in range(0, len(fresh), PART):
        some = fresh[start : start + PART]
        with opened.writing() as connection:
            connection.exec_driver_sql("INSERT INTO tags VALUES (?, ?, ?)", list(_nearest(view, some, known)))
            connection.exec_driver_sql("INSERT INTO pictures VALUES (?)", [(id_,) for id_ in some.tolist()])


def _nearest(view: View, ids: Ids, classes: Classifier) -> Iterator[tuple[int, int, float]]:
    """Yield (class, image, cosine) of the `BEST` classes of each image."""
    import numpy as np

    try:
        cosines = view.snapshot.get(ids) @ classes.directions.T
    except KeyError as error:
        raise IndexDamaged(f"the vector of image {error.args[0]} is missing", hint=REPAIR) from error
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :BEST]
    scores = np.take_along_axis(cosines, best, axis=1)
    for image, row, near in zip(ids.tolist(), best.tolist(), scores.tolist(), strict=True):
        yield from ((number, image, score) for number, score in zip(row, near, strict=True))


def search(store: Store, words: str) -> Iterator[tuple[int, float]]:
    """Yield (image, score) of those tagged with a class that has all the `words`, best first, equal ones by id.

    Some may be no more in the index. `BadInput` where there are no tags, or no such class.
    """
    with _reading(store) as connection:
        asked = " ".join(f'"{word}"' for word in re.findall(r"\w+", words))
        named = "SELECT rowid FROM words WHERE words MATCH ?"
        if not asked or connection.exec_driver_sql(named, (asked,)).first() is None:
            raise BadInput(f"no class is called {words!r}", hint=_alike(connection, words))
        found = f"SELECT image, max(score) AS best FROM tags WHERE class IN ({named})"  # noqa: S608 - constants
        ordered = connection.exec_driver_sql(f"{found} GROUP BY image ORDER BY best DESC, image", (asked,))
        yield from ((image, score) for image, score in ordered)


def of(store: Store, ids: Iterable[int]) -> dict[int, tuple[Tag, ...]]:
    """Return the tags of images, best first; none where there are none, or where they cannot be read, which is said."""
    if not exist(store):
        return {}
    try:
        return _of(store, ids)
    except (IndexBusy, IndexDamaged, StorageError) as error:
        log.warning("%s; %s", error, error.hint)
        return {}


def _of(store: Store, ids: Iterable[int]) -> dict[int, tuple[Tag, ...]]:
    with _reading(store) as connection:
        listed = (json.dumps(list(ids)),)
        chosen = "SELECT image, name, score FROM tags JOIN classes ON class = classes.id"
        chosen += " WHERE image IN (SELECT value FROM json_each(?)) ORDER BY image, score DESC"
        found: dict[int, tuple[Tag, ...]] = {}
        for image, name, score in connection.exec_driver_sql(chosen, listed):
            found[image] = (*found.get(image, ()), Tag(name, score))
        return found


@contextmanager
def _reading(store: Store) -> Iterator[sql.Connection]:
    """Give a read transaction over the tags; `BadInput` where there are none."""
    place = store.folder / DATABASE
    if not exist(store):
        raise BadInput(
            "the pictures have no tags: they come from a classifier on top of the network's weights",
            hint=f"make another index, with --weights of a file that has one, and {TABLE} beside it",
        )
    opened = Database(place)
    try:
        with opened.reading() as connection:
            yield connection
    except IndexDamaged as error:
        hint = f"delete {place}, and have them made again with: retrieval index"
        raise IndexDamaged("the tags of the index are damaged", hint=hint) from error
    finally:
        opened.close()


def _alike(connection: sql.Connection, words: str) -> str:
    from difflib import get_close_matches

    names = [name for (name,) in connection.exec_driver_sql("SELECT name FROM classes")]
    close = get_close_matches(words, names, cutoff=0.5)
    return f"there are {', '.join(close)}" if close else f"there are {len(names)}, such as {', '.join(names[207:210])}"
