"""Decide what becomes of the known places that a run did not see: moved, gone, removed or offline.

The first line that fits a place decides:

    excluded, or there but passed over by the scan ────────────────────> removed
    in a folder that cannot be looked at ──────────────────────────────> offline
    not there, but offline before ─────────────────────────────────────> offline
    not there, below a former mount point where nothing is mounted now > offline
    not there, a link that leads to nothing now ───────────────────────> offline
    not there, and its content is at a new place ──────────────────────> moved
    not there, and so are more than half of the reachable places ──────> offline
    not there ─────────────────────────────────────────────────────────> gone

A place stays offline until it is seen again, or until it is forgotten on request. Its content at another place counts
as a copy, because the drive may come back. Places that are offline do not count among the reachable places.
"""

from array import array
from collections import Counter
from collections.abc import Iterator

from retrieval.indexing.events import Events
from retrieval.pictures import scan
from retrieval.pictures.source import Source, State
from retrieval.storage.commit import Store
from retrieval.storage.records import FileRow, Root
from retrieval.storage.view import Change
from retrieval.types import Unlisted

PAGE = 5000
"""Number of rows that are read or changed at a time."""


class Missing:
    """The missing places of one run. Only their ids are held in memory, because a million places may be missing."""

    def __init__(self, store: Store, root: Root, source: Source) -> None:
        """Begin a run over `root`, whose files `source` shows."""
        self._store, self._root, self._source = store, root, source
        self._is_left_out = scan.leaves_out(root.exclude)
        self._unmounted = source.unmounted(root.mounts)
        self._gone, self._removed, self._offline = array("q"), array("q"), array("q")
        self._folders = array("q")  # rows of folders that could not be listed before: they are no failures any more
        with store.rows() as rows:
            self._reachable = rows.count_reachable(root.id)

    def _is_away(self, path: bytes) -> bool:
        return any(path.startswith(mount) for mount in self._unmounted)

    def add(self, row: FileRow, unlisted: Unlisted | None = None) -> None:
        """Note that the place of `row` was not seen, because of `unlisted` if that is given."""
        self._fate(row, unlisted).append(_id_of(row))

    def _fate(self, row: FileRow, unlisted: Unlisted | None) -> "array[int]":
        """Return the array to which the id of `row` belongs."""
        if self._is_left_out(row.path):
            return self._removed
        if unlisted is not None:
            return self._offline
        if not row.path or row.path.endswith(b"/"):
            return self._folders
        state = self._source.state(row.path)
        if state is State.THERE:
            return self._removed  # the scan passes over the file now
        if state is State.AWAY or (state is State.GONE and row.offline):
            return self._offline
        return self._gone

    def settle(self, linked: Counter[int], counts: Counter[str], events: Events, *, prune: bool) -> None:
        """Decide what becomes of all missing places, commit the decisions, and add them to `counts` and `events`.

        It is called when the run has seen and committed everything else. `linked` has the number of new places that
        each known image got in this run, by id of the image; each moved place takes one away. With `prune`, places that
        are offline are forgotten.
        """
        gone = array("q")
        images_gone = 0
        forget = self._folders + self._removed
        self._unmounted |= self._source.unmounted(self._root.mounts)
        for row in self._rows(self._gone):
            if self._is_away(row.path):
                self._offline.append(_id_of(row))
            elif row.image is not None and linked[row.image] > 0:
                linked[row.image] -= 1
                counts["moved"] += 1
                counts["copied"] -= 1
                events.move(row.path, row.image)
                forget.append(_id_of(row))
            else:
                images_gone += row.image is not None
                gone.append(_id_of(row))
        removed = self._count_images(self._removed, "removed", events)
        counts["removed"] += removed
        if not prune and images_gone and self._is_too_much(images_gone, removed):
            self._offline.extend(gone)
        else:
            counts["gone"] += self._count_images(gone, "gone", events)
            forget.extend(gone)
        if prune:
            counts["gone"] += self._count_images(self._offline, "gone", events)
            forget.extend(self._offline)
        else:
            counts["offline"] += self._count_images(self._offline, "offline", events)
            self._mark_offline()
        for page in _pages(forget):
            self._store.commit(Change(forget=page))

    def _is_too_much(self, gone: int, removed: int) -> bool:
        """Tell whether so many places of images, `gone`, cannot be believed to be deleted.

        This is so if the root looks empty, or if they are more than half of the places of images that were reachable
        before the run, except those that are offline or removed now.
        """
        offline_now = sum(row.image is not None and not row.offline for row in self._rows(self._offline))
        return self._source.looks_empty() or 2 * gone > self._reachable - offline_now - removed

    def _mark_offline(self) -> None:
        for page in _pages(self._offline):
            marked = [row._replace(offline=1) for row in self._rows(page) if not row.offline]
            if marked:
                self._store.commit(Change(marked))

    def _count_images(self, ids: "array[int]", event: str, events: Events) -> int:
        """Return the number of these places that are places of images, and add the event of each to `events`.

        A place that was offline before has become nothing new if it is offline.
        """
        count = 0
        for row in self._rows(ids):
            if row.image is not None:
                count += 1
                if event != "offline" or not row.offline:
                    events.add(event, row.path)
        return count

    def _rows(self, ids: "array[int]") -> Iterator[FileRow]:
        """Yield the rows of these places, read in several transactions."""
        for page in _pages(ids):
            with self._store.rows() as rows:
                found = rows.files_by_id(page)
            yield from found


def _id_of(row: FileRow) -> int:
    assert row.id is not None  # noqa: S101 - the row comes from the table
    return row.id


def _pages(ids: "array[int]") -> Iterator["array[int]"]:
    """Cut `ids` into parts, so that the rows of a million missing files are not in memory at once."""
    for start in range(0, len(ids), PAGE):
        yield ids[start : start + PAGE]
