"""Keeps the logs of TensorFlow, Keras and Matplotlib off stderr while this package uses them.

The native code of TensorFlow writes to the file descriptor of stderr, whatever its log level is. So while this package
calls TensorFlow, the descriptor leads to a temporary file. After the call, the lines in this file that other code wrote
are copied to the real stderr.
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
"""Beginning of a log line of the native code of Abseil or TensorFlow: level, time, thread, file of C++ code."""


class _Silence:
    """The silence of the whole process: it begins with the first call, and ends when no call is under way."""

    def __init__(self) -> None:
        self._mutex, self._calls, self._undo = threading.Lock(), 0, ExitStack()
        forks.in_child(self._after_fork)

    def begin(self) -> None:
        with self._mutex:
            self._calls += 1
            if self._calls == 1:
                for name in LOGGERS:
                    self._undo.enter_context(_only_errors(logging.getLogger(name)))
                self._undo.enter_context(_stderr_to_a_file())

    def end(self) -> None:
        with self._mutex:
            self._calls -= 1
            if not self._calls:
                self._undo.close()

    def _after_fork(self) -> None:
        """End the silence in a forked child: the calls that were under way belong to the parent."""
        self._mutex, self._calls = threading.Lock(), 0
        self._undo.close()


_silence = _Silence()


@contextmanager
def hushed() -> Iterator[None]:
    """Keep the logs of TensorFlow off stderr during the block, in all threads. Also works as a decorator."""
    _silence.begin()
    try:
        yield
    finally:
        _silence.end()


@contextmanager
def _only_errors(logger: logging.Logger) -> Iterator[None]:
    """Let a logger log only errors during the block."""
    level = logger.level
    logger.setLevel(max(level, logging.ERROR))
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _stderr_to_a_file() -> Iterator[None]:
    """Let stderr lead to a file during the block, then copy the lines that are not from TensorFlow to stderr."""
    with ExitStack() as stack:
        try:
            before = os.dup(STDERR)
            stack.callback(os.close, before)
            file = stack.enter_context(_file())
        except OSError:  # a daemon has no stderr, and a full disk has no room for the file
            yield
            return
        _flush()
        os.dup2(file.fileno(), STDERR)
        try:
            yield
        finally:
            _flush()
            os.dup2(before, STDERR)
            file.seek(0)
            others = b"".join(line for line in file if not NATIVE.match(line))
            if others:
                with suppress(OSError):
                    os.write(STDERR, others)


def _file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("stderr"), "w+b")
    return tempfile.TemporaryFile()


def _flush() -> None:
    with suppress(Exception):  # stderr may be closed, or be any object that a program has put there
        sys.stderr.flush()
