"""The program of the system that shows pictures: `xdg-open`, `open` on macOS, or what Windows has for a file."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from retrieval.cli.printing import note
from retrieval.errors import BadInput

MOST = 10
"""Largest number of pictures that are opened. Each may get a window of its own."""


def found_viewer() -> Callable[[Path], None]:
    """Return the function that shows a picture; raise `BadInput` if the system has no program for that."""
    if sys.platform == "win32":
        return os.startfile
    name = "open" if sys.platform == "darwin" else "xdg-open"
    program = shutil.which(name)
    if program is None:
        raise BadInput(
            f"--open cannot show pictures, because there is no program {name}",
            hint="install xdg-utils, or show pictures in the terminal with --preview",
        )
    return lambda path: _start(program, path)


def show(paths: Iterable[Path], viewer: Callable[[Path], None]) -> None:
    """Show the first `MOST` pictures, each once. Files that are not there now are left out."""
    there = [path for path in dict.fromkeys(paths) if path.exists()]
    for path in there[:MOST]:
        viewer(path)
    if len(there) > MOST:
        note(f"--open shows the first {MOST} of {len(there)} pictures")


def _start(program: str, path: Path) -> None:
    """Start a program and leave it alone: a viewer may run until somebody closes its window."""
    silent = subprocess.DEVNULL
    subprocess.Popen([program, path], stdin=silent, stdout=silent, stderr=silent, start_new_session=True)  # noqa: S603
