"""The cache of the user: files that can be made again.

A cache that cannot be read or written behaves like an empty cache, and raises no error.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from retrieval.disk.files import replacing

UNUSED = 90 * 86_400
"""Time after which a file that nobody has read is deleted, in seconds (90 days). The file then probably belongs to
another version of this program, or to a network that is no longer used."""
SUFFIXES = frozenset({".bin", ".compiled", ".jpg", ".json", ".partial", ".xml"})
"""Suffixes of the files that are kept here. `_sweep` deletes no others."""

_swept: set[Path] = set()


def folder() -> Path:
    """Return the folder `retrieval` in the folder for caches of the user's system, on Linux as XDG says.

    Raises `OSError` for a user without a home folder.
    """
    from platformdirs import user_cache_path

    try:
        return user_cache_path("retrieval")
    except RuntimeError as error:
        raise FileNotFoundError(str(error)) from error


def read(name: str, within: Path | None = None) -> bytes | None:
    """Return the content of a file of the cache, None if it cannot be read. `name` may have folders, with slashes.

    `within` is a folder that is the cache instead, for files that are to leave no trace.
    """
    try:
        path = (within or folder()) / name
        data = path.read_bytes()
    except OSError:
        return None
    with suppress(OSError):
        os.utime(path)  # the new time tells `_sweep` that the file is in use
    return data


def write(name: str, data: bytes, within: Path | None = None) -> None:
    """Write a file to the cache, whole or not at all. Nothing happens if the cache cannot be written."""
    with suppress(OSError):
        path = (within or folder()) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=False) as file:
            file.write(data)
        if within is None:
            _sweep(path.parent)


def _sweep(place: Path) -> None:
    """Delete the files of a folder that nobody has read for `UNUSED` seconds.

    Folders within the cache get many files, one after another. Each is looked through once while this process runs.
    """
    if place in _swept:
        return
    if place != folder():
        _swept.add(place)
    for path in place.iterdir():
        with suppress(OSError):  # another process has deleted the file, or this user may not delete it
            if path.suffix in SUFFIXES and path.stat().st_mtime < time.time() - UNUSED:
                path.unlink()
