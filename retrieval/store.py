"""THE COMMIT: rows and vectors that change together.

    1  vectors.append    a segment, durable, that nobody names yet
    2  transaction       generation N+1 with its refs (its primary key is the writers' lock), image and file rows
    3  COMMIT            the sole commit point
    4  sweep             delete files that no kept generation names

    killed after    a reader sees      left behind                     who cleans
    1               N, whole           a segment without a name        the next writer's sweep
    2               N, rolled back     the same                        the same
    3               N+1, whole         segments that only N-1 used     the same

The metadata decides what exists; the vectors only propose. The current and the previous generation are kept, so that a
reader that has just read refs finds the files. Merges and repairs are commits like any other.
"""

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sql
from filelock import FileLock, Timeout

from retrieval import database, metadata, plugins
from retrieval.errors import IndexBusy, IndexDamaged, IndexExists, IndexNotFound, StorageError
from retrieval.metadata import FileRow, Generation
from retrieval.types import Hits, Ids, Picture, Vectors
from retrieval.vectors import VectorSnapshot, VectorStore

DATABASE = "index.db"
LOCK = "writer.lock"
VECTORS = "vectors"
MOST_SEGMENTS = 16
"""Live segments at most; one more, and the smaller half is merged, so that each vector is rewritten a few times only: as
often as its segment's size doubles."""
GRACE = timedelta(minutes=10)
"""Age from which a file that no generation names is rubbish."""

log = logging.getLogger("retrieval")


@dataclass(frozen=True)
class Change:
    """What one commit changes."""

    files: Sequence[FileRow] = ()
    """Places to insert or renew."""
    pictures: Sequence[Picture] = ()
    """Contents that are new, in the order of `vectors`."""
    vectors: Vectors = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    forget: Sequence[int] = ()
    """Ids of places to forget."""


@dataclass(frozen=True)
class View:
    """One committed state, inside one read transaction."""

    connection: sql.Connection
    generation: Generation
    snapshot: VectorSnapshot
    live: Ids | None
    """The ids of all images where some vectors have none; None where every vector has one."""

    def search(self, queries: Vectors, k: int) -> Hits:
        """Return the `k` nearest images of each query, at most as many as there are."""
        return self.snapshot.search(queries, max(1, min(k, self.generation.images)), self.live)

    def vector(self, id_: int) -> Vectors:
        """Return the stored vector of an image, (1, dim)."""
        return self.snapshot.get(np.array([id_]))


class Store:
    """An index on disk. Any number of threads and processes read; one writes at a time, inside `writing`."""

    def __init__(self, folder: Path) -> None:
        """Open the index in `folder`; `IndexNotFound`, `IndexTooNew`, `IndexDamaged`."""
        if not (folder / DATABASE).is_file():
            raise IndexNotFound(f"there is no index in {folder}", hint="make one with: retrieval index FOLDER")
        self.folder = folder
        self.vectors: VectorStore = plugins.load("vectors:faiss")(folder / VECTORS)
        self._lock = FileLock(folder / LOCK, timeout=0)
        self._mutex = threading.Lock()
        self._opened: tuple[tuple[str, ...], VectorSnapshot] | None = None
        self._live: tuple[int, Ids | None] | None = None
        self.writable = os.access(folder, os.W_OK)
        self._engine = _engine(folder / DATABASE, writable=self.writable)
        with self._engine.connect() as connection, connection.begin():
            outdated = metadata.version(connection) < len(metadata.MIGRATIONS)
        if outdated:
            with self.writing(), self._transaction() as connection:
                metadata.migrate(connection)

    @staticmethod
    def refuse_existing(folder: Path) -> None:
        """Raise `IndexExists` where there is an index in `folder`."""
        if (folder / DATABASE).exists():
            raise IndexExists(f"there is an index in {folder} already", hint="open it, or choose another folder")

    @classmethod
    def create(cls, folder: Path, encoder: dict[str, Any]) -> "Store":
        """Make an empty index in `folder`, whose vectors come from `encoder` (a row of that table)."""
        try:
            (folder / VECTORS).mkdir(parents=True, exist_ok=True)
            with FileLock(folder / LOCK, timeout=0):
                cls.refuse_existing(folder)
                engine = database.engine(folder / DATABASE, writable=True)
                with engine.connect().execution_options(begin="IMMEDIATE") as connection, connection.begin():
                    metadata.migrate(connection)
                    metadata.put_encoder(connection, encoder)
                    metadata.insert_generation(connection, Generation(1, encoder["fingerprint"], 0, 0, 0, ()))
                engine.dispose()
        except Timeout:
            raise _busy(folder) from None
        except OSError as error:
            raise _storage_error(error) from error
        return cls(folder)

    def close(self) -> None:
        """Let go of the database. The last to do so folds SQLite's log into it."""
        self._engine.dispose()
        self._opened = None

    # -- reading --------------------------------------------------------------------------------------------------

    @contextmanager
    def connection(self) -> Iterator[sql.Connection]:
        """Give a read transaction over the rows alone."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def reading(self) -> Iterator[View]:
        """Give the latest committed state: refs and rows of one read transaction, and the vectors they name."""
        self._heal()
        with self.connection() as connection:
            generation = metadata.latest(connection)
            yield View(connection, generation, self._snapshot(generation), self._alive(connection, generation))

    def _snapshot(self, generation: Generation) -> VectorSnapshot:
        with self._mutex:
            if self._opened is None or self._opened[0] != generation.refs:
                self._opened = generation.refs, self.vectors.snapshot(generation.refs)
            return self._opened[1]

    def _alive(self, connection: sql.Connection, generation: Generation) -> Ids | None:
        if generation.vectors == generation.images:
            return None
        with self._mutex:
            if self._live is None or self._live[0] != generation.number:
                self._live = generation.number, np.fromiter(metadata.image_ids(connection), dtype=np.int64)
            return self._live[1]

    def _heal(self) -> None:
        """Open the latest vectors, the newer ones where a writer swept them meanwhile; rebuild damaged structures."""
        for attempt in range(5):
            with self.connection() as connection:
                generation = metadata.latest(connection)
            try:
                fresh = self._opened is None or self._opened[0] != generation.refs
                snapshot = self._snapshot(generation)
                break
            except IndexDamaged:
                with self.connection() as connection:
                    if attempt == 4 or metadata.latest(connection).refs == generation.refs:  # noqa: PLR2004 - the last of five
                        raise
        if fresh and snapshot.damaged:
            self._rebuild_structures(snapshot.damaged)

    def _rebuild_structures(self, damaged: Sequence[str]) -> None:
        what = f"the search structure of {len(damaged)} of the index's segments was missing or damaged"
        try:
            with self.writing():
                self._merge([[ref] for ref in damaged])
        except (IndexBusy, StorageError):
            log.warning("%s; searching the vectors without it", what)
        else:
            log.warning("%s; it was rebuilt from the vectors", what)

    # -- writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the writer; `IndexBusy` at once where another is, `StorageError` where nobody can be."""
        if not self.writable:
            raise StorageError(f"{self.folder} is read-only", hint="copy the index to a folder that can be written")
        try:
            with self._lock:
                yield
        except Timeout:
            raise _busy(self.folder) from None

    @contextmanager
    def _transaction(self) -> Iterator[sql.Connection]:
        with self._engine.connect().execution_options(begin="IMMEDIATE") as connection, connection.begin():
            yield connection

    def commit(self, change: Change) -> None:
        """Make `change` the next generation, whole or not at all; within `writing`."""
        segment = self._append(change)
        with self._transaction() as connection:
            before = metadata.latest(connection)
            self._write(connection, before, change, segment)
        self._tidy()

    def edit(self, statement: Any, *arguments: Any) -> Any:  # noqa: ANN401 - any function of `metadata`
        """Run `statement(connection, *arguments)` in a transaction of its own; within `writing`.

        For what is no new generation: roots, encoders, repairs.
        """
        with self._transaction() as connection:
            return statement(connection, *arguments)

    def _append(self, change: Change) -> tuple[tuple[str, int], ...]:
        if not change.pictures:
            return ()
        ids = np.array([picture.id for picture in change.pictures], dtype=np.int64)
        with _disk_errors():
            return ((self.vectors.append(ids, change.vectors), len(ids)),)

    @staticmethod
    def _write(
        connection: sql.Connection, before: Generation, change: Change, segment: tuple[tuple[str, int], ...]
    ) -> None:
        metadata.insert_images(connection, change.pictures)
        left = metadata.delete_files(connection, change.forget) | metadata.put_files(connection, change.files)
        metadata.delete_homeless(connection, sorted(left))
        total = before.vectors + len(change.pictures)
        metadata.insert_generation(connection, before.following(connection, total, before.segments + segment))

    def _tidy(self) -> None:
        """Merge the smaller half of too many segments, or all where most vectors have no image; then sweep."""
        with self.connection() as connection:
            generation = metadata.latest(connection)
        if generation.vectors > 2 * generation.images:
            self._merge([generation.refs])
        elif len(generation.segments) > MOST_SEGMENTS:
            smallest = sorted(generation.segments, key=lambda segment: segment[1])[: MOST_SEGMENTS // 2 + 1]
            self._merge([[ref for ref, _ in smallest]])
        self.sweep(GRACE)

    def compact(self) -> None:
        """Put all vectors that have an image into one segment, and give back the space of what is gone."""
        with self.writing():
            with self.connection() as connection:
                generation = metadata.latest(connection)
            if len(generation.segments) > 1 or generation.vectors != generation.images:
                self._merge([generation.refs])
            self._merge([])  # the previous generation still names what was merged
            self.sweep(timedelta(0))
            database.vacuum(self._engine)

    def _merge(self, groups: Sequence[Sequence[str]]) -> None:
        """Commit a generation in which each of `groups` is one segment of the vectors that have an image."""
        with self.connection() as connection:
            before = metadata.latest(connection)
            live = np.fromiter(metadata.image_ids(connection), dtype=np.int64)
        segments = list(before.segments)
        for group in groups:
            with _disk_errors():
                ref = self.vectors.merge(group, live)
            segments = [segment for segment in segments if segment[0] not in group]
            segments += [(ref, self.vectors.snapshot([ref]).count)] if ref else []
        total = sum(count for _, count in segments)
        with self._transaction() as connection:
            metadata.insert_generation(connection, before.following(connection, total, tuple(segments)))

    def sweep(self, older_than: timedelta) -> int:
        """Delete vector files that no kept generation names and that are older than that; within `writing`."""
        with self.connection() as connection:
            keep = metadata.kept_refs(connection)
        with _disk_errors():
            return self.vectors.sweep(keep, older_than)

    # -- facts ----------------------------------------------------------------------------------------------------

    def bytes(self) -> int:
        """Return how much the index takes on disk."""
        total = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with suppress(OSError):  # a file of SQLite's or a writer's that is gone again
                    total += (Path(folder) / name).stat().st_size
        return total


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _storage_error(error) from error


def _storage_error(error: OSError) -> Exception:
    if isinstance(error, StorageError | IndexExists):
        return error
    return StorageError(
        f"the index cannot be written: {error.strerror or error}",
        hint="what was committed before is whole; free some space or check the permissions, then run the same again",
    )


def _busy(folder: Path) -> IndexBusy:
    return IndexBusy(
        f"another process is writing to the index in {folder}",
        hint="wait until it has finished; queries work meanwhile",
    )


def _engine(path: Path, *, writable: bool) -> sql.Engine:
    """Open the database; where nothing can be written beside it and no writer is there, without SQLite's log."""
    log_file = path.with_name(path.name + "-wal")
    return database.engine(path, writable=writable, immutable=not writable and not log_file.exists())
