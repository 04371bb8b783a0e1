"""A terminal that runs the program: a pseudo-terminal of a given width, and what arrives there."""

import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from fcntl import ioctl
from pathlib import Path

from tests.commands import COMMAND, PACKAGE

SEQUENCES = re.compile(r"\x1b\]8;;[^\x1b]*\x1b\\|\x1b\[[0-9;]*m")
"""Links and colours."""
LEAD = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Makes stdin the terminal of the session, /dev/tty, and then becomes the program."""
PATIENCE = 60
"""Seconds after which a program that hangs is killed. A program that works ends long before."""


def silent(asked: bytes) -> bytes:
    """Answer nothing, as a terminal does that knows no question."""
    return b""


def on_terminal(
    *arguments: str | os.PathLike[str],
    cwd: Path,
    columns: int = 80,
    answer: Callable[[bytes], bytes] = silent,
    command: Sequence[str] = COMMAND,
    **environment: str,
) -> str:
    """Return what `retrieval` writes to a terminal. `answer` is given all output so far, and returns what to type."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, columns * 10, 800))
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "XDG_CACHE_HOME") if key in os.environ}
    paths = os.pathsep.join([PACKAGE, *sys.path])
    surroundings = kept | {"TERM": "xterm-256color", "PYTHONPATH": paths} | environment
    process = subprocess.Popen(
        [sys.executable, "-c", LEAD, *command, *arguments],
        cwd=cwd,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=surroundings,
        start_new_session=True,
    )
    os.close(theirs)
    seen = _conversation(ours, answer)
    os.close(ours)
    process.wait(PATIENCE)
    return seen.decode().replace("\r\n", "\n")


def _conversation(terminal: int, answer: Callable[[bytes], bytes]) -> bytes:
    seen, until = b"", time.monotonic() + PATIENCE
    while time.monotonic() < until and select.select([terminal], [], [], PATIENCE)[0]:
        try:
            read = os.read(terminal, 65536)
        except OSError:  # Linux says so when the program has ended
            return seen
        if not read:
            return seen
        seen += read
        os.write(terminal, answer(seen))
    raise AssertionError(f"the program did not end; it wrote {seen!r}")


def plain(text: str) -> str:
    """Return the text that a person sees."""
    return SEQUENCES.sub("", text)
