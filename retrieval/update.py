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
import stat
import time
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from retrieval import folders, metadata
from retrieval.metadata import FileRow
from retrieval.roots import Spot
from retrieval.runtimes import Encoder
from retrieval.store import Change, Store
from retrieval.types import Found, Ids, Picture, Progress, Report, Timing, Unlisted, Vectors, displayed, image_id

if TYPE_CHECKING:
    from retrieval.pipeline import Outcome

COMMIT_SECONDS = 5.0
"""Work that a crash can lose, at most, together with the batch in hand."""
COMMIT_ROWS = 2000
PAGE = 5000
"""Rows read, or changed, at a time."""


@dataclass(frozen=True)
class Settings:
    """How one run goes about its work."""

    exclude: tuple[str, ...] = ()
    """Patterns in the syntax of .gitignore, from the root downwards."""
    prune: bool = False
    """Forget what vanished even if it is most of a root, or the root itself."""
    retry_failed: bool = False
    """Read unreadable files again though they have not changed."""


@dataclass
class Pending:
    """What the next commit will hold."""

    files: list[FileRow] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    vectors: list[Vectors] = field(default_factory=list)
    sha256: dict[int, bytes] = field(default_factory=dict)

    def change(self) -> Change:
        """Return it as a commit wants it."""
        if not self.pictures:
            return Change(self.files)
        import numpy as np

        return Change(self.files, self.pictures, np.stack(self.vectors))


class Update:
    """One run over the files of one root below one folder; within `store.writing()`."""

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
        self.store, self.root, self.place, self.settings = store, spot.root, spot.place, settings
        self.below = spot.below + b"/" if spot.below else b""
        self.size, self.rule, self.encoder = size, rule, encoder
        self.threads, self.progress = threads, progress
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.linked: Counter[int] = Counter()
        self.before: dict[bytes, FileRow | None] = {}
        self.gone, self.removed, self.offline = array("q"), array("q"), array("q")
        self.pending = Pending()
        self.timing = Timing()
        self.ids: Ids | None = None
        self.committed = time.monotonic()
        self.seen = self.embedded = self.total = 0
        self.latest_failure = ""
        with store.connection() as connection:
            self.known = metadata.count_below(connection, self.root)

    @cached_property
    def reader(self) -> str:
        """What decides whether a file can be read."""
        from retrieval import formats

        return formats.reader()

    @cached_property
    def table(self) -> str:
        """What decides whether a file is a picture at all."""
        from retrieval import formats

        return formats.table()

    def run(self) -> Report:
        """Do it. What is done is committed every few seconds, and on the way out, whatever happens."""
        try:
            with self.timing.of("total"):
                candidates = self._candidates()
                if (first := next(candidates, None)) is not None:
                    self._read(itertools.chain([first], candidates))
                self._settle_missing()
        finally:
            self._commit()
        self._report_progress()
        return Report(**self.counts, reasons=dict(self.reasons), timing=dict(self.timing))

    # -- what is there against what is known ----------------------------------------------------------------------

    def _scan(self) -> Iterator[Found | Unlisted]:
        own = os.path.realpath(os.fsencode(self.store.folder))
        return folders.find(self.place, self.below, self.settings.exclude, skip=own)

    def _rows(self) -> Iterator[FileRow]:
        after = None
        while True:
            with self.store.connection() as connection:
                page = metadata.files_below(connection, self.root, self.below, after, PAGE)
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
            elif row is not None and seen is None:
                self._miss(row)
            elif row is not None and row.id is not None:
                self.offline.append(row.id)

    def _is_settled(self, seen: Found, row: FileRow) -> bool:
        """Tell whether the file is as it was; if so, count it, and bring it back where it was offline."""
        if seen.size != row.size or seen.mtime_ns != row.mtime_ns:
            return False
        if row.reason is not None and (self.settings.retry_failed or row.reader != self.reader):
            return False
        if row.reason is None and row.image is None and row.reader != self.table:
            return False  # what was no picture may be one for a later version
        if row.offline:
            self._put(row._replace(offline=0))
        if row.reason is not None:
            self.counts["unreadable"] += 1  # its reason was told when it was read
        elif row.image is not None:
            self.counts["unchanged"] += 1
        return True

    def _miss(self, row: FileRow) -> None:
        """Find out why the scan did not see a place that is known."""
        assert row.id is not None  # noqa: S101 - it comes from the table
        try:
            status = os.stat(os.path.join(self.place, row.path))
        except (FileNotFoundError, NotADirectoryError):
            self.gone.append(row.id)
        except OSError:
            self.offline.append(row.id)
        else:
            (self.removed if stat.S_ISREG(status.st_mode) else self.gone).append(row.id)

    # -- what the files hold --------------------------------------------------------------------------------------

    def _known(self, sha256: bytes) -> bool:
        id_ = image_id(sha256)
        if self.pending.sha256.get(id_) == sha256:
            return True
        if self.ids is not None and not contains(self.ids, id_):
            return False  # without asking the database, once a picture
        with self.store.connection() as connection:
            return metadata.sha256_of_id(connection, id_) == sha256

    def _is_there(self, image: int) -> bool:
        if image in self.pending.sha256:
            return True
        with self.store.connection() as connection:
            return metadata.sha256_of_id(connection, image) is not None

    def _read(self, files: Iterable[Found]) -> None:
        """Find out what `files` hold."""
        with self.store.connection() as connection:
            self.ids = metadata.image_ids(connection)  # 8 bytes an image; those that lose their last place may stay
        if self.progress is not None:
            self.total = sum(isinstance(seen, Found) for seen in self._scan())
        with closing(self._embedded(files)) as batches:  # its threads end before the index is closed
            for outcomes in batches:
                for outcome in outcomes:
                    self._take(outcome)
                self._report_progress()
                self._commit_if_due()

    def _embedded(self, files: Iterable[Found]) -> "Generator[list[Outcome], None, None]":
        from retrieval import pipeline  # with numpy and Pillow, for which nobody waits whose files are as they were

        how = self.size, self.rule, self.encoder, self._known, self.threads, self.timing
        return pipeline.embed(files, self.place, *how)

    def _take(self, outcome: "Outcome") -> None:
        from retrieval.pipeline import Embedded, Failed, Known, NoPicture, Vanished

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
            case Embedded(file, picture, vector):
                self.embedded += 1
                self.counts["changed" if row is not None and row.image is not None else "added"] += 1
                self.pending.pictures.append(picture)
                self.pending.vectors.append(vector)
                self.pending.sha256[picture.id] = picture.sha256
                self._put_file(file, picture.id)
            case Failed(file, reason, unread):
                self._count_unreadable(file.path, reason)
                if unread:  # what no program said of the file is asked anew by the next run
                    self._put_file(file, row.image if row is not None else None, reason, reader="")
                else:
                    self._put_file(file, None, reason, reader=self.reader)
            case NoPicture(file):
                self.counts["changed"] += row is not None and row.image is not None
                self._put_file(file, None, reader=self.table)
            case Vanished():
                if row is not None:
                    self._miss(row)

    def _take_known(self, file: Found, image: int, row: FileRow | None) -> None:
        if row is None or row.image is None:
            self.counts["copied"] += 1
            self.linked[image] += 1
        else:
            self.counts["unchanged" if row.image == image else "changed"] += 1
        self._put_file(file, image)

    def _put_file(self, file: Found, image: int | None, reason: str | None = None, reader: str | None = None) -> None:
        self._put(FileRow(self.root, file.path, file.size, file.mtime_ns, image, 0, reason, reader))

    def _put(self, row: FileRow) -> None:
        self.pending.files.append(row)

    def _count_unreadable(self, path: bytes, reason: str) -> None:
        self.counts["unreadable"] += 1
        self.reasons[reason] += 1
        self.latest_failure = f"{displayed(path)}: {reason}"

    # -- what is missing ------------------------------------------------------------------------------------------

    def _settle_missing(self) -> None:
        """Decide, now that all is seen and committed, what moved, what is gone and what is only away."""
        self._commit()
        self.counts["removed"] += len(self.removed)
        forget, gone, images_gone = self.removed, array("q"), 0
        for row in self._by_id(self.gone):
            if row.image is not None and self.linked[row.image] > 0:
                self.linked[row.image] -= 1
                self.counts["moved"] += 1
                self.counts["copied"] -= 1
                forget.append(row.id or 0)
            else:
                images_gone += row.image is not None
                gone.append(row.id or 0)
        if not self.settings.prune and self._is_away(images_gone):
            self.offline.extend(gone)
        else:
            self.counts["gone"] += images_gone
            forget.extend(gone)
        if self.settings.prune:
            self.counts["gone"] += sum(row.image is not None for row in self._by_id(self.offline))
            forget.extend(self.offline)
        else:
            self._mark_offline()
        for some in _pages(forget):
            self.store.commit(Change(forget=some))

    def _mark_offline(self) -> None:
        for some in _pages(self.offline):
            rows = list(self._by_id(some))
            self.counts["offline"] += sum(row.image is not None for row in rows)
            if marked := [row._replace(offline=1) for row in rows if not row.offline]:
                self.store.commit(Change(marked))

    def _is_away(self, gone: int) -> bool:
        """Tell whether what is gone is too much to believe: more than half of the root, or all that can be seen."""
        if not gone:
            return False
        try:
            with os.scandir(self.place) as entries:
                empty = next(iter(entries), None) is None
        except OSError:
            empty = True
        return empty or 2 * gone > self.known

    def _by_id(self, ids: "array[int]") -> Iterator[FileRow]:
        for some in _pages(ids):
            with self.store.connection() as connection:
                rows = list(metadata.files_by_id(connection, some))
            yield from rows

    # -- commits and progress -------------------------------------------------------------------------------------

    def _commit_if_due(self) -> None:
        if len(self.pending.files) >= COMMIT_ROWS or time.monotonic() - self.committed >= COMMIT_SECONDS:
            self._commit()

    def _commit(self) -> None:
        """Commit what is pending; taken out first, so that an interruption right after it cannot commit it twice."""
        pending, self.pending = self.pending, Pending()
        if pending.files:
            with self.timing.of("commit"):
                self.store.commit(pending.change())
            if self.ids is not None and pending.pictures:
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


def _pages(ids: "array[int]") -> Iterator["array[int]"]:
    """Cut `ids` into parts, so that a library of a million files is not held in memory when it vanishes."""
    for start in range(0, len(ids), PAGE):
        yield ids[start : start + PAGE]


def merged(
    scan: Iterable[Found | Unlisted], rows: Iterator[FileRow]
) -> Iterator[tuple[Found | Unlisted | None, FileRow | None]]:
    """Pair what is on disk with what is known, both in byte order of path; None for what the other side does not have.

    A folder that could not be listed is paired with every row below it, or with None.
    """
    row = next(rows, None)
    for seen in scan:
        while row is not None and row.path < seen.path:
            yield None, row
            row = next(rows, None)
        if isinstance(seen, Unlisted):
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
