"""Paths and streams -> bytes. Only regular files are opened, and no more bytes are read than the caller allows.

A FIFO may never end, a device may give bytes for ever or act when it is opened, and a sparse file of 40 GB takes no
space on the disk. Whatever a path names, the functions here return bytes or raise an error, and never wait.
"""

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from retrieval.errors import SHORT, ShortMemory, UnreadableImage

PICTURE = 2**30
"""Most bytes of a file that is read as a picture, 1 GiB: the size of the largest picture that is decoded
(`limits.MAX_PIXELS`), uncompressed, with three channels of 16 bits."""
TABLE = 2**28
"""Most bytes of a text file that is read, 256 MiB: the size of a CSV with a million paths of 255 bytes."""
PIECE = 2**20
"""Number of bytes that are read from a stream at a time."""

NO_FILE = "not a regular file but a pipe, a socket or a device"
Path = bytes | str | os.PathLike[str]


@contextmanager
def opened(path: Path) -> Iterator[tuple[os.stat_result, BinaryIO]]:
    """Open a regular file, or a link to one, during a block; give its status and a stream of its bytes.

    Raises `OSError` if the system does not open it, and `UnreadableImage` if it is not a regular file.
    """
    _demand_regular(os.stat(path))  # before the file is opened, since some devices act when they are opened
    with open(path, "rb", opener=_open_without_waiting) as file:
        status = os.fstat(file.fileno())
        _demand_regular(status)  # the path may lead to another file meanwhile
        yield status, file


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _demand_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImage(NO_FILE, hint="to read a picture from stdin, give - as its path")


def whole(file: BinaryIO, size: int, most: int) -> bytes:
    """Return the first `size` bytes of an `opened` file. `size` is the size of the file in its status.

    So a file that grows meanwhile is read as it was, and an endless file of /proc, whose size is 0, counts as empty.
    Raises `UnreadableImage` if `size` is more than `most`, and `ShortMemory`.
    """
    if size > most:
        raise UnreadableImage(too_large(most))
    file.seek(0)
    try:
        return file.read(size)
    except MemoryError:
        raise ShortMemory(SHORT) from None


def read_regular(path: Path, most: int = PICTURE) -> bytes:
    """Return the bytes of the regular file at `path`; raises what `opened` and `whole` raise."""
    with opened(path) as (status, file):
        return whole(file, status.st_size, most)


def read_stream(stream: BinaryIO, most: int = PICTURE) -> bytes:
    """Return all bytes of `stream`; `UnreadableImage` if the stream has more than `most` bytes."""
    kept = io.BytesIO()
    while piece := stream.read(PIECE):
        kept.write(piece)
        if kept.tell() > most:
            raise UnreadableImage(too_large(most))
    return kept.getvalue()


def too_large(most: int) -> str:
    """Return the reason for a file of more than `most` bytes."""
    return f"larger than the limit of {most // 2**20:,} MiB"
