"""Where words go: results to stdout as bytes, notes and complaints to stderr."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from retrieval.types import Report, displayed

if TYPE_CHECKING:
    from rich.progress import Progress

log = logging.getLogger("retrieval")
"""Its level is how much a person wants to read: ERROR with -q, WARNING, DEBUG with -v."""

MOST_REASONS = 5
"""Kinds of failure that a report names."""


def talkative() -> bool:
    """Tell whether notes and progress are wanted."""
    return log.isEnabledFor(logging.WARNING)


class ReaderGoneError(Exception):
    """Whoever read stdout has gone. Not a BrokenPipeError, of which Typer would make an exit code of its own."""


def write(data: bytes) -> None:
    """Write to stdout as it is."""
    try:
        sys.stdout.buffer.write(data)
    except BrokenPipeError:
        raise ReaderGoneError from None


def put(text: str) -> None:
    """Write a line to stdout, in UTF-8 whatever the locale."""
    write(text.encode("utf-8", "backslashreplace") + b"\n")


def note(text: str) -> None:
    """Say something that is no result."""
    log.warning("%s", text)


def complain(kind: str, text: str) -> None:
    """Write `kind: text` to stderr, as one line."""
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    label = typer.style(f"{kind}:", fg="red" if kind == "error" else "cyan") if coloured else f"{kind}:"
    sys.stderr.write(f"{label} {displayed(text)}\n")


def note_timing(timing: Mapping[str, float]) -> None:
    """Say where the time went."""
    note("seconds: " + ", ".join(f"{what} {seconds:.3f}" for what, seconds in timing.items()))


def put_report(report: Report) -> None:
    """Write what a run did, and what of it a person may want to look into."""
    if talkative():
        put(str(report))
    for reason, count in sorted(report.reasons.items(), key=lambda item: -item[1])[:MOST_REASONS]:
        note(f"{count} unreadable: {reason}")
    if report.reasons:
        note("see which with: retrieval info --failures")
    if report.offline:
        note(f"{report.offline} pictures cannot be found or reached and stay in the index; --prune forgets them")


@contextmanager
def bar(facts: str, last: str = "") -> "Iterator[Progress | None]":
    """Give a bar on stderr that shows `facts`, the time that is left and `last`; None where nobody looks.

    Both are templates of rich, and each task has the fields that they name.
    """
    if not (sys.stderr.isatty() and talkative()):
        yield None
        return
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn(facts),
        rich.TextColumn("ETA"),
        rich.TimeRemainingColumn(),
        rich.TextColumn(last),
    )
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as drawn:
        yield drawn


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None] | None]:
    """Give a callback that draws how many are done on stderr; None where nobody looks."""
    if not (sys.stderr.isatty() and talkative()):
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
