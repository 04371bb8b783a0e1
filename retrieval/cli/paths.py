"""Paths as people read them on a terminal: from the working folder, on one line, with a link to the file."""

import os
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes

from retrieval.types import displayed

LEAST = 12
"""Least width to which a path is shortened, in columns."""


@dataclass(frozen=True, slots=True)
class Paths:
    """How paths are shown."""

    width: int | None
    """Width of the terminal, in columns; None if stdout is no terminal: then paths are shown whole."""
    folder: Path
    """The working folder."""
    linked: bool
    """Whether a path is a link to its file (the escape sequence OSC 8)."""

    @classmethod
    def here(cls) -> "Paths":
        """Return how paths are shown on the stdout of this process."""
        if not sys.stdout.isatty():
            return cls(None, Path(), linked=False)
        return cls(shutil.get_terminal_size().columns, Path.cwd(), linked=os.environ.get("TERM", "dumb") != "dumb")

    def shown(self, path: Path, used: int = 0, mark: str = "") -> str:
        """Return a path for a line on which `used` columns are taken, with a remark behind it."""
        if self.width is None:
            return displayed(path) + mark
        whole = displayed(path.relative_to(self.folder) if path.is_relative_to(self.folder) else path)
        text = shortened(whole, max(LEAST, self.width - used - len(mark)))
        return (self._link(path, text) if self.linked else text) + mark

    @staticmethod
    def _link(path: Path, text: str) -> str:
        address = f"file://{socket.gethostname()}{quote_from_bytes(os.fsencode(path))}"
        return f"\x1b]8;;{address}\x1b\\{text}\x1b]8;;\x1b\\"


def shortened(text: str, width: int) -> str:
    """Return a printable text of at most `width` columns; of a longer one the middle is left out, for `…`.

    A wide character, such as one of Chinese, takes two columns.
    """
    from rich.cells import cell_len

    if cell_len(text) <= width:
        return text
    head, tail = (width - 1) // 2, width - 1 - (width - 1) // 2
    first, last = 0, len(text)
    while first < last and cell_len(text[: first + 1]) <= head:
        first += 1
    while last > first and cell_len(text[last - 1 :]) <= tail:
        last -= 1
    return f"{text[:first]}…{text[last:]}"
