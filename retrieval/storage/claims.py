"""Which root a folder belongs to: the root that holds it, a new root, or a root that takes over others.

A library that was copied, moved or linked may have roots that are elsewhere now. Their rows are renewed first.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import sqlalchemy as sql

from retrieval.errors import BadInput
from retrieval.pictures import excludes, scan
from retrieval.pictures.source import Folder
from retrieval.storage import root_rows
from retrieval.storage.commit import Store
from retrieval.storage.records import Root, Spot
from retrieval.storage.roots import beside, home_of, place_of, relative
from retrieval.types import displayed


def claim(
    store: Store,
    folder: bytes,
    more: Sequence[str] = (),
    less: Sequence[str] = (),
    *,
    check: Callable[[Root, bytes], None] | None = None,
) -> Spot:
    """Return the spot of `folder`, and make the folder a root if no root holds it; within `writing`.

    The patterns `more` are added to the excludes of the root, and the patterns `less` are removed from them. A hidden
    folder, which the scan of the root around it skips, becomes a root of its own. A new root takes over the roots below
    it, except those in hidden folders. `check` gets the root and the path from it before anything is stored, and may
    raise an error. Raises `BadInput` if `folder` is neither a folder nor known, and as
    `excludes.changed` does.
    """
    path = os.path.realpath(folder)
    known = _settled(store)
    held = next((root for root in known if _is_held(store, root, path)), None)
    if held is None and not os.path.isdir(path):
        what = "is not a folder" if os.path.exists(path) else "does not exist"
        raise BadInput(f"{displayed(folder)} {what}", hint="give a folder that holds pictures")
    root = held or Root(0, path, beside(home_of(store.folder), path))
    inner = _roots_inside(root.path, known)
    below = relative(root.path, path) or b""
    claimed = _with_contents_of(root, inner)
    claimed = replace(claimed, exclude=excludes.changed(claimed.exclude, more, less, below))
    if check is not None:
        check(claimed, below)
    if claimed != held:
        claimed = replace(claimed, id=store.edit(_take_over, claimed, inner))
    return Spot(claimed.id, claimed.path, below)


def _roots_inside(place: bytes, roots: Sequence[Root]) -> dict[Root, bytes]:
    """Return the roots that the scan of a root at `place` reaches, with their paths from there."""
    inside = {}
    for root in roots:
        below = _scanned_path(place, root.path)
        if below:
            inside[root] = below
    return inside


def _settled(store: Store) -> list[Root]:
    """Return the roots in byte order of where they are now, and renew the rows that name another place.

    Several roots may be at one place now, because folders were moved or linked. Then one of them takes over the others.
    """
    home = home_of(store.folder)
    with store.rows() as rows:
        stored = rows.roots
    settled: dict[bytes, Root] = {}
    doubles: dict[int, int] = {}  # id of a root -> id of the root at the same place that takes it over
    for root in stored:
        here = _where_it_is(home, root)
        first = settled.setdefault(here.path, here)
        if first is not here:
            settled[here.path] = _with_contents_of(first, {here: b""})
            doubles[here.id] = first.id
    renewed = [root for root in settled.values() if root not in stored]
    if renewed or doubles:
        store.edit(_renew, renewed, doubles)
    return sorted(settled.values(), key=lambda root: root.path)


def _where_it_is(home: bytes, root: Root) -> Root:
    """Return `root` with the path where it is now, if there is a folder."""
    place = os.path.realpath(place_of(home, root))
    if place == root.path or not os.path.isdir(place):
        return root
    return replace(root, path=place, beside=beside(home, place))


def _renew(connection: sql.Connection, renewed: Sequence[Root], doubles: Mapping[int, int]) -> None:
    """Renew rows of roots, and merge roots that are at one place: id of a root -> id of the root that takes it over."""
    for root, first in doubles.items():
        root_rows.absorb_roots(connection, {root: b""}, first)
    root_rows.renew_roots(connection, renewed)


def _is_held(store: Store, root: Root, path: bytes) -> bool:
    """Tell whether the scan of `root` reaches `path`, and `path` is a folder or was one."""
    below = _scanned_path(root.path, path)
    return below is not None and (not below or os.path.isdir(path) or _is_known(store, root, below))


def _scanned_path(place: bytes, path: bytes) -> bytes | None:
    """Return `path` relative to a root at `place`; None if it is elsewhere, or hidden from the scan of that root."""
    below = relative(place, path)
    if below is None or any(scan.hidden(part) for part in below.split(b"/")):
        return None
    return below


def _with_contents_of(root: Root, inner: Mapping[Root, bytes]) -> Root:
    """Return `root` with the excludes and the mount points of inner roots: root -> its path from `root`.

    An inner root that looks empty now is taken for the mount point of a drive that is away.
    """
    excluded: list[str] = []
    mounts = set(root.mounts)
    for inner_root, folder in inner.items():
        excluded += [excludes.beneath(pattern, folder) for pattern in inner_root.exclude]
        inner_mounts = [*inner_root.mounts]
        if Folder(inner_root.path).looks_empty():
            inner_mounts.append(b"")
        prefix = folder and folder + b"/"
        mounts |= {prefix + mount for mount in inner_mounts}
    return replace(root, exclude=excludes.joined(excluded, root.exclude), mounts=tuple(sorted(mounts)))


def _take_over(connection: sql.Connection, root: Root, inner: Mapping[Root, bytes]) -> int:
    """Insert or renew the row of `root`, move the places of the `inner` roots to it, and return its id."""
    id_ = root_rows.put_root(connection, root)
    if inner:
        prefixes = {inner_root.id: folder + b"/" for inner_root, folder in inner.items()}
        root_rows.absorb_roots(connection, prefixes, id_)
    return id_


def _is_known(store: Store, root: Root, below: bytes) -> bool:
    """Tell whether the index has a place below the folder `below` of `root`."""
    with store.rows() as rows:
        return bool(rows.files_below(root.id, below + b"/", limit=1))
