"""Paths as people see them. On a terminal they are short enough for a line and are links; elsewhere they are whole."""

import os
import shutil
import sys
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from retrieval.cli.printing import put, put_raw
from retrieval.types import displayed

NARROWEST = 16
"""Smallest room for a path, in cells. Where less is left, the line is longer than the terminal is wide."""
CUT = "…"
"""Stands for the part of a path that is left out."""
PLAIN_TERMINALS = {"", "dumb", "linux"}
"""Values of TERM of terminals that print the sequence of a link, or may."""


@dataclass(frozen=True, slots=True)
class Screen:
    """Where lines with paths are written."""

    width: int | None = None
    """Width of the terminal, in cells. None: no terminal, so that nothing is shortened."""
    folder: Path | None = None
    """Paths below this folder are shown without it. None: all paths are shown absolute."""
    links: bool = False
    """Whether paths are hyperlinks."""

    @classmethod
    def of_stdout(cls) -> "Screen":
        """Return what stdout is."""
        if not sys.stdout.isatty():
            return cls()
        try:
            folder = Path.cwd()
        except FileNotFoundError:  # somebody removed it
            folder = None
        old_console = os.name == "nt" and "WT_SESSION" not in os.environ  # Windows Terminal sets this variable
        links = os.environ.get("TERM", "") not in PLAIN_TERMINALS or "WT_SESSION" in os.environ
        return cls(shutil.get_terminal_size().columns, folder, links and not old_console)

    def put(self, before: str, path: Path, after: str = "") -> None:
        """Write one line: `before`, then the path, then `after`."""
        shown = self.shown(path, taken=cells(before) + cells(after))
        put_raw(f"{displayed(before)}{shown}{displayed(after)}\n".encode())

    def put_text(self, text: str) -> None:
        """Write one printable line without a path; on a terminal, it may lose a part of its middle."""
        put(text if self.width is None else shortened(text, self.width))

    def shown(self, path: Path, taken: int = 0) -> str:
        """Return the path as it is shown on a line with `taken` cells of other text."""
        if self.width is None:
            return displayed(path)
        if self.folder is not None and path.is_relative_to(self.folder):
            text = displayed(path.relative_to(self.folder))
        else:
            text = displayed(path)
        text = shortened(text, max(NARROWEST, self.width - taken))
        return linked(text, path) if self.links else text


def shortened(text: str, width: int) -> str:
    """Return printable text without a part of its middle, so that it has at most `width` cells; `width` is at least 1.

    The end is kept longer than the beginning, by a cell at most: it has the name of a file.
    """
    if cells(text) <= width:
        return text
    end = _longest(text, width // 2, _last)
    while end and not cells(end[0]):  # a combining mark, whose letter is left out
        end = end[1:]
    return _longest(text, width - cells(CUT) - cells(end), _first) + CUT + end


def _first(text: str, number: int) -> str:
    return text[:number]


def _last(text: str, number: int) -> str:
    return text[len(text) - number :]


def _longest(text: str, width: int, part: Callable[[str, int], str]) -> str:
    """Return the longest `part` of a text that has at most `width` cells."""
    number = bisect_right(range(len(text) + 1), width, key=lambda number: cells(part(text, number))) - 1
    return part(text, number)


def cells(text: str) -> int:
    """Return how many cells of a terminal a printable text fills: 2 for each CJK character, 0 for a combining mark."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def linked(text: str, path: Path) -> str:
    """Return printable text as a hyperlink to a file: OSC 8, https://gist.github.com/egmontkob/eb114294efbcd5adb1944c9f3cb5feda.

    The URL names the host, so that a terminal opens no file of another machine of the same path.
    """
    import socket

    url = path.as_uri().replace("file:///", f"file://{socket.gethostname()}/", 1)
    return f"\x1b]8;;{url}\x1b\\{text}\x1b]8;;\x1b\\"
