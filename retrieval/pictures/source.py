"""The files of a root: a `Source` lists them, opens them, and tells whether a file is still there.

    scan  -> every regular file, in byte order of the paths, and every folder or file that could not be listed
    open  -> one file: its size and times, and its bytes as a stream
    state -> what has become of a file that a scan did not see

`Folder` is a source on a disk. `contents` and `no_pictures` work on every source. Neither numpy nor Pillow is loaded
here, so that a run that finds nothing new does not wait for them.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import BinaryIO, Protocol

from retrieval.errors import ShortMemory, UnreadableImage
from retrieval.pictures import reading, scan
from retrieval.types import Found, Unlisted


class State(Enum):
    """State of a path at which an earlier scan found a file."""

    THERE = auto()
    """A regular file is there."""
    REPLACED = auto()
    """Something else is there now, such as a folder."""
    GONE = auto()
    """Nothing is there, and the source is sure of it."""
    AWAY = auto()
    """The source cannot tell: the path cannot be looked at, or is a link to something that is not there now."""


class Source(Protocol):
    """The files of one root. A source can be pickled, and used by any number of threads.

    All paths are bytes relative to the root, with `/` between folders. The path of a folder ends in `/`.
    """

    def scan(
        self, below: bytes = b"", exclude: Sequence[str] = (), *, skip: bytes = b"", mounts: set[bytes] | None = None
    ) -> Iterator[Found | Unlisted]:
        """Yield the regular files of the root, in byte order of their paths.

        `below` restricts the scan to the files under one folder. These are not yielded: hidden files, files that the
        patterns in `exclude` leave out, and all files below the folder `skip`, an absolute path. A folder or file that
        the source cannot look at is yielded as `Unlisted`, at its place in the order. The folders on which another
        device is mounted are added to `mounts`. Raises `BadInput` for an `exclude` that is not a pattern.
        """
        ...

    def is_folder(self, path: bytes) -> bool:
        """Tell whether a folder is at `path`, not a link to one."""
        ...

    def one(self, path: bytes, exclude: Sequence[str] = (), *, skip: bytes = b"") -> Found | Unlisted | None:
        """Return the file at `path` if a scan would yield it, None if it would not. Nothing else is looked at."""
        ...

    def open(self, path: bytes) -> AbstractContextManager[tuple[Found, BinaryIO]]:
        """Open a regular file during a block: give its size and times as they are now, and a stream of its bytes.

        Raises `FileNotFoundError` if the file is gone, another `OSError` if the source does not give it, and
        `UnreadableImage` if it is not a regular file.
        """
        ...

    def state(self, path: bytes) -> State:
        """Tell whether a file is still there; never fails."""
        ...

    def identity(self) -> str | None:
        """Return a name that tells this root from a copy of it, None if the root is not there now."""
        ...

    def looks_empty(self) -> bool:
        """Tell whether the root holds nothing, or cannot be listed."""
        ...

    def unmounted(self, mounts: Iterable[bytes]) -> frozenset[bytes]:
        """Return those of the folders `mounts` that are not mount points now."""
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder on a disk as a source."""

    place: bytes
    """Absolute path of the folder."""

    def scan(
        self, below: bytes = b"", exclude: Sequence[str] = (), *, skip: bytes = b"", mounts: set[bytes] | None = None
    ) -> Iterator[Found | Unlisted]:
        """Yield the regular files of the folder, as `scan.find` says."""
        return scan.find(self.place, below, exclude, skip, mounts)

    def is_folder(self, path: bytes) -> bool:
        """Tell whether a folder is at `path`, not a link to one."""
        place = os.path.join(self.place, path)
        return os.path.isdir(place) and not os.path.islink(place)

    def one(self, path: bytes, exclude: Sequence[str] = (), *, skip: bytes = b"") -> Found | Unlisted | None:
        """Return the file at `path`, as `scan.one` says."""
        return scan.one(self.place, path, exclude, skip)

    @contextmanager
    def open(self, path: bytes) -> Iterator[tuple[Found, BinaryIO]]:
        """Open a regular file, or the file that a link leads to; see `Source.open`."""
        with reading.opened(os.path.join(self.place, path)) as (status, file):
            yield Found(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns), file

    def state(self, path: bytes) -> State:
        """Tell whether a file is still there. A broken link is `AWAY`: the drive it leads to may come back."""
        place = os.path.join(self.place, path)
        try:
            status = os.stat(place)
        except (FileNotFoundError, NotADirectoryError):
            return State.AWAY if os.path.islink(place) else State.GONE
        except OSError:
            return State.AWAY
        return State.THERE if stat.S_ISREG(status.st_mode) else State.REPLACED

    def identity(self) -> str | None:
        """Return the device and the inode of the folder, None if it is not there."""
        try:
            status = os.stat(self.place)
        except OSError:
            return None
        return f"{status.st_dev}:{status.st_ino}"

    def looks_empty(self) -> bool:
        """Tell whether nothing is in the folder, or it cannot be listed."""
        try:
            with os.scandir(self.place) as entries:
                return next(iter(entries), None) is None
        except OSError:
            return True

    def unmounted(self, mounts: Iterable[bytes]) -> frozenset[bytes]:
        """Return those of the folders `mounts` that are not mount points now."""
        return frozenset(mount for mount in mounts if not os.path.ismount(os.path.join(self.place, mount)))


def contents(source: Source, path: bytes) -> tuple[Found, bytes | None]:
    """Return the size and times of a file as it was read, and its bytes if it is taken for a picture, else None.

    A file is taken for a picture if its first bytes or its name say so. Of other files only the first bytes are read.

    Raises `OSError` if the source does not give the bytes, and `ShortMemory`. Raises `UnreadableImage` for a picture in
    an unsupported format, for a file that is named like a picture but is not one, and for a file that is too large or
    no longer a regular file.
    """
    from retrieval.pictures import formats  # a run that finds nothing new does not wait for this table

    with source.open(path) as (found, file):
        head = file.read(formats.HEAD)
        if formats.readable(head, path) is None:
            return found, None
        return found, reading.whole(file, found.size, reading.PICTURE)


def no_pictures(source: Source, exclude: Sequence[str] = ()) -> Counter[str] | None:
    """Return why no file of a source can be read as a picture: reason -> number of files; None if one may be.

    Only files that begin like pictures, or are named like pictures, have a reason. Returns None if a file may be a
    picture that can be read, and also if a file or folder cannot be looked at.
    """
    reasons: Counter[str] = Counter()
    for seen in source.scan(exclude=exclude):
        try:
            if not isinstance(seen, Found) or contents(source, seen.path)[1] is not None:
                return None
        except (OSError, ShortMemory):
            return None
        except UnreadableImage as error:
            reasons[str(error)] += 1
    return reasons
