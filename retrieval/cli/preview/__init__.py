"""Pictures in the terminal, above the rows of a table.

`asking` finds the protocol that the terminal knows, and `protocols` writes pixels in it. A `Preview` reads a file, fits
its picture into a box of cells, and writes it. A picture that cannot be read is left out.
"""

__all__ = ["AUTO", "NAMES", "Preview", "demand_name"]

import os
import shutil
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.cli.preview import asking
from retrieval.cli.printing import put_raw
from retrieval.errors import BadInput, RetrievalError
from retrieval.types import displayed

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

AUTO, NONE = "auto", "none"
NAMES = (AUTO, "kitty", "iterm", "sixel", "blocks", NONE)
"""Names of previews: the best that the terminal knows, the protocols, and none."""
COLUMNS, ROWS = 32, 10
"""Size of the box that a picture is fitted into, in cells: two pictures and their rows fit a terminal of 24 lines."""
USUAL_CELL = (10, 20)
"""Width and height of a cell, in pixels, where the terminal does not tell: those of the VT340, as in xterm."""
BLOCKS_CELL = (1, 2)
"""Width and height of a cell with half blocks, in pixels."""


@dataclass(frozen=True, slots=True)
class Preview:
    """How pictures are drawn."""

    draw: "Callable[[NDArray[np.uint8], int], str] | None" = None
    """(height, width, 3) RGB pixels, and their width in cells -> the text that shows them. None: nothing is drawn."""
    columns: int = COLUMNS
    """Largest width of a picture, in cells."""
    cell: tuple[int, int] = USUAL_CELL
    """Width and height of a cell, in pixels."""

    @classmethod
    def named(cls, name: str | None) -> "Preview":
        """Return the preview with one of `NAMES`, or none for None. For `AUTO`, the terminal is asked what it knows.

        Where stdout is no terminal, `AUTO` means none. Raises `BadInput` for another name.
        """
        demand_name(name)
        if name == AUTO:
            name = asking.best(os.environ) if sys.stdout.isatty() else NONE
        if name is None or name == NONE:
            return cls()
        from retrieval.cli.preview.protocols import PROTOCOLS

        columns = min(COLUMNS, shutil.get_terminal_size().columns)
        return cls(PROTOCOLS[name], columns, BLOCKS_CELL if name == "blocks" else _cell())

    def put(self, path: Path, width: int, height: int) -> None:
        """Write the picture in a file, whose upright size in pixels is known; if it cannot be read, write nothing."""
        if self.draw is None:
            return
        from retrieval.pictures import given

        columns, size = self._fitted(width, height)
        try:
            pixels = given.pixels(path, size)[0]
        except RetrievalError:
            return
        put_raw(self.draw(pixels, columns).encode() + b"\n")

    def _fitted(self, width: int, height: int) -> tuple[int, tuple[int, int]]:
        """Return the width of a picture in the box, in cells, and its height and width in pixels."""
        across, down = self.cell
        most = ROWS * down
        columns = min(self.columns, max(1, round(most * width / height / across)))
        lines = min(most, max(1, round(columns * across * height / width)))
        return columns, (lines, columns * across)


def demand_name(name: str | None) -> None:
    """Raise `BadInput` for a name that is not one of `NAMES`."""
    if name is not None and name not in NAMES:
        raise BadInput(f"there is no preview {displayed(name)}", hint=f"choose one of: {', '.join(NAMES)}")


def _cell() -> tuple[int, int]:
    """Return the width and height of a cell of the terminal, in pixels."""
    with suppress(ImportError, OSError, ValueError):
        import termios
        from fcntl import ioctl

        answer = ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
        rows, columns, width, height = struct.unpack("HHHH", answer)
        if rows and columns and width >= columns and height >= rows:
            return width // columns, height // rows
    return USUAL_CELL
