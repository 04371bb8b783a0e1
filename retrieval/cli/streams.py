"""The standard streams of the process: stdout and stderr with their own handling of errors, stdin never missing."""

import io
import logging
import os
import sys
from typing import Any

from retrieval.cli.printing import Notes, log
from retrieval.errors import StorageError


class ReaderGoneError(Exception):
    """The program that read stdout has ended. It is no BrokenPipeError, because Typer gives that its own exit code."""


class _Results(io.FileIO):
    """Stdout. A failed write raises one of our errors, whoever writes and whenever data is flushed."""

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
    """Stderr. A failed write is ignored: there is no other place to report it."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        try:
            return super().write(data)
        except OSError:
            return len(data)


def open_streams() -> None:
    """Replace Python's standard streams with our own, and reserve stderr for Python code.

    The C++ code of TensorFlow writes lines about its start to file descriptor 2, whatever the log level is. So this
    descriptor is led to the null device, and Python writes to a copy of the old descriptor.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # the calling program closed it
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open as long as the process lives
    sys.stdout = _text(_Results(sys.stdout.fileno(), "w", closefd=False), like=sys.stdout)
    stderr = os.dup(sys.stderr.fileno())
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.stderr = _text(_Remarks(stderr, "w"), like=sys.stderr)
    handler = logging.StreamHandler()
    handler.setFormatter(Notes("note: %(message)s"))
    log.addHandler(handler)
    log.propagate = False


def _text(raw: io.FileIO, like: Any) -> io.TextIOWrapper:  # noqa: ANN401 - a text stream
    """Return a text stream over `raw` with the encoding of the stream `like`."""
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=like.encoding, errors="backslashreplace", line_buffering=True
    )


def abandon_stdout() -> None:
    """Lead stdout to the null device, so that flushing the data that is left cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
