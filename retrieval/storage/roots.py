"""Where the roots are now, and how paths and roots translate into one another.

A root keeps its absolute path. A root below the folder that holds the index keeps its path from that folder, too. This
second path is tried first, so that a library and its index can move together to another disk or machine.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from retrieval.storage.records import Root, Spot


def home_of(index: Path) -> bytes:
    """Return the folder that holds the folder `index`: absolute, with links resolved."""
    return os.path.dirname(os.path.realpath(os.fsencode(index)))


def place_of(home: bytes, root: Root) -> bytes:
    """Return where `root` is now, absolute; `home` is the folder that holds the index."""
    if root.beside is not None:
        beside = os.path.normpath(os.path.join(home, root.beside))
        if os.path.isdir(beside):
            return beside
    return root.path


def places_of(home: bytes, roots: Iterable[Root]) -> dict[int, bytes]:
    """Return where each root is now, by id of the root, in the order given."""
    return {root.id: place_of(home, root) for root in roots}


def beside(home: bytes, path: bytes) -> bytes | None:
    """Return `path` relative to `home`, the folder that holds the index; None if it is not below `home`."""
    below = relative(home, path)
    return None if below is None else below or b"."


def spots(known: Mapping[int, bytes], path: bytes) -> list[Spot]:
    """Return where `path`, which need not exist, lies in the roots `known`: id -> place of the root.

    The path as it is named comes first, then the path that its links lead to: a link below a root is a place, and the
    target of the link is another. A path in several roots belongs to the innermost one; a path in no root is left out.
    """
    folder, name = os.path.split(os.path.abspath(path))
    candidates = (os.path.join(os.path.realpath(folder), name), os.path.realpath(path), os.path.abspath(path))
    found = []
    for candidate in dict.fromkeys(candidates):
        spot = _innermost(known, candidate)
        if spot is not None:
            found.append(spot)
    return found


def _innermost(known: Mapping[int, bytes], path: bytes) -> Spot | None:
    for root, place in sorted(known.items(), key=lambda item: -len(item[1])):
        below = relative(place, path)
        if below is not None:
            return Spot(root, place, below)
    return None


def path_of(place: bytes, below: bytes) -> Path:
    """Return the absolute path of `below`, a path from a root that is at `place`."""
    return Path(os.fsdecode(os.path.join(place, below)))


def relative(folder: bytes, path: bytes) -> bytes | None:
    """Return `path` relative to `folder`: "" for the folder itself, None if the path is not in the folder."""
    if path == folder:
        return b""
    prefix = folder.rstrip(b"/") + b"/"
    return path[len(prefix) :] if path.startswith(prefix) else None
