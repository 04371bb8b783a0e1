"""Bring an index up to date with a folder: what is on disk against what is known, in one pass, in byte order.

    scan of the folder  ──┐                    ┌─ the same ──────────> unchanged
    (sorted, streaming)   ├─ merged by path ───┼─ new or touched ────> pipeline ─> added, changed, copied, unreadable
    rows of the root    ──┘                    └─ not seen ──────────> moved, gone, removed or offline, at the end
    (sorted, by pages)

Nothing is taken for deleted because it could not be read: a place is gone only where the system says that nothing is
there, and only once the whole run has looked.
"""

import itertools
import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from retrieval.errors import UNFORESEEN
from retrieval.indexing.missing import Missing
from retrieval.indexing.pending import Pending
from retrieval.networks.encoder import Encoder
from retrieval.pictures.source import Folder, Source
from retrieval.storage.commit import Store
from retrieval.storage.roots import Spot
from retrieval.storage.tables import FileRow
from retrieval.types import Found, Ids, Progress, Report, Timing, Unlisted, displayed, image_id

if TYPE_CHECKING:
    from retrieval.indexing.pipeline import Outcome

COMMIT_SECONDS = 5.0
"""Work that a crash can lose, at most, together with the batch in hand."""
COMMIT_ROWS = 2000
PAGE = 5000
"""Rows read at a time."""
NOT_GIVEN = ""
"""What stands for the reader of a file whose bytes the system did not give: it is tried again at each run."""


@dataclass(frozen=True)
class Settings:
    """How one run goes about its work."""

    prune: bool = False
    """Forget what vanished even if it is most of a root, or the root itself."""
    retry_failed: bool = False
    """Read unreadable files again though they have not changed."""
    rehash: bool = False
    """Read every file again, whatever the system says of it."""


class Update:
    """One run over the files of one root below one folder; within `commit.writing()`."""

    def __init__(
        self,
        store: Store,
        spot: Spot,
        settings: Settings,
        *,
        size: tuple[int, int],
        rule: int,
        encoder: Callable[[], Encoder],
        threads: int,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        """Prepare a run over the folder at `spot`, a root or one below it."""
        self.store, self.settings = store, settings
        self.source: Source = Folder(spot.place)
        self.below = spot.below + b"/" if spot.below else b""
        self.size, self.rule, self.encoder = size, rule, encoder
        self.threads, self.progress = threads, progress
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.linked: Counter[int] = Counter()
        self.before: dict[bytes, FileRow | None] = {}
        self.mounts: set[bytes] = set()
        self.pending = Pending()
        self.timing = Timing()
        self.ids: Ids | None = None
        self.committed = time.monotonic()
        self.seen = self.embedded = self.total = 0
        self.latest_failure = ""
        with store.rows() as rows:
            self.root = next(root for root in rows.roots if root.id == spot.root)
        self.missing = Missing(store, self.root, self.source)
        self.identity = self.source.identity()

    @cached_property
    def reader(self) -> str:
        """What decides whether a file can be read."""
        from retrieval.pictures import formats

        return formats.reader()

    @cached_property
    def table(self) -> str:
        """What decides whether a file is a picture at all."""
        from retrieval.pictures import formats

        return formats.table()

    def run(self) -> Report:
        """Do it. What is done is committed every few seconds, and on the way out, whatever happens."""
        try:
            with self.timing.of("total"):
                candidates = self._candidates()
                if (first := next(candidates, None)) is not None:
                    self._read(itertools.chain([first], candidates))
                self._commit()
                self.missing.settle(self.linked, self.counts, prune=self.settings.prune)
                self._remember_folder()
        finally:
            self._commit()
        self._report_progress()
        reasons, notes, timing = dict(self.reasons), dict(self.notes), dict(self.timing)
        return Report(**self.counts, reasons=reasons, notes=notes, timing=timing)

    # -- what is there against what is known ----------------------------------------------------------------------

    def _scan(self) -> Iterator[Found | Unlisted]:
        own = os.path.realpath(os.fsencode(self.store.folder))
        return self.source.scan(self.below, self.root.exclude, skip=own, mounts=self.mounts)

    def _rows(self) -> Iterator[FileRow]:
        after = None
        while True:
            with self.store.rows() as rows:
                page = rows.files_below(self.root.id, self.below, after, limit=PAGE)
            if not page:
                return
            yield from page
            after = page[-1].path

    def _candidates(self) -> Iterator[Found]:
        """Yield the files that have to be read; settle the others on the way."""
        for seen, row in merged(self._scan(), self._rows()):
            if isinstance(seen, Found):
                self.seen += 1
                if row is None or not self._is_settled(seen, row):
                    self.before[seen.path] = row
                    yield seen
            elif isinstance(seen, Unlisted) and (row is None or row.path == seen.path):
                self._take_unlisted(seen, row)
            elif row is not None:
                self.missing.add(row, seen)

    def _is_settled(self, seen: Found, row: FileRow) -> bool:
        """Tell whether the file is as it was; if so, count it, and bring it back where it was offline."""
        if seen[1:] != (row.size, row.mtime_ns, row.ctime_ns) or self.settings.rehash:
            seen = seen.storable()
            if seen.size != row.size or seen.mtime_ns != row.mtime_ns or self.settings.rehash:
                return False
            if seen.ctime_ns != row.ctime_ns and row.ctime_ns is not None and self._is_same_folder:
                return False
        if row.reason is not None and (self.settings.retry_failed or row.reader != self.reader):
            return False
        if row.reason is None and row.image is None and row.reader != self.table:
            return False  # what was no picture may be one for a later version
        if row.offline or seen.ctime_ns != row.ctime_ns:
            self.pending.files.append(row._replace(offline=0, ctime_ns=seen.ctime_ns))
            self._commit_if_due()
        if row.reason is not None:
            self.counts["unreadable"] += 1  # its reason was told when it was read
        elif row.image is not None:
            self.counts["unchanged"] += 1
        return True

    @cached_property
    def _is_same_folder(self) -> bool:
        """Whether the root is where it was, and no copy of it: each file of a copy was changed when it was made."""
        return self.root.identity is not None and self.root.identity == self.identity

    def _take_unlisted(self, seen: Unlisted, row: FileRow | None) -> None:
        """Keep as a failure what could not be looked at; a picture that is known there is offline."""
        if self.identity is None:  # the root is away, and so is all that is in it
            if row is not None:
                self.missing.add(row, seen)
            return
        if row is not None and row.reason == seen.reason:
            self.counts["unreadable"] += 1  # its reason was told before
        else:
            self._count_unreadable(seen.path, seen.reason)
        failed = (row or FileRow(self.root.id, seen.path, -1, -1))._replace(reason=seen.reason, reader=NOT_GIVEN)
        if failed.image is not None and self.settings.prune:
            failed = failed._replace(image=None)
            self.counts["gone"] += 1
        elif failed.image is not None:
            failed = failed._replace(offline=1)
            self.counts["offline"] += 1
        if failed != row:
            self.pending.files.append(failed)

    # -- what the files hold --------------------------------------------------------------------------------------

    def _known(self, sha256: bytes) -> bool:
        id_ = image_id(sha256)
        if self.pending.sha256.get(id_) == sha256:
            return True
        if self.ids is not None and not contains(self.ids, id_):
            return False  # without asking the database, once a picture
        with self.store.rows() as rows:
            return rows.sha256_of(id_) == sha256

    def _is_there(self, image: int) -> bool:
        if image in self.pending.sha256:
            return True
        with self.store.rows() as rows:
            return rows.sha256_of(image) is not None

    def _read(self, files: Iterable[Found]) -> None:
        """Find out what `files` hold."""
        with self.store.rows() as rows:
            self.ids = rows.image_ids()  # 8 bytes an image; those that lose their last place may stay
        if self.progress is not None:
            self.total = sum(isinstance(seen, Found) for seen in self._scan())
        with closing(self._embedded(files)) as batches:  # its threads end before the index is closed
            for outcomes in batches:
                for outcome in outcomes:
                    self._take(outcome)
                self._report_progress()
                self._commit_if_due()

    def _embedded(self, files: Iterable[Found]) -> "Generator[list[Outcome], None, None]":
        from retrieval.indexing import (
            pipeline,
        )  # with numpy and Pillow, for which nobody waits whose files are as they were

        how = self.size, self.rule, self.encoder, self._known, self.threads, self.timing
        return pipeline.embed(files, self.source, *how)

    def _take(self, outcome: "Outcome") -> None:
        from retrieval.indexing.pipeline import Embedded, Failed, Known, NoPicture, Vanished

        row = self.before.pop(outcome.file.path)
        if isinstance(outcome, Known) and not self._is_there(outcome.image):
            # Its last place became another picture's, and that was committed, after this file was looked at.
            ((outcome,),) = self._embedded([outcome.file])
        if isinstance(outcome, Embedded) and self._is_there(outcome.picture.id):
            # Other content has its id: unlikely below a billion images, and never to be overwritten.
            outcome = Failed(outcome.file, "another picture of the index has the same 63-bit id")
        match outcome:
            case Known(file, image):
                self._take_known(file, image, row)
            case Embedded(file, picture, vector, note):
                self.embedded += 1
                self.notes.update([note] * bool(note))
                counted = "changed" if row is not None and row.image is not None else "added"
                self.counts[counted] += 1
                self.pending.put_picture(picture, vector, file.path, counted)
                self._put_file(file, row, picture.id)
            case Failed(file, reason, unread=True):
                self._count_unreadable(file.path, reason)
                self._put_file(file, row, None if row is None else row.image, reason, NOT_GIVEN)
            case Failed(file, reason):
                self._count_unreadable(file.path, reason)
                self._put_file(file, row, None, reason, self.reader)
            case NoPicture(file):
                self.counts["changed"] += row is not None and row.image is not None
                self._put_file(file, row, None, reader=self.table)
            case Vanished():
                if row is not None:
                    self.missing.add(row)

    def _take_known(self, file: Found, image: int, row: FileRow | None) -> None:
        if row is None or row.image is None:
            counted = "copied"
            self.linked[image] += 1
        else:
            counted = "unchanged" if row.image == image else "changed"
        self.counts[counted] += 1
        self.pending.counted[file.path] = counted
        self._put_file(file, row, image)

    def _put_file(
        self, file: Found, row: FileRow | None, image: int | None, reason: str | None = None, reader: str | None = None
    ) -> None:
        """Keep what is known of `file` now, if that is not what `row` says."""
        file = file.storable()
        facts = (image, 0, reason, reader, file.ctime_ns, None if row is None else row.id)
        renewed = FileRow(self.root.id, file.path, file.size, file.mtime_ns, *facts)
        if renewed != row:
            self.pending.files.append(renewed)

    def _count_unreadable(self, path: bytes, reason: str) -> None:
        self.counts["unreadable"] += 1
        self.reasons[reason] += 1
        self.latest_failure = f"{displayed(path)}: {reason}"

    # -- what the next run has to know ----------------------------------------------------------------------------

    def _remember_folder(self) -> None:
        """Keep which folders are mount points, and which folder the root is."""
        if self.identity is None:
            return
        with self.store.rows() as rows:
            away = {
                mount
                for mount in {*self.root.mounts} - self.mounts
                if not mount.startswith(self.below) or rows.any_offline(self.root.id, mount)
            }
        identity = self.root.identity if self.below else self.identity
        now = replace(self.root, mounts=tuple(sorted(self.mounts | away)), identity=identity)
        if now != self.root:
            self.store.put_root(now)

    # -- commits and progress -------------------------------------------------------------------------------------

    def _commit_if_due(self) -> None:
        if len(self.pending.files) >= COMMIT_ROWS or time.monotonic() - self.committed >= COMMIT_SECONDS:
            self._commit()

    def _commit(self) -> None:
        """Commit what is pending; taken out first, so that an interruption right after it cannot commit it twice."""
        pending, self.pending = self.pending, Pending()
        if pending.files:
            with self.timing.of("commit"):
                refused = pending.commit(self.store, lambda: self.reader)
            for row in refused:
                self.counts[pending.counted[row.path]] -= 1  # only those of pictures are ever refused
                self._count_unreadable(row.path, UNFORESEEN)
            if self.ids is not None and pending.sha256:
                import numpy as np

                self.ids = np.union1d(self.ids, np.array([*pending.sha256]))
        self.committed = time.monotonic()

    def _report_progress(self) -> None:
        if self.progress is not None:
            done = self.seen - len(self.before)
            self.progress(
                Progress(done, max(self.total, done), self.embedded, self.counts["unreadable"], self.latest_failure)
            )


def contains(ids: Ids, id_: int) -> bool:
    """Tell whether `id_` is among `ids`, which ascend."""
    place = bisect_left(ids, id_)
    return place < len(ids) and bool(ids[place] == id_)


def merged(
    scan: Iterable[Found | Unlisted], rows: Iterator[FileRow]
) -> Iterator[tuple[Found | Unlisted | None, FileRow | None]]:
    """Pair what is on disk with what is known, both in byte order of path; None for what the other side does not have.

    A folder that could not be listed is paired with its own row or None, then with every row below it.
    """
    row = next(rows, None)
    for seen in scan:
        while row is not None and row.path < seen.path:
            yield None, row
            row = next(rows, None)
        if isinstance(seen, Unlisted):
            if row is None or row.path != seen.path:
                yield seen, None
            while row is not None and covers(seen, row.path):
                yield seen, row
                row = next(rows, None)
        elif row is not None and row.path == seen.path:
            yield seen, row
            row = next(rows, None)
        else:
            yield seen, None
    while row is not None:
        yield None, row
        row = next(rows, None)


def covers(unlisted: Unlisted, path: bytes) -> bool:
    """Tell whether nothing is known of `path` because of `unlisted`."""
    folder = not unlisted.path or unlisted.path.endswith(b"/")
    return path.startswith(unlisted.path) if folder else path == unlisted.path
