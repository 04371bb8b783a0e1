"""The user's cache: files that can be made again. Where there can be none, or what is there is broken, it is empty."""

import os
import secrets
from contextlib import suppress
from pathlib import Path


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
        return (folder() / name).read_bytes()
    except OSError:
        return None


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
