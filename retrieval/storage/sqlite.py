"""SEAM: the dialect of the database. What is particular to SQLite is here, in `sqlite_functions`, `migrations`, `wal`.

SQLite is used in such a way that commits are durable, transactions begin explicitly, and errors are those of this
package (`sqlite_errors`).

    Database     the file: connections, transactions, its log, forks, folders that are read-only
    statements   upsert, "one of these ids", a hint to use an index, partial indexes, tables without row ids
    checks       SQLite's own check, definitions of the tables, indexes, values before a bit flipped
"""

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
from retrieval.storage import sqlite_errors, sqlite_functions, wal
from retrieval.storage.signing import REPAIR

WAIT = 30
"""Seconds that a statement waits for another connection to finish its commit, which is short."""
INTEGER = sql.BigInteger().with_variant(sql.Integer, "sqlite")
"""64 bits. SQLite chooses ids only for columns of type INTEGER, which has 64 bits as well."""
WITHOUT_ROWID: dict[str, Any] = {"sqlite_with_rowid": False}
"""Options of a table that is stored in the order of its primary key alone."""


# -- transactions -------------------------------------------------------------------------------------------------


class Database:
    """The database file of an index. Any number of threads and processes read; one writes.

    Readers and the writer meet in two files beside the database, `-wal` (the log) and `-shm`. Where these files cannot
    be made, because the folder is read-only or the disk is full, the database is read without locks. If it changes
    during such a read, the read ends with `IndexBusy`, and not with a mixture of two states.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Prepare to use the file at `path`; with `create`, the file is made if it is missing."""
        self.path = path
        self.log = path.with_name(path.name + "-wal")
        self._log_damage: str | None = None
        self.writable = create or (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))
        mode = "ro"
        if create:
            mode = "rwc"
        elif self.writable:
            mode = "rw"
        pragmas = _DURABLY if self.writable else ()
        self._new_engine = partial(_engine, path, f"mode={mode}", pragmas, self._demand_files)
        self._engine = self._new_engine()
        self._mutex = threading.Lock()
        self._lockless: tuple[_Stamp | None, sql.Engine] | None = None
        forks.before(self._before_fork)
        forks.in_child(self._after_fork)

    def _before_fork(self) -> None:
        """Close the connections that nobody uses.

        SQLite keeps its locks per process, so a child must inherit no open database.
        """
        pool: Any = self._engine.pool
        if not pool.checkedout():  # if some are in use, the child is told by an error
            self._engine.dispose()

    def _after_fork(self) -> None:
        pool: Any = self._engine.pool
        if pool.checkedin() or pool.checkedout():
            _in_use_at_fork.add(self.path)
        forks.leave(self._engine, self._lockless)
        self._engine, self._mutex = self._new_engine(), threading.Lock()
        self._lockless, self._log_damage = None, None

    def close(self) -> None:
        """Close the file. The last process to close it folds SQLite's log into it. The next use opens it again."""
        self._engine.dispose()
        self._log_damage = None
        with self._mutex:
            if self._lockless is not None:
                _, engine = self._lockless
                engine.dispose()
            self._lockless = None

    def _demand_files(self) -> None:
        """Refuse files that are links, and a log that SQLite would read in part only and then overwrite."""
        for suffix in _SUFFIXES:
            files.demand_own(self.path.with_name(self.path.name + suffix))
        damage = self.log_damage()
        if damage:
            raise IndexDamaged(damage, hint=REPAIR)

    def log_damage(self, *, again: bool = False) -> str:
        """Return a sentence that says how SQLite's log is damaged; "" for a sound log.

        The log is checked once per opening; with `again`, it is checked now.
        """
        if self._log_damage is None or again:
            self._log_damage = wal.damage(self.log) if _size(self.log) else ""
        return self._log_damage

    def mend_log(self) -> bool:
        """Correct the damaged words of the log as far as its checksums allow, and tell whether it is sound then."""
        self.close()
        return wal.mend(self.log)

    def log_is_readable(self) -> bool:
        """Tell whether all pages of a damaged log are there, although words in them may be wrong."""
        return wal.has_all_pages(self.log)

    def accept_log(self) -> None:
        """Accept the pages in the log as they are, with the wrong words in them; `IndexBusy` while the log is in use.

        A program that uses the log has its length and its checksum in memory. It could add nothing to a log that is
        written anew.
        """
        self.close()
        if is_open(self.path.with_name(self.path.name + "-shm")):
            sentence = "another program has the index open, so that its log cannot be repaired"
            raise IndexBusy(sentence, hint="end that program, then repair again")
        wal.accept(self.log)

    @contextmanager
    def reading(self) -> Iterator[sql.Connection]:
        """Give a read transaction. All statements in it see one state."""
        with ExitStack() as stack:
            connection = self._with_locks(stack)
            stamp = None
            if connection is None:
                stamp, engine = self._without_locks()
                connection = stack.enter_context(engine.connect())
                stack.enter_context(connection.begin())
            try:
                yield connection
            except IndexDamaged:
                self._demand_unchanged(stamp)  # what looks like damage may be a mixture of two states
                raise
            self._demand_unchanged(stamp)

    @contextmanager
    def writing(self, *, linked: bool = True) -> Iterator[sql.Connection]:
        """Give a write transaction, which is committed at the end.

        Unless `linked`, foreign keys are not checked: rows may refer to rows that do not exist. The transaction takes
        the write lock when it begins. By default the driver would take it at the first change, and two writers could
        both begin.
        """
        with self._engine.connect().execution_options(begin="IMMEDIATE") as connection:
            if not linked:
                driver: Any = connection.connection.driver_connection
                connection.detach()  # no later transaction gets this connection
                driver.execute("PRAGMA foreign_keys=OFF").close()  # has an effect outside of transactions only
            with connection.begin():
                yield connection

    def vacuum(self) -> None:
        """Write the file anew, without the space of deleted rows, and fold SQLite's log into it."""
        with self._engine.connect().execution_options(begin="") as connection:
            connection.exec_driver_sql("VACUUM").close()
        self.fold()

    def fold(self) -> None:
        """Fold SQLite's log into the file, except for the part that somebody who reads an earlier state still needs."""
        if not _size(self.log):
            return
        with self._engine.connect().execution_options(begin="") as connection:
            for pragma in ("busy_timeout=0", "wal_checkpoint(TRUNCATE)", f"busy_timeout={WAIT * 1000}"):
                connection.exec_driver_sql(f"PRAGMA {pragma}").close()

    def _with_locks(self, stack: ExitStack) -> sql.Connection | None:
        """Begin a read transaction in the usual way; None if that is impossible and there is no log to be read."""
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
        """Return the stamp of the file, and an engine that assumes that the file does not change."""
        stamp = _stamp(self.path)
        with self._mutex:
            if self._lockless is not None:
                known_stamp, engine = self._lockless
                if known_stamp == stamp:
                    return self._lockless
                engine.dispose()
            self._lockless = stamp, _engine(self.path, "mode=ro&immutable=1", (), self._demand_files)
            return self._lockless

    def _demand_unchanged(self, stamp: "_Stamp | None") -> None:
        if stamp is not None and stamp != _stamp(self.path):
            raise IndexBusy("the index was written to while it was read", hint="try again")


_SUFFIXES = ("", "-wal", "-shm", "-journal")
"""Suffixes of the database file and of the files that SQLite may keep beside it."""
_in_use_at_fork: set[Path] = set()
"""In a forked process: paths of the databases whose open connections, with their locks, belong to the parent."""
_DURABLY = ("journal_mode=WAL", "synchronous=FULL")
"""Pragmas of connections that may write: a commit is on the disk when it returns."""
_Stamp = tuple[int, int, int]
"""Inode, size and time of a file: at least one of them changes whenever the file is written to."""


def delete(path: Path) -> None:
    """Delete the database at `path` and the files that SQLite keeps beside it, where they exist."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


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
    """Return an engine for the file at `path`; `check` is called before each new connection."""
    uri = f"file:{quote_from_bytes(os.fsencode(path.absolute()))}?{parameters}"

    def connect() -> sqlite3.Connection:
        if path in _in_use_at_fork:
            sentence = f"{path} was in use when this process was forked, and SQLite cannot share it with the parent"
            raise RetrievalError(sentence, hint=forks.SPAWN)
        check()
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=WAIT)
        connection.text_factory = _text
        try:
            sqlite_functions.register(connection)
            for pragma in ("foreign_keys=ON", *pragmas):
                connection.execute(f"PRAGMA {pragma}").close()
        except BaseException as error:
            connection.close()
            if isinstance(error, UnicodeDecodeError):
                raise sqlite_errors.garbled() from error
            raise
        return connection

    engine = sql.create_engine("sqlite://", creator=connect, poolclass=sql.QueuePool, max_overflow=-1)
    sql.event.listen(engine, "begin", _begin)
    sql.event.listen(engine, "handle_error", sqlite_errors.translate)
    return engine


def _text(raw: bytes) -> str:
    """Read text even if a flipped bit made it invalid UTF-8, so that its row is recognised as damaged."""
    return raw.decode("utf-8", "surrogateescape")


def _begin(connection: sql.Connection) -> None:
    """Begin a transaction of the kind that the option `begin` of the connection names; "" begins none."""
    kind = connection.get_execution_options().get("begin", "DEFERRED")
    if kind:
        connection.exec_driver_sql(f"BEGIN {kind}")


@contextmanager
def in_memory() -> Iterator[sql.Connection]:
    """Give an empty database in memory."""
    engine = sql.create_engine("sqlite://")
    try:
        with engine.connect() as connection, connection.begin():
            yield connection
    finally:
        engine.dispose()


# -- statements ---------------------------------------------------------------------------------------------------


def upsert(table: sql.Table, *, key: Sequence[str], values: Sequence[str]) -> sql.Insert:
    """Return a statement that inserts a row, or renews the columns `values` of the row that has the same `key`."""
    statement = insert(table)
    return statement.on_conflict_do_update(index_elements=key, set_={name: statement.excluded[name] for name in values})


def one_of(column: sql.ColumnElement[int], parameter: str) -> sql.ColumnElement[bool]:
    """Return the condition that `column` is one of the ids in the parameter named `parameter`; see `listed`."""
    return column.in_(sql.text(f"SELECT value FROM json_each(:{parameter})"))  # noqa: S608 - a name of ours


def listed(ids: Iterable[int]) -> str:
    """Return any number of ids as the value of one parameter of `one_of`."""
    return json.dumps(list(ids))


def is_listed(column: sql.ColumnElement[int], ids: Iterable[int]) -> sql.ColumnElement[bool]:
    """Return the condition that `column` is one of any number of ids."""
    return column.in_(sql.select(sql.func.json_each(listed(ids)).table_valued("value").c.value))


def by_index(statement: sql.Select[Any], table: sql.FromClause, index: str) -> sql.Select[Any]:
    """Return `statement`, which is to find the rows of `table` by `index`, where SQLite would choose a slower index."""
    return statement.with_hint(table, f"INDEXED BY {index}", "sqlite")


def partial_index(name: str, *columns: sql.Column[Any], where: sql.ColumnElement[bool]) -> sql.Index:
    """Add an index over the rows that meet the condition `where` to the table of `columns`."""
    return sql.Index(name, *columns, sqlite_where=where)


# -- checks and repairs -------------------------------------------------------------------------------------------


Definition = tuple[str, ...]
"""Type, name, table and SQL of a table or an index, without white space."""


def complaints(connection: sql.Connection) -> Iterator[str]:
    """Yield the complaints of SQLite's own check, one line each."""
    for (complaint,) in connection.exec_driver_sql("PRAGMA integrity_check(20)"):
        if complaint != "ok":
            yield " ".join(str(complaint).split())


def structural_damage(connection: sql.Connection, definitions: set[Definition]) -> Iterator[str]:
    """Yield a sentence for each complaint of SQLite, for each broken reference, and for tables that are changed.

    `definitions` are the right definitions of the tables.
    """
    yield from complaints(connection)
    for table, _row, referred, _key in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"a row of the table {table} refers to a missing row of the table {referred}"
    if definitions_of(connection) != definitions:
        yield "the definitions of the tables are not the definitions of this format"


def definitions_of(connection: sql.Connection) -> set[Definition]:
    """Return the definitions of all tables and indexes of the database."""
    rows = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_schema")
    return {tuple("".join(str(value).split()) for value in row) for row in rows}


def rebuild_indexes(connection: sql.Connection) -> None:
    """Build SQLite's own indexes anew from the tables."""
    connection.exec_driver_sql("REINDEX")


def check_keys_at_the_end(connection: sql.Connection) -> None:
    """Let foreign keys be checked at the end of the transaction instead of at each statement."""
    connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")


def one_bit_away(value: Any) -> Iterator[Any]:  # noqa: ANN401 - a value that SQLite stores
    """Yield each value from which `value` can have come by the flip of one bit in what SQLite stores."""
    match value:
        case bytes():
            for bit in range(8 * len(value)):
                byte = value[bit // 8] ^ (1 << bit % 8)
                yield value[: bit // 8] + bytes([byte]) + value[bit // 8 + 1 :]
        case str():
            for raw in one_bit_away(value.encode("utf-8", "surrogateescape")):
                yield raw.decode("utf-8", "surrogateescape")
        case int():
            for bit in range(63):
                yield value ^ (1 << bit)
            for size in (1, 2, 3, 4, 6, 8):  # bytes in which SQLite may store an integer; the first bit is the sign
                sign = 1 << (8 * size - 1)
                yield value + sign if value < 0 else value - sign
