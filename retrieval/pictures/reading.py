"""Paths and streams -> bytes: regular files alone, and never more bytes than the caller allows.

A FIFO never ends, a device may give bytes for ever or do something when it is opened, and a sparse file of 40 GB takes
no room on the disk. Whatever a path names, a caller here gets bytes or an error, at once.
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
"""Most bytes of a file that is read as a picture, 1 GiB: so many take the pixels of the largest picture that is decoded
(`opening.MAX_PIXELS`), uncompressed, with three channels of 16 bits."""
TABLE = 2**28
"""Most bytes of a file of text that is read: 256 MiB, a CSV with a million paths of 255 bytes."""
PIECE = 2**20
"""Bytes that are read from a stream at a time."""

NO_FILE = "not a regular file but a pipe, a socket or a device"
Path = bytes | str | os.PathLike[str]


@contextmanager
def opened(path: Path) -> Iterator[tuple[os.stat_result, BinaryIO]]:
    """Open a regular file, or a link to one, and give what the system says of it; close it afterwards.

    `OSError` where the system does not open it, `UnreadableImage` for what is no regular file.
    """
    _demand_regular(os.stat(path))  # some devices act as soon as they are opened
    with open(path, "rb", opener=_at_once) as file:
        status = os.fstat(file.fileno())
        _demand_regular(status)  # it may be another file by now
        yield status, file


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _demand_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImage(NO_FILE, hint="a picture can come on stdin, as -")


def whole(file: BinaryIO, size: int, most: int) -> bytes:
    """Return the first `size` bytes of an `opened` file, as many as the system said that it has.

    So a file that grows meanwhile is read as it was, and an endless file of /proc counts as empty. Raises
    `UnreadableImage` if the file has more than `most` bytes, and `ShortMemory`.
    """
    if size > most:
        raise UnreadableImage(too_large(most))
    file.seek(0)
    try:
        return file.read(size)
    except MemoryError:
        raise ShortMemory(SHORT) from None


def read_regular(path: Path, most: int = PICTURE) -> bytes:
    """Return the bytes of the regular file at `path`; `OSError`, and `UnreadableImage` as `opened` and `whole` say."""
    with opened(path) as (status, file):
        return whole(file, status.st_size, most)


def read_stream(stream: BinaryIO, most: int = PICTURE) -> bytes:
    """Return all that comes from `stream`; `UnreadableImage` where that is more than `most` bytes."""
    kept = io.BytesIO()
    while piece := stream.read(PIECE):
        kept.write(piece)
        if kept.tell() > most:
            raise UnreadableImage(too_large(most))
    return kept.getvalue()


def too_large(most: int) -> str:
    """Return the sentence for what has more than `most` bytes."""
    return f"a file over the limit of {most // 2**20:,} MiB"
