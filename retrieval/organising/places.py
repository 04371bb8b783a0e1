"""Folders that people name, and whether a file lies below one of them."""

import os
from collections.abc import Iterable

from retrieval.arguments import path_of
from retrieval.errors import BadInput
from retrieval.types import displayed

Folder = str | os.PathLike[str]


def folders(given: Iterable[Folder]) -> list[bytes]:
    """Return folders as absolute paths, with links resolved; raise `BadInput` for one that is no folder."""
    found = []
    for folder in given:
        place = os.path.realpath(path_of(folder, "a folder"))
        if not os.path.isdir(place):
            raise BadInput(f"{displayed(folder)} is not a folder")
        found.append(place)
    return found


def apart(first: Folder, second: Folder) -> list[bytes]:
    """Return two folders as `folders` does; raise `BadInput` if one lies in the other."""
    found = folders([first, second])
    if os.path.commonpath(found) in found:
        raise BadInput(f"{displayed(found[0])} and {displayed(found[1])} overlap", hint="give two separate folders")
    return found


def is_below(path: bytes | str | os.PathLike[str], folders: Iterable[bytes]) -> bool:
    """Tell whether a path lies below one of the folders; all are absolute, and their links are resolved already."""
    place = os.fsencode(path)
    return any(place.startswith(os.path.join(folder, b"")) for folder in folders)
