"""Where the indexed folders are: roots, their places now, and paths below them.

A root keeps its absolute path and, where it lies below the folder that holds the index, its path from there as well.
The second path is tried first, so that a library and its index can move together to another disk or machine.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Root:
    """An indexed folder."""

    id: int
    """0 for one that has no row yet."""
    path: bytes
    """Absolute, as it was last updated."""
    beside: bytes | None = None
    """The path from the folder that holds the index, where the root is below that."""
    exclude: tuple[str, ...] = ()
    """Patterns of what is left out, counted from the root; the last that fits decides."""
    mounts: tuple[bytes, ...] = ()
    """Folders in it that were mount points: their paths from the root, ending in `/`; "" for the root itself."""
    identity: str | None = None
    """Device and inode of the folder at its latest whole update; None before that."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in terms of the index."""

    root: int
    place: bytes
    """Where the root is now, absolute."""
    below: bytes
    """The path from there, "" for the root itself."""


def home_of(index: Path) -> bytes:
    """Return the folder that holds the folder `index`, absolute and without links."""
    return os.path.dirname(os.path.realpath(os.fsencode(index)))


def place_of(home: bytes, root: Root) -> bytes:
    """Return where `root` is now, absolute; `home` is the folder that holds the index."""
    if root.beside is not None:
        beside = os.path.normpath(os.path.join(home, root.beside))
        if os.path.isdir(beside):
            return beside
    return root.path


def places_of(home: bytes, roots: Iterable[Root]) -> dict[int, bytes]:
    """Return id -> place of each root, in the order given."""
    return {root.id: place_of(home, root) for root in roots}


def beside(home: bytes, path: bytes) -> bytes | None:
    """Return `path` from the folder `home` that holds the index; None where it is not below that."""
    below = relative(home, path)
    return None if below is None else below or b"."


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


def path_of(place: bytes, below: bytes) -> Path:
    """Return the path of what is `below` a root that is at `place`."""
    return Path(os.fsdecode(os.path.join(place, below)))


def relative(folder: bytes, path: bytes) -> bytes | None:
    """Return `path` relative to `folder`, "" for the folder itself, None where it is elsewhere."""
    if path == folder:
        return b""
    prefix = folder.rstrip(b"/") + b"/"
    return path[len(prefix) :] if path.startswith(prefix) else None
