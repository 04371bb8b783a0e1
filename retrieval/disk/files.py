"""Files that are written whole or not at all, and the files of an index: read, written, measured and swept.

The files of an index are regular files of its own, and are opened without following links. A missing file and a file
that cannot be read are different errors: a missing file may be damage, a file that cannot be read never is.
"""

import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from retrieval.errors import RetrievalError, StorageError, reason_of
from retrieval.types import displayed

PARTIAL = ".partial"
"""End of the name of a file that is being written."""
OWN = "an index has only files and folders of its own: replace a link by a copy of the file or folder to which it leads"
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Flags of `os.open`: follow no link, do not wait for a FIFO, and on Windows, read bytes and not text. A system that
lacks one of these flags does not need it."""


# -- reading ------------------------------------------------------------------------------------------------------


def opened(path: Path) -> BufferedReader:
    """Open a file of an index for reading.

    Raises `FileNotFoundError` if the file is missing, and `StorageError` if it cannot be read, or is a link, a FIFO or
    a device.
    """
    demand_own(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(*error.args) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    return os.fdopen(descriptor, "rb")


def read(path: Path) -> bytes:
    """Return the bytes of a file of an index; raises what `opened` raises."""
    with opened(path) as file:
        try:
            return file.read()
        except OSError as error:
            raise _unreadable(path, error) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file of an index in hexadecimal, "" if the file is missing.

    Raises `StorageError` if the file cannot be read.
    """
    try:
        with opened(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
    except StorageError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error


def demand_own(path: Path, *, folder: bool = False) -> None:
    """Raise `StorageError` unless `path` is a regular file or does not exist; with `folder`, it must be a folder."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _unreadable(path, error) from error
    is_right = stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)
    if is_right:
        return
    if stat.S_ISLNK(mode):
        what = "a link"
    elif folder:
        what = "not a folder"
    else:
        what = "not a regular file"
    raise StorageError(f"{displayed(path.name)} in the index is {what}", hint=OWN)


def demand_own_in(place: Path, names: Collection[str], folders: Collection[str]) -> None:
    """Raise `StorageError` if one of the `names` in `place` is no regular file, or one of the `folders` is no folder.

    Links are refused. Missing files and folders are accepted, and the folder `place` itself may be a link.
    """
    for name in names:
        demand_own(place / name)
    for name in folders:
        demand_own(place / name, folder=True)


def names_in(folder: Path) -> list[str]:
    """Return the names of all files and folders in a folder of an index, sorted; [] if the folder is missing.

    Raises `StorageError` if the folder is a link or cannot be listed.
    """
    demand_own(folder, folder=True)
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error


def size_of(folder: Path) -> int:
    """Return the sum of the sizes of all files below `folder`, in bytes."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # SQLite or a writer may have deleted the file since it was listed
                total += (Path(place) / name).stat().st_size
    return total


def _unreadable(path: Path, error: OSError) -> StorageError:
    return StorageError(f"{displayed(path.name)} of the index cannot be read: {reason_of(error)}")


# -- writing ------------------------------------------------------------------------------------------------------


@contextmanager
def replacing(place: Path | Callable[[], Path], *, durable: bool, partial: Path | None = None) -> Iterator[BinaryIO]:
    """Give a new file to write to. When the block ends, the whole file takes its `place`, or nothing changes there.

    The file is written as `partial`, by default beside its place under a random name, and renamed at the end. If the
    block or the disk fails, the partial file is deleted and an older file at the place stays. If the name depends on
    the content, `place` is a function that returns it. The function is called after the content is written, and
    `partial` must be given.

    With `durable`, the file and then its folder are flushed to the disk, so that the new file survives a power cut.
    Without `durable`, the system decides when the file reaches the disk. A flush that failed is not tried again,
    because the system may have dropped the bytes that it could not write. If only the flush of the folder fails, a
    whole file is left at the place.
    """
    if partial is None:
        assert isinstance(place, Path)  # noqa: S101 - a function as the place needs a `partial`
        partial = place.with_name(partial_name())
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        place = place if isinstance(place, Path) else place()
        partial.replace(place)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        flush_folder(place.parent)


def move_durably(path: Path, place: Path) -> None:
    """Flush the finished file at `path` to the disk and rename it to `place`, on the same disk; `OSError`."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    path.replace(place)
    flush_folder(place.parent)


def write_durably(folder: Path, suffix: str, chunks: Iterable[bytes | memoryview]) -> str:
    """Write a file named by the SHA-256 of its content plus `suffix`, and return that digest in hexadecimal.

    The file is written by `replacing`, durably. Raises `OSError` if the disk fails. Then no file is left, or, if only
    the folder could not be flushed, a whole file to which nothing refers.
    """
    demand_own(folder, folder=True)
    digest = hashlib.sha256()

    def place() -> Path:
        return folder / (digest.hexdigest() + suffix)

    with replacing(place, durable=True, partial=folder / partial_name()) as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def flush_folder(folder: Path) -> None:
    """Flush the names in `folder` to the disk, so that a rename survives a power cut. Windows does it by itself."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def partial_name() -> str:
    """Return a random name for a file that is being written."""
    return secrets.token_hex(8) + PARTIAL


# -- errors of the disk ---------------------------------------------------------------------------------------------


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn an `OSError` that the block raises into a `StorageError`."""
    try:
        yield
    except RetrievalError:
        raise
    except OSError as error:
        raise storage_error(error) from error


def storage_error(error: OSError) -> StorageError:
    """Return the error for a file of an index that the system cannot read or write."""
    return StorageError(
        f"the index cannot be used: {error.strerror or error}",
        hint="what was committed before is whole; free some space or check the permissions, then run the same again",
    )


# -- sweeping -----------------------------------------------------------------------------------------------------


def written_here(name: str, suffixes: Collection[str]) -> bool:
    """Tell whether `write_durably` uses this name: a SHA-256 with one of `suffixes`, or a name for unfinished files."""
    ends = "|".join(map(re.escape, suffixes))
    return re.fullmatch(rf"[0-9a-f]{{64}}({ends})|[0-9a-f]{{16}}\.partial", name) is not None


def sweep(folder: Path, suffixes: Collection[str], keep: Collection[str], older_than: timedelta) -> int:
    """Delete the files of `folder` that `write_durably` wrote, except those in `keep`; return the number deleted.

    Only files that were written longer ago than `older_than` are deleted. Windows does not delete a file that a reader
    has open: such a file is left to a later sweep.
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
