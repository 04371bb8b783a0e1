"""Changes of a file system: which files and folders have changed, by root; and a watch that tells of them."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from threading import Event
from typing import Any

from retrieval import extras
from retrieval.disk.mounts import network_file_system
from retrieval.errors import BadInput, MissingLibrary
from retrieval.storage.records import Root, Spot
from retrieval.types import Report, displayed

QUIET = 300
"""A change is told when nothing else has changed for so long, in milliseconds. A file that is being written changes
more often."""
LONGEST = 1600
"""Longest time for which changes are collected, in milliseconds."""
TURN = 1000
"""Time without changes after which a watch tells so, in milliseconds, so that its caller can look after other things.
"""


def by_root(roots: Iterable[Root], places: Sequence[bytes]) -> dict[Spot, list[bytes]]:
    """Return the root of each place -> the paths from this root, ascending, without those that lie in another one.

    Raises `BadInput` for a place that lies in no root.
    """
    innermost = sorted(roots, key=lambda root: -len(root.path))
    found: dict[Root, set[bytes]] = {}
    for place in places:
        folder, name = os.path.split(os.path.abspath(place))
        path = os.path.join(os.path.realpath(folder), name)
        root = next((root for root in innermost if path.startswith(os.path.join(root.path, b""))), None)
        if root is None:
            hint = "see the indexed folders with: retrieval info"
            raise BadInput(f"{displayed(place)} lies in no indexed folder", hint=hint)
        found.setdefault(root, set()).add(path[len(os.path.join(root.path, b"")) :])
    return {Spot(root.id, root.path, b""): _outermost(paths) for root, paths in found.items()}


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


def watched(folders: Sequence[Path], stop: Event) -> Iterator[set[Path]]:
    """Yield the files and folders that have changed below some folders, and an empty set at least every second.

    The watch begins before the first set is yielded, so that no change after that is missed. On network file systems,
    the folders are looked through again and again, because other machines' changes are not told. Raises
    `MissingLibrary` without watchfiles.
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
        stop_event=stop,
        rust_timeout=TURN,
        yield_on_timeout=True,
        raise_interrupt=True,
        force_polling=any(network_file_system(folder) for folder in folders) or None,
        ignore_permission_denied=True,
    )
    for found in changes:
        yield {Path(path) for _, path in found}
