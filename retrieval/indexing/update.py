"""Bring an index up to date with a folder: compare files with rows in one pass, in byte order of their paths.

    scan of the folder  ──┐                    ┌─ the same ──────────> unchanged
    (sorted, streaming)   ├─ merged by path ───┼─ new or touched ────> pipeline ─> added, changed, copied, unreadable
    rows of the root    ──┘                    └─ not seen ──────────> moved, gone, removed or offline, at the end
    (sorted, by pages)

A file that could not be read is not taken for deleted. A place is gone only if the system says that nothing is there,
and only after the run has looked at the whole folder.
"""

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING

from retrieval.errors import UNFORESEEN
from retrieval.indexing.comparison import Pair, compared
from retrieval.indexing.events import Events, Tell
from retrieval.indexing.missing import Missing
from retrieval.indexing.pending import Pending
from retrieval.networks.encoder import Encoder
from retrieval.pictures.source import Folder, Source
from retrieval.storage.commit import Store
from retrieval.storage.records import FileRow, Spot
from retrieval.types import Found, Ids, Pixels, Progress, Report, Timing, Unlisted, displayed

if TYPE_CHECKING:
    from retrieval.indexing.pipeline import Embedded, Outcome, Pipeline, Vector
    from retrieval.indexing.worker import Decoded, Known, Task

COMMIT_SECONDS = 5.0
"""Seconds of work after which a commit is due. A crash loses at most this work and the batch that is being embedded."""
COMMIT_ROWS = 2000
"""Number of changed places after which a commit is due."""
PAGE = 5000
"""Number of rows that are read together."""
FEW = 32
"""Number of files up to which decoding them is cheaper than reading the ids of all images of a large index."""
Sample = Callable[[int], Pixels]
"""Returns so many pictures of the folder, or fewer, (n, height, width, 3)."""
NOT_GIVEN = ""
"""Value of `FileRow.reader` for a file whose bytes could not be read. Each run reads the file again."""


@dataclass(frozen=True)
class Settings:
    """The settings of one run."""

    prune: bool = False
    """Forget places that are missing or offline, even if they are most or all places of a root."""
    retry_failed: bool = False
    """Read unreadable files again, even if they have not changed."""
    rehash: bool = False
    """Read every file again, even if its size and times have not changed."""
    only: Sequence[bytes] | None = None
    """The only files and folders to look at, as paths from the root, none within another one. None: the whole folder.
    """
    given: "Mapping[bytes, Vector] | None" = None
    """The only files to look at: path from the root -> vector of the picture. None: look at all files, and embed."""
    tell: Tell | None = None
    """Is told what became of files, after each commit."""


@dataclass
class Tally:
    """The counts of a run, from which its report is made."""

    counts: Counter[str] = field(default_factory=Counter)
    """Name of a field of `Report` -> number of places."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Reason -> number of files and folders that could not be read for it."""
    notes: Counter[str] = field(default_factory=Counter)
    """Remark on how a picture was read -> number of pictures with this remark."""
    embedded: int = 0
    """Number of pictures that were embedded."""
    latest_failure: str = ""
    """Path and reason of the file that failed last."""
    events: Events = field(default_factory=Events)
    """What became of each file."""

    def count_unreadable(self, path: bytes, reason: str) -> None:
        """Count a file or folder that could not be read in this run."""
        self.counts["unreadable"] += 1
        self.reasons[reason] += 1
        self.latest_failure = f"{displayed(path)}: {reason}"
        self.events.add("unreadable", path)

    def report(self, timing: Timing) -> Report:
        """Return the counts as the report of the run."""
        return Report(**self.counts, reasons=dict(self.reasons), notes=dict(self.notes), timing=dict(timing))


class Update:
    """One run over the files of one root below one folder; within `Store.writing`."""

    def __init__(
        self,
        store: Store,
        spot: Spot,
        settings: Settings,
        *,
        size: tuple[int, int],
        rule: int,
        encoder: Callable[[Sample], Encoder],
        threads: int,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        """Prepare a run over the folder at `spot`, a root or one below it.

        `encoder` is called when the first picture has to be embedded, with a function that gives it a sample.
        """
        self.store, self.settings = store, settings
        self.source: Source = Folder(spot.place)
        self.index_folder = os.path.realpath(os.fsencode(store.folder))
        self.below = spot.below + b"/" if spot.below else b""
        self.size, self.rule, self.encoder = size, rule, cache(partial(encoder, self._sample))
        self.threads, self.progress, self.given = threads, progress, settings.given
        self.tally = Tally(events=Events(spot.place, settings.tell))
        self.linked: Counter[int] = Counter()
        """Id of a known image -> number of new places that it got in this run."""
        self.before: dict[bytes, FileRow | None] = {}
        """Path of each file that is being read -> its row, if it has one."""
        self.mounts: set[bytes] = set()
        self.pending = Pending()
        self.timing = Timing()
        self.ids: Ids | None = None
        """Ids of the images of the index, ascending, once a file has to be read. Some may have gone since."""
        self.committed = time.monotonic()
        self.seen = self.total = 0
        with store.rows() as rows:
            self.root = next(root for root in rows.roots if root.id == spot.root)
        self.missing = Missing(store, self.root, self.source)
        self.identity = self.source.identity()

    @cached_property
    def reader(self) -> str:
        """The version of the code that reads pictures: with another version, unreadable files may be readable."""
        from retrieval.pictures import formats

        return formats.reader()

    @cached_property
    def table(self) -> str:
        """The version of the table of formats, which decides whether a file is a picture."""
        from retrieval.pictures import formats

        return formats.table()

    def run(self) -> Report:
        """Run, and return the report. Work is committed every few seconds, and at the end, also after an error."""
        try:
            with self.timing.of("total"):
                candidates = self._candidates()
                first = next(candidates, None)
                if first is not None:  # else the run need not load what reads files, nor the ids of all images
                    self._read(itertools.chain([first], candidates))
                self._commit()
                if self.given is None:
                    self.missing.settle(self.linked, self.tally.counts, self.tally.events, prune=self.settings.prune)
                self.tally.events.tell(end=True)
                if self.given is None and self.settings.only is None:
                    self._remember_folder()
                    self._read_metadata()
        finally:
            self._commit()
        self._report_progress()
        return self.tally.report(self.timing)

    # -- comparing files with rows --------------------------------------------------------------------------------

    def _scan(self) -> Iterator[Found | Unlisted]:
        if self.settings.only is not None:
            return itertools.chain.from_iterable(map(self._seen_at, self.settings.only))
        scan = self.source.scan(self.below, self.root.exclude, skip=self.index_folder, mounts=self.mounts)
        given = self.given
        return scan if given is None else (seen for seen in scan if seen.path in given)

    def _seen_at(self, path: bytes) -> Iterator[Found | Unlisted]:
        """Yield the file at a path, or the files below the folder there, in byte order."""
        if self.identity is None:
            yield Unlisted(path, "the folder cannot be reached")
        elif self.source.is_folder(path):
            yield from self.source.scan(path + b"/", self.root.exclude, skip=self.index_folder, mounts=self.mounts)
        elif (seen := self.source.one(path, self.root.exclude, skip=self.index_folder)) is not None:
            yield seen

    def _rows(self, below: bytes) -> Iterator[FileRow]:
        after = None
        while True:
            with self.store.rows() as rows:
                page = rows.files_below(self.root.id, below, after, limit=PAGE)
            if not page:
                return
            yield from page if self.given is None else (row for row in page if row.path in self.given)
            after = page[-1].path

    def _pairs(self) -> Iterator[Pair]:
        """Yield what was seen at each path, with the row of the path."""
        if self.settings.only is None:
            yield from compared(self._scan(), self._rows(self.below))
            return
        for path in self.settings.only:
            known = itertools.chain(self._rows(path), self._rows(path + b"/"))
            yield from compared(self._seen_at(path), known)

    def _candidates(self) -> Iterator[Found]:
        """Yield the files that have to be read. On the way, count the unchanged files and note the missing places."""
        for seen, row in self._pairs():
            if isinstance(seen, Found):
                self.seen += 1
                if row is not None and self._is_unchanged(seen, row):
                    self._keep(seen, row)
                else:
                    self.before[seen.path] = row
                    yield seen
            elif isinstance(seen, Unlisted) and (row is None or row.path == seen.path):
                self._take_unlisted(seen, row)
            elif row is not None:
                self.missing.add(row, seen)

    def _is_unchanged(self, seen: Found, row: FileRow) -> bool:
        """Tell whether the file need not be read: it is as `row` says, and this version would read it no better."""
        if self.settings.rehash:
            return False
        if (seen.size, seen.mtime_ns, seen.ctime_ns) != (row.size, row.mtime_ns, row.ctime_ns):
            storable = seen.storable()
            if (storable.size, storable.mtime_ns) != (row.size, row.mtime_ns):
                return False
            if storable.ctime_ns != row.ctime_ns and row.ctime_ns is not None and self._is_same_folder:
                return False
        if row.reason is not None:
            return not self.settings.retry_failed and row.reader == self.reader
        return row.image is not None or row.reader == self.table  # a later version may know the format

    def _keep(self, seen: Found, row: FileRow) -> None:
        """Count a file that has not changed. Renew its row if it was offline before or has another ctime."""
        if row.offline or seen.ctime_ns != row.ctime_ns:
            renewed = row._replace(offline=0, ctime_ns=seen.storable().ctime_ns)
            if renewed != row:
                self.pending.files.append(renewed)
                self._commit_if_due()
        if row.reason is not None:
            self.tally.counts["unreadable"] += 1  # the run that read the file has reported the reason
        elif row.image is not None:
            self.tally.counts["unchanged"] += 1

    @cached_property
    def _is_same_folder(self) -> bool:
        """Whether the root is the same folder as at its latest update, and not a copy of it.

        In a copy, every file has the ctime at which it was copied.
        """
        return self.root.identity is not None and self.root.identity == self.identity

    def _take_unlisted(self, seen: Unlisted, row: FileRow | None) -> None:
        """Put a file or folder that could not be looked at into the next commit as unreadable.

        An image that is known there becomes offline, or is forgotten with `prune`.
        """
        if self.identity is None:  # the root is away, and so is everything in it
            if row is not None:
                self.missing.add(row, seen)
            return
        if row is not None and row.reason == seen.reason:
            self.tally.counts["unreadable"] += 1  # an earlier run has reported the reason
        else:
            self.tally.count_unreadable(seen.path, seen.reason)
        known = row or FileRow(root=self.root.id, path=seen.path, size=-1, mtime_ns=-1)
        failed = known._replace(reason=seen.reason, reader=NOT_GIVEN)
        if failed.image is not None and self.settings.prune:
            failed = failed._replace(image=None)
            self.tally.counts["gone"] += 1
            self.tally.events.add("gone", seen.path)
        elif failed.image is not None:
            failed = failed._replace(offline=1)
            self.tally.counts["offline"] += 1
        if failed != row:
            self.pending.files.append(failed)

    # -- reading files --------------------------------------------------------------------------------------------

    def _read(self, files: Iterable[Found]) -> None:
        """Send `files` through the pipeline, and put the outcomes into commits."""
        files = iter(files)
        first = list(itertools.islice(files, FEW + 1))
        files = itertools.chain(first, files)
        with self.store.rows() as rows:
            # 8 bytes per image. Without the ids, each picture is decoded before the index is asked whether it has it.
            self.ids = rows.image_ids(most=0 if len(first) <= FEW else None)
        if self.progress is not None:
            self.total = self._count()
        with closing(self._pipeline().run(files)) as batches:  # the threads end before the index is closed
            for outcomes in batches:
                for outcome in outcomes:
                    self._take(outcome)
                self._report_progress()
                self._commit_if_due()

    def _count(self) -> int:
        return sum(isinstance(seen, Found) for seen in self._scan())

    def _pipeline(self) -> "Pipeline":
        from retrieval.indexing.pipeline import Pipeline, by_network  # import numpy: often a run reads no file

        embed = partial(by_network, self.encoder, self.timing) if self.given is None else self._given_vectors
        return Pipeline(self._task, embed, self._contents_of, self.threads, self.timing)

    def _given_vectors(self, new: "Sequence[Decoded]") -> "list[Vector]":
        assert self.given is not None  # noqa: S101 - `_pipeline` has looked
        return [self.given[value.file.path] for value in new]

    def _sample(self, count: int) -> Pixels:
        """Return the pictures in up to `count` files that lie at equal distances in the order of the scan."""
        import numpy as np

        from retrieval.indexing import worker
        from retrieval.process.threads import in_order

        total = max(1, self.total or self._count())
        share = min(count, total)
        files = (seen for seen in self._scan() if isinstance(seen, Found))
        some = (seen for place, seen in enumerate(files) if place * share // total < (place + 1) * share // total)
        task = replace(self._task(), known=np.zeros(0, dtype=np.int64))
        with closing(in_order(partial(worker.read, task), some, self.threads, self.threads)) as values:
            pictures = [value.pixels for value in values if isinstance(value, worker.Decoded)]
        return np.stack(pictures) if pictures else np.zeros((0, *self.size, 3), dtype=np.uint8)

    def _task(self) -> "Task":
        from retrieval.indexing.worker import Task

        assert self.ids is not None  # noqa: S101 - `_read` has set it
        return Task(self.source, self.size, self.rule, self.ids)

    def _contents_of(self, images: Sequence[int]) -> dict[int, bytes]:
        """Return the SHA-256 of each of `images` that the index has or will have with the next commit, by id."""
        with self.store.rows() as rows:
            stored = rows.contents_of(images)
        pending = {image: self.pending.sha256[image] for image in images if image in self.pending.sha256}
        return stored | pending

    def _take(self, outcome: "Outcome") -> None:
        """Put the outcome of a file into the next commit, and count it."""
        from retrieval.indexing.pipeline import Embedded
        from retrieval.indexing.worker import Failed, Known, NotAPicture, Vanished

        row = self.before.pop(outcome.file.path)
        match outcome:
            case Known():
                self._take_known(outcome, row)
            case Embedded():
                self._take_embedded(outcome, row)
            case Failed(file, reason, unread=True):
                self.tally.count_unreadable(file.path, reason)
                self._put_file(file, row, None if row is None else row.image, reason, NOT_GIVEN)
            case Failed(file, reason):
                self.tally.count_unreadable(file.path, reason)
                self._put_file(file, row, None, reason, self.reader)
            case NotAPicture(file):
                if row is not None and row.image is not None:
                    self.tally.counts["changed"] += 1
                    self.tally.events.add("changed", file.path)
                self._put_file(file, row, None, reader=self.table)
            case Vanished():
                if row is not None:
                    self.missing.add(row)

    def _take_embedded(self, found: "Embedded", row: FileRow | None) -> None:
        """Put a new image and its place into the next commit."""
        self.tally.embedded += 1
        if found.note:
            self.tally.notes[found.note] += 1
        counted = "changed" if row is not None and row.image is not None else "added"
        self.tally.counts[counted] += 1
        self.tally.events.add(counted, found.file.path, found.picture.id)
        self.pending.put_picture(found.picture, found.vector, found.file.path, counted)
        self._put_file(found.file, row, found.picture.id)

    def _take_known(self, known: "Known", row: FileRow | None) -> None:
        """Put a place of an image that the index has already into the next commit."""
        if row is None or row.image is None:
            counted = "copied"
            self.linked[known.image] += 1
        else:
            counted = "unchanged" if row.image == known.image else "changed"
        self.tally.counts[counted] += 1
        self.tally.events.add(counted, known.file.path, known.image)
        self.pending.counted[known.file.path] = counted
        self._put_file(known.file, row, known.image)

    def _put_file(
        self, file: Found, row: FileRow | None, image: int | None, reason: str | None = None, reader: str | None = None
    ) -> None:
        """Put the row of `file` into the next commit, unless it equals `row`, its row before."""
        file = file.storable()
        renewed = FileRow(
            root=self.root.id,
            path=file.path,
            size=file.size,
            mtime_ns=file.mtime_ns,
            image=image,
            reason=reason,
            reader=reader,
            ctime_ns=file.ctime_ns,
            id=None if row is None else row.id,
        )
        if renewed != row:
            self.pending.files.append(renewed)

    def _read_metadata(self) -> None:
        """Read the metadata of images that an earlier version has indexed."""
        from retrieval.indexing import headers

        if headers.are_unread(self.store) and self.identity is not None:
            headers.read(self.store, self.root.id, self.source, self.threads, self._report_progress)

    # -- facts for the next run -----------------------------------------------------------------------------------

    def _remember_folder(self) -> None:
        """Store which folders of the root are mount points, and the identity of the root.

        A former mount point stays one if this run did not look at it, or as long as places below it are offline.
        """
        if self.identity is None:
            return
        with self.store.rows() as rows:
            kept = {
                mount
                for mount in {*self.root.mounts} - self.mounts
                if not mount.startswith(self.below) or rows.any_offline(self.root.id, mount)
            }
        identity = self.root.identity if self.below else self.identity
        renewed = replace(self.root, mounts=tuple(sorted(self.mounts | kept)), identity=identity)
        if renewed != self.root:
            self.store.put_root(renewed)

    # -- commits and progress -------------------------------------------------------------------------------------

    def _commit_if_due(self) -> None:
        if len(self.pending.files) >= COMMIT_ROWS or time.monotonic() - self.committed >= COMMIT_SECONDS:
            self._commit()

    def _commit(self) -> None:
        """Commit everything that is pending."""
        # Replaced before the commit, so that an interruption right after the commit cannot commit the same twice.
        pending, self.pending = self.pending, Pending()
        if pending.files:
            with self.timing.of("commit"):
                refused = pending.commit(self.store, lambda: self.reader)
            for row in refused:
                self.tally.counts[pending.counted[row.path]] -= 1  # only rows of images are refused
                self.tally.count_unreadable(row.path, UNFORESEEN)
            if self.ids is not None and pending.sha256:
                import numpy as np

                self.ids = np.union1d(self.ids, np.array([*pending.sha256]))
            self.tally.events.tell()
        self.committed = time.monotonic()

    def _report_progress(self, headers: int = 0) -> None:
        if self.progress is not None:
            done = self.seen - len(self.before)
            progress = Progress(
                done=done,
                total=max(self.total, done),
                embedded=self.tally.embedded,
                unreadable=self.tally.counts["unreadable"],
                latest_failure=self.tally.latest_failure,
                headers=headers,
            )
            self.progress(progress)
