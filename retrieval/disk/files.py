"""Files of an index: regular files of its own, opened without following links, written whole or not at all, swept.

What is missing is told apart from what cannot be read: the first may be damage, the second never is.
"""

import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from datetime import timedelta
from io import BufferedReader
from pathlib import Path

from retrieval.errors import StorageError, reason_of
from retrieval.types import displayed

PARTIAL = ".partial"
OWN = "an index has only files and folders of its own: put a copy of what is meant in its place"
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""No link is followed, and a FIFO is not waited for; where the system has no such flag, it has no such files."""


# -- reading ------------------------------------------------------------------------------------------------------


def opened(path: Path) -> BufferedReader:
    """Open a file for reading; `FileNotFoundError` where it is missing, `StorageError` where it cannot be read.

    A link, a FIFO or a device is no file of an index: `StorageError`.
    """
    demand_own(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(*error.args) from error
    except OSError as error:
        raise StorageError(f"{displayed(path.name)} of the index cannot be read: {reason_of(error)}") from error
    return os.fdopen(descriptor, "rb")


def read(path: Path) -> bytes:
    """Return what is in a file; raises what `opened` does."""
    with opened(path) as file:
        try:
            return file.read()
        except OSError as error:
            raise StorageError(f"{displayed(path.name)} of the index cannot be read: {reason_of(error)}") from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal, "" where it is missing; `StorageError`."""
    try:
        with opened(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{displayed(path.name)} of the index cannot be read: {reason_of(error)}") from error


def demand_own(path: Path, *, folder: bool = False) -> None:
    """Raise `StorageError` for what is there and is no regular file, or no folder; nothing there is right, too."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise StorageError(f"{displayed(path.name)} of the index cannot be read: {reason_of(error)}") from error
    if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
        what = "a link" if stat.S_ISLNK(mode) else f"no {'folder' if folder else 'regular file'}"
        raise StorageError(f"{displayed(path.name)} in the index is {what}", hint=OWN)


def demand_own_in(place: Path, files: Collection[str], folders: Collection[str]) -> None:
    """Raise `StorageError` where one of those in the folder `place` is a link or something else; `place` may be one."""
    for name in files:
        demand_own(place / name)
    for name in folders:
        demand_own(place / name, folder=True)


def names_in(folder: Path) -> list[str]:
    """Return the names of what is in a folder, in order; none where it is missing; `StorageError`."""
    demand_own(folder, folder=True)
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"{displayed(folder.name)} of the index cannot be read: {reason_of(error)}") from error


# -- writing ------------------------------------------------------------------------------------------------------


def write_durably(folder: Path, suffix: str, chunks: Iterable[bytes | memoryview]) -> str:
    """Write a file named by the SHA-256 of its content plus `suffix`, and return that digest in hexadecimal.

    Written aside, flushed to the disk and renamed, then the folder is flushed: on return it survives a power cut, and
    at no moment does a file of that name exist that is not whole. `OSError` where the disk fails; then nothing is left,
    or, if only the folder could not be flushed, a whole file that nobody names. A failed flush is not tried again: the
    system may have dropped what it could not write.
    """
    demand_own(folder, folder=True)
    digest = hashlib.sha256()
    partial = folder / (secrets.token_hex(8) + PARTIAL)
    try:
        with partial.open("xb") as file:
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / (digest.hexdigest() + suffix))
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    flush_folder(folder)
    return digest.hexdigest()


def flush_folder(folder: Path) -> None:
    """Make the names in `folder` durable, where the system can (Windows does so by itself)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# -- sweeping -----------------------------------------------------------------------------------------------------


def written_here(name: str, suffixes: Collection[str]) -> bool:
    """Tell whether that is a name that `write_durably` gives with one of `suffixes`, or while it writes."""
    return (
        re.fullmatch(rf"[0-9a-f]{{64}}({'|'.join(map(re.escape, suffixes))})|[0-9a-f]{{16}}\.partial", name) is not None
    )


def sweep(folder: Path, suffixes: Collection[str], keep: Collection[str], older_than: timedelta) -> int:
    """Delete the files of `folder` that were written here, are not named in `keep` and are older; return how many.

    A file that the system does not let go of (Windows, while a reader has it open) is left to a later sweep.
    """
    demand_own(folder, folder=True)
    limit = time.time() - older_than.total_seconds()
    swept = 0
    for path in list(folder.iterdir()):
        if path.name in keep or not written_here(path.name, suffixes):
            continue
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_mtime <= limit:
            with suppress(PermissionError):
                path.unlink()
                swept += 1
    return swept
