"""Tags: the classes that a picture is nearest to, by the classifier of the network that made its vector.

The last layer of a network that was trained to tell classes has a row of numbers for each of them, which its pooled
features are multiplied with. So a class is a direction, and a picture's tags are those with the largest cosine to its
vector: they come from the vectors that are stored, and nothing is embedded for them. Of 200 photographs of as many
classes of ImageNet (MobileNetV2), that names 0.780 right, and 0.960 among five; the classifier itself 0.780 and 0.965.

They are kept beside the index in a database of their own, which is derived: where it is deleted or damaged, the next
update makes it again, and what it says of pictures that are no more in the index is passed over. Each tag adds a number
of its own to a sum that its class keeps, and to one that its picture keeps. So tags that are wrong, or not there, are
noticed from either side, and are not shown.
"""

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from retrieval.errors import BadInput, IndexBusy, IndexDamaged, RetrievalError, StorageError
from retrieval.networks.weights import TABLE, class_names, class_table
from retrieval.storage import tables
from retrieval.storage.commit import Store
from retrieval.storage.sqlite import REPAIR, Database, in_memory
from retrieval.storage.view import View
from retrieval.types import Ids, Tag, Vectors

DATABASE = "tags.db"
BEST = 5
"""Tags of a picture."""
PART = 4096
"""Pictures that are tagged together: 16 MB of cosines."""
TAGGED = "tagged"
"""The setting that holds up to which generation pictures are tagged, and whether there are tags."""
VERSION = 2
"""Of the tables; those of another version are made again. The first kept no sums."""
_TABLES = (
    "CREATE TABLE IF NOT EXISTS classes (id INTEGER PRIMARY KEY, name TEXT NOT NULL, digest INTEGER, sum INTEGER)",
    "CREATE TABLE IF NOT EXISTS pictures (image INTEGER PRIMARY KEY, sum INTEGER)",
    """CREATE TABLE IF NOT EXISTS tags (class INTEGER NOT NULL, image INTEGER NOT NULL, score REAL NOT NULL,
    PRIMARY KEY (class, image)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS tags_image ON tags (image)",
)
_ADD = "UPDATE classes SET sum = sum + ? & 0x3FFFFFFFFFFFFFFF WHERE id = ?"
_MODULUS = 2**62
"""Of sums: so that two of them make no number that SQLite does not hold."""

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


def _told(store: Store) -> dict[str, Any]:
    """Return the setting `TAGGED`; nothing also where it is damaged, as `verify` says."""
    found: dict[str, Any] | None = None
    with suppress(IndexDamaged), store.connection() as connection:
        found = tables.setting(connection, TAGGED)
    return found or {}


def exist(store: Store) -> bool:
    """Tell whether pictures of the index were ever tagged."""
    told = _told(store)
    return bool(told.get("made")) and told.get("version") == VERSION and (store.folder / DATABASE).is_file()


def behind(store: Store) -> bool:
    """Tell whether pictures may have come or gone since `update`, or the tags are missing."""
    with store.connection() as connection:
        told = tables.setting(connection, TAGGED) or {}
        if told.get("generation") != tables.latest(connection).number:
            return True
    return bool(told.get("made")) and not exist(store)


def update(store: Store, classes: Callable[[], Classifier | None]) -> None:
    """Tag what has no tags yet, if there are `classes`, and forget those of pictures that are gone; within `writing`.

    Whoever is killed meanwhile leaves pictures without tags, which the next call gives them. `BadInput` where a file of
    that name is there which is not the index's.
    """
    told = _told(store)
    if not told.get("made") and (store.folder / DATABASE).exists():
        raise BadInput(f"{DATABASE} in the folder of the index is not a file of the index")
    if told.get("version") != VERSION:
        _delete(store)
    try:
        _update(store, classes)
    except IndexDamaged:
        if not exist(store):
            raise
        _delete(store)
        _update(store, classes)


def catch_up(store: Store, encoder: Mapping[str, Any]) -> None:
    """Tag what is new, if the weights have a classifier, which nothing else depends on; within `writing`."""
    try:
        if behind(store):
            update(store, partial(classifier_of, encoder))
    except RetrievalError as error:
        log.warning("the pictures could not be tagged: %s", error)


def forget(store: Store) -> None:
    """Give up the tags, which the next update makes again; within `writing`."""
    if _told(store).get("made"):
        _delete(store)
        store.edit(tables.put_setting, TAGGED, None)


def _delete(store: Store) -> None:
    for end in ("", "-wal", "-shm"):  # what can be made again is not repaired
        Path(f"{store.folder / DATABASE}{end}").unlink(missing_ok=True)


def _update(store: Store, classes: Callable[[], Classifier | None]) -> None:
    with store.reading() as view:
        known = classes() if not exist(store) else None
        if known is not None:  # before there is a file, so that it is known to be the index's
            store.edit(tables.put_setting, TAGGED, {"generation": 0, "made": True, "version": VERSION})
        if known is not None or exist(store):
            opened = Database(store.folder / DATABASE, create=True)
            try:
                _bring_up_to_date(opened, view, known, classes)
            finally:
                opened.close()
        state = {"generation": view.generation.number, "made": exist(store), "version": VERSION}
    store.edit(tables.put_setting, TAGGED, state)


def _bring_up_to_date(
    opened: Database, view: View, known: Classifier | None, classes: Callable[[], Classifier | None]
) -> None:
    import numpy as np

    with opened.writing() as connection:
        for statement in _TABLES:
            connection.exec_driver_sql(statement)
        if connection.exec_driver_sql("SELECT 1 FROM classes").first() is None and (known := known or classes()):
            rows = [(number, name, _number((number, name))) for number, name in enumerate(known.names)]
            connection.exec_driver_sql("INSERT INTO classes VALUES (?, ?, ?, 0)", rows)
        found = connection.exec_driver_sql("SELECT image FROM pictures ORDER BY image")
        before, ids = np.fromiter((id_ for (id_,) in found), dtype=np.int64), tables.image_ids(view.connection)
        _forget_tags(connection, np.setdiff1d(before, ids, assume_unique=True).tolist())
    fresh = np.setdiff1d(ids, before, assume_unique=True)
    if len(fresh) and known is None:
        known = classes()
        if known is None:
            log.warning("new pictures have no tags: the classifier or its table of classes is not to be found")
    if known is None:
        return
    for start in range(0, len(fresh), PART):
        with opened.writing() as connection:
            _put(connection, list(_nearest(view, fresh[start : start + PART], known)))


def _put(connection: sql.Connection, found: Sequence[tuple[int, int, float]]) -> None:
    """Insert tags, (class, image, cosine), all of each picture."""
    of_classes, of_pictures = _sums(found)
    connection.exec_driver_sql("INSERT INTO tags VALUES (?, ?, ?)", list(found))
    connection.exec_driver_sql("INSERT INTO pictures VALUES (?, ?)", list(of_pictures.items()))
    connection.exec_driver_sql(_ADD, [(number, of) for of, number in of_classes.items()])


def _forget_tags(connection: sql.Connection, gone: Sequence[int]) -> None:
    for some in tables.chunks(gone):
        listed = (json.dumps(list(some)),)
        of_classes, _ = _sums(
            connection.exec_driver_sql(f"SELECT class, image, score FROM tags WHERE {_LISTED}", listed)  # noqa: S608
        )
        for table in ("tags", "pictures"):
            connection.exec_driver_sql(f"DELETE FROM {table} WHERE {_LISTED}", listed)  # noqa: S608 - constants
        if of_classes:
            connection.exec_driver_sql(_ADD, [(_MODULUS - number, of) for of, number in of_classes.items()])


_LISTED = "image IN (SELECT value FROM json_each(?))"


def _sums(rows: Iterable[Any]) -> tuple[Counter[int], Counter[int]]:
    """Return the sums of the numbers of tags, (class, image, score): by class, and by picture."""
    of_classes, of_pictures = Counter[int](), Counter[int]()
    for class_, image, score in rows:
        number = _number((class_, image, score))
        of_classes[class_] = (of_classes[class_] + number) % _MODULUS
        of_pictures[image] = (of_pictures[image] + number) % _MODULUS
    return of_classes, of_pictures


def _number(row: tuple[Any, ...]) -> int:
    return int.from_bytes(blake2b(ascii(row).encode(), digest_size=8).digest(), "big") % _MODULUS


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
    best: dict[int, float] = {}
    with _reading(store) as connection:
        known = _classes(connection)
        chosen = _called({number: name for number, (name, _) in known.items()}, words)
        if not chosen:
            raise BadInput(f"no class is called {words!r}", hint=_alike([name for name, _ in known.values()], words))
        for number in chosen:
            rows = connection.exec_driver_sql("SELECT class, image, score FROM tags WHERE class = ?", (number,)).all()
            _demand(_sums(rows)[0][number] == known[number][1])
            for _, image, score in rows:
                best[image] = max(score, best.get(image, -1))
    yield from sorted(best.items(), key=lambda item: (-item[1], item[0]))


def _classes(connection: sql.Connection) -> dict[int, tuple[str, int]]:
    """Return the name of each class, and the sum of the numbers of its tags."""
    rows = connection.exec_driver_sql("SELECT id, name, digest, sum FROM classes").all()
    _demand(bool(rows) and all(digest == _number((number, name)) for number, name, digest, _ in rows))
    return {number: (name, total) for number, name, _, total in rows}


def _demand(sound: bool) -> None:  # noqa: FBT001 - what is demanded
    if not sound:
        raise IndexDamaged("a tag is not what was written", hint=REPAIR)


def _called(names: Mapping[int, str], words: str) -> list[int]:
    """Return the classes that have all the `words` in their names, a word maybe with another ending."""
    asked = " ".join(f'"{word}"' for word in re.findall(r"\w+", words))
    if not asked:
        return []
    with in_memory() as connection:
        connection.exec_driver_sql("CREATE VIRTUAL TABLE words USING fts5 (name, tokenize = 'porter unicode61')")
        connection.exec_driver_sql("INSERT INTO words (rowid, name) VALUES (?, ?)", list(names.items()))
        found = connection.exec_driver_sql("SELECT rowid FROM words WHERE words MATCH ? ORDER BY rowid", (asked,))
        return [number for (number,) in found]


def damage(store: Store) -> Iterator[str]:
    """Yield what is wrong with the tags."""
    if exist(store):
        with _reading(store) as connection:
            complaints = connection.exec_driver_sql("PRAGMA integrity_check(20)")
            yield from (line for (line,) in complaints if line != "ok")
            known = {number: total for number, (_, total) in _classes(connection).items() if total}
            sums = _sums(connection.exec_driver_sql("SELECT class, image, score FROM tags"))
            pictures = connection.exec_driver_sql("SELECT image, sum FROM pictures")
            if tuple(map(dict, sums)) != (known, dict(map(tuple, pictures))):
                yield "they are not what was written"


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
    listed = (json.dumps(list(ids)),)
    chosen = f"SELECT class, image, score FROM tags WHERE {_LISTED} ORDER BY image, score DESC"  # noqa: S608 - constants
    with _reading(store) as connection:
        names, rows = _classes(connection), connection.exec_driver_sql(chosen, listed).all()
        pictures = connection.exec_driver_sql(f"SELECT image, sum FROM pictures WHERE {_LISTED}", listed)  # noqa: S608
        _demand(dict(_sums(rows)[1]) == dict(map(tuple, pictures)))
        _demand(all(number in names for number, _, _ in rows))
    found: dict[int, tuple[Tag, ...]] = {}
    for number, image, score in rows:
        found[image] = (*found.get(image, ()), Tag(names[number][0], score))
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
        hint = "give them up with: retrieval verify --repair; the next retrieval index makes them again"
        raise IndexDamaged("the tags of the index are damaged", hint=hint) from error
    finally:
        opened.close()


def _alike(names: Sequence[str], words: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(words, names, cutoff=0.5)
    return f"there are {', '.join(close)}" if close else f"there are {len(names)}, such as {', '.join(names[207:210])}"
