"""Where the indexed folders are: absolute paths, roots, and paths below them.

A root keeps its absolute path and, where it lies below the folder that holds the index, its path from there as well.
What is found there comes first, so that a library can move together with its index, to another disk or machine.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sql

from retrieval import folders, metadata
from retrieval.errors import BadInput
from retrieval.metadata import Root
from retrieval.store import Store
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
    return {root.id: _place(home, root) for root in metadata.all_roots(connection)}


def folders_of(store: Store) -> tuple[RootInfo, ...]:
    """Return the roots as a person knows them."""
    with store.connection() as connection:
        return tuple(
            RootInfo(path_of(place, b""), metadata.count_below(connection, root), os.path.isdir(place))
            for root, place in places(store, connection).items()
        )


def locate(store: Store, connection: sql.Connection, path: bytes) -> Spot | None:
    """Return the spot of `path`, which need not exist, in the innermost root; None where no root holds it."""
    return next(iter(spots(places(store, connection), path)), None)


def spots(known: Mapping[int, bytes], path: bytes) -> list[Spot]:
    """Return where `path`, which need not exist, is in the roots that are `known`: as it is named, then its target.

    Each in the innermost root that holds it, if one does; a link below a root is a place, and what it leads to another.
    """
    folder, name = os.path.split(os.path.abspath(path))
    reals = dict.fromkeys((os.path.join(os.path.realpath(folder), name), os.path.realpath(path)))
    return [spot for spot in (_innermost(known, real) for real in reals) if spot is not None]


def _innermost(known: Mapping[int, bytes], path: bytes) -> Spot | None:
    for root, place in sorted(known.items(), key=lambda item: -len(item[1])):
        below = relative(place, path)
        if below is not None:
            return Spot(root, place, below)
    return None


def within(store: Store, connection: sql.Connection, folder: bytes) -> dict[int, bytes]:
    """Return the roots in which `folder` is or that are below it, each with the folder's path from there and a `/`.

    The path is empty where all of a root is meant. `BadInput` where no picture is known there.
    """
    path = os.path.realpath(folder)
    spot = locate(store, connection, path)
    known = places(store, connection).items()
    inner = {root: b"" for root, place in known if relative(path, place) is not None}
    spots = inner if spot is None else {spot.root: spot.below and spot.below + b"/"} | inner
    if not any(metadata.count_below(connection, *one) for one in spots.items()):
        name = displayed(folder)
        raise BadInput(f"no picture below {name} is in the index", hint=f"put them there with: retrieval index {name}")
    return spots


def claim(store: Store, folder: bytes) -> Spot:
    """Return the spot of `folder`, making it a root where no root holds it; within `writing`.

    A folder that the scan of its root passes over as hidden is a root of its own. A new root takes over those below it,
    but for such. `BadInput` for what is neither known nor a folder.
    """
    path = os.path.realpath(folder)
    with store.connection() as connection:
        stored = {root.id: root.path for root in metadata.all_roots(connection)}
        known = places(store, connection)
    for root, place in known.items():
        below = relative(place, path)
        if below is not None and not _passed_over(below):
            if below and not os.path.isdir(path) and not _known_below(store, root, below):
                break
            if place != stored[root]:
                store.edit(metadata.put_root, place, _beside(store, place), root)
            return Spot(root, place, below)
    if not os.path.isdir(path):
        what = "is not a folder" if os.path.exists(path) else "does not exist"
        raise BadInput(f"{displayed(folder)} {what}", hint="give a folder that holds pictures")
    candidates = {root: relative(path, place) for root, place in known.items()}
    inner = {root: below + b"/" for root, below in candidates.items() if below and not _passed_over(below)}
    return Spot(int(store.edit(metadata.put_root_over, path, _beside(store, path), inner)), path, b"")


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
        return bool(metadata.files_below(connection, root, below + b"/", None, limit=1))


def _passed_over(path: bytes) -> bool:
    return any(folders.hidden(part) for part in path.split(b"/"))


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
