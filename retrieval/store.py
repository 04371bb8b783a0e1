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
reader that has just read refs finds the files. Merges and repairs are commits like any other. An index exists once its
first generation is committed: a creation that was cut short left none.
"""

import itertools
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from filelock import FileLock, Timeout

from retrieval import metadata, migrations, plugins
from retrieval.database import REPAIR, Database, network_file_system
from retrieval.errors import (
    IndexBusy,
    IndexDamaged,
    IndexExists,
    IndexNotFound,
    IndexTooNew,
    RetrievalError,
    StorageError,
)
from retrieval.metadata import FileRow, Generation
from retrieval.types import Hits, Ids, Picture, Vectors
from retrieval.vectors import VectorSnapshot, VectorStore

DATABASE = "index.db"
LOCK = "writer.lock"
VECTORS = "vectors"
MOST_SEGMENTS = 16
"""Live segments at most; one more, and some are merged."""
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
    vectors: Vectors | None = None
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
        import numpy as np

        try:
            return self.snapshot.get(np.array([id_]))
        except KeyError:
            raise IndexDamaged(f"the vector of image {id_} is missing", hint=REPAIR) from None


class Store:
    """An index on disk. Any number of threads and processes read; one writes at a time, inside `writing`."""

    def __init__(self, folder: Path) -> None:
        """Open the index in `folder`; `IndexNotFound`, `IndexTooNew`, `IndexDamaged`, `StorageError`."""
        if not _has_database(folder):
            raise _not_found(folder)
        self.folder = folder = folder.absolute()  # whatever becomes the working folder later
        self._database = Database(folder / DATABASE)
        self._lock = FileLock(folder / LOCK, timeout=0)
        self._mutex = threading.Lock()
        self._opened: tuple[tuple[str, ...], VectorSnapshot] | None = None
        self._live: tuple[int, Ids | None] | None = None
        try:
            self._demand_format()
        except BaseException:
            self.close()
            raise
        if kind := network_file_system(folder):
            log.warning(
                "the index is on a network file system (%s), where a crash or a second machine can damage it", kind
            )

    @cached_property
    def vectors(self) -> VectorStore:
        """Where the vectors are; what searches them is loaded when they are needed."""
        store: VectorStore = plugins.load("vectors:faiss")(self.folder / VECTORS)
        return store

    def _demand_format(self) -> None:
        """Bring an older format to the newest; `IndexTooNew`."""
        with self.connection() as connection:
            found = migrations.version(connection)
        if not found and not any((self.folder / VECTORS).glob("*")):
            raise _not_found(self.folder)  # its creation was cut short
        if not found:
            raise IndexDamaged("the database of the index is empty", hint="index the pictures into a new folder")
        if found < len(migrations.STEPS):
            with self.writing():
                self.edit(migrations.migrate)

    @staticmethod
    def refuse_existing(folder: Path) -> None:
        """Raise `IndexExists` where there is an index in `folder`, whole or not."""
        if _has_database(folder):
            with suppress(IndexNotFound):
                with suppress(IndexBusy, IndexDamaged, IndexTooNew, StorageError):
                    Store(folder).close()
                raise IndexExists(f"there is an index in {folder} already", hint="open it, or choose another folder")

    @classmethod
    def create(cls, folder: Path, encoder: dict[str, Any]) -> "Store":
        """Make an empty index in `folder`, whose vectors come from `encoder` (a row of that table)."""
        with disk_errors():
            (folder / VECTORS).mkdir(parents=True, exist_ok=True)
        with _held(FileLock(folder / LOCK, timeout=0), folder):
            cls.refuse_existing(folder)
            with disk_errors():  # what is left of an index whose database was deleted must never be found again
                plugins.load("vectors:faiss")(folder / VECTORS).sweep((), timedelta(0))
            made = Database(folder / DATABASE, create=True)
            try:
                with made.writing() as connection:
                    migrations.migrate(connection)
                    metadata.put_encoder(connection, encoder)
                    metadata.insert_generation(connection, Generation(1, encoder["fingerprint"], 0, 0, 0, ()))
            finally:
                made.close()
        return cls(folder)

    @property
    def writable(self) -> bool:
        """Whether the index can be changed by whoever runs this."""
        return self._database.writable

    def close(self) -> None:
        """Let go of the files; the last to do so folds SQLite's log into the database."""
        self._database.close()
        self._opened = None

    # -- reading --------------------------------------------------------------------------------------------------

    @contextmanager
    def connection(self) -> Iterator[sql.Connection]:
        """Give a read transaction over the rows alone."""
        with self._database.reading() as connection:
            yield connection

    @contextmanager
    def reading(self, *, heal: bool = True) -> Iterator[View]:
        """Give the latest committed state: refs and rows of one read transaction, and the vectors they name.

        Search structures that are damaged are rebuilt with one line of notice if `heal`; the answers do without them.
        """
        with ExitStack() as stack:
            connection, generation, snapshot = self._latest(stack, heal=heal)
            yield View(connection, generation, snapshot, self._alive(connection, generation))

    def _latest(self, stack: ExitStack, *, heal: bool) -> tuple[sql.Connection, Generation, VectorSnapshot]:
        """Begin to read, anew where a writer committed and swept between refs and files."""
        while True:
            connection = stack.enter_context(self.connection())
            generation = metadata.latest(connection)
            try:
                return connection, generation, self._snapshot(generation, heal=heal)
            except IndexDamaged:
                stack.close()
                with self.connection() as later:
                    if metadata.latest(later).number == generation.number:
                        raise

    def _snapshot(self, generation: Generation, *, heal: bool) -> VectorSnapshot:
        with self._mutex:
            opened = self._opened
            fresh = opened is None or opened[0] != generation.refs
            if opened is None or fresh:
                opened = self._opened = generation.refs, self.vectors.snapshot(generation.refs)
        snapshot = opened[1]
        if heal and fresh and snapshot.damaged:
            self._rebuild_structures(snapshot.damaged)
        return snapshot

    def _alive(self, connection: sql.Connection, generation: Generation) -> Ids | None:
        if generation.vectors == generation.images:
            return None
        with self._mutex:
            if self._live is None or self._live[0] != generation.number:
                self._live = generation.number, metadata.image_ids(connection)
            return self._live[1]

    def _rebuild_structures(self, damaged: Sequence[str]) -> None:
        what = f"the search structure of {len(damaged)} of the index's segments was missing or damaged"
        try:
            with self.writing():
                self._merge([[ref] for ref in damaged])
        except (IndexBusy, IndexDamaged, StorageError):
            log.warning("%s; searching the vectors without it", what)
        else:
            log.warning("%s; it was rebuilt from the vectors", what)

    # -- writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the writer; `IndexBusy` at once where another is, `StorageError` where nobody can be."""
        if not self.writable:
            raise StorageError(f"{self.folder} is read-only", hint="copy the index to a folder that can be written")
        with _held(self._lock, self.folder):
            yield

    def commit(self, change: Change) -> None:
        """Make `change` the next generation, whole or not at all; within `writing`."""
        segment = self._append(change)
        with self._database.writing() as connection:
            self._write(connection, change, segment)
        self._tidy()

    def edit(self, statement: Any, *arguments: Any) -> Any:  # noqa: ANN401 - any function of `metadata`
        """Return `statement(connection, *arguments)` of a transaction of its own; within `writing`.

        For what is no change of images or files, and so no new generation (roots, encoders, migrations), and for what
        inserts that itself.
        """
        with self._database.writing() as connection:
            return statement(connection, *arguments)

    def _append(self, change: Change) -> tuple[tuple[str, int], ...]:
        if change.vectors is None or not change.pictures:
            return ()
        import numpy as np

        ids = np.array([picture.id for picture in change.pictures], dtype=np.int64)
        with disk_errors():
            return ((self.vectors.append(ids, change.vectors), len(ids)),)

    @staticmethod
    def _write(connection: sql.Connection, change: Change, segment: tuple[tuple[str, int], ...]) -> None:
        before = metadata.latest(connection)
        metadata.insert_images(connection, change.pictures)
        left = metadata.delete_files(connection, change.forget) | metadata.put_files(connection, change.files)
        metadata.delete_homeless(connection, sorted(left))
        # The same vectors as once before are the same segment, which may be there still.
        segments = before.segments + tuple(part for part in segment if part[0] not in before.refs)
        metadata.insert_generation(connection, before.following(connection, segments))

    def _tidy(self) -> None:
        """Merge what is worth it, then sweep."""
        while refs := self._worth_merging():
            self._merge([refs])
        self.sweep(GRACE)

    def _worth_merging(self) -> Sequence[str]:
        """Return all segments if most vectors have no image; if they are too many, the smallest.

        Of those, as many as let the largest of them grow most in proportion. So each vector is rewritten only as often
        as its segment grows manifold: 4 times in 20,000 commits of one image.
        """
        with self.connection() as connection:
            generation = metadata.latest(connection)
        if generation.vectors > 2 * generation.images:
            return generation.refs
        if len(generation.segments) <= MOST_SEGMENTS:
            return ()
        ordered = sorted(generation.segments, key=lambda segment: segment[1])
        sizes = [count for _, count in ordered]
        growth = [total / size for total, size in zip(itertools.accumulate(sizes), sizes, strict=True)]
        return [ref for ref, _ in ordered[: growth.index(max(growth[1:]), 1) + 1]]

    def compact(self) -> None:
        """Put all vectors that have an image into one segment, and give back the space of what is gone."""
        with self.writing():
            with self.connection() as connection:
                generation = metadata.latest(connection)
            if len(generation.segments) > 1 or generation.vectors != generation.images:
                self._merge([generation.refs])
            self.edit(_repeat)  # the previous generation still names what was merged
            self.sweep(timedelta(0))
            self.vacuum()

    def _merge(self, groups: Sequence[Sequence[str]]) -> None:
        """Commit a generation in which each of `groups` is one segment of the vectors that have an image."""
        with self.connection() as connection:
            before = metadata.latest(connection)
            live = metadata.image_ids(connection)
        segments = list(before.segments)
        for group in groups:
            if set(group) <= set(before.refs):  # else another writer was faster than the reader who found it damaged
                segments = [segment for segment in segments if segment[0] not in group]
                segments += self.merged(group, live)
        self.edit(_replace, segments)
        self._opened = None  # the same vectors have the same names, whatever became of their files

    def merged(self, refs: Sequence[str], live: Ids) -> Sequence[tuple[str, int]]:
        """Write the vectors of `refs` whose ids are in `live` as one segment, if there are any; return what it is."""
        with disk_errors():
            ref = self.vectors.merge(refs, live)
            return [(ref, self.vectors.snapshot([ref]).count)] if ref else []

    def sweep(self, older_than: timedelta) -> int:
        """Delete vector files that no kept generation names and that are older than that; within `writing`."""
        with self.connection() as connection:
            keep = metadata.kept_refs(connection)
        with disk_errors():
            return self.vectors.sweep(keep, older_than)

    def vacuum(self) -> None:
        """Write the database anew, which puts right what is wrong with it between its rows; within `writing`."""
        self._database.vacuum()

    # -- facts ----------------------------------------------------------------------------------------------------

    def bytes(self) -> int:
        """Return how much the index takes on disk."""
        total = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with suppress(OSError):  # a file of SQLite's or a writer's that is gone again
                    total += (Path(folder) / name).stat().st_size
        return total


def _replace(connection: sql.Connection, segments: Sequence[tuple[str, int]]) -> None:
    """Make the next generation one of other segments that hold the same images."""
    metadata.insert_generation(connection, metadata.latest(connection).following(connection, tuple(segments)))


def _repeat(connection: sql.Connection) -> None:
    """Make the next generation the same again, so that none before it is kept."""
    _replace(connection, metadata.latest(connection).segments)


def _has_database(folder: Path) -> bool:
    with disk_errors():
        return (folder / DATABASE).is_file()


def _not_found(folder: Path) -> IndexNotFound:
    return IndexNotFound(f"there is no index in {folder}", hint="make one with: retrieval index FOLDER")


@contextmanager
def _held(lock: FileLock, folder: Path) -> Iterator[None]:
    """Hold the writers' lock, which the system takes back from a process that dies."""
    try:
        lock.acquire()
    except Timeout:
        raise IndexBusy(
            f"another process is writing to the index in {folder}",
            hint="wait until it has finished; queries work meanwhile",
        ) from None
    except OSError as error:
        raise _storage_error(error) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def disk_errors() -> Iterator[None]:
    """Say what the system says about the disk in our words."""
    try:
        yield
    except RetrievalError:
        raise
    except OSError as error:
        raise _storage_error(error) from error


def _storage_error(error: OSError) -> StorageError:
    return StorageError(
        f"the index cannot be used: {error.strerror or error}",
        hint="what was committed before is whole; free some space or check the permissions, then run the same again",
    )
