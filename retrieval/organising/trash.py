"""The trash of the desktop, as https://specifications.freedesktop.org/trash-spec/1.0 defines it.

A file in the trash lies in the folder `files`, and a note of the same name in the folder `info` says where it was. File
managers on Linux and BSD show such files and can restore them. Other systems keep their trash differently.
"""

import os
import secrets
import stat
import sys
import time
from dataclasses import dataclass
from urllib.parse import quote

from retrieval.errors import BadInput

_STEM, _SUFFIX = 150, 20
"""Most bytes of the stem and of the suffix of a name that are kept in the trash. The note has the whole name. A name of
a file may have 255 bytes on Linux, and that of the note is longer by `.trashinfo`."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the trash for one file. Nothing is there yet."""

    place: bytes
    """Path of the file in the trash."""
    info: bytes
    """Path of its note."""
    note: str
    """Content of the note."""


def slot(path: bytes) -> Slot:
    """Choose a place in the trash for the file at `path`, and make the folders of the trash.

    The trash of the file system of the file is used, or the trash of the user's home folder if the former cannot be
    used. Raises `BadInput` on systems without such a trash, and `OSError`.
    """
    if sys.platform in {"darwin", "win32"}:
        raise BadInput("an undo cannot find files in the trash of this system, so use a move to a folder")
    home = os.path.join(_data_home(), b"Trash")
    top = _top_of(os.path.dirname(path))
    folder = home if _top_of(_existing(home)) == top else _trash_at(top)
    if folder is None or not _made(folder):
        folder = home
        _make(home)
    below = path if folder == home else os.path.relpath(path, top)
    stem, suffix = os.path.splitext(os.path.basename(path))
    name = stem[:_STEM] + b"." + secrets.token_hex(8).encode() + suffix[:_SUFFIX]
    deleted = time.strftime("%Y-%m-%dT%H:%M:%S")
    note = f"[Trash Info]\nPath={quote(below)}\nDeletionDate={deleted}\n"
    return Slot(os.path.join(folder, b"files", name), os.path.join(folder, b"info", name + b".trashinfo"), note)


def _data_home() -> bytes:
    """Return the folder for data of the user, https://specifications.freedesktop.org/basedir-spec/latest."""
    named = os.environb.get(b"XDG_DATA_HOME", b"")
    return named if os.path.isabs(named) else os.path.expanduser(b"~/.local/share")


def _existing(path: bytes) -> bytes:
    """Return the innermost folder of `path` that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _top_of(folder: bytes) -> bytes:
    """Return the folder at which the file system of `folder` is mounted."""
    folder = os.path.realpath(folder)
    while not os.path.ismount(folder):
        folder = os.path.dirname(folder)
    return folder


def _trash_at(top: bytes) -> bytes | None:
    """Return the trash of this user on the file system mounted at `top`; None if it is a link, or of somebody else."""
    user = str(os.getuid()).encode()
    shared = os.path.join(top, b".Trash")
    try:
        mode = os.lstat(shared).st_mode
    except OSError:
        mode = 0
    is_shared = stat.S_ISDIR(mode) and bool(mode & stat.S_ISVTX)  # the specification demands this bit
    folder = os.path.join(shared, user) if is_shared else os.path.join(top, b".Trash-" + user)
    try:
        status = os.lstat(folder)
    except FileNotFoundError:
        return folder
    return folder if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() else None


def _made(folder: bytes) -> bool:
    try:
        _make(folder)
    except OSError:
        return False
    return True


def _make(folder: bytes) -> None:
    for path in (folder, os.path.join(folder, b"files"), os.path.join(folder, b"info")):
        os.makedirs(path, mode=0o700, exist_ok=True)
