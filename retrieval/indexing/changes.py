"""Changes of a file system: which files and folders have changed, by root; and a watch that tells of them."""

import logging
import os
import stat
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from retrieval import extras
from retrieval.disk.mounts import network_file_system
from retrieval.errors import BadInput, MissingLibrary
from retrieval.pictures.scan import IGNORE_FILE
from retrieval.storage.records import Root, Spot
from retrieval.types import Report, displayed

QUIET = 50
"""A change is told when nothing else has changed for so long, in milliseconds."""
LONGEST = 200
"""Longest time for which changes are collected, in milliseconds."""
TURN = 250
"""Time without changes after which a watch tells so, in milliseconds, so that its caller can look after other things.
"""
POLL = 2000
"""Time between two looks at a folder whose changes the system does not tell, in milliseconds."""
REST = 0.3
"""A file that has changed less than so many seconds ago may still be written."""
log = logging.getLogger("retrieval")
_IGNORE_NAME = os.fsencode(IGNORE_FILE)


def by_root(roots: Iterable[Root], places: Sequence[bytes]) -> dict[Spot, list[bytes] | None]:
    """Return the root of each place -> the paths from this root, ascending, without those that lie in another one.

    None stands for the whole root. A file of patterns stands for its folder, because it decides what counts there.

    Raises `BadInput` for a place that lies in no root.
    """
    innermost = sorted(roots, key=lambda root: -len(root.path))
    found: dict[Root, set[bytes]] = {}
    for place in places:
        folder, name = os.path.split(os.path.abspath(place))
        path = os.path.realpath(folder) if name == _IGNORE_NAME else os.path.join(os.path.realpath(folder), name)
        root = next((root for root in innermost if os.path.join(path, b"").startswith(_inside(root))), None)
        if root is None:
            hint = "see the indexed folders with: retrieval info"
            raise BadInput(f"{displayed(place)} lies in no indexed folder", hint=hint)
        found.setdefault(root, set()).add(path[len(_inside(root)) :])
    return {Spot(root.id, root.path, b""): None if b"" in paths else _outermost(paths) for root, paths in found.items()}


def _inside(root: Root) -> bytes:
    """Return the path of a root with a slash at its end: all places in the root begin with it."""
    return os.path.join(root.path, b"")


def _outermost(paths: Collection[bytes]) -> list[bytes]:
    """Return paths in ascending order, without those that lie below another one."""
    kept: set[bytes] = set()
    for path in sorted(paths):
        parents = (path[:at] for at, byte in enumerate(path) if byte == ord("/"))
        if not any(parent in kept for parent in parents):
            kept.add(path)
    return sorted(kept)


def added_up(reports: Sequence[Report]) -> Report:
    """Return the sum of several reports."""
    counts: Counter[Any] = Counter()
    sums: dict[str, Counter[str]] = {"reasons": Counter(), "notes": Counter()}
    for report in reports:
        counts.update({item.name: getattr(report, item.name) for item in fields(Report) if item.type is int})
        for name, total in sums.items():
            total.update(getattr(report, name))
    return replace(Report(**dict(counts)), reasons=dict(sums["reasons"]), notes=dict(sums["notes"]))


def resting(path: Path, known: float) -> bool:
    """Tell whether a change that has been known for so many seconds can be looked at: nobody seems to write the file.

    What is gone waits as long as a new file. So both ends of a renaming are looked at together.
    """
    if known < REST:
        return False
    try:
        status = path.stat()
    except OSError:
        return True
    return not (stat.S_ISREG(status.st_mode) and 0 <= time.time() - status.st_ctime < REST)


def watched(folders: Sequence[Path]) -> Iterator[set[Path]]:
    """Yield the files and folders that have changed below some folders, and an empty set if nothing has for a moment.

    The watch begins before the first set is yielded, so that no change after that is missed, as long as the system
    tells all. On network file systems, the folders are looked through again and again, because other machines' changes
    are not told; and so they are if the system cannot watch so many folders. Raises `MissingLibrary` without
    watchfiles, and `KeyboardInterrupt`.
    """
    if any(network_file_system(folder) for folder in folders):
        yield from _changes(folders, polling=True)
        return
    try:
        yield from _changes(folders, polling=None)
    except PermissionError:  # only then: passing over such folders also hides that the system's limit was reached
        yield from _changes(folders, polling=None, forbidden=True)
    except OSError as error:
        log.warning(
            "the folders are looked through every %d s, because they cannot be watched: %s", POLL // 1000, error
        )
        yield from _changes(folders, polling=True)


def _changes(folders: Sequence[Path], *, polling: bool | None, forbidden: bool = False) -> Iterator[set[Path]]:
    """Yield changes as `watched` does. With `polling` None, watchfiles decides, which knows WSL and its variable.

    With `forbidden`, folders that cannot be listed are passed over; else they raise `PermissionError`.
    """
    try:
        import watchfiles
    except ImportError as error:
        sentence = f"watching folders needs watchfiles, which cannot be loaded ({extras.reason(error)})"
        raise MissingLibrary(sentence, hint=extras.hint("install it", "watch")) from error
    changes = watchfiles.watch(
        *folders,
        watch_filter=None,
        debounce=LONGEST,
        step=QUIET,
        rust_timeout=TURN,
        yield_on_timeout=True,
        raise_interrupt=True,
        force_polling=polling,
        poll_delay_ms=POLL,
        ignore_permission_denied=forbidden or bool(polling),
    )
    for found in changes:
        yield {Path(path) for _, path in found}
