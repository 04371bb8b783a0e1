"""The cache of the user: files that can be made again. A cache that cannot be used behaves as an empty one."""

import os
import time
from contextlib import suppress
from pathlib import Path

from retrieval.disk.files import replacing

UNUSED = 90 * 86_400
"""Seconds after which a file that nobody has read is deleted: it belongs to another version, or to a network that is no
longer used."""
SUFFIXES = frozenset({".bin", ".compiled", ".json", ".partial", ".xml"})
"""Ends of the names of the files that are kept here."""


def folder() -> Path:
    """Return the folder `retrieval` in the place that the system has for caches (XDG).

    Raises `OSError` for a user without a home.
    """
    from platformdirs import user_cache_path

    try:
        return user_cache_path("retrieval")
    except RuntimeError as error:
        raise FileNotFoundError(str(error)) from error


def read(name: str) -> bytes | None:
    """Return the content of a file of the cache, None if it cannot be read."""
    try:
        path = folder() / name
        data = path.read_bytes()
    except OSError:
        return None
    with suppress(OSError):
        os.utime(path)  # which tells `_sweep` that the file is in use
    return data


def write(name: str, data: bytes) -> None:
    """Keep a file in the cache, whole or not at all. Nothing happens if the cache cannot be written."""
    with suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        with replacing(folder() / name, durable=False) as file:
            file.write(data)
        _sweep()


def _sweep() -> None:
    """Delete the files that nobody has read for `UNUSED` seconds."""
    for path in folder().iterdir():
        with suppress(OSError):  # another process may have deleted it, or this user may not
            if path.suffix in SUFFIXES and path.stat().st_mtime < time.time() - UNUSED:
                path.unlink()
