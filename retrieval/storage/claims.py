"""Which root a folder belongs to: the root that holds it, a new one, or one that takes over others.

A library that was copied, moved or linked may have roots that are elsewhere by now; their rows are renewed first.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import sqlalchemy as sql

from retrieval.errors import BadInput
from retrieval.pictures import excludes, scan
from retrieval.pictures.source import Folder
from retrieval.storage import root_rows
from retrieval.storage.commit import Store
from retrieval.storage.roots import Root, Spot, beside, home_of, place_of, relative
from retrieval.types import displayed


def claim(store: Store, folder: bytes, more: Sequence[str] = (), less: Sequence[str] = ()) -> Spot:
    """Return the spot of `folder`, making it a root where no root holds it; within `writing`.

    The patterns `more` are added to those that its root leaves out, `less` are taken from them. A folder that the scan
    of its root passes over as hidden is a root of its own. A root takes over those below it, but for such. `BadInput`
    for what is neither known nor a folder, and as `excludes.changed` says.
    """
    path = os.path.realpath(folder)
    known = _settled(store)
    held = next((root for root in known if _is_held(store, root, path)), None)
    if held is None and not os.path.isdir(path):
        what = "is not a folder" if os.path.exists(path) else "does not exist"
        raise BadInput(f"{displayed(folder)} {what}", hint="give a folder that holds pictures")
    root = held or Root(0, path, beside(home_of(store.folder), path))
    inner = {one: below for one in known if (below := _scanned(root.path, one.path))}
    below = relative(root.path, path) or b""
    claimed = _over(root, inner)
    claimed = replace(claimed, exclude=excludes.changed(claimed.exclude, more, less, below))
    if claimed != held:
        claimed = replace(claimed, id=store.edit(_take_over, claimed, inner))
    return Spot(claimed.id, claimed.path, below)


def _settled(store: Store) -> list[Root]:
    """Return the roots in byte order of where they are now, having renewed the rows that say something else.

    A library that was copied, moved or linked may say so, and even have two roots that are at one place by now: one
    takes over the other.
    """
    home = home_of(store.folder)
    with store.rows() as rows:
        stored = rows.roots
    known: dict[bytes, Root] = {}
    doubles: dict[int, int] = {}
    for root in stored:
        place = os.path.realpath(place_of(home, root))
        moved = place != root.path and os.path.isdir(place)
        here = replace(root, path=place, beside=beside(home, place)) if moved else root
        first = known.setdefault(here.path, here)
        if first is not here:
            known[here.path] = _over(first, {here: b""})
            doubles[here.id] = first.id
    renewed = [root for root in known.values() if root not in stored]
    if renewed or doubles:
        store.edit(_renew, renewed, doubles)
    return sorted(known.values(), key=lambda root: root.path)


def _renew(connection: sql.Connection, renewed: Sequence[Root], doubles: Mapping[int, int]) -> None:
    for root, first in doubles.items():
        root_rows.absorb_roots(connection, {root: b""}, first)
    root_rows.renew_roots(connection, renewed)


def _is_held(store: Store, root: Root, path: bytes) -> bool:
    """Tell whether `path` is in `root` and not hidden from its scan, and is a folder or was one."""
    below = _scanned(root.path, path)
    return below is not None and (not below or os.path.isdir(path) or _is_known(store, root, below))


def _scanned(place: bytes, path: bytes) -> bytes | None:
    """Return `path` relative to a root at `place`, None where it is elsewhere or hidden from the scan of that root."""
    below = relative(place, path)
    return None if below is None or _passed_over(below) else below


def _over(root: Root, inner: Mapping[Root, bytes]) -> Root:
    """Return `root` with what is kept with `inner`, root -> its folder below `root`.

    An inner root in which nothing is to be seen now is taken for the mount point of a drive that is away.
    """
    excluded: list[str] = []
    mounts = set(root.mounts)
    for one, folder in inner.items():
        excluded += [excludes.beneath(pattern, folder) for pattern in one.exclude]
        inner_mounts = [*one.mounts]
        if Folder(one.path).looks_empty():
            inner_mounts.append(b"")
        mounts |= {(folder and folder + b"/") + mount for mount in inner_mounts}
    return replace(root, exclude=excludes.joined(excluded, root.exclude), mounts=tuple(sorted(mounts)))


def _take_over(connection: sql.Connection, root: Root, inner: Mapping[Root, bytes]) -> int:
    """Insert or renew the row of `root`, make the files of `inner` its own, and return its id."""
    id_ = root_rows.put_root(connection, root)
    if inner:
        root_rows.absorb_roots(connection, {one.id: folder + b"/" for one, folder in inner.items()}, id_)
    return id_


def _passed_over(path: bytes) -> bool:
    return any(scan.hidden(part) for part in path.split(b"/"))


def _is_known(store: Store, root: Root, below: bytes) -> bool:
    with store.rows() as rows:
        return bool(rows.files_below(root.id, below + b"/", limit=1))
