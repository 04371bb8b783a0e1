"""Whether somebody is writing to an index now, told without touching the lock that writers hold.

A writer marks the lock's file with a lock of a second kind (an open file description lock, fcntl(2)), which can be
asked about without being taken: a reader that tried the writers' own lock would for an instant make a writer fail.
Linux alone has both; elsewhere nobody is ever seen writing.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    TELLS = False
else:
    TELLS = hasattr(fcntl, "F_OFD_SETLK")
    """Whether this system has such locks."""

_LOCK = "hhqqi"
"""`struct flock` of Linux: type, whence, start, length (0 is up to the end), process."""


@contextmanager
def seen_writing(lock: Path) -> Iterator[None]:
    """Let readers see that somebody is writing, until the end or until this process dies; never fails."""
    opened = _opened(lock, os.O_RDWR) if TELLS else None
    try:
        if opened is not None:
            _mark(opened, fcntl.F_WRLCK)
        yield
    finally:
        if opened is not None:
            _mark(opened, fcntl.F_UNLCK)  # closing alone would leave it to a child that was forked meanwhile
            os.close(opened)


def is_writing(lock: Path) -> bool:
    """Tell whether somebody is writing; False where this system does not tell."""
    opened = _opened(lock, os.O_RDONLY) if TELLS else None
    if opened is None:
        return False
    try:
        return _is_locked(opened, fcntl.F_RDLCK)
    finally:
        os.close(opened)


def is_open(shared: Path) -> bool:
    """Tell whether a process, this one or another, uses SQLite's log; False where this system does not tell.

    `shared` is the `-shm` file of the database, on which each of them holds a lock: https://sqlite.org/walformat.html.
    """
    opened = _opened(shared, os.O_RDONLY) if TELLS else None
    if opened is None:
        return False
    if _is_locked(opened, fcntl.F_WRLCK):
        return True  # and stays opened: closing it would end the locks that this process holds itself
    os.close(opened)
    return False


def _is_locked(opened: int, kind: int) -> bool:
    """Tell whether a lock is held that a lock of that `kind` would have to wait for."""
    with suppress(OSError):
        found = fcntl.fcntl(opened, fcntl.F_OFD_GETLK, struct.pack(_LOCK, kind, os.SEEK_SET, 0, 0, 0))
        return bool(struct.unpack(_LOCK, found)[0] != fcntl.F_UNLCK)
    return False


def _opened(lock: Path, how: int) -> int | None:
    with suppress(OSError):
        return os.open(lock, how | os.O_NOFOLLOW | os.O_NONBLOCK)
    return None


def _mark(opened: int, kind: int) -> None:
    with suppress(OSError):  # where the system makes both kinds one (NFS), the writers' own lock is what is seen
        fcntl.fcntl(opened, fcntl.F_OFD_SETLK, struct.pack(_LOCK, kind, os.SEEK_SET, 0, 0, 0))
