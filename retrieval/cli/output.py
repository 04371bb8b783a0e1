"""Where words go: results to stdout, notes and complaints to stderr.

Every line passes through `displayed`, so that no name of a file, label or model can send control characters to a
terminal. What is data (`--paths`, `-0`, `--csv`) is written as it is, but not to a terminal.
"""

import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from retrieval.errors import StorageError
from retrieval.types import displayed

if TYPE_CHECKING:
    from rich.progress import Progress

log = logging.getLogger("retrieval")
"""Its level is how much a person wants to read: ERROR with -q, WARNING, DEBUG with -v."""

MOST_SAID = 5
"""Notes of one kind at most."""


def talkative() -> bool:
    """Tell whether notes and progress are wanted."""
    return log.isEnabledFor(logging.WARNING)


# -- the streams --------------------------------------------------------------------------------------------------


class ReaderGoneError(Exception):
    """Whoever read stdout has gone. Not a BrokenPipeError, of which Typer would make an exit code of its own."""


class InterruptedRunError(Exception):
    """Ctrl-C, in a command that has something to say about what was kept."""


@contextmanager
def interruptible(kept: Callable[[], str]) -> Iterator[None]:
    """Have Ctrl-C inside end with a sentence about what is `kept`, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedRunError(kept()) from None


class _Results(io.FileIO):
    """Stdout: what is wrong with it is told in our words, whoever writes and whenever that is flushed."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        try:
            return super().write(data)
        except BrokenPipeError:
            raise ReaderGoneError from None
        except OSError as error:
            raise StorageError(
                f"standard output cannot be written: {error.strerror}", hint="send the output to another place"
            ) from error


class _Remarks(io.FileIO):
    """Stderr: where it cannot be written, there is nobody left to tell."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        try:
            return super().write(data)
        except OSError:
            return len(data)


def open_streams() -> None:
    """Put our own streams in the place of Python's, and keep stderr for Python.

    TensorFlow's C++ side reports its start-up on descriptor 2, whatever log level it is given.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for as long as the process lives
    sys.stdout = _text(_Results(sys.stdout.fileno(), "w", closefd=False), like=sys.stdout)
    own = os.dup(sys.stderr.fileno())
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.stderr = _text(_Remarks(own, "w"), like=sys.stderr)
    handler = logging.StreamHandler()
    handler.setFormatter(Notes("note: %(message)s"))
    log.addHandler(handler)
    log.propagate = False


def _text(raw: io.FileIO, like: Any) -> io.TextIOWrapper:  # noqa: ANN401 - a text stream
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=like.encoding, errors="backslashreplace", line_buffering=True
    )


def abandon_stdout() -> None:
    """Let what is still to be flushed go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# -- results ------------------------------------------------------------------------------------------------------


def put(text: str) -> None:
    """Write a line to stdout, printable, in UTF-8 whatever the locale."""
    _write(displayed(text).encode() + b"\n")


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    if sys.stdout.isatty():
        sys.stdout.flush()  # a person reads notes and results in the order in which they came


def put_data(records: Iterable[bytes], end: bytes) -> None:
    """Write records as they are, each with its `end`; to a terminal as lines that can be printed, as `ls` does."""
    to_person = sys.stdout.isatty()
    for record in records:
        if to_person:
            put(displayed(record))
        else:
            _write(record + end)


# -- notes and complaints -----------------------------------------------------------------------------------------


class Notes(logging.Formatter):
    """A note is one printable line; with -v, a traceback may follow."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line."""
        return displayed(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: ANN401, N802 - likewise
        """Return the traceback, each of its lines printable."""
        return _lines(super().formatException(ei))


def _lines(text: str) -> str:
    return "\n".join(map(displayed, text.split("\n")))


def counted(number: int, what: str) -> str:
    """Return `1 file`, `2 files`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def note(text: str) -> None:
    """Say something that is no result, after the results so far."""
    sys.stdout.flush()
    log.warning("%s", text)


def note_each(sentences: Sequence[str]) -> None:
    """Say the first of many sentences, and how many more there are."""
    for sentence in sentences[:MOST_SAID]:
        note(sentence)
    if len(sentences) > MOST_SAID:
        note(f"and {len(sentences) - MOST_SAID} more")


def complain(kind: str, text: str) -> None:
    """Write `kind: text` to stderr, as one line."""
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    label = typer.style(f"{kind}:", fg="red" if kind == "error" else "cyan") if coloured else f"{kind}:"
    sys.stderr.write(f"{label} {displayed(text)}\n")


def show_traceback(error: Exception) -> None:
    """Write to stderr where `error` happened."""
    sys.stderr.write(_lines("".join(traceback.format_exception(error)).rstrip("\n")) + "\n")


def note_timing(timing: Mapping[str, float]) -> None:
    """Say where the time went."""
    note("seconds: " + ", ".join(f"{what} {seconds:.3f}" for what, seconds in timing.items()))


# -- progress -----------------------------------------------------------------------------------------------------


@contextmanager
def bar(facts: str, last: str = "") -> "Iterator[Progress | None]":
    """Give a bar on stderr that shows `facts`, the time that is left and `last`; None where nobody looks.

    Both are templates of rich, and each task has the fields that they name. No text in them is markup: names of files
    may hold brackets.
    """
    if not (sys.stderr.isatty() and talkative()):
        yield None
        return
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn(facts, markup=False),
        rich.TextColumn("ETA"),
        rich.TimeRemainingColumn(),
        rich.TextColumn(last, style="red", markup=False),
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
