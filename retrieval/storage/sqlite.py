"""SQLite as this package wants it: durable, explicit about transactions, rows with digests, errors in our words."""

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import sqlalchemy as sql
from sqlalchemy.dialects.sqlite import insert

from retrieval.disk import files
from retrieval.disk.locks import is_open
from retrieval.errors import IndexBusy, IndexDamaged, RetrievalError, StorageError
from retrieval.process import forks
from retrieval.storage import wal
from retrieval.storage.signing import REPAIR
from retrieval.types import displayed

WAIT = 30
"""Seconds that a statement waits for another connection's short commit."""


# -- transactions -------------------------------------------------------------------------------------------------


class Database:
    """The file of an index: any number of threads and processes read, and one writes.

    They meet in two files beside it, `-wal` and `-shm`. Where those cannot be made (the folder is read-only, the disk
    is full), the file is read without locks, and a read during which it changed ends in `IndexBusy`, not in a mixture.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Prepare to use the file at `path`, which with `create` is made where it is missing."""
        self.path = path
        self.log = path.with_name(path.name + "-wal")
        self._log_damage: str | None = None
        self.writable = create or (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))
        mode = "rwc" if create else "rw" if self.writable else "ro"
        self._make = partial(_engine, path, f"mode={mode}", _DURABLY if self.writable else (), self._demand_files)
        self._engine = self._make()
        self._mutex = threading.Lock()
        self._lockless: tuple[_Stamp | None, sql.Engine] | None = None
        forks.before(self._before_fork)
        forks.in_child(self._after_fork)

    def _before_fork(self) -> None:
        """Close what nobody uses: SQLite keeps its locks by process, so a child must inherit no open database."""
        pool: Any = self._engine.pool
        if not pool.checkedout():  # else the child is told
            self._engine.dispose()

    def _after_fork(self) -> None:
        pool: Any = self._engine.pool
        if pool.checkedin() or pool.checkedout():
            _in_use_at_fork.add(self.path)
        forks.leave(self._engine, self._lockless)
        self._engine, self._mutex, self._lockless, self._log_damage = self._make(), threading.Lock(), None, None

    def close(self) -> None:
        """Let go of the file; the last to do so folds SQLite's log into it. It is opened again when it is needed."""
        self._engine.dispose()
        self._log_damage = None
        with self._mutex:
            if self._lockless is not None:
                self._lockless[1].dispose()
            self._lockless = None

    def _demand_files(self) -> None:
        """Refuse files that are links, and a log that SQLite would read in part only and then overwrite."""
        for end in ("", "-wal", "-shm", "-journal"):
            files.demand_own(self.path.with_name(self.path.name + end))
        if self.log_damage():
            raise IndexDamaged(self.log_damage(), hint=REPAIR)

    def log_damage(self, *, again: bool = False) -> str:
        """Say what is wrong with SQLite's log, "" for nothing: once, since it is read once, or `again`."""
        if self._log_damage is None or again:
            self._log_damage = wal.damage(self.log) if _size(self.log) else ""
        return self._log_damage

    def mend_log(self) -> bool:
        """Put right what is wrong in the log, as far as that can be told, and tell whether that was all."""
        self.close()
        return wal.mend(self.log)

    def log_is_readable(self) -> bool:
        """Tell whether all pages of a damaged log are there, but for single words."""
        return wal.has_all_pages(self.log)

    def accept_log(self) -> None:
        """Take the pages in the log as they are, whatever is wrong in them; `IndexBusy` while somebody uses the log.

        He has its length and its checksum in memory, so that nothing could be added behind what is written anew.
        """
        self.close()
        if is_open(self.path.with_name(self.path.name + "-shm")):
            sentence = "another program has the index open, so that its log cannot be put right"
            raise IndexBusy(sentence, hint="end that program, then repair again")
        wal.accept(self.log)

    @contextmanager
    def reading(self) -> Iterator[sql.Connection]:
        """Give a read transaction: all of it sees one state."""
        with ExitStack() as stack:
            connection, stamp = self._with_locks(stack), None
            if connection is None:
                stamp, engine = self._without_locks()
                connection = stack.enter_context(engine.connect())
                stack.enter_context(connection.begin())
            try:
                yield connection
            except IndexDamaged:
                self._demand_unchanged(stamp)
                raise
            self._demand_unchanged(stamp)

    @contextmanager
    def writing(self, *, linked: bool = True) -> Iterator[sql.Connection]:
        """Give a write transaction, committed at the end; unless `linked`, rows may refer to rows that are not there.

        It begins as one (the driver would begin it at the first change, and let two writers meet in the middle).
        """
        with self._engine.connect().execution_options(begin="IMMEDIATE") as connection:
            if not linked:
                driver: Any = connection.connection.driver_connection
                connection.detach()  # nobody else gets it
                driver.execute("PRAGMA foreign_keys=OFF").close()  # which does nothing within a transaction
            with connection.begin():
                yield connection

    def vacuum(self) -> None:
        """Write the file anew without the space of rows that are gone, and fold SQLite's log into it."""
        with self._engine.connect().execution_options(begin="") as connection:
            connection.exec_driver_sql("VACUUM").close()
        self.fold()

    def fold(self) -> None:
        """Fold SQLite's log into the file; while somebody reads an earlier state, as much of it as he does not need."""
        if _size(self.log):
            folding = ("busy_timeout=0", "wal_checkpoint(TRUNCATE)", f"busy_timeout={WAIT * 1000}")
            with self._engine.connect().execution_options(begin="") as connection:
                for pragma in folding:
                    connection.exec_driver_sql(f"PRAGMA {pragma}").close()

    def _with_locks(self, stack: ExitStack) -> sql.Connection | None:
        try:
            connection = stack.enter_context(self._engine.connect())
            stack.enter_context(connection.begin())
            connection.exec_driver_sql("SELECT 1 FROM sqlite_schema").close()
        except StorageError as error:
            stack.close()
            if not _size(self.log):
                return None
            if self.writable:
                raise
            raise StorageError(
                f"the latest changes of the index are in {self.log.name}, which cannot be read in a read-only folder",
                hint="copy the index to a folder that can be written",
            ) from error
        return connection

    def _without_locks(self) -> "tuple[_Stamp | None, sql.Engine]":
        """Return the stamp of the file, and an engine that takes it for one that does not change."""
        stamp = _stamp(self.path)
        with self._mutex:
            if self._lockless is None or self._lockless[0] != stamp:
                if self._lockless is not None:
                    self._lockless[1].dispose()
                self._lockless = stamp, _engine(self.path, "mode=ro&immutable=1", (), self._demand_files)
            return self._lockless

    def _demand_unchanged(self, stamp: "_Stamp | None") -> None:
        if stamp is not None and stamp != _stamp(self.path):
            raise IndexBusy("the index was written to while it was read", hint="ask again")


_in_use_at_fork: set[Path] = set()
"""Files of which this process, a forked one, has inherited open connections with the parent's locks."""
_DURABLY = ("journal_mode=WAL", "synchronous=FULL")
_Stamp = tuple[int, int, int]
"""What changes whenever a file is written to."""


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _size(path: Path) -> int:
    stamp = _stamp(path)
    return 0 if stamp is None else stamp[1]


def _engine(path: Path, parameters: str, pragmas: tuple[str, ...], check: Callable[[], None]) -> sql.Engine:
    uri = f"file:{quote_from_bytes(os.fsencode(path.absolute()))}?{parameters}"

    def connect() -> sqlite3.Connection:
        if path in _in_use_at_fork:
            sentence = f"{path} was in use when this process was forked, and SQLite cannot share it with the parent"
            raise RetrievalError(sentence, hint=forks.SPAWN)
        check()
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=WAIT)
        connection.text_factory = _text
        try:
            for pragma in ("foreign_keys=ON", *pragmas):
                connection.execute(f"PRAGMA {pragma}").close()
        except BaseException as error:
            connection.close()
            if isinstance(error, UnicodeDecodeError):
                raise _damaged(_GARBLED) from error
            raise
        return connection

    engine = sql.create_engine("sqlite://", creator=connect, poolclass=sql.QueuePool, max_overflow=-1)
    sql.event.listen(engine, "begin", _begin)
    sql.event.listen(engine, "handle_error", _translate)
    return engine


def _text(raw: bytes) -> str:
    """Read text that a flipped bit made invalid too, so that its row can be told from what was written."""
    return raw.decode("utf-8", "surrogateescape")


def _begin(connection: sql.Connection) -> None:
    kind = connection.get_execution_options().get("begin", "DEFERRED")
    if kind:
        connection.exec_driver_sql(f"BEGIN {kind}")


@contextmanager
def in_memory() -> Iterator[sql.Connection]:
    """Give an empty database that is nowhere."""
    engine = sql.create_engine("sqlite://")
    try:
        with engine.connect() as connection, connection.begin():
            yield connection
    finally:
        engine.dispose()


# -- statements ---------------------------------------------------------------------------------------------------


def upsert(table: sql.Table, *, key: Sequence[str], values: Sequence[str]) -> sql.Insert:
    """Return a statement that inserts a row, or renews the columns `values` of the row with the same `key`."""
    statement = insert(table)
    return statement.on_conflict_do_update(index_elements=key, set_={name: statement.excluded[name] for name in values})


def one_of(column: sql.ColumnElement[int], parameter: str) -> sql.ColumnElement[bool]:
    """Return the condition that `column` is one of the ids that `listed` gives as the value of `parameter`."""
    return column.in_(sql.text(f"SELECT value FROM json_each(:{parameter})"))  # noqa: S608 - a name of ours


def listed(ids: Iterable[int]) -> str:
    """Return ids as the value of a parameter of `one_of`: any number of them, in one variable."""
    return json.dumps(list(ids))


def by_index(statement: sql.Select[Any], table: sql.FromClause, index: str) -> sql.Select[Any]:
    """Return `statement`, made to look rows of `table` up in `index`, where SQLite would choose a slower index."""
    return statement.with_hint(table, f"INDEXED BY {index}", "sqlite")


# -- checks and repairs -------------------------------------------------------------------------------------------


Definition = tuple[str, ...]
"""Type, name, table and SQL of a table or an index, without white space."""


def complaints(connection: sql.Connection) -> Iterator[str]:
    """Yield what SQLite's own check complains about, one line each."""
    for (complaint,) in connection.exec_driver_sql("PRAGMA integrity_check(20)"):
        if complaint != "ok":
            yield " ".join(str(complaint).split())


def structural_damage(connection: sql.Connection, definitions: set[Definition]) -> Iterator[str]:
    """Yield what SQLite's own check and its foreign keys complain about, and whether the tables are not `definitions`.

    One sentence each.
    """
    yield from complaints(connection)
    for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"a row of {row[0]} refers to none of {row[2]}"
    if definitions_of(connection) != definitions:
        yield "the definition of the tables is not the one of this format"


def definitions_of(connection: sql.Connection) -> set[Definition]:
    """Return the definitions of all tables and indexes of the database."""
    rows = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_schema")
    return {tuple("".join(str(value).split()) for value in row) for row in rows}


def rebuild_indexes(connection: sql.Connection) -> None:
    """Build SQLite's own indexes anew from the tables."""
    connection.exec_driver_sql("REINDEX")


def check_keys_at_the_end(connection: sql.Connection) -> None:
    """Have foreign keys checked when the transaction ends, and not at each statement."""
    connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")


# -- errors -------------------------------------------------------------------------------------------------------

_GARBLED = "names in it are no text"
"""Said for the UnicodeDecodeError that the driver raises where SQLite's own complaint quotes a damaged definition."""
_DEAD = {sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC}
"""After a failed flush, nothing that a file descriptor says can be believed: the connection is given up."""
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


def _translate(context: Any) -> None:  # noqa: ANN401 - sqlalchemy.engine.ExceptionContext
    error = context.original_exception
    if isinstance(error, UnicodeDecodeError):
        raise _damaged(_GARBLED) from error
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return  # no error of SQLite's own
    if code in _DEAD:
        context.is_disconnect = True
    raise _in_our_words(code & 0xFF, str(error)) from error


def _in_our_words(code: int, text: str) -> RetrievalError:
    """Return the error for a primary result code of SQLite's: https://sqlite.org/rescode.html."""
    if code in _BUSY:
        return IndexBusy("another program holds the database of the index", hint="try again when it has finished")
    if "generations.number" in text:
        return IndexBusy("another process has written to the index meanwhile; nothing was changed", hint="try again")
    if code in _STORAGE:
        return StorageError(
            f"the database of the index cannot be used: {text}",
            hint="what was committed before is whole; free some space or check the folder's permissions",
        )
    return _damaged(f"its rows contradict one another ({text})" if code == sqlite3.SQLITE_CONSTRAINT else text)


def _damaged(text: str) -> IndexDamaged:
    return IndexDamaged(
        f"the database of the index is damaged: {displayed(text)}",
        hint="see what can be saved with: retrieval verify --repair; or index the pictures into a new folder",
    )
