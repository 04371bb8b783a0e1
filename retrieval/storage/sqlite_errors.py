"""SQLite's errors, translated into the errors of this package."""

import sqlite3
from typing import Any

from retrieval.errors import IndexBusy, IndexDamaged, RetrievalError, StorageError
from retrieval.types import displayed

_FAILED_FLUSHES = {sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC}
"""After a failed flush, nothing that the file descriptor reports can be trusted: the connection is given up."""
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_STORAGE = {
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}


def translate(context: Any) -> None:  # noqa: ANN401 - sqlalchemy.engine.ExceptionContext
    """Raise the error of this package that stands for an error of SQLite; a handler of SQLAlchemy's `handle_error`."""
    error = context.original_exception
    if isinstance(error, UnicodeDecodeError):
        raise garbled() from error
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return  # not an error of SQLite
    if code in _FAILED_FLUSHES:
        context.is_disconnect = True
    raise _translated(code & 0xFF, str(error)) from error  # the lowest byte is the primary result code


def garbled() -> IndexDamaged:
    """Return the error for a `UnicodeDecodeError` of the driver.

    The driver raises it where SQLite's own message quotes a damaged definition.
    """
    return _damaged("names in it are not text")


def _translated(code: int, text: str) -> RetrievalError:
    """Return the error for a primary result code of SQLite: https://sqlite.org/rescode.html."""
    if code in _BUSY:
        return IndexBusy("another program holds the database of the index", hint="try again when it has finished")
    if "generations.number" in text:  # two writers have inserted the same generation
        return IndexBusy("another process has written to the index meanwhile; nothing was changed", hint="try again")
    if code in _STORAGE:
        return StorageError(
            f"the database of the index cannot be used: {text}",
            hint="what was committed before is whole; free some space or check the folder's permissions",
        )
    if code == sqlite3.SQLITE_CONSTRAINT:
        return _damaged(f"its rows contradict one another ({text})")
    return _damaged(text)


def _damaged(text: str) -> IndexDamaged:
    return IndexDamaged(
        f"the database of the index is damaged: {displayed(text)}",
        hint="see what can be saved with: retrieval verify --repair; or index the pictures into a new folder",
    )
