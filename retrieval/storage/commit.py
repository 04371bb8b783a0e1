"""THE COMMIT: rows and vectors that change together.

    1  vectors.append    write a segment, durable, which no generation names yet
    2  transaction       insert generation N+1 with its refs, change the rows of images and files;
                         the primary key of the generations keeps a second writer out
    3  COMMIT            <- the only commit point
    4  sweep             delete the files that no kept generation names

    killed after    a reader sees      left behind                     cleaned up by
    1               N, whole           a segment that nobody names     the sweep of the next writer
    2               N, rolled back     a segment that nobody names     the sweep of the next writer
    3               N+1, whole         segments that only N-1 named    the sweep of the next writer

The rows decide which images exist: a vector without a row is never a result. The current and the previous generation
are kept, so that a reader that has just read the refs still finds the files. Merges (`compaction`) and repairs
(`repair`) are commits as well. An index exists once its first generation is committed: a creation that was cut short
leaves no index.
"""

import logging
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from filelock import FileLock
from sqlalchemy.exc import StatementError

from retrieval.disk import files
from retrieval.disk.files import disk_errors
from retrieval.disk.locks import held
from retrieval.disk.mounts import network_file_system
from retrieval.errors import (
    IndexBusy,
    IndexDamaged,
    IndexExists,
    IndexNotFound,
    IndexTooNew,
    RetrievalError,
    StorageError,
)
from retrieval.process import forks
from retrieval.storage import metadata_rows, migrations, queries, root_rows, witness
from retrieval.storage.compaction import VECTORS, Segments, vector_store
from retrieval.storage.records import Generation, Root
from retrieval.storage.rows import LOCK, Rows
from retrieval.storage.settings import FLOAT16, SEARCH
from retrieval.storage.sqlite import Database
from retrieval.storage.view import Change, View
from retrieval.storage.witness import Losses
from retrieval.types import displayed
from retrieval.vectors import Options, SizedRef, VectorSnapshot, VectorStore

DATABASE = "index.db"
ARTEFACTS = "encoder"
"""Name of the folder of artefacts. It is called after the first artefact, the compiled network."""
FILES, FOLDERS = (DATABASE, LOCK, witness.NAME), (VECTORS, ARTEFACTS)
"""Names in the folder of an index that must be regular files and folders, or be missing; links are refused."""
LIVE = "live"
"""Name of the statistic with the ids of all images. It is set if some vectors no longer belong to an image."""

log = logging.getLogger("retrieval")


class UnstorableError(ValueError):
    """The database cannot store a value of a change; nothing was committed."""


class Store:
    """An index on disk. Any number of threads and processes read. One process writes at a time, inside `writing`."""

    def __init__(self, folder: Path) -> None:
        """Open the index in `folder`.

        Raises `IndexNotFound`, `IndexTooNew`, `IndexDamaged` and `StorageError`, and `IndexBusy` if an index of an
        older format must be converted while another process is writing.
        """
        if not _has_database(folder):
            raise _not_found(folder)
        self.folder = folder = folder.absolute()  # the working folder may be another one later
        files.demand_own_in(folder, FILES, FOLDERS)
        self._database = Database(folder / DATABASE)
        self.losses = Losses(folder, self._database)
        self.segments = Segments(folder, self._database, self.losses)
        """For use within `storage` only."""
        self._statistics: tuple[int, dict[str, Any]] = (0, {})  # number of a generation, and its statistics
        self._begin()
        forks.in_child(self._begin)
        try:
            self.look()
        except BaseException:
            self._database.close()
            raise
        kind = network_file_system(folder)
        if kind:
            log.warning(
                "the index is on a network file system (%s), where a crash or a second machine can damage it", kind
            )

    def _begin(self) -> None:
        self._lock, self._mutex = FileLock(self.folder / LOCK, timeout=0), threading.Lock()

    def look(self) -> None:
        """Bring the index to the newest format, and check that no committed change is lost, if the log can be read."""
        if not self.losses.known:
            self._demand_format()
            self.losses.look()

    def _demand_format(self) -> None:
        """Bring an index of an older format to the newest one; `IndexTooNew` for a format of a later version."""
        with self.connection() as connection:
            found = migrations.version(connection)
        if not found and not any((self.folder / VECTORS).glob("*")):
            raise _not_found(self.folder)  # its creation was cut short
        if not found:
            raise IndexDamaged("the database of the index is empty", hint="index the pictures into a new folder")
        if found < len(migrations.STEPS):
            refusal = f"is read-only, and has the older format {found}, which must be converted first"
            with self.writing(refusal), self._database.writing(linked=False) as connection:
                migrations.migrate(connection)

    @staticmethod
    def exists(folder: Path) -> bool:
        """Tell whether `folder` holds an index, or something that cannot be looked at: opening it gives the reason.

        An empty database is what a creation that was interrupted at its very beginning leaves: it is no index.
        """
        try:
            status = os.stat(folder / DATABASE)
            return stat.S_ISREG(status.st_mode) and status.st_size > 0
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True

    @staticmethod
    def refuse_existing(folder: Path) -> None:
        """Raise `IndexExists` if there is an index in `folder`, also if it is damaged, busy or too new."""
        if _has_database(folder):
            with suppress(IndexNotFound):
                with suppress(IndexBusy, IndexDamaged, IndexTooNew, StorageError):
                    Store(folder).close()
                raise IndexExists(f"there is an index in {folder} already", hint="open it, or choose another folder")

    @classmethod
    def create(cls, folder: Path, encoder: dict[str, Any], settings: Mapping[str, Any] | None = None) -> "Store":
        """Make an empty index in `folder`, and open it.

        `encoder` is a row of the table `encoders`: the network that makes the vectors. `settings` are the first
        settings, by name. Raises `IndexExists`, `IndexBusy`, `StorageError`, and `BadInput` for impossible options of
        search structures.
        """
        chosen = settings or {}
        vector_store(folder).check(chosen.get(SEARCH) or {}, encoder["dim"])
        files.demand_own_in(folder, FILES, FOLDERS)
        with disk_errors():
            (folder / VECTORS).mkdir(parents=True, exist_ok=True)
        with held(FileLock(folder / LOCK, timeout=0), folder):
            cls.refuse_existing(folder)
            with disk_errors():  # the vectors of an index whose database was deleted must never be found again
                vector_store(folder).sweep((), timedelta(0))
                (folder / witness.NAME).unlink(missing_ok=True)
            database = Database(folder / DATABASE, create=True)
            try:
                with database.writing() as connection:
                    _insert_first_rows(connection, encoder, chosen)
            finally:
                database.close()
            witness.record(folder, 1)
        return cls(folder)

    @property
    def writable(self) -> bool:
        """Whether this process may change the files of the index."""
        return self._database.writable

    def close(self) -> None:
        """Close all files. The last process to close the index folds SQLite's log into the database."""
        self._database.close()
        self.segments.close()

    # -- reading --------------------------------------------------------------------------------------------------

    @property
    def vectors(self) -> VectorStore:
        """The vector store of the index."""
        return self.segments.vectors

    @property
    def float16(self) -> bool:
        """Whether new vectors are stored as float16."""
        with self.rows() as rows:
            return bool(rows.setting(FLOAT16))

    @property
    def search_options(self) -> Options:
        """The options that were chosen for search structures."""
        return self.segments.options

    @contextmanager
    def connection(self) -> Iterator[sql.Connection]:
        """Give a read transaction, for use within `storage` only."""
        with self._database.reading() as connection:
            yield connection

    @contextmanager
    def rows(self) -> Iterator[Rows]:
        """Give the rows of the latest committed state, without its vectors."""
        with self.connection() as connection:
            yield Rows(connection, self.folder)

    @contextmanager
    def reading(self) -> Iterator[View]:
        """Give the latest committed state: its rows, read in one transaction, and its vectors.

        Raises `IndexDamaged` if committed changes are lost, or if files of vectors are missing.
        """
        self.losses.demand_none()
        with ExitStack() as stack:
            rows, snapshot = self._latest(stack)
            statistics = self._statistics_of(rows.generation)
            if rows.generation.vectors != rows.generation.images and LIVE not in statistics:
                statistics[LIVE] = rows.image_ids()
            yield View(rows, snapshot, statistics.get(LIVE), statistics)

    def _statistics_of(self, generation: Generation) -> dict[str, Any]:
        """Return the statistics that all views of this generation share. A new generation begins with none."""
        with self._mutex:
            if self._statistics[0] != generation.number:
                self._statistics = generation.number, {}
            return self._statistics[1]

    def _latest(self, stack: ExitStack) -> tuple[Rows, VectorSnapshot]:
        """Read the rows and open the files that they name.

        If a file is missing because a writer has committed and swept in between, begin again with the newer rows.
        """
        while True:
            rows = stack.enter_context(self.rows())
            try:
                return rows, self.segments.snapshot(rows)
            except IndexDamaged:
                number = rows.generation.number
                stack.close()
                with self.rows() as later:
                    if later.generation.number == number:
                        raise

    # -- writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, refusal: str = "is read-only", *, damaged: bool = False) -> Iterator[None]:
        """Be the only writer during the block, and fold SQLite's log into the database at its end.

        Raises `IndexBusy` at once if another process is writing, and `StorageError` if the index cannot be written; its
        sentence is the path of the folder and then `refusal`. Raises `IndexDamaged` if committed changes are lost, but
        not with `damaged`, which a repair gives.
        """
        if not self.writable:
            raise StorageError(f"{self.folder} {refusal}", hint="copy the index to a folder that can be written")
        if not damaged:
            self.losses.demand_none()
        files.demand_own_in(self.folder, FILES, FOLDERS)
        with held(self._lock, self.folder):
            yield
            if not damaged and self._lock.lock_counter == 1:
                self._database.fold()

    def commit(self, change: Change) -> None:
        """Make `change` the next generation, whole or not at all; within `writing`.

        Raises `UnstorableError` if the database cannot store a value of `change`, such as a number of over 64 bits.
        """
        try:
            segment = self._append(change)
            with self._database.writing() as connection:
                number = self._write(connection, change, segment)
        except RetrievalError:
            raise
        except (OverflowError, ValueError, StatementError) as error:
            raise UnstorableError(str(error)) from error
        witness.record(self.folder, number)
        self.segments.tidy()

    def _append(self, change: Change) -> tuple[SizedRef, ...]:
        """Write the vectors of `change`, if it has any, as a segment that no generation names yet."""
        if change.vectors is None or not change.pictures:
            return ()
        import numpy as np

        ids = np.array([picture.id for picture in change.pictures], dtype=np.int64)
        return (self.segments.append(ids, change.vectors),)

    def _write(self, connection: sql.Connection, change: Change, segment: tuple[SizedRef, ...]) -> int:
        """Write the rows of `change` and the next generation, and return the number of that generation."""
        before = queries.latest(connection)
        queries.insert_images(connection, change.pictures)
        metadata_rows.put(connection, change.metadata)
        displaced = queries.delete_files(connection, change.forget)
        displaced |= queries.put_files(connection, change.files)
        queries.delete_homeless(connection, sorted(displaced))
        known = {self.vectors.without_structure(ref) for ref in before.refs}  # equal vectors have equal refs
        segments = before.segments + tuple(part for part in segment if part[0] not in known)
        queries.insert_generation(connection, queries.following(connection, before, segments))
        return before.number + 1

    def settle(self) -> None:
        """Leave few segments, with sound search structures, for queries to visit; at the end of `writing`."""
        self.segments.settle()

    def choose(self, **chosen: Any) -> None:  # noqa: ANN401 - options that only the vector store understands
        """Choose the search structures that are built from now on; `BadInput` for impossible options."""
        options = {**self.search_options, **chosen}
        if options != self.search_options:
            self.segments.check(options)
            with self.writing():
                self.put_setting(SEARCH, options)

    def compact(self) -> None:
        """Put all vectors that have an image into one segment, and give back the space of everything else."""
        with self.writing():
            self.segments.compact()

    def vacuum(self) -> None:
        """Write the database anew, which repairs damage between its rows; within `writing`."""
        self._database.vacuum()

    def edit(self, statement: Any, *arguments: Any) -> Any:  # noqa: ANN401 - any function over a connection
        """Return `statement(connection, *arguments)`, run in a write transaction; for use within `storage` only.

        `statement` changes no image and no file, or inserts a generation itself.
        """
        with self._database.writing() as connection:
            return statement(connection, *arguments)

    def put_setting(self, name: str, value: Any) -> None:  # noqa: ANN401 - what JSON can hold
        """Set the setting `name`; None deletes it; within `writing`."""
        self.edit(queries.put_setting, name, value)

    def put_encoder(self, row: Mapping[str, Any]) -> None:
        """Insert the row of an encoder, or renew it; within `writing`."""
        self.edit(queries.put_encoder, row)

    def put_root(self, root: Root) -> None:
        """Renew the row of a root; within `writing`."""
        self.edit(root_rows.put_root, root)

    def delete_root(self, root: int) -> None:
        """Forget a root, which must have no places; within `writing`."""
        self.edit(root_rows.delete_root, root)


def _insert_first_rows(connection: sql.Connection, encoder: dict[str, Any], settings: Mapping[str, Any]) -> None:
    migrations.migrate(connection)
    queries.put_encoder(connection, encoder)
    for name, value in settings.items():
        queries.put_setting(connection, name, value)
    queries.insert_generation(connection, Generation(1, encoder["fingerprint"], 0, 0, 0, ()))


def _has_database(folder: Path) -> bool:
    with disk_errors():
        return (folder / DATABASE).is_file()


def _not_found(folder: Path) -> IndexNotFound:
    return IndexNotFound(f"there is no index in {displayed(folder)}", hint="make one with: retrieval index FOLDER")
