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

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from functools import cached_property
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
from retrieval.storage import migrations, queries, root_rows, witness
from retrieval.storage.roots import Root
from retrieval.storage.rows import LOCK, Rows
from retrieval.storage.sqlite import Database
from retrieval.storage.tables import Generation
from retrieval.storage.view import Change, View, demand_fitting
from retrieval.storage.witness import Losses
from retrieval.types import Ids, displayed
from retrieval.vectors import Options, SizedRef, VectorSnapshot, VectorStore, open_store

DATABASE = "index.db"
VECTORS, ARTEFACTS = "vectors", "encoder"
"""Folders: of segments, and of artefacts. The second is called after the first artefact, the compiled network."""
FILES, FOLDERS = (DATABASE, LOCK, witness.NAME), (VECTORS, ARTEFACTS)
MOST_SEGMENTS = 16
"""Live segments at most; one more, and some are merged."""
PATIENT = 8
"""Patience within a run: a structure is built once this many times more vectors have none than a query may scan."""
SEARCH, RANKING, MEAN, TAGGED = "search", "ranking", "mean", "tagged"
"""Settings: the options of search structures, which the vector store alone understands; the ranking in force, and why;
the mean of the vectors when the index was tuned; up to which generation the images have tags."""
LIVE = "live"
"""Name of the statistic with the ids of all images. It is there where some vectors belong to no image any more."""
GRACE = timedelta(minutes=10)
"""Age from which a file that no generation names is rubbish."""

log = logging.getLogger("retrieval")


class UnstorableError(ValueError):
    """The database has no room for a value of a change; nothing was committed."""


class Store:
    """An index on disk. Any number of threads and processes read; one writes at a time, inside `writing`."""

    def __init__(self, folder: Path) -> None:
        """Open the index in `folder`; `IndexNotFound`, `IndexTooNew`, `IndexDamaged`, `StorageError`."""
        if not _has_database(folder):
            raise _not_found(folder)
        self.folder = folder = folder.absolute()  # whatever becomes the working folder later
        files.demand_own_in(folder, FILES, FOLDERS)
        self._database = Database(folder / DATABASE)
        self._begin()
        forks.in_child(self._begin)
        self._told: tuple[str, ...] = ()  # the segments of which it was last said that a structure is damaged
        self._used_vectors = False  # vectors were read or written since the store was opened
        self._unmergeable = False  # damaged vectors were met, which stay as they are, and were said
        self._statistics: tuple[int, dict[str, Any]] = (0, {})
        self.losses = Losses(folder, self._database)
        try:
            self.look()
        except BaseException:
            self._database.close()
            raise
        if kind := network_file_system(folder):
            log.warning(
                "the index is on a network file system (%s), where a crash or a second machine can damage it", kind
            )

    def _begin(self) -> None:
        self._lock, self._mutex = FileLock(self.folder / LOCK, timeout=0), threading.Lock()
        self._opened: tuple[tuple[str, ...], VectorSnapshot] | None = None
        self.__dict__.pop("vectors", None)

    @cached_property
    def vectors(self) -> VectorStore:
        """Where the vectors are; what searches them is loaded when they are needed."""
        return _vector_store(self.folder, float16=self.float16)

    @property
    def float16(self) -> bool:
        """Whether vectors are kept in half the bytes."""
        return bool(self._setting("float16"))

    def look(self) -> None:
        """See that the format is the newest and that nothing is lost, as far as SQLite's log can be read."""
        if not self.losses.known:
            self._demand_format()
            self.losses.look()

    def _demand_format(self) -> None:
        """Bring an older format to the newest; `IndexTooNew`."""
        with self.connection() as connection:
            found = migrations.version(connection)
        if not found and not any((self.folder / VECTORS).glob("*")):
            raise _not_found(self.folder)  # its creation was cut short
        if not found:
            raise IndexDamaged("the database of the index is empty", hint="index the pictures into a new folder")
        if found < len(migrations.STEPS):
            old = f"is read-only, and has the older format {found}, which has to be renewed"
            with self.writing(old), self._database.writing(linked=False) as connection:
                migrations.migrate(connection)

    def _setting(self, name: str) -> Any:  # noqa: ANN401 - what JSON holds
        """Return a setting; None where it was never set, or where its row is damaged, which `verify` reports."""
        with self.rows() as rows:
            return rows.setting(name)

    @property
    def search_options(self) -> Options:
        """What was chosen for the structures that search large segments."""
        return self._setting(SEARCH) or {}

    def choose(self, **chosen: Any) -> None:  # noqa: ANN401 - options that only the vector store understands
        """Choose other structures, which are built from the next folding on; `BadInput` for impossible options."""
        options = {**self.search_options, **chosen}
        if options != self.search_options:
            self.vectors.check(options, self._dim(), self._generation().images)
            with self.writing():
                self.put_setting(SEARCH, options)

    @staticmethod
    def refuse_existing(folder: Path) -> None:
        """Raise `IndexExists` where there is an index in `folder`, whole or not."""
        if _has_database(folder):
            with suppress(IndexNotFound):
                with suppress(IndexBusy, IndexDamaged, IndexTooNew, StorageError):
                    Store(folder).close()
                raise IndexExists(f"there is an index in {folder} already", hint="open it, or choose another folder")

    @classmethod
    def create(cls, folder: Path, encoder: dict[str, Any], settings: Mapping[str, Any] | None = None) -> "Store":
        """Make an empty index in `folder`, whose vectors come from `encoder` (a row of that table)."""
        _vector_store(folder).check((settings or {}).get(SEARCH) or {}, encoder["dim"])
        files.demand_own_in(folder, FILES, FOLDERS)
        with disk_errors():
            (folder / VECTORS).mkdir(parents=True, exist_ok=True)
        with held(FileLock(folder / LOCK, timeout=0), folder):
            cls.refuse_existing(folder)
            with disk_errors():  # what is left of an index whose database was deleted must never be found again
                _vector_store(folder).sweep((), timedelta(0))
                (folder / witness.NAME).unlink(missing_ok=True)
            made = Database(folder / DATABASE, create=True)
            try:
                with made.writing() as connection:
                    migrations.migrate(connection)
                    queries.put_encoder(connection, encoder)
                    for name, value in (settings or {}).items():
                        queries.put_setting(connection, name, value)
                    queries.insert_generation(connection, Generation(1, encoder["fingerprint"], 0, 0, 0, ()))
            finally:
                made.close()
            witness.tell(folder, 1)
        return cls(folder)

    @property
    def writable(self) -> bool:
        """Whether the index can be changed by whoever runs this."""
        return self._database.writable

    def close(self) -> None:
        """Let go of the files; the last to do so folds SQLite's log into the database."""
        self._database.close()
        self._opened, self._used_vectors = None, False
        self.__dict__.pop("vectors", None)  # and with it what its snapshots have opened

    # -- reading --------------------------------------------------------------------------------------------------

    @contextmanager
    def connection(self) -> Iterator[sql.Connection]:
        """Give a read transaction, for the modules of this folder."""
        with self._database.reading() as connection:
            yield connection

    @contextmanager
    def rows(self) -> Iterator[Rows]:
        """Give the rows of the latest committed state, without its vectors."""
        with self.connection() as connection:
            yield Rows(connection, self.folder)

    @contextmanager
    def reading(self) -> Iterator[View]:
        """Give the latest committed state: its rows, read in one transaction, and the vectors that they name.

        A segment whose search structure is missing or damaged is searched without it. That is logged once.
        """
        self.losses.demand_none()
        with ExitStack() as stack:
            rows, snapshot = self._latest(stack)
            statistics = self._statistics_of(rows.generation)
            if rows.generation.vectors != rows.generation.images and LIVE not in statistics:
                statistics[LIVE] = rows.image_ids()
            yield View(rows, snapshot, statistics.get(LIVE), statistics)

    def _statistics_of(self, generation: Generation) -> dict[str, Any]:
        """Return what views of this generation share: empty where it is another than the one before."""
        with self._mutex:
            if self._statistics[0] != generation.number:
                self._statistics = generation.number, {}
            return self._statistics[1]

    def _latest(self, stack: ExitStack) -> tuple[Rows, VectorSnapshot]:
        """Begin to read; begin anew where a writer committed and swept between the refs and the files."""
        while True:
            rows = stack.enter_context(self.rows())
            try:
                return rows, self._snapshot(rows)
            except IndexDamaged:
                number = rows.generation.number
                stack.close()
                with self.rows() as later:
                    if later.generation.number == number:
                        raise

    def _snapshot(self, rows: Rows) -> VectorSnapshot:
        refs = rows.generation.refs
        with self._mutex:
            opened = self._opened
            if opened is None or opened[0] != refs:
                self._used_vectors = True
                opened = refs, self.vectors.snapshot(refs)
                demand_fitting(rows, opened[1])
                self._opened = opened
            snapshot = opened[1]
            if snapshot.damaged and self._told != refs:
                self._told = refs
                what = "the search structure of %d of the index's segments is missing or damaged; %s"
                log.warning(what, len(snapshot.damaged), "all vectors are looked at, until: retrieval compact")
        return snapshot

    # -- writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, refusal: str = "is read-only", *, damaged: bool = False) -> Iterator[None]:
        """Be the writer; `IndexBusy` at once where another is, `StorageError` where nobody can be.

        At the end SQLite's log is folded in. `IndexDamaged` where committed changes are lost, unless `damaged`.
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

        `UnstorableError` where the database has no room for a value of it, such as a number of more than 64 bits.
        """
        try:
            segment = self._append(change)
            with self._database.writing() as connection:
                number = self._write(connection, change, segment)
        except RetrievalError:
            raise
        except (OverflowError, ValueError, StatementError) as error:
            raise UnstorableError(str(error)) from error
        witness.tell(self.folder, number)
        self._tidy()

    def edit(self, statement: Any, *arguments: Any) -> Any:  # noqa: ANN401 - any function of `queries`
        """Return `statement(connection, *arguments)`, run in a write transaction; for the modules of this folder.

        It is for what changes no image or file and so makes no generation, and for what inserts a generation itself.
        """
        with self._database.writing() as connection:
            return statement(connection, *arguments)

    def put_setting(self, name: str, value: Any) -> None:  # noqa: ANN401 - what JSON can hold
        """Set `name` to `value`, or to nothing for None; within `writing`."""
        self.edit(queries.put_setting, name, value)

    def put_encoder(self, row: Mapping[str, Any]) -> None:
        """Insert the row of an encoder, or renew it; within `writing`."""
        self.edit(queries.put_encoder, row)

    def put_root(self, root: Root) -> None:
        """Renew the row of a root; within `writing`."""
        self.edit(root_rows.put_root, root)

    def delete_root(self, root: int) -> None:
        """Forget a root that has no files; within `writing`."""
        self.edit(root_rows.delete_root, root)

    def _append(self, change: Change) -> tuple[SizedRef, ...]:
        if change.vectors is None or not change.pictures:
            return ()
        import numpy as np

        self._used_vectors = True
        ids = np.array([picture.id for picture in change.pictures], dtype=np.int64)
        with disk_errors():
            return ((self.vectors.append(ids, change.vectors), len(ids)),)

    def _write(self, connection: sql.Connection, change: Change, segment: tuple[SizedRef, ...]) -> int:
        before = queries.latest(connection)
        queries.insert_images(connection, change.pictures)
        left = queries.delete_files(connection, change.forget) | queries.put_files(connection, change.files)
        queries.delete_homeless(connection, sorted(left))
        known = {self.vectors.without_structure(ref) for ref in before.refs}  # the same vectors are the same segment
        segments = before.segments + tuple(part for part in segment if part[0] not in known)
        queries.insert_generation(connection, queries.following(connection, before, segments))
        return before.number + 1

    def _tidy(self) -> None:
        """Merge what is worth it, then sweep."""
        while self._merged_if_whole(self._worth_merging()):
            pass
        self.fold(patience=PATIENT)
        self.sweep(GRACE)

    def _generation(self) -> Generation:
        with self.connection() as connection:
            return queries.latest(connection)

    def _worth_merging(self) -> Sequence[str]:
        """Return all segments if most vectors have no image; the smallest if there are too many."""
        now = self._generation()
        return now.refs if now.vectors > 2 * now.images else self.vectors.worth_merging(now.segments, MOST_SEGMENTS)

    def fold(self, *, patience: int = 1) -> None:
        """Build a structure where more vectors have none than a query should scan, or `patience` times as many."""
        options = self.search_options
        refs = self.vectors.worth_folding(self._generation().segments, self._dim(), options, patience=patience)
        if refs:
            self._merged_if_whole(refs, options)

    def settle(self) -> None:
        """Leave few segments for queries to visit; called at the end of a run, within `writing`."""
        self._rebuild()
        self.fold()
        while self._merged_if_whole(self.vectors.worth_merging(self._generation().segments, 1, least_growth=2)):
            pass

    def _rebuild(self) -> None:
        """Build missing search structures again, and damaged ones too if this run has read or written vectors anyway.

        Only then: checking the bytes of all structures would take most of the time of a run without news.
        """
        for ref in self.vectors.damaged_structures(self._generation().refs, thorough=self._used_vectors):
            self._merged_if_whole([ref], self.search_options)

    def _merged_if_whole(self, refs: Sequence[str], options: Options | None = None) -> bool:
        """Merge `refs`, and tell whether that was done; damaged vectors do not fail a run that only adds to them."""
        if refs and not self._unmergeable:
            try:
                self._merge([refs], options)
            except IndexDamaged as error:
                self._unmergeable = True
                log.warning("%s; until it is repaired nothing is merged with it", error)
        return bool(refs) and not self._unmergeable

    def wanted_structure(self, count: int) -> Options | None:
        """Return the options for the structure that `count` vectors should have; None where they need none."""
        options = self.search_options
        return options if self.vectors.wants_structure(count, self._dim(), options) else None

    def _dim(self) -> int:
        with self.connection() as connection:
            return int(queries.encoder(connection, queries.latest(connection).fingerprint)["dim"])

    def compact(self) -> None:
        """Put all vectors that have an image into one segment, and give back the space of what is gone."""
        with self.writing():
            generation = self._generation()
            options = self.wanted_structure(generation.images)
            whole = len(generation.segments) <= 1 and generation.vectors == generation.images
            if not (whole and self.vectors.is_structured(generation.segments, options)):
                self._merge([generation.refs], options)
            witness.tell(self.folder, self.edit(_replace, self._generation().segments))  # the one before names the rest
            self.sweep(timedelta(0))
            self.vacuum()

    def _merge(self, groups: Sequence[Sequence[str]], options: Options | None = None, *, every: bool = False) -> None:
        """Commit a generation in which each of `groups` is one segment of the vectors that have an image, or of all."""
        with self.connection() as connection:
            before = queries.latest(connection)
            live = None if every else queries.image_ids(connection)
        segments = list(before.segments)
        for group in groups:
            if set(group) <= set(before.refs):  # else another writer was faster than the reader who found it damaged
                segments = [segment for segment in segments if segment[0] not in group]
                segments += self.merged(group, live, options)
        witness.tell(self.folder, self.edit(_replace, segments))
        self._opened = None  # the same vectors have the same names, whatever became of their files

    def merged(self, refs: Sequence[str], live: Ids | None, options: Options | None = None) -> Sequence[SizedRef]:
        """Write the vectors of `refs` whose ids are in `live` as one segment, if there are any; return what it is."""
        with disk_errors():
            # not strict: the options may have been chosen for other vectors, or with another version of FAISS
            ref = self.vectors.merge(refs, live, options, strict=False)
            return [(ref, self.vectors.count(ref))] if ref else []

    def sweep(self, older_than: timedelta) -> int:
        """Delete vector files that no kept generation names and that are older than that; within `writing`.

        None while SQLite's log is damaged: what is in it may name them.
        """
        if damage := self.losses.in_log():
            log.warning("%s; no file is swept until: retrieval verify --repair", damage)
            return 0
        with self.connection() as connection, disk_errors():
            return self.vectors.sweep(queries.kept_refs(connection), older_than)

    def vacuum(self) -> None:
        """Write the database anew, which puts right what is wrong with it between its rows; within `writing`."""
        self._database.vacuum()


def _replace(connection: sql.Connection, segments: Sequence[SizedRef]) -> int:
    """Make the next generation one of other segments that hold the same images; return its number."""
    following = queries.following(connection, queries.latest(connection), tuple(segments))
    queries.insert_generation(connection, following)
    return following.number


def _vector_store(folder: Path, *, float16: bool = False) -> VectorStore:
    """Return the store of the vectors of the index in `folder`."""
    return open_store(f"faiss:{folder / VECTORS}", float16=float16)


def _has_database(folder: Path) -> bool:
    with disk_errors():
        return (folder / DATABASE).is_file()


def _not_found(folder: Path) -> IndexNotFound:
    return IndexNotFound(f"there is no index in {displayed(folder)}", hint="make one with: retrieval index FOLDER")
