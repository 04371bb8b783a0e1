"""The lock that the writer of an index holds, and whether any process holds a lock on the index.

A reader asks whether somebody is writing, but it must not try to take the writer's lock: a writer that starts at this
moment would fail. So a writer marks the lock file with a second kind of lock (an open file description lock, see
fcntl(2)). Other processes can ask about this lock without taking it. Only Linux has both kinds. On other systems the
answer is always that nobody is writing.
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
"""Format of `struct flock` on Linux: type, whence, start, length (0 means up to the end), process."""


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
    """Let readers see during the block that somebody is writing. A mark that cannot be set is no error.

    The mark ends with the block, or when this process dies.
    """
    opened = _opened(lock, os.O_RDWR) if TELLS else None
    try:
        if opened is not None:
            _mark(opened, fcntl.F_WRLCK)
        yield
    finally:
        if opened is not None:
            _mark(opened, fcntl.F_UNLCK)  # after closing alone, a child that was forked meanwhile would keep it
            os.close(opened)


def _mark(opened: int, kind: int) -> None:
    # On NFS both kinds of locks are one. Then the mark fails, and readers see the writer's own lock instead.
    with suppress(OSError):
        fcntl.fcntl(opened, fcntl.F_OFD_SETLK, struct.pack(_LOCK, kind, os.SEEK_SET, 0, 0, 0))


# -- looking without touching -----------------------------------------------------------------------------------------


def is_writing(lock: Path) -> bool:
    """Tell whether somebody is writing to the index whose lock file is `lock`; False where the system does not tell."""
    opened = _opened(lock, os.O_RDONLY) if TELLS else None
    if opened is None:
        return False
    try:
        return _is_locked(opened, fcntl.F_RDLCK)
    finally:
        os.close(opened)


def is_open(shared: Path) -> bool:
    """Tell whether any process, this one included, uses the write-ahead log of a SQLite database.

    `shared` is the `-shm` file of the database. Each process that uses the log holds a lock on the `-shm` file, see
    https://sqlite.org/walformat.html. Returns False where the system does not tell.
    """
    opened = _opened(shared, os.O_RDONLY) if TELLS else None
    if opened is None:
        return False
    if _is_locked(opened, fcntl.F_WRLCK):
        return True  # `opened` stays open: closing it would end the locks that this process itself holds on the file
    os.close(opened)
    return False


def _is_locked(opened: int, kind: int) -> bool:
    """Tell whether somebody holds a lock for which a lock of this `kind` would have to wait."""
    with suppress(OSError):
        found = fcntl.fcntl(opened, fcntl.F_OFD_GETLK, struct.pack(_LOCK, kind, os.SEEK_SET, 0, 0, 0))
        return bool(struct.unpack(_LOCK, found)[0] != fcntl.F_UNLCK)
    return False


def _opened(lock: Path, mode: int) -> int | None:
    """Return a descriptor of the lock file, None if the file cannot be opened."""
    with suppress(OSError):
        return os.open(lock, mode | os.O_NOFOLLOW | os.O_NONBLOCK)
    return None
