"""What lies at a path: the content of a regular file, and the facts that an undo gives back to it."""

import hashlib
import os
import shutil
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from typing import BinaryIO, NamedTuple

from retrieval.disk.files import NOFOLLOW
from retrieval.errors import BadInput, reason_of
from retrieval.types import displayed


class Stamp(NamedTuple):
    """What changes when a program writes to a file, or puts another file in its place."""

    inode: int
    size: int
    """Size in bytes."""
    mtime_ns: int
    """Time of the last change of the content, in nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file has beside its name and its content."""

    mode: int
    """Permissions, as `os.chmod` takes them."""
    mtime_ns: int
    """Time of the last change of the content, in nanoseconds since 1970."""
    atime_ns: int
    """Time of the last reading, in nanoseconds since 1970, before this program read the file."""
    owner: int
    group: int
    attributes: dict[str, str]
    """Extended attributes of users, as tags of file managers: name -> value in hexadecimal. Known on Linux only."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A regular file that was read to its end."""

    sha256: bytes
    stamp: Stamp
    facts: Facts
    device: int
    links: int
    """Number of names of the file."""


def seen(path: bytes) -> Seen:
    """Read the regular file at `path`, without following a link. Raises `BadInput` for whatever else is there."""
    name = displayed(path)
    try:
        mode = os.lstat(path).st_mode
        if not stat.S_ISREG(mode):
            raise BadInput(f"{name} is {_kind(mode)}")
        with opened(path) as file:
            before = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").digest() if stat.S_ISREG(before.st_mode) else b""
            attributes = _attributes(file.fileno())
            after = os.fstat(file.fileno())
    except FileNotFoundError as error:
        raise BadInput(f"{name} is missing") from error
    except OSError as error:
        raise BadInput(f"{name} cannot be read: {reason_of(error)}") from error
    if not digest or _stamp(before) != _stamp(after):
        raise BadInput(f"{name} is being changed by another program")
    facts = Facts(
        mode=stat.S_IMODE(before.st_mode),
        mtime_ns=before.st_mtime_ns,
        atime_ns=before.st_atime_ns,
        owner=before.st_uid,
        group=before.st_gid,
        attributes=attributes,
    )
    return Seen(digest, _stamp(before), facts, before.st_dev, before.st_nlink)


def _attributes(file: int | bytes) -> dict[str, str]:
    """Return the extended attributes of users, of an open file or a path; none where the system has none."""
    if sys.platform != "linux":
        return {}
    try:
        names = [name for name in os.listxattr(file) if name.startswith("user.")]
        return {name: os.getxattr(file, name).hex() for name in names}
    except OSError:  # this file system has none
        return {}


def _kind(mode: int) -> str:
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO"}
    return kinds.get(stat.S_IFMT(mode), "not a regular file")


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns)


def stamp_of(path: bytes) -> Stamp | None:
    """Return the stamp of what lies at `path`, links not followed; None if nothing does. `OSError`."""
    try:
        return _stamp(os.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def has(path: bytes, sha256: bytes) -> bool:
    """Tell whether a regular file with this content lies at `path`. Raises `OSError` if that cannot be found out."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return False
        with opened(path) as file:
            return hashlib.file_digest(file, "sha256").digest() == sha256
    except (FileNotFoundError, NotADirectoryError):
        return False


def copy(path: bytes, place: bytes, facts: Facts) -> None:
    """Write a copy of `path` to the new file `place`, with these facts, and flush it to the disk. `OSError`."""
    with opened(path) as source, created(place) as file:
        shutil.copyfileobj(source, file, 2**20)
        file.flush()
        dress(place, facts)
        os.fsync(file.fileno())


def opened(path: bytes) -> BufferedReader:
    """Open a file for reading, without following a link or waiting for a FIFO. `OSError`."""
    return open(os.open(path, os.O_RDONLY | NOFOLLOW), "rb")


def created(place: bytes) -> BinaryIO:
    """Open a new file for writing, readable for its owner alone. Raises `FileExistsError` if anything is there."""
    return open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW, 0o600), "wb")


def dress(path: bytes, facts: Facts) -> None:
    """Give the regular file at `path` these facts. A fact that this user or file system cannot change stays."""
    status = os.lstat(path)
    if (status.st_uid, status.st_gid) != (facts.owner, facts.group):
        with suppress(PermissionError):
            os.chown(path, facts.owner, facts.group)
    if sys.platform == "linux":
        for name, value in facts.attributes.items() - _attributes(path).items():
            with suppress(OSError):
                os.setxattr(path, name, bytes.fromhex(value))
    with suppress(PermissionError):
        os.chmod(path, facts.mode)
    with suppress(PermissionError):
        os.utime(path, ns=(facts.atime_ns, facts.mtime_ns))


def flush(path: bytes) -> None:
    """Flush the content of the file at `path` to the disk. `OSError`."""
    descriptor = os.open(path, (os.O_RDWR if os.name == "nt" else os.O_RDONLY) | NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
