"""SQLite as this package wants it: durable, explicit about transactions, its errors in the words of `errors`."""

import os
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import sqlalchemy as sql

from retrieval.errors import IndexBusy, IndexDamaged, StorageError

WAIT = 30
"""Seconds that a statement waits for another connection's short commit."""
_DAMAGE = ("malformed", "not a database", "no such table", "no such column", "corrupt", "disk image")


def engine(database: Path, *, writable: bool, immutable: bool = False) -> sql.Engine:
    """Return an engine over the SQLite file at `database`, which is made where it is missing and `writable`.

    Transactions are deferred, or immediate under `connection.execution_options(begin="IMMEDIATE")`: the driver's own
    way of beginning them would let two writers meet in the middle. `immutable` promises SQLite that nobody writes.
    """
    mode = "rwc" if writable else "ro&immutable=1" if immutable else "ro"
    uri = f"file:{quote_from_bytes(os.fsencode(database.absolute()))}?mode={mode}"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=WAIT)
        connection.text_factory = _text
        for pragma in ("foreign_keys=ON", *(("journal_mode=WAL", "synchronous=FULL") if writable else ())):
            connection.execute(f"PRAGMA {pragma}").close()
        return connection

    made = sql.create_engine("sqlite://", creator=connect, poolclass=sql.QueuePool)
    sql.event.listen(made, "begin", _begin)
    sql.event.listen(made, "handle_error", _translate)
    return made


def _text(raw: bytes) -> str:
    """Read text that a flipped bit made invalid too, so that its row can be told from what was written."""
    return raw.decode("utf-8", "surrogateescape")


def in_memory() -> sql.Engine:
    """Return an engine over an empty database that is nowhere."""
    return sql.create_engine("sqlite://")


def vacuum(made: sql.Engine) -> None:
    """Give back the space of rows that are gone, and fold SQLite's log into the database."""
    connection = made.raw_connection()
    try:
        for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
            connection.cursor().execute(statement)
    except sqlite3.Error as error:
        raise _in_our_words(error) from error
    finally:
        connection.close()


def _begin(connection: sql.Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', 'DEFERRED')}")


def _translate(context: Any) -> None:  # noqa: ANN401 - sqlalchemy.engine.ExceptionContext
    if isinstance(context.original_exception, sqlite3.DatabaseError):
        context.chained_exception = _in_our_words(context.original_exception)


def _in_our_words(error: sqlite3.Error) -> Exception:
    text = str(error)
    if "locked" in text:
        return IndexBusy("another program holds the database of the index", hint="try again when it has finished")
    if any(word in text for word in _DAMAGE):
        return IndexDamaged(
            f"the database of the index is damaged: {text}",
            hint="see what can be saved with: retrieval verify --repair; or index the pictures into a new folder",
        )
    if isinstance(error, sqlite3.OperationalError):
        return StorageError(
            f"the database of the index cannot be used: {text}",
            hint="what was committed before is whole; free some space or check the folder's permissions",
        )
    return error
