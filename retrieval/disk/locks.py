"""Locks on an index: the lock of the writer, and whether somebody holds one.

Readers ask whether somebody is writing without touching the writer's own lock: a reader that tried to take that lock
would for an instant make a writer fail. So a writer marks the lock file with a lock of a second kind (an open file
description lock, see fcntl(2)), which other processes can ask about without taking it. Only Linux has both kinds;
on other systems nobody is ever seen writing.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from retrieval.disk import files
from retrieval.errors import IndexBusy

try:
    import fcntl
except ImportError:  # Windows
    TELLS = False
else:
    TELLS = hasattr(fcntl, "F_OFD_SETLK")
    """Whether this system has open file description locks."""

_LOCK = "hhqqi"
"""`struct flock` of Linux: type, whence, start, length (0 means up to the end), process."""


# -- the lock of the writer -----------------------------------------------------------------------------------------


@contextmanager
def held(lock: FileLock, folder: Path) -> Iterator[None]:
    """Hold the lock of the writer of the index in `folder` during the block, and let readers see that it is held.

    The system releases the lock of a process that dies. Raises `IndexBusy` at once if another process holds the lock,
    and `StorageError` if the lock file cannot be used.
    """
    files.demand_own(Path(lock.lock_file))
    try:
        lock.acquire()
    except Timeout:
        raise IndexBusy(
            f"another process is writing to the index in {folder}",
            hint="wait until it has finished; queries work meanwhile",
        ) from None
    except OSError as error:
        raise files.storage_error(error) from error
    try:
        with _seen_writing(Path(lock.lock_file)):
            yield
    finally:
        lock.release()


@contextmanager
def _seen_writing(lock: Path) -> Iterator[None]:
    """Let readers see during the block that somebody is writing; never fails.

    The mark ends with the block, or when this process dies.
    """
    opened = _opened(lock, os.O_RDWR) if TELLS else None
    try:
        if opened is not None:
            _mark(opened, fcntl.F_WRLCK)
        yield
    finally:
        if opened is not None:
            _mark(opened, fcntl.F_UNLCK)  # closing alone would leave the mark to a child that was forked meanwhile
            os.close(opened)


def _mark(opened: int, kind: int) -> None:
    with suppress(OSError):  # where the system makes both kinds of locks one (NFS), the writer's own lock is seen
        fcntl.fcntl(opened, fcntl.F_OFD_SETLK, struct.pack(_LOCK, kind, os.SEEK_SET, 0, 0, 0))


# -- looking without touching -----------------------------------------------------------------------------------------


def is_writing(lock: Path) -> bool:
    """Tell whether somebody is writing to the index with that lock file; False where the system does not tell."""
    opened = _opened(lock, os.O_RDONLY) if TELLS else None
    if opened is None:
        return False
    try:
        return _is_locked(opened, fcntl.F_RDLCK)
    finally:
        os.close(opened)


def is_open(shared: Path) -> bool:
    """Tell whether any process, this one included, uses the log of a SQLite database.

    `shared` is the `-shm` file of the database. Each process that uses the log holds a lock on that file, see
    https://sqlite.org/walformat.html. Returns False where the system does not tell.
    """
    opened = _opened(shared, os.O_RDONLY) if TELLS else None
    if opened is None:
        return False
    if _is_locked(opened, fcntl.F_WRLCK):
        return True  # the file stays open: closing it would end the locks that this process itself holds on it
    os.close(opened)
    return False


def _is_locked(opened: int, kind: int) -> bool:
    """Tell whether somebody holds a lock that a lock of that `kind` would have to wait for."""
    with suppress(OSError):
        found = fcntl.fcntl(opened, fcntl.F_OFD_GETLK, struct.pack(_LOCK, kind, os.SEEK_SET, 0, 0, 0))
        return bool(struct.unpack(_LOCK, found)[0] != fcntl.F_UNLCK)
    return False


def _opened(lock: Path, mode: int) -> int | None:
    """Return a descriptor of the lock file, None where it cannot be opened."""
    with suppress(OSError):
        return os.open(lock, mode | os.O_NOFOLLOW | os.O_NONBLOCK)
    return None
