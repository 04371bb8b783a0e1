"""The user's cache: files that can be made again. Where there can be none, or what is there is broken, it is empty."""

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

UNUSED = 90 * 86_400
"""Seconds after which a file that nobody has read is deleted: it is of another version, or of a network long left."""
SUFFIXES = frozenset({".bin", ".compiled", ".json", ".partial", ".xml"})


def folder() -> Path:
    """Return `retrieval` in the place that the system has for caches (XDG); `OSError` for a user without a home."""
    from platformdirs import user_cache_path

    try:
        return user_cache_path("retrieval")
    except RuntimeError as error:
        raise FileNotFoundError(str(error)) from error


def read(name: str) -> bytes | None:
    """Return the content of a file, None where it cannot be read."""
    try:
        path = folder() / name
        data = path.read_bytes()
    except OSError:
        return None
    with suppress(OSError):
        os.utime(path)  # it is in use
    return data


def write(name: str, data: bytes) -> None:
    """Keep a file, whole or not at all; a cache that cannot be written is none."""
    with suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        partial = folder() / f"{secrets.token_hex(8)}.partial"
        try:
            partial.write_bytes(data)
            os.replace(partial, folder() / name)
        finally:
            partial.unlink(missing_ok=True)
        _sweep()


def _sweep() -> None:
    for path in folder().iterdir():
        with suppress(OSError):  # somebody else was faster, or may and we may not
            if path.suffix in SUFFIXES and path.stat().st_mtime < time.time() - UNUSED:
                path.unlink()
