"""The formats of the database, and the steps from each format to the next one.

A step that was released must never change, because databases of that format exist. So the steps are written in SQL, and
use nothing from `tables`.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import sqlalchemy as sql

from retrieval.errors import IndexDamaged, IndexTooNew
from retrieval.storage.signing import REPAIR, digest_of

log = logging.getLogger("retrieval")

_FORMAT_1 = """
CREATE TABLE format (version INTEGER NOT NULL, PRIMARY KEY (version));
CREATE TABLE encoders (fingerprint TEXT NOT NULL, backbone TEXT NOT NULL, weights BLOB NOT NULL, dim INTEGER NOT
    NULL, height INTEGER NOT NULL, width INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (fingerprint));
CREATE TABLE generations (number INTEGER NOT NULL, fingerprint TEXT NOT NULL, images INTEGER NOT NULL, files
    INTEGER NOT NULL, vectors INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (number), FOREIGN KEY(fingerprint)
    REFERENCES encoders (fingerprint));
CREATE TABLE segments (generation INTEGER NOT NULL, position INTEGER NOT NULL, ref TEXT NOT NULL, vectors
    INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (generation, position), FOREIGN KEY(generation) REFERENCES
    generations (number));
CREATE TABLE images (id INTEGER NOT NULL, sha256 BLOB NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    format TEXT NOT NULL, taken TEXT, digest BLOB NOT NULL, PRIMARY KEY (id), UNIQUE (sha256));
CREATE TABLE roots (id INTEGER NOT NULL, path BLOB NOT NULL, beside BLOB, digest BLOB NOT NULL, PRIMARY KEY
    (id), UNIQUE (path));
CREATE TABLE files (id INTEGER NOT NULL, root INTEGER NOT NULL, path BLOB NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, image INTEGER, offline INTEGER NOT NULL, reason TEXT, reader TEXT, digest BLOB NOT
    NULL, PRIMARY KEY (id), UNIQUE (root, path), FOREIGN KEY(root) REFERENCES roots (id), FOREIGN KEY(image)
    REFERENCES images (id));
CREATE INDEX files_image ON files (image, offline);
CREATE INDEX files_unreadable ON files (root, path) WHERE reason IS NOT NULL;
CREATE INDEX files_offline ON files (image) WHERE offline = 1;
"""
_FORMAT_2 = """
CREATE TABLE settings (name TEXT NOT NULL, value TEXT NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (name));
"""
_FORMAT_3 = """
CREATE TABLE encoders (fingerprint TEXT NOT NULL, backbone TEXT NOT NULL, weights BLOB NOT NULL, dim INTEGER NOT
    NULL, height INTEGER NOT NULL, width INTEGER NOT NULL, rule INTEGER NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (fingerprint));
"""
_FORMAT_4_ROOTS = """
CREATE TABLE roots (id INTEGER NOT NULL, path BLOB NOT NULL, beside BLOB, exclude TEXT, mounts BLOB, identity TEXT,
    digest BLOB NOT NULL, PRIMARY KEY (id), UNIQUE (path));
"""
_FORMAT_4_FILES = """
CREATE TABLE files (id INTEGER NOT NULL, root INTEGER NOT NULL, path BLOB NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, image INTEGER, offline INTEGER NOT NULL, reason TEXT, reader TEXT, ctime_ns INTEGER,
    digest BLOB NOT NULL, PRIMARY KEY (id), UNIQUE (root, path), FOREIGN KEY(root) REFERENCES roots (id), FOREIGN
    KEY(image) REFERENCES images (id));
CREATE INDEX files_image ON files (image, offline);
CREATE INDEX files_unreadable ON files (root, path) WHERE reason IS NOT NULL;
CREATE INDEX files_offline ON files (image) WHERE offline = 1;
"""
_FORMAT_5 = """
CREATE TABLE metadata (image INTEGER NOT NULL, make TEXT, model TEXT, lens TEXT, iso INTEGER, aperture REAL, exposure
    REAL, focal_length REAL, latitude REAL, longitude REAL, rating REAL, keywords TEXT NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (image), FOREIGN KEY(image) REFERENCES images (id));
"""
PART = 10_000
"""Number of rows that are written at a time."""


def _execute(connection: sql.Connection, *, statements: str) -> None:
    for statement in statements.split(";")[:-1]:
        connection.exec_driver_sql(statement)


def _widen(connection: sql.Connection, *, table: str, statements: str, values: tuple[Any, ...]) -> None:
    """Make `table` anew by `statements`, with more columns before the digest, and put `values` into these columns.

    A damaged row keeps its digest, so that it is still recognised as damaged.
    """
    create, *indexes = statements.split(";")[:-1]
    connection.exec_driver_sql(f"CREATE TEMP TABLE before AS SELECT * FROM {table}")  # noqa: S608 - a name of ours
    connection.exec_driver_sql(f"DROP TABLE {table}")
    connection.exec_driver_sql(create)
    names = [column.name for column in connection.exec_driver_sql(f"PRAGMA table_info({table})")]
    first = int("id" in names)  # the digest does not include the first column if that is `id`
    insert = f"INSERT INTO {table} VALUES ({', '.join('?' * len(names))})"  # noqa: S608 - a name of ours
    for rows in connection.exec_driver_sql("SELECT * FROM temp.before").partitions(PART):
        connection.exec_driver_sql(insert, [_widened(tuple(row), values, first) for row in rows])
    connection.exec_driver_sql("DROP TABLE temp.before")
    for statement in indexes:
        connection.exec_driver_sql(statement)


def _widened(row: tuple[Any, ...], values: tuple[Any, ...], first: int) -> tuple[Any, ...]:
    *columns, digest = row
    new = (*columns, *values)
    if digest == digest_of(tuple(columns[first:])):
        return (*new, digest_of(new[first:]))
    return (*map(_storable, new), digest)


def _storable(value: Any) -> Any:  # noqa: ANN401 - what SQLite stores
    """Return `value`, or its bytes if it is text that a flipped bit has made invalid: SQLite does not accept that."""
    if isinstance(value, str) and any(_FIRST_ESCAPE <= character <= _LAST_ESCAPE for character in value):
        return value.encode("utf-8", "surrogateescape")
    return value


_FIRST_ESCAPE, _LAST_ESCAPE = "\udc80", "\udcff"
"""The characters that stand for bytes that are not UTF-8, see the error handler "surrogateescape" of Python."""


def _to_format_4(connection: sql.Connection) -> None:
    _widen(connection, table="roots", statements=_FORMAT_4_ROOTS, values=(None, None, None))
    _widen(connection, table="files", statements=_FORMAT_4_FILES, values=(None,))


def _to_format_5(connection: sql.Connection) -> None:
    """Make the table of metadata, and note if there are images whose metadata have to be read."""
    _execute(connection, statements=_FORMAT_5)
    if connection.exec_driver_sql("SELECT 1 FROM images LIMIT 1").scalar():
        row = ("unread_metadata", "true")
        connection.exec_driver_sql("INSERT INTO settings VALUES (?, ?, ?)", (*row, digest_of(row)))


STEPS: list[Callable[[sql.Connection], None]] = [
    partial(_execute, statements=_FORMAT_1),
    partial(_execute, statements=_FORMAT_2),
    partial(_widen, table="encoders", statements=_FORMAT_3, values=(2,)),  # all older indexes used decode rule 2
    _to_format_4,
    _to_format_5,
]
"""Step i brings a database from format i to format i + 1. A new index goes through all steps, from format 0."""


def version(connection: sql.Connection) -> int:
    """Return the format of the database, 0 for an empty one; `IndexTooNew` for a format of a later version."""
    if not sql.inspect(connection).get_table_names():
        return 0
    found = connection.exec_driver_sql("SELECT version FROM format").scalar()
    if not isinstance(found, int) or found < 1:
        raise IndexDamaged("the database of the index does not say its format", hint=REPAIR)
    if found > len(STEPS):
        raise IndexTooNew(
            f"the index has format {found}, this version of retrieval reads up to {len(STEPS)}",
            hint="upgrade: pip install --upgrade retrieval",
        )
    return found


def migrate(connection: sql.Connection) -> None:
    """Bring the database to the newest format, within the caller's transaction."""
    found = version(connection)
    if found:
        log.warning(
            "the index has format %d and is converted to format %d; with a million files, that takes minutes, once",
            found,
            len(STEPS),
        )
    for step in STEPS[found:]:
        step(connection)
    connection.exec_driver_sql("DELETE FROM format")
    connection.exec_driver_sql("INSERT INTO format VALUES (?)", (len(STEPS),))
