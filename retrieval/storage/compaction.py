"""Compaction: the writer keeps the segments of an index few and sound. Readers open the segments here as well.

    append      write new vectors as a segment, which exists for readers once a generation names it
    snapshot    open the segments that a generation names
    tidy        after each commit: merge segments if there are too many, build structures now and then, sweep
    settle      at the end of a run: leave few segments, with sound search structures
    compact     on demand: leave one segment, without vectors that no longer belong to an image, and no other file

A merge writes a new segment and commits a generation that names it in place of the old ones; the old files are swept
later. Which segments are worth merging, and which need a search structure, is decided by the vector store.
"""

import logging
import threading
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from retrieval.disk.files import disk_errors
from retrieval.errors import IndexDamaged
from retrieval.process import forks
from retrieval.storage import queries, witness
from retrieval.storage.records import Generation
from retrieval.storage.rows import Rows
from retrieval.storage.settings import FLOAT16, SEARCH
from retrieval.storage.sqlite import Database
from retrieval.storage.view import demand_fitting
from retrieval.storage.witness import Losses
from retrieval.types import Ids, Vectors
from retrieval.vectors import Options, SizedRef, VectorSnapshot, VectorStore, open_store

VECTORS = "vectors"
"""Name of the folder of the segments, in the folder of the index."""
MOST_SEGMENTS = 16
"""Number of segments that an index may have after a commit. If there are more, some are merged."""
PATIENCE = 8
"""Multiple of the number of vectors that a query may scan.

During a run, a search structure is built once more vectors than that have none. At the end of a run, one is built as
soon as more vectors have none than a query may scan.
"""
GRACE = timedelta(minutes=10)
"""Age from which a file that no generation names may be deleted."""

log = logging.getLogger("retrieval")


def vector_store(folder: Path, *, float16: bool = False) -> VectorStore:
    """Return the vector store of the index in `folder`."""
    return open_store(f"faiss:{folder / VECTORS}", float16=float16)


class Segments:
    """The segments of one opened index. The methods that change something are called within `Store.writing`."""

    def __init__(self, folder: Path, database: Database, losses: Losses) -> None:
        self._folder, self._database, self._losses = folder, database, losses
        self._reported: tuple[str, ...] = ()  # refs of the segments for which damaged structures were last logged
        self._used = False  # whether vectors were read or written since the index was opened
        self._unmergeable = False  # whether damaged vectors were met, which stay as they are; it is logged once
        self._begin()
        forks.in_child(self._begin)

    def _begin(self) -> None:
        self._mutex = threading.Lock()
        self.close()

    def close(self) -> None:
        """Close all files of vectors."""
        self._opened: tuple[tuple[str, ...], VectorSnapshot] | None = None
        self._used = False
        self.__dict__.pop("vectors", None)  # and with it the files that its snapshots have opened

    @cached_property
    def vectors(self) -> VectorStore:
        """The vector store. Its search library is loaded when a search needs it."""
        return vector_store(self._folder, float16=bool(self._setting(FLOAT16)))

    @property
    def options(self) -> Options:
        """The options that were chosen for search structures."""
        return self._setting(SEARCH) or {}

    def _setting(self, name: str) -> Any:  # noqa: ANN401 - what JSON holds
        with self._database.reading() as connection:
            return queries.setting_if_sound(connection, name)

    def generation(self) -> Generation:
        """Return the newest generation."""
        with self._database.reading() as connection:
            return queries.latest(connection)

    def check(self, options: Options) -> None:
        """Raise `BadInput` for options with which no search structure can be made for the vectors of the index."""
        self.vectors.check(options, self._dim(), self.generation().images)

    def wanted_structure(self, count: int) -> Options | None:
        """Return the options of the search structure that `count` vectors should have; None if they need none."""
        options = self.options
        return options if self.vectors.wants_structure(count, self._dim(), options) else None

    def _dim(self) -> int:
        with self._database.reading() as connection:
            return int(queries.encoder(connection, queries.latest(connection).fingerprint)["dim"])

    # -- reading and adding ---------------------------------------------------------------------------------------

    def snapshot(self, rows: Rows) -> VectorSnapshot:
        """Return the segments that the generation of `rows` names, opened; `IndexDamaged` if files are missing.

        A segment whose search structure is missing or damaged is searched without it, which is logged once.
        """
        refs = rows.generation.refs
        with self._mutex:
            opened = self._opened
            if opened is None or opened[0] != refs:
                self._used = True
                opened = refs, self.vectors.snapshot(refs)
                demand_fitting(rows, opened[1])
                self._opened = opened
            snapshot = opened[1]
            if snapshot.damaged and self._reported != refs:
                self._reported = refs
                sentence = (
                    "the search structure of %d segments of the index is missing or damaged; "
                    "all vectors are compared, until: retrieval compact"
                )
                log.warning(sentence, len(snapshot.damaged))
        return snapshot

    def append(self, ids: Ids, vectors: Vectors) -> SizedRef:
        """Write vectors as a segment, durable on return, and return its ref and the number of its vectors."""
        self._used = True
        with disk_errors():
            return self.vectors.append(ids, vectors), len(ids)

    # -- keeping them few -----------------------------------------------------------------------------------------

    def tidy(self) -> None:
        """Merge segments if there are too many, build structures where many vectors have none, and sweep."""
        while self._merge_if_sound(self._worth_merging()):
            pass
        self.fold(patience=PATIENCE)
        self.sweep(GRACE)

    def settle(self) -> None:
        """Leave few segments for queries to visit, with sound search structures; called at the end of a run."""
        self._rebuild_structures()
        self.fold()
        while self._merge_if_sound(self.vectors.worth_merging(self.generation().segments, 1, least_growth=2)):
            pass

    def fold(self, *, patience: int = 1) -> None:
        """Build a structure if the vectors without one are more than `patience` times what a query should scan."""
        options = self.options
        refs = self.vectors.worth_folding(self.generation().segments, self._dim(), options, patience=patience)
        if refs:
            self._merge_if_sound(refs, options)

    def compact(self) -> None:
        """Put all vectors that have an image into one segment, and give back the space of everything else."""
        generation = self.generation()
        options = self.wanted_structure(generation.images)
        is_one = len(generation.segments) <= 1 and generation.vectors == generation.images
        if not (is_one and self.vectors.is_structured(generation.segments, options)):
            self.merge([generation.refs], options)
        # The previous generation is kept too, and may name the old files. After one more generation with the same
        # segments, both name these segments alone, and the old files can be swept.
        self._replace(self.generation().segments)
        self.sweep(timedelta(0))
        self._database.vacuum()

    def sweep(self, older_than: timedelta) -> int:
        """Delete files of vectors that no kept generation names and that are older than `older_than`; return how many.

        Nothing is deleted while SQLite's log is damaged, because the log may name the files.
        """
        damage = self._losses.in_log()
        if damage:
            log.warning("%s; files that are no longer needed are kept until: retrieval verify --repair", damage)
            return 0
        with self._database.reading() as connection, disk_errors():
            return self.vectors.sweep(queries.kept_refs(connection), older_than)

    def _worth_merging(self) -> Sequence[str]:
        """Return the refs of the segments that should be merged now; often an empty list.

        These are all segments if more than half of the vectors have no image any more, and some of them if there are
        more than `MOST_SEGMENTS`.
        """
        generation = self.generation()
        if generation.vectors > 2 * generation.images:
            return generation.refs
        return self.vectors.worth_merging(generation.segments, MOST_SEGMENTS)

    def _rebuild_structures(self) -> None:
        """Build missing search structures again, and damaged ones too if this run has read or written vectors.

        Damage is found by reading the bytes of all structures. In a run that finds nothing new, this would take most
        of the time.
        """
        for ref in self.vectors.damaged_structures(self.generation().refs, thorough=self._used):
            self._merge_if_sound([ref], self.options)

    def _merge_if_sound(self, refs: Sequence[str], options: Options | None = None) -> bool:
        """Merge the segments `refs`, and tell whether they were merged.

        If their vectors are damaged, a warning is logged, and nothing more is merged until the index is opened again:
        a run that only adds vectors need not fail.
        """
        if not refs or self._unmergeable:
            return False
        try:
            self.merge([refs], options)
        except IndexDamaged as error:
            self._unmergeable = True
            log.warning("%s; no segments are merged until this is repaired", error)
            return False
        return True

    # -- merging --------------------------------------------------------------------------------------------------

    def merge(self, groups: Sequence[Sequence[str]], options: Options | None = None, *, every: bool = False) -> None:
        """Commit a generation in which each group of segments is one segment.

        Vectors that no longer belong to an image are left out, or kept with `every`. With `options`, the new segments
        get search structures.
        """
        with self._database.reading() as connection:
            before = queries.latest(connection)
            live = None if every else queries.image_ids(connection)
        segments = list(before.segments)
        for group in groups:
            if set(group) <= set(before.refs):  # else another writer has merged them since the caller chose them
                segments = [segment for segment in segments if segment[0] not in group]
                segments += self.merged(group, live, options)
        self._replace(segments)
        self._opened = None  # equal refs mean equal vectors, but their files may be others now

    def merged(self, refs: Sequence[str], live: Ids | None, options: Options | None = None) -> Sequence[SizedRef]:
        """Write the vectors of `refs` whose ids are in `live` (None: all of them) as one segment.

        Return its ref and the number of its vectors in a list, which is empty if there are no vectors.
        """
        with disk_errors():
            # Not strict: the options may have been chosen for other vectors, or with another version of FAISS.
            ref = self.vectors.merge(refs, live, options, strict=False)
            return [(ref, self.vectors.count(ref))] if ref else []

    def _replace(self, segments: Sequence[SizedRef]) -> None:
        """Commit a generation of the same images and files with other segments."""
        with self._database.writing() as connection:
            number = _insert_following(connection, segments)
        witness.record(self._folder, number)


def _insert_following(connection: sql.Connection, segments: Sequence[SizedRef]) -> int:
    following = queries.following(connection, queries.latest(connection), tuple(segments))
    queries.insert_generation(connection, following)
    return following.number
