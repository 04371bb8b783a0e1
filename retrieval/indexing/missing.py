"""What becomes of the known places that a run did not see: moved, gone, removed or offline.

    excluded, or passed over by the scan ──────────────────────────────> removed
    what cannot be looked at ──────────────────────────────────────────> offline
    not there, but offline before ─────────────────────────────────────> offline
    not there, below a folder that was a mount point and is none now ──> offline
    not there, a link that leads to nothing now ───────────────────────> offline
    not there, and its content is at a new place ──────────────────────> moved
    not there, with more than half of what could be looked at ─────────> offline
    not there ─────────────────────────────────────────────────────────> gone

A place stays offline until it is seen again, or forgotten on request. Its content at another place is a copy: the drive
may come back. What is offline has no part in the half.
"""

from array import array
from collections import Counter
from collections.abc import Iterator

from retrieval.pictures import scan
from retrieval.pictures.source import Source, State
from retrieval.storage.commit import Store
from retrieval.storage.records import FileRow, Root
from retrieval.storage.view import Change
from retrieval.types import Unlisted

PAGE = 5000
"""Rows read, or changed, at a time."""


class Missing:
    """The missing places of one run; only their ids are held, so that a million may vanish."""

    def __init__(self, store: Store, root: Root, source: Source) -> None:
        """Begin a run over `root`, whose files `source` shows."""
        self._store, self._root, self._source = store, root, source
        self._is_left_out = scan.leaves_out(root.exclude)
        self._unmounted = source.unmounted(root.mounts)
        self._gone, self._removed, self._offline, self._listed = array("q"), array("q"), array("q"), array("q")
        with store.rows() as rows:
            self._known = rows.count_reachable(root.id)

    def _is_away(self, path: bytes) -> bool:
        return any(path.startswith(mount) for mount in self._unmounted)

    def add(self, row: FileRow, unlisted: Unlisted | None = None) -> None:
        """Note that the place of `row` was not seen, because of `unlisted` if that is given."""
        assert row.id is not None  # noqa: S101 - it comes from the table
        self._fate(row, unlisted).append(row.id)

    def _fate(self, row: FileRow, unlisted: Unlisted | None) -> "array[int]":
        if self._is_left_out(row.path):
            return self._removed
        if unlisted is not None:
            return self._offline
        if not row.path or row.path.endswith(b"/"):
            return self._listed
        state = self._source.state(row.path)
        if state is State.THERE:
            return self._removed  # the scan passes over it now
        if state is State.AWAY or (state is State.GONE and row.offline):
            return self._offline
        return self._gone

    def settle(self, linked: Counter[int], counts: Counter[str], *, prune: bool) -> None:
        """Decide, now that all is seen and committed; commit that, and add it to `counts`.

        `linked` has how many new places each known image got. With `prune`, what is offline is forgotten.
        """
        gone, images_gone, forget = array("q"), 0, self._listed + self._removed
        self._unmounted |= self._source.unmounted(self._root.mounts)
        for row in self._rows(self._gone):
            if self._is_away(row.path):
                self._offline.append(row.id or 0)
            elif row.image is not None and linked[row.image] > 0:
                linked[row.image] -= 1
                counts["moved"] += 1
                counts["copied"] -= 1
                forget.append(row.id or 0)
            else:
                images_gone += row.image is not None
                gone.append(row.id or 0)
        removed = self._images(self._removed)
        counts["removed"] += removed
        if not prune and images_gone and self._is_too_much(images_gone, removed):
            self._offline.extend(gone)
        else:
            counts["gone"] += images_gone
            forget.extend(gone)
        counts["gone" if prune else "offline"] += self._images(self._offline)
        if prune:
            forget.extend(self._offline)
        else:
            self._mark_offline()
        for some in _pages(forget):
            self._store.commit(Change(forget=some))

    def _is_too_much(self, gone: int, removed: int) -> bool:
        """Tell whether that many places cannot be believed to be gone.

        More than half of those that were not offline, nor are found to be so now; or all that can be seen.
        """
        away = sum(row.image is not None and not row.offline for row in self._rows(self._offline))
        return self._source.looks_empty() or 2 * gone > self._known - away - removed

    def _mark_offline(self) -> None:
        for some in _pages(self._offline):
            if marked := [row._replace(offline=1) for row in self._rows(some) if not row.offline]:
                self._store.commit(Change(marked))

    def _images(self, ids: "array[int]") -> int:
        return sum(row.image is not None for row in self._rows(ids))

    def _rows(self, ids: "array[int]") -> Iterator[FileRow]:
        for some in _pages(ids):
            with self._store.rows() as rows:
                page = rows.files_by_id(some)
            yield from page


def _pages(ids: "array[int]") -> Iterator["array[int]"]:
    """Cut `ids` into parts, so that a library of a million files is not held in memory when it vanishes."""
    for start in range(0, len(ids), PAGE):
        yield ids[start : start + PAGE]
