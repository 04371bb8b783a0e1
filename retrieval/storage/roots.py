"""Where the indexed folders are: absolute paths, roots, and paths below them.

A root keeps its absolute path and, where it lies below the folder that holds the index, its path from there as well.
What is found there comes first, so that a library can move together with its index, to another disk or machine.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sql

from retrieval.errors import BadInput
from retrieval.pictures import excludes, scan
from retrieval.storage import root_rows, tables
from retrieval.storage.commit import Store
from retrieval.storage.root_rows import Root
from retrieval.types import RootInfo, displayed


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in terms of the index."""

    root: int
    place: bytes
    """Where the root is now, absolute."""
    below: bytes
    """The path from there, "" for the root itself."""


def places(store: Store, connection: sql.Connection) -> dict[int, bytes]:
    """Return where each root is now, absolute, in byte order of the paths that they had when they were last updated."""
    home = _home(store)
    return {root.id: _place(home, root) for root in root_rows.all_roots(connection)}


def folders_of(store: Store) -> tuple[RootInfo, ...]:
    """Return the roots as a person knows them."""
    home = _home(store)
    with store.connection() as connection:
        return tuple(
            RootInfo(path_of(place, b""), tables.count_below(connection, root.id), os.path.isdir(place), root.exclude)
            for root in root_rows.all_roots(connection)
            for place in [_place(home, root)]
        )


def locate(store: Store, connection: sql.Connection, path: bytes) -> Spot | None:
    """Return the spot of `path`, which need not exist, in the innermost root; None where no root holds it."""
    return next(iter(spots(places(store, connection), path)), None)


def spots(known: Mapping[int, bytes], path: bytes) -> list[Spot]:
    """Return where `path`, which need not exist, is in the roots that are `known`: as it is named, then its target.

    Each in the innermost root that holds it, if one does; a link below a root is a place, and what it leads to another.
    """
    folder, name = os.path.split(os.path.abspath(path))
    reals = (os.path.join(os.path.realpath(folder), name), os.path.realpath(path), os.path.abspath(path))
    return [spot for spot in (_innermost(known, real) for real in dict.fromkeys(reals)) if spot is not None]


def _innermost(known: Mapping[int, bytes], path: bytes) -> Spot | None:
    for root, place in sorted(known.items(), key=lambda item: -len(item[1])):
        below = relative(place, path)
        if below is not None:
            return Spot(root, place, below)
    return None


def known_at(store: Store, path: bytes) -> tuple[Spot, dict[int, int | None]]:
    """Return where `path` is known, and of the file there, or of all files below it, the ids with their images.

    `BadInput` where nothing is known.
    """
    with store.connection() as connection:
        for spot in spots(places(store, connection), path):
            files = dict(tables.files_at(connection, spot.root, spot.below))
            if files or not spot.below:
                return spot, files
    sentence = f"nothing at {displayed(path)} is in the index"
    raise BadInput(sentence, hint="see the indexed folders with: retrieval info")


def within(store: Store, connection: sql.Connection, folder: bytes) -> dict[int, bytes]:
    """Return the roots in which `folder` is or that are below it, each with the folder's path from there and a `/`.

    The path is empty where all of a root is meant. `BadInput` where no picture is known there.
    """
    path = os.path.realpath(folder)
    spot = locate(store, connection, path)
    known = places(store, connection).items()
    inner = {root: b"" for root, place in known if relative(path, place) is not None}
    spots = inner if spot is None else {spot.root: spot.below and spot.below + b"/"} | inner
    if not any(tables.count_below(connection, *one) for one in spots.items()):
        name = displayed(folder)
        raise BadInput(f"no picture below {name} is in the index", hint=f"put them there with: retrieval index {name}")
    return spots


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
    root = held or Root(0, path, _beside(store, path))
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
    with store.connection() as connection:
        stored = root_rows.all_roots(connection)
    known: dict[bytes, Root] = {}
    doubles: dict[int, int] = {}
    for root in stored:
        place = os.path.realpath(_place(_home(store), root))
        moved = place != root.path and os.path.isdir(place)
        here = replace(root, path=place, beside=_beside(store, place)) if moved else root
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
    return below is not None and (not below or os.path.isdir(path) or _known_below(store, root.id, below))


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
        away = [b""] * scan.is_bare(one.path)
        mounts |= {(folder and folder + b"/") + mount for mount in (*one.mounts, *away)}
    return replace(root, exclude=excludes.joined(excluded, root.exclude), mounts=tuple(sorted(mounts)))


def _take_over(connection: sql.Connection, root: Root, inner: Mapping[Root, bytes]) -> int:
    """Insert or renew the row of `root`, make the files of `inner` its own, and return its id."""
    id_ = root_rows.put_root(connection, root)
    if inner:
        root_rows.absorb_roots(connection, {one.id: folder + b"/" for one, folder in inner.items()}, id_)
    return id_


def path_of(place: bytes, below: bytes) -> Path:
    """Return the path of what is `below` a root that is at `place`."""
    return Path(os.fsdecode(os.path.join(place, below)))


def relative(folder: bytes, path: bytes) -> bytes | None:
    """Return `path` relative to `folder`, "" for the folder itself, None where it is elsewhere."""
    if path == folder:
        return b""
    prefix = folder.rstrip(b"/") + b"/"
    return path[len(prefix) :] if path.startswith(prefix) else None


def _known_below(store: Store, root: int, below: bytes) -> bool:
    with store.connection() as connection:
        return bool(tables.files_below(connection, root, below + b"/", None, limit=1))


def _passed_over(path: bytes) -> bool:
    return any(scan.hidden(part) for part in path.split(b"/"))


def _home(store: Store) -> bytes:
    """Return the folder that holds the index."""
    return os.path.dirname(os.path.realpath(os.fsencode(store.folder)))


def _place(home: bytes, root: Root) -> bytes:
    if root.beside is not None:
        beside = os.path.normpath(os.path.join(home, root.beside))
        if os.path.isdir(beside):
            return beside
    return root.path


def _beside(store: Store, path: bytes) -> bytes | None:
    below = relative(_home(store), path)
    return None if below is None else below or b"."
