"""A folder on disk -> the files in it, in byte order, without files that are hidden, excluded or left by systems."""

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
"""Name of a file of patterns, in the syntax of .gitignore. The patterns count in the folder of the file and below."""
_IGNORE_NAME = os.fsencode(IGNORE_FILE)
PATTERNS = 2**18
"""Most bytes of a `.retrievalignore`, 256 KiB. There is a limit because each pattern is matched with each path."""

RUBBISH = frozenset(
    {b"@eaDir", b"#recycle", b"#snapshot", b"$RECYCLE.BIN", b"System Volume Information", b"lost+found", b"__MACOSX"}
)
"""Names of folders that systems, NAS boxes and archivers leave behind; a scan skips them as it skips hidden files."""


def find(
    root: bytes,
    below: bytes = b"",
    exclude: Sequence[str] = (),
    skip: bytes = b"",
    mounts: set[bytes] | None = None,
) -> Iterator[Found | Unlisted]:
    """Yield the regular files of the folder `root`, in byte order of their paths relative to it.

    `below` (empty, or a subfolder that ends in `/`) restricts the scan to the files under it. Links to files are
    followed; links to folders are not, so that there are no loops; broken links are skipped. These are left out: hidden
    names and the names in `RUBBISH`, the absolute folder `skip`, and what `exclude` or a `.retrievalignore` matches.
    Where patterns disagree, `exclude` decides, and then the innermost `.retrievalignore`.

    A folder or file that the system does not show is yielded as `Unlisted`; one that vanishes meanwhile is skipped. The
    folders on which another device is mounted are added to `mounts`, ending in `/`. The names in one folder and in its
    parents are held in memory at a time. Raises `BadInput` for an `exclude` that is not a pattern.
    """
    if not os.path.isdir(root):
        yield Unlisted(b"", "the folder cannot be reached")
        return
    try:
        rules = _rules_above(root, below, exclude)
    except OSError as error:
        yield Unlisted(below, reason_of(error))
        return
    if rules is None:
        return
    mounts = set() if mounts is None else mounts
    outer = _device(os.path.join(root, below, b".."))
    pending = [_Folder(root, below, rules, outer, mounts)]
    while pending:
        folder = pending[-1]
        yield from folder.files()
        if not folder.names:
            pending.pop()
            continue
        path = folder.path + folder.names.pop()
        if os.path.join(root, path[:-1]) != skip and not folder.rules.exclude(path):
            pending.append(_Folder(root, path, folder.rules, folder.device, mounts))


def one(root: bytes, path: bytes, exclude: Sequence[str] = (), skip: bytes = b"") -> Found | Unlisted | None:
    """Return the regular file at `path`, relative to the folder `root`, if `find` would yield it, else None.

    Only the folders above the file are looked at, and not what else is in them. None of them may be a link. Raises
    `BadInput` for an `exclude` that is not a pattern.
    """
    folder, _, name = path.rpartition(b"/")
    below = folder + b"/" if folder else b""
    place = os.path.join(root, path)
    if hidden(name) or (skip and place.startswith(skip + b"/")):
        return None
    try:
        rules = _rules_above(root, below, exclude)
        rules = None if rules is None else rules.extended(root, below)
    except OSError as error:
        return Unlisted(path, reason_of(error))
    return None if rules is None or rules.exclude(path) else _seen(place, path)


class _Folder:
    """The names in one folder that are still to be visited, in reverse order.

    The names of folders end in `/`, so that the walk goes in byte order of whole paths. `outer` is the device of the
    parent folder.
    """

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
            has_vanished = path and isinstance(error, FileNotFoundError | NotADirectoryError)
            if not has_vanished:  # a subfolder that has vanished is skipped
                self.error = reason_of(error)

    def _list(self, entries: "Iterator[os.DirEntry[bytes]]") -> bool:
        """Keep the names that are not hidden; return whether a `.retrievalignore` is among the hidden ones."""
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
        """Yield the files before the next subfolder. Then the name of this subfolder is the last in `names`."""
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
    """Return the file at `place`, whose relative path is `path`; None if it is not a regular file, or vanished."""
    try:
        status = os.stat(place)
    except OSError as error:
        return None if error.errno in {errno.ENOENT, errno.ENOTDIR} else Unlisted(path, reason_of(error))
    if not stat.S_ISREG(status.st_mode):
        return None
    return Found(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _device(folder: bytes) -> int | None:
    """Return the number of the device that holds `folder`, None if the system does not tell."""
    try:
        return os.stat(folder).st_dev
    except OSError:
        return None


@dataclass(frozen=True)
class _Rules:
    """The patterns that count in a folder; the last pattern that matches a path decides."""

    sources: tuple[tuple[bytes, tuple[patterns.Pattern, ...]], ...]
    """Pairs of a folder and the patterns that are relative to it. The patterns of `exclude` come last."""

    def __bool__(self) -> bool:
        return any(patterns_ for _, patterns_ in self.sources)

    def extended(self, root: bytes, folder: bytes) -> "_Rules":
        """Return the rules with the patterns of the `.retrievalignore` in `folder`; `OSError` if it cannot be read."""
        path = os.path.join(root, folder, _IGNORE_NAME)
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):  # a FIFO or /dev/zero would never end
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
        """Tell whether the rules leave out `path`; the folders above it are not looked at.

        `path` ends in `/` if it is a folder.
        """
        for folder, patterns_ in reversed(self.sources):
            if patterns_:
                verdict = patterns.verdict(patterns_, path[len(folder) :])
                if verdict is not None:
                    return verdict
        return False


def _rules_above(root: bytes, below: bytes, exclude: Sequence[str]) -> _Rules | None:
    """Return the rules of the folders above `below`, None if these rules leave out `below`."""
    rules = _Rules(((b"", _patterns(exclude, strict=True)),))
    folder = b""
    for name in below.split(b"/")[:-1]:
        rules = rules.extended(root, folder)
        folder += name + b"/"
        if hidden(name) or rules.exclude(folder):
            return None
    return rules


def leaves_out(exclude: Sequence[str]) -> Callable[[bytes], bool]:
    """Return a function that tells whether `exclude` leaves out a path or a folder above it.

    Raises `BadInput` for an `exclude` that is not a pattern.
    """
    rules = _Rules(((b"", _patterns(exclude, strict=True)),))

    def is_left_out(path: bytes) -> bool:
        folders = [path[: at + 1] for at, byte in enumerate(path) if byte == ord("/")]
        return any(rules.exclude(part) for part in (*folders, path))

    return is_left_out if rules else lambda _: False


def _patterns(lines: Iterable[str], *, strict: bool = False) -> tuple[patterns.Pattern, ...]:
    """Return the patterns in `lines`.

    A line that is not a pattern is skipped, as git does; if `strict`, it raises `BadInput`.
    """
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
    """Tell whether a scan skips files and folders called `name`."""
    return name.startswith(b".") or name in RUBBISH
