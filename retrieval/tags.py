"""Tags: the classes that a picture is nearest to, by the classifier of the network that made its vector.

The last layer of a network that was trained to tell classes has a row of numbers for each of them, which its pooled
features are multiplied with. So a class is a direction, and a picture's tags are those with the largest cosine to its
vector: they come from the vectors that are stored, and nothing is embedded for them. Of 200 photographs of as many
classes of ImageNet (MobileNetV2), that names 0.780 right, and 0.960 among five; the classifier itself 0.780 and 0.965.

They are kept beside the index in a database of their own, which is derived: it may be deleted at any time, and what it
says of pictures that are no more in the index is not asked for.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from retrieval import metadata
from retrieval.database import REPAIR, Database
from retrieval.errors import BadInput, IndexDamaged
from retrieval.store import Store, View
from retrieval.types import Ids, Tag, Vectors

DATABASE = "tags.db"
BEST = 5
"""Tags of a picture."""
TABLE = "imagenet_class_index.json"
"""Keras' table of the classes of ImageNet, number -> (WordNet's id, name): https://keras.io/api/applications/."""
PART = 4096
"""Pictures that are tagged together: 16 MB of cosines."""
_TABLES = """
CREATE TABLE IF NOT EXISTS classes (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (name, tokenize = 'porter unicode61');
CREATE TABLE IF NOT EXISTS tags (class INTEGER NOT NULL, image INTEGER NOT NULL, score REAL NOT NULL,
    PRIMARY KEY (class, image)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tags_image ON tags (image);
"""


@dataclass(frozen=True)
class Classifier:
    """The classes that a network tells."""

    names: Sequence[str]
    directions: Vectors
    """(classes, dim), of length 1."""


def classifier(weights: Path, dim: int, environment: Mapping[str, str] = os.environ) -> Classifier | None:
    """Return the classifier on top of the network whose `weights` those are, None where there is none.

    That is the file's only matrix of (dim, classes) numbers beside which a number a class lies. The names are in
    `TABLE`, beside the file or in Keras' cache; without them there is none either.
    """
    home = Path(os.path.expanduser(environment.get("KERAS_HOME") or "~/.keras"), "models")
    table = next((path for path in (weights.with_name(TABLE), home / TABLE) if path.is_file()), None)
    if table is None or not weights.is_file() or weights.suffix != ".h5":
        return None
    try:
        listed = json.loads(table.read_text("utf-8"))
        names = [str(listed[str(number)][1]).replace("_", " ") for number in range(len(listed))]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BadInput(f"{table} is no table of classes", hint="delete it, and Keras downloads it again") from error
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


def update(store: Store, classes: Classifier | None) -> None:
    """Tag what has no tags yet, where `classes` are known, and forget those of pictures that are gone.

    Within `writing`. Whoever is killed meanwhile leaves pictures without tags, which the next call gives them.
    """
    if classes is None and not exist(store):
        return
    opened = Database(store.folder / DATABASE, create=True)
    try:
        with store.reading() as view, opened.writing() as connection:
            _make(connection, classes)
            _tag(connection, view, classes)
    except IndexDamaged:
        opened.close()
        for end in ("", "-wal", "-shm"):  # it is derived, and nobody stays connected to it
            Path(f"{store.folder / DATABASE}{end}").unlink(missing_ok=True)
        raise
    finally:
        opened.close()


def _make(connection: sql.Connection, classes: Classifier | None) -> None:
    for statement in _TABLES.split(";\n"):
        connection.exec_driver_sql(statement)
    known = connection.exec_driver_sql("SELECT count(*) FROM classes").scalar_one()
    if classes is not None and known != len(classes.names):
        rows = list(enumerate(classes.names))
        connection.exec_driver_sql("INSERT INTO classes VALUES (?, ?)", rows)
        connection.exec_driver_sql("INSERT INTO words (rowid, name) VALUES (?, ?)", rows)


def _tag(connection: sql.Connection, view: View, classes: Classifier | None) -> None:
    import numpy as np

    ids = metadata.image_ids(view.connection)
    rows = connection.exec_driver_sql("SELECT DISTINCT image FROM tags")
    known = np.fromiter((id_ for (id_,) in rows), dtype=np.int64)
    gone = [(id_,) for id_ in np.setdiff1d(known, ids).tolist()]
    if gone:
        connection.exec_driver_sql("DELETE FROM tags WHERE image = ?", gone)
    fresh = np.setdiff1d(ids, known)
    for start in range(0, len(fresh) if classes is not None else 0, PART):
        some = fresh[start : start + PART]
        connection.exec_driver_sql("INSERT INTO tags VALUES (?, ?, ?)", list(_nearest(view, some, classes)))


def _nearest(view: View, ids: Ids, classes: Classifier | None) -> Iterator[tuple[int, int, float]]:
    """Yield (class, image, cosine) of the `BEST` classes of each image."""
    import numpy as np

    assert classes is not None  # noqa: S101 - for the type checker
    try:
        cosines = view.snapshot.get(ids) @ classes.directions.T
    except KeyError as error:
        raise IndexDamaged(f"the vector of image {error.args[0]} is missing", hint=REPAIR) from error
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :BEST]
    scores = np.take_along_axis(cosines, best, axis=1)
    for image, row, near in zip(ids.tolist(), best.tolist(), scores.tolist(), strict=True):
        yield from ((number, image, score) for number, score in zip(row, near, strict=True))


def search(store: Store, words: str, most: int) -> list[tuple[int, float]]:
    """Return (image, score) of those tagged with a class that has all the `words`, best first, equal ones by id.

    `BadInput` where there are no tags, or no such class.
    """
    with _reading(store) as connection:
        asked = " ".join(f'"{word}"' for word in re.findall(r"\w+", words))
        named = "SELECT rowid FROM words WHERE words MATCH ?"
        if not asked or connection.exec_driver_sql(named, (asked,)).first() is None:
            raise BadInput(f"no class is called {words!r}", hint=_alike(connection, words))
        found = f"SELECT image, max(score) AS best FROM tags WHERE class IN ({named})"  # noqa: S608 - constants
        chosen = f"{found} GROUP BY image ORDER BY best DESC, image LIMIT ?"
        return [(image, score) for image, score in connection.exec_driver_sql(chosen, (asked, most))]


def of(store: Store, ids: Iterable[int]) -> dict[int, tuple[Tag, ...]]:
    """Return the tags of images, best first; none where there are none."""
    if not exist(store):
        return {}
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
            hint=f"index with --weights of a file that has one, and {TABLE} beside it",
        )
    opened = Database(place)
    try:
        with opened.reading() as connection:
            yield connection
    except IndexDamaged as error:
        raise IndexDamaged("the tags of the index are damaged", hint=f"delete {place}; it can be made again") from error
    finally:
        opened.close()


def _alike(connection: sql.Connection, words: str) -> str:
    from difflib import get_close_matches

    names = [name for (name,) in connection.exec_driver_sql("SELECT name FROM classes")]
    close = get_close_matches(words, names, cutoff=0.5)
    return f"there are {', '.join(close)}" if close else f"there are {len(names)}, such as {', '.join(names[207:210])}"
