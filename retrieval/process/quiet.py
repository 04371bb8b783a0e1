"""Silence for what TensorFlow, Keras and Matplotlib tell of themselves while this package uses them.

TensorFlow's native code writes to the file descriptor of stderr, whatever its log level is, so that is led aside for as
long as one of our calls into it takes. What others write meanwhile comes out at the end of it.
"""

import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO

from retrieval.process import forks

LOGGERS = ("absl", "h5py", "keras", "matplotlib", "tensorflow")
STDERR = 2
_SOURCE = rb"\S+\.(cc|cpp|cu|h|inc):\d+\] "
NATIVE = re.compile(
    rb"(WARNING: All log messages before absl::InitializeLog|To enable the following instructions: "
    rb"|[IWEF]\d{4} \d\d:\d\d:\S+ +\d+ " + _SOURCE + rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWEF] " + _SOURCE + rb")"
)
"""How a line of Abseil's or TensorFlow's native logs begins: level, time, thread, file of C++ code."""


class _Silence:
    """One for the process: it begins with the first call and ends with the last that is under way."""

    def __init__(self) -> None:
        self._mutex, self._calls, self._undo = threading.Lock(), 0, ExitStack()
        forks.in_child(self._after_fork)

    def begin(self) -> None:
        with self._mutex:
            self._calls += 1
            if self._calls == 1:
                for name in LOGGERS:
                    self._undo.enter_context(_told_errors_alone(logging.getLogger(name)))
                self._undo.enter_context(_led_aside())

    def end(self) -> None:
        with self._mutex:
            self._calls -= 1
            if not self._calls:
                self._undo.close()

    def _after_fork(self) -> None:
        """Speak again: the call that was under way is the parent's."""
        self._mutex, self._calls = threading.Lock(), 0
        self._undo.close()


_silence = _Silence()


@contextmanager
def hushed() -> Iterator[None]:
    """Keep for now, in all threads, what TensorFlow tells of itself off stderr; a decorator as well."""
    _silence.begin()
    try:
        yield
    finally:
        _silence.end()


@contextmanager
def _told_errors_alone(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(max(level, logging.ERROR))
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _led_aside() -> Iterator[None]:
    """Have a file take what is written to stderr, then write there what is no line of TensorFlow's."""
    with ExitStack() as stack:
        try:
            before = os.dup(STDERR)
            stack.callback(os.close, before)
            aside = stack.enter_context(_file())
        except OSError:  # a daemon has no stderr, a full disk no room
            yield
            return
        _flush()
        os.dup2(aside.fileno(), STDERR)
        try:
            yield
        finally:
            _flush()
            os.dup2(before, STDERR)
            aside.seek(0)
            others = b"".join(line for line in aside if not NATIVE.match(line))
            with suppress(OSError):
                os.write(STDERR, others) if others else None


def _file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("stderr"), "w+b")
    return tempfile.TemporaryFile()


def _flush() -> None:
    with suppress(Exception):  # it may be closed, or anything that a program put there
        sys.stderr.flush()
