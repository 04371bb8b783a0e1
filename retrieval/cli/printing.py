"""What a command writes: results to stdout, notes and errors to stderr.

All names pass through `displayed`, so no name of a file, label or model can send control characters to a terminal.
Data (`--paths`, `-0`, `--csv`) is written as it is, except to a terminal.
"""

import logging
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer

from retrieval.types import displayed

log = logging.getLogger("retrieval")
"""Logger of the notes. Its level is what the user wants to read: ERROR with -q, WARNING by default, DEBUG with -v."""

AROUND = 50
"""Number of characters that are shown before and behind the place of a fault."""
MOST_NOTES = 5
"""Largest number of notes of one kind that are written; further ones are only counted."""


def talkative() -> bool:
    """Tell whether the user wants notes and progress."""
    return log.isEnabledFor(logging.WARNING)


def counted(number: int, what: str) -> str:
    """Return a number with the noun `what` in singular or plural: `1 file`, `2 files`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


# -- results ------------------------------------------------------------------------------------------------------


def put(text: str) -> None:
    """Write one printable line to stdout, in UTF-8 whatever the locale is."""
    _write(displayed(text).encode() + b"\n")


def put_raw(data: bytes) -> None:
    """Write bytes as they are. To a terminal, the caller passes the names in them through `displayed`."""
    _write(data)


def put_data(records: Iterable[bytes], end: bytes) -> None:
    """Write each record as it is, followed by `end`; to a terminal, write printable lines, as `ls` does."""
    to_terminal = sys.stdout.isatty()
    for record in records:
        if to_terminal:
            put(displayed(record))
        else:
            _write(record + end)


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    if sys.stdout.isatty():
        sys.stdout.flush()  # on a terminal, notes and results appear in the order in which they were written


# -- notes and errors ---------------------------------------------------------------------------------------------


class Notes(logging.Formatter):
    """The format of notes: one printable line, and with -v perhaps a traceback."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is that of logging
        """Return the line."""
        return displayed(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: ANN401, N802 - the name is that of logging
        """Return the traceback with every line printable."""
        return _printable_lines(super().formatException(ei))


def note(text: str) -> None:
    """Write a note to stderr, after all results that were put before it."""
    sys.stdout.flush()
    log.warning("%s", text)


def note_each(sentences: Sequence[str]) -> None:
    """Write the first `MOST_NOTES` sentences as notes, and then how many more there are."""
    for sentence in sentences[:MOST_NOTES]:
        note(sentence)
    if len(sentences) > MOST_NOTES:
        note(f"and {len(sentences) - MOST_NOTES} more")


def note_timing(timing: Mapping[str, float]) -> None:
    """Write how many seconds each step took."""
    note("seconds: " + ", ".join(f"{step} {seconds:.3f}" for step, seconds in timing.items()))


def complain(kind: str, text: str) -> None:
    """Write `kind: text` to stderr, as one line; `kind` is error, hint or note."""
    label = f"{kind}:"
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        label = typer.style(label, fg="red" if kind == "error" else "cyan")
    sys.stderr.write(f"{label} {displayed(text)}\n")


def show_place(text: str, at: int) -> None:
    """Write a line of text to stderr, and below it a mark at the character `at`. Of a long text, write the part there.

    The mark stands right behind wide characters too.
    """
    from rich.cells import cell_len

    start = max(0, at - AROUND)
    before, rest = displayed(text[start:at]), displayed(text[at : at + AROUND])
    if start:
        before = f"…{before}"
    more = "…" if len(text) > at + AROUND else ""
    sys.stderr.write(f"  {before}{rest}{more}\n  {' ' * cell_len(before)}^\n")


def show_traceback(error: Exception) -> None:
    """Write to stderr where `error` happened."""
    sys.stderr.write(_printable_lines("".join(traceback.format_exception(error)).rstrip("\n")) + "\n")


def _printable_lines(text: str) -> str:
    return "\n".join(displayed(line) for line in text.split("\n"))
