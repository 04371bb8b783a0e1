"""Folders on disk -> the files in them: in byte order, without what is hidden, left behind by systems or excluded."""

import errno
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from retrieval.errors import BadInput, UnreadableImage, reason_of
from retrieval.pictures import patterns, reading
from retrieval.types import Found, Unlisted

IGNORE_FILE = ".retrievalignore"
"""Patterns in the syntax of .gitignore, valid from its folder downwards."""
_IGNORE_NAME = os.fsencode(IGNORE_FILE)
PATTERNS = 2**18
"""Most bytes of such a file, 256 KiB: each pattern is held against each path."""

RUBBISH = frozenset(
    {b"@eaDir", b"#recycle", b"#snapshot", b"$RECYCLE.BIN", b"System Volume Information", b"lost+found", b"__MACOSX"}
)
"""Folders that systems, NAS boxes and archivers leave behind; names with a leading dot are skipped as well."""


def find(
    root: bytes,
    below: bytes = b"",
    exclude: Sequence[str] = (),
    skip: bytes = b"",
    mounts: set[bytes] | None = None,
) -> Iterator[Found | Unlisted]:
    """Yield the regular files of `root`, in byte order of their paths relative to it.

    `below` (empty, or a subfolder that ends in `/`) restricts that to the files under it. Links to files are followed,
    links to folders are not, so there are no loops; a link to nothing is passed over. Hidden and rubbish names, the
    absolute folder `skip`, and what `exclude` or a `.retrievalignore` names are left out; `exclude` has the last word,
    then the innermost file. A folder or file that the system will not show is yielded as `Unlisted`; one that vanishes
    meanwhile is not. Holds one folder's names in memory at a time, and those of its parents. Adds to `mounts` the
    folders, ending in `/`, on which another device is mounted. `BadInput` for an `exclude` that is no pattern.
    """
    if not os.path.isdir(root):
        yield Unlisted(b"", "the folder cannot be reached")
        return
    try:
        rules = _rules_above(root, below, exclude)
    except OSError as error:
        yield Unlisted(below, reason_of(error))
        return
    mounts = set() if mounts is None else mounts
    pending = [] if rules is None else [_Folder(root, below, rules, _device(os.path.join(root, below, b"..")), mounts)]
    while pending:
        folder = pending[-1]
        yield from folder.files()
        if not folder.names:
            pending.pop()
            continue
        path = folder.path + folder.names.pop()
        if os.path.join(root, path[:-1]) != skip and not folder.rules.exclude(path):
            pending.append(_Folder(root, path, folder.rules, folder.device, mounts))


class _Folder:
    """Names of one folder still to visit, last first; those of folders end in `/`, so the walk goes in byte order."""

    def __init__(self, root: bytes, path: bytes, rules: "_Rules", outer: int | None, mounts: set[bytes]) -> None:
        self.path = path
        self.place = os.path.join(root, path)
        self.device = outer
        self.error: str | None = None
        self.names: list[bytes] = []
        self.rules = rules
        try:
            with os.scandir(self.place) as entries:
                has_patterns = self._list(entries)
            self.device = os.stat(self.place).st_dev
            if outer is not None and self.device != outer:
                mounts.add(path)
            if has_patterns:
                self.rules = rules.extended(root, path)
        except OSError as error:
            self.names = []
            if not (path and isinstance(error, FileNotFoundError | NotADirectoryError)):  # vanished: nothing to say
                self.error = reason_of(error)

    def _list(self, entries: "Iterator[os.DirEntry[bytes]]") -> bool:
        """Take the names that are not hidden; tell whether a file of patterns is among the others."""
        names, has_patterns = self.names, False
        for entry in entries:
            name = entry.name
            if not hidden(name):
                names.append(name + b"/" if entry.is_dir(follow_symlinks=False) else name)
            elif name == _IGNORE_NAME:
                has_patterns = True
        names.sort(reverse=True)
        return has_patterns

    def files(self) -> Iterator[Found | Unlisted]:
        """Yield the files up to the next subfolder, which is the last of `names` then."""
        if self.error is not None:
            yield Unlisted(self.path, self.error)
        names, exclude = self.names, self.rules.exclude if self.rules else None
        while names and not names[-1].endswith(b"/"):
            name = names.pop()
            path = self.path + name
            if exclude is not None and exclude(path):
                continue
            seen = _seen(self.place + name, path)
            if seen is not None:
                yield seen


def _seen(place: bytes, path: bytes) -> Found | Unlisted | None:
    try:
        status = os.stat(place)
    except OSError as error:
        return None if error.errno in {errno.ENOENT, errno.ENOTDIR} else Unlisted(path, reason_of(error))
    if not stat.S_ISREG(status.st_mode):
        return None
    return Found(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _device(folder: bytes) -> int | None:
    """Return the device that `folder` is on, None where there is no telling."""
    try:
        return os.stat(folder).st_dev
    except OSError:
        return None


@dataclass(frozen=True)
class _Rules:
    """Patterns in force in a folder, with the folders they count from; the last that names a path decides."""

    sources: tuple[tuple[bytes, tuple[patterns.Pattern, ...]], ...]

    def __bool__(self) -> bool:
        return any(some for _, some in self.sources)

    def extended(self, root: bytes, folder: bytes) -> "_Rules":
        """Return them with those that a file in `folder` adds, before the last; OSError where it cannot be read."""
        path = os.path.join(root, folder, _IGNORE_NAME)
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):  # a FIFO would never end, nor /dev/zero
                return self
            text = reading.read_regular(path, PATTERNS).decode("utf-8-sig", "surrogateescape")
        except UnreadableImage as error:
            raise OSError(errno.EFBIG, f"its {IGNORE_FILE} cannot be read: {error}") from error
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}:
                return self
            raise OSError(error.errno, f"its {IGNORE_FILE} cannot be read: {reason_of(error)}") from error
        return _Rules((*self.sources[:-1], (folder, _patterns(io.StringIO(text, newline=None))), self.sources[-1]))

    def exclude(self, path: bytes) -> bool:
        """Tell whether they leave out `path`, a folder's ending in `/`, whose parents they did not leave out."""
        for folder, some in reversed(self.sources):
            if some and (told := patterns.verdict(some, path[len(folder) :])) is not None:
                return told
        return False


def _rules_above(root: bytes, below: bytes, exclude: Sequence[str]) -> _Rules | None:
    """Return the patterns that the folders above `below` put in force, None where they hide it."""
    rules = _Rules(((b"", _patterns(exclude, strict=True)),))
    folder = b""
    for name in below.split(b"/")[:-1]:
        rules = rules.extended(root, folder)
        folder += name + b"/"
        if hidden(name) or rules.exclude(folder):
            return None
    return rules


def leaves_out(exclude: Sequence[str]) -> Callable[[bytes], bool]:
    """Return what tells whether `exclude` leaves out a path or a folder above it; `BadInput` for what is no pattern."""
    rules = _Rules(((b"", _patterns(exclude, strict=True)),))

    def is_left_out(path: bytes) -> bool:
        ends = [place + 1 for place, byte in enumerate(path) if byte == ord("/")]
        return any(rules.exclude(path[:end]) for end in (*ends, len(path)))

    return is_left_out if rules else lambda _: False


def _patterns(lines: Iterable[str], *, strict: bool = False) -> tuple[patterns.Pattern, ...]:
    """Return the patterns in `lines`; what is none is passed over, as git does, or `BadInput` where `strict`."""
    found = []
    for line in lines:
        try:
            found.append(patterns.parsed(line))
        except ValueError as error:
            if strict:
                hint = f"patterns are written as in .gitignore; {error}"
                raise BadInput(f"{line!r} is not a pattern", hint=hint) from error
    return tuple(pattern for pattern in found if pattern is not None)


def hidden(name: bytes) -> bool:
    """Tell whether a scan passes over files and folders of that name."""
    return name.startswith(b".") or name in RUBBISH
