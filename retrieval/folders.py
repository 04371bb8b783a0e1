"""Folders on disk -> the files in them: in byte order, without what is hidden, left behind by systems or excluded."""

import errno
import os
import re
import stat
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.errors import BadInput, reason_of
from retrieval.types import Found, Unlisted

if TYPE_CHECKING:
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern as Pattern

IGNORE_FILE = ".retrievalignore"
"""Patterns in the syntax of .gitignore, valid from its folder downwards."""

RUBBISH = frozenset(
    {b"@eaDir", b"#recycle", b"#snapshot", b"$RECYCLE.BIN", b"System Volume Information", b"lost+found", b"__MACOSX"}
)
"""Folders that systems, NAS boxes and archivers leave behind; names with a leading dot are skipped as well."""

warnings.filterwarnings("ignore", module=r"pathspec\.")


def find(root: bytes, below: bytes = b"", exclude: Sequence[str] = (), skip: bytes = b"") -> Iterator[Found | Unlisted]:
    """Yield the regular files of `root`, in byte order of their paths relative to it.

    `below` (empty, or a subfolder that ends in `/`) restricts that to the files under it. Links to files are followed,
    links to folders are not, so there are no loops. Hidden and rubbish names, the absolute folder `skip`, and what
    `exclude` or a `.retrievalignore` names are left out; `exclude` has the last word, then the innermost file. A folder
    or file that the system will not show is yielded as `Unlisted`; one that vanishes meanwhile is not. Holds one
    folder's names in memory at a time, and those of its parents. `BadInput` for an `exclude` that is no pattern.
    """
    if not os.path.isdir(root):
        yield Unlisted(b"", "the folder cannot be reached")
        return
    try:
        rules = _rules_above(root, below, exclude)
    except OSError as error:
        yield Unlisted(below, reason_of(error))
        return
    pending = [] if rules is None else [_Folder(root, below, rules)]
    while pending:
        folder = pending[-1]
        yield from folder.files()
        if not folder.names:
            pending.pop()
            continue
        path = folder.path + folder.names.pop()
        if os.path.join(root, path[:-1]) != skip and not folder.rules.exclude(path):
            pending.append(_Folder(root, path, folder.rules))


class _Folder:
    """Names of one folder still to visit, last first; those of folders end in `/`, so the walk goes in byte order."""

    def __init__(self, root: bytes, path: bytes, rules: "_Rules") -> None:
        self.path = path
        self.place = os.path.join(root, path)
        self.error: str | None = None
        self.names: list[bytes] = []
        self.rules = rules
        try:
            with os.scandir(self.place) as entries:
                shown = (entry for entry in entries if not hidden(entry.name))
                self.names = [e.name + b"/" if e.is_dir(follow_symlinks=False) else e.name for e in shown]
            self.names.sort(reverse=True)
            self.rules = rules.extended(root, path)
        except OSError as error:
            self.names = []
            if not (path and isinstance(error, FileNotFoundError | NotADirectoryError)):  # vanished: nothing to say
                self.error = reason_of(error)

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
        harmless = error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
        return None if harmless else Unlisted(path, reason_of(error))
    return Found(path, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


@dataclass(frozen=True)
class _Rules:
    """Patterns in force in a folder, with the folders they count from; the last that names a path decides."""

    sources: tuple[tuple[bytes, "tuple[Pattern, ...]"], ...]

    def __bool__(self) -> bool:
        return any(patterns for _, patterns in self.sources)

    def extended(self, root: bytes, folder: bytes) -> "_Rules":
        """Return them with those that a file in `folder` adds, before the last; OSError where it cannot be read."""
        path = os.path.join(root, folder, os.fsencode(IGNORE_FILE))
        if not os.path.isfile(path):  # a FIFO would never end, nor /dev/zero
            return self
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            patterns = _patterns(file)
        return _Rules((*self.sources[:-1], (folder, patterns), self.sources[-1]))

    def exclude(self, path: bytes) -> bool:
        """Tell whether they leave out `path`, a folder's ending in `/`, whose parents they did not leave out."""
        for folder, patterns in reversed(self.sources):
            if not patterns:
                continue
            # A path holds no NUL and a pattern no newline, but pathspec's `*` and `**` stop at a newline.
            name = os.fsdecode(path[len(folder) :]).replace("\n", "\0")
            for pattern in reversed(patterns):
                if pattern.regex and pattern.regex.fullmatch(name):
                    return bool(pattern.include)
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


def _patterns(lines: Iterable[str], *, strict: bool = False) -> "tuple[Pattern, ...]":
    """Compile the patterns in `lines`; what is none is passed over, as git does, or `BadInput` where `strict`."""
    patterns = []
    for line in lines:
        from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern as Pattern  # few folders have any

        try:
            patterns.append(Pattern(_LAST_STARS.sub(_spelled_out, line)))
        except (ValueError, re.error) as error:
            if strict:
                raise BadInput(f"{line!r} is not a pattern", hint="patterns are written as in .gitignore") from error
    return tuple(patterns)


# pathspec, made for lists of files, abridges a last `*` or `**` so that the whole path is not matched any more, and its
# own judgement of folders is not git's: after `*` and `!*/` it would not enter any.
_LAST_STARS = re.compile(r"(^!?|/)(\*?)\*(/?\s*)$")


def _spelled_out(stars: re.Match[str]) -> str:
    return stars[1] + ("**/" if stars[2] else "") + "?*" + stars[3]


def hidden(name: bytes) -> bool:
    """Tell whether a scan passes over files and folders of that name."""
    return name.startswith(b".") or name in RUBBISH


def size(folder: Path) -> int:
    """Return how many bytes are below `folder`."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # a file of SQLite's or a writer's that is gone again
                total += (Path(place) / name).stat().st_size
    return total
