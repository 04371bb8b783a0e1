"""Pictures in the terminal: `--preview`, in the form that the terminal understands.

    kitty     the graphics protocol of kitty, also of Ghostty, WezTerm and Konsole: a PNG in base64
    iterm     inline images of iTerm2, also of WezTerm and mintty: a PNG in base64
    sixel     six rows of pixels at a time, in up to 256 colours (DEC STD 070)
    blocks    half blocks in 24-bit colour: two pixels per character, on any terminal with colours

The terminal is asked what it can do. A terminal that does not answer gets half blocks.
"""

import base64
import io
import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from retrieval.errors import BadInput
from retrieval.types import Pixels, displayed

AUTO, NONE = "auto", "none"
COLUMNS, COLUMNS_OF_BLOCKS = 24, 40
"""Width of a preview, in columns of the terminal. Half blocks are large, so a picture of them is wider."""
CELL = 10, 20
"""Width and height of a character, in pixels, for terminals that do not tell: the usual shape."""
PATIENCE = 0.3
"""Seconds that the terminal has to answer. A terminal on another continent takes 0.2 seconds."""
_CHUNK = 4096
"""Most bytes of base64 in one sequence of kitty."""
_ASK = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c"
"""Kitty's question whether it can show a pixel, and then the question what the terminal is, which all answer."""


def form_of(wanted: str) -> str:
    """Return the form of previews: the wanted one, or the one that suits the terminal; `NONE` for none.

    Raises `BadInput` for another name.
    """
    if wanted not in {AUTO, NONE, *FORMS}:
        raise BadInput(f"there is no preview {displayed(wanted)}", hint=f"choose from: {', '.join([AUTO, *FORMS])}")
    if wanted != AUTO:
        return wanted
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return NONE
    if "TMUX" in os.environ or os.environ.get("TERM", "").startswith("screen"):
        return "blocks"  # they swallow pictures
    if os.environ.get("TERM_PROGRAM") == "iTerm.app":
        return "iterm"
    return _by_answer(_answer())


def _by_answer(answer: bytes) -> str:
    """Return the form that the answer of a terminal promises. `4` among its abilities is sixel."""
    if b"\x1b_Gi=31;OK" in answer:
        return "kitty"
    abilities = answer.rpartition(b"\x1b[?")[2].partition(b"c")[0].split(b";")
    return "sixel" if b"4" in abilities[1:] else "blocks"


def _answer() -> bytes:
    """Ask the terminal, and return its answer; b"" if there is none in time."""
    answer = b""
    try:
        with _terminal() as terminal:
            os.write(terminal, _ASK)
            end = time.monotonic() + PATIENCE
            while not answer.endswith(b"c") and (left := end - time.monotonic()) > 0:
                if select.select([terminal], [], [], left)[0]:
                    part = os.read(terminal, 1024)
                    if not part:
                        break
                    answer += part
    except (ImportError, OSError):  # a system without such terminals, or a process without one
        return b""
    return answer


@contextmanager
def _terminal() -> Iterator[int]:
    """Give the terminal of the process, so that what it sends can be read at once and is not shown."""
    import termios
    import tty

    terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    try:
        before = termios.tcgetattr(terminal)
        tty.setcbreak(terminal, termios.TCSANOW)
        try:
            yield terminal
        finally:
            termios.tcsetattr(terminal, termios.TCSANOW, before)
    finally:
        os.close(terminal)


# -- forms --------------------------------------------------------------------------------------------------------


def kitty(pixels: Pixels) -> bytes:
    """Return a picture, (height, width, 3), as kitty's graphics protocol: a PNG in parts."""
    data = base64.b64encode(_png(pixels))
    parts = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    written = b""
    for number, part in enumerate(parts):
        control = b"a=T,f=100,q=2," if number == 0 else b""
        written += b"\x1b_G%sm=%d;%s\x1b\\" % (control, number < len(parts) - 1, part)
    return written


def iterm(pixels: Pixels) -> bytes:
    """Return a picture, (height, width, 3), as an inline image of iTerm2: a PNG with its size in pixels."""
    data = _png(pixels)
    height, width = pixels.shape[:2]
    size = b"size=%d;width=%dpx;height=%dpx" % (len(data), width, height)
    return b"\x1b]1337;File=inline=1;%s:%s\x07" % (size, base64.b64encode(data))


def sixel(pixels: Pixels) -> bytes:
    """Return a picture, (height, width, 3), as sixels: for each band of six rows, one line per colour."""
    import numpy as np
    from PIL import Image

    reduced = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
    numbers = np.asarray(reduced)
    palette = np.array(reduced.getpalette(), dtype=np.int64).reshape(-1, 3)
    height, width = numbers.shape
    written = [b'\x1bPq"1;1;%d;%d' % (width, height)]
    for number in np.unique(numbers):
        red, green, blue = (round(int(value) * 100 / 255) for value in palette[number])
        written.append(b"#%d;2;%d;%d;%d" % (number, red, green, blue))
    for top in range(0, height, 6):
        band = numbers[top : top + 6]
        bits = 1 << np.arange(len(band))[:, None]
        lines = [b"#%d%s" % (number, _runs(((band == number) * bits).sum(axis=0))) for number in np.unique(band)]
        written.append(b"$".join(lines) + b"-")
    return b"".join(written) + b"\x1b\\"


def _runs(columns: Pixels) -> bytes:
    """Return columns of six pixels as characters, repeated ones with their number."""
    import numpy as np

    starts = np.flatnonzero(np.concatenate([[True], columns[1:] != columns[:-1]]))
    counts = np.diff(np.concatenate([starts, [len(columns)]]))
    shown = (b"!%d%c" % (count, 63 + column) for count, column in zip(counts, columns[starts], strict=True))
    return b"".join(shown)


def blocks(pixels: Pixels) -> bytes:
    """Return a picture, (2 * lines, columns, 3), as half blocks: the upper pixel on the lower one."""
    lines = []
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        cells = (
            "\x1b[38;2;{};{};{};48;2;{};{};{}m▀".format(*above, *below)
            for above, below in zip(upper.tolist(), lower.tolist(), strict=True)
        )
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines).encode()


def _png(pixels: Pixels) -> bytes:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


FORMS: Mapping[str, Callable[[Pixels], bytes]] = {"kitty": kitty, "iterm": iterm, "sixel": sixel, "blocks": blocks}
"""Name of a form -> what makes it of pixels, (height, width, 3)."""


# -- files --------------------------------------------------------------------------------------------------------


def picture(path: Path, width: int, height: int, form: str) -> bytes:
    """Return the picture in a file for the terminal, upright; b"" if the file cannot be read.

    `width` and `height` are those of the whole picture, in pixels.
    """
    from retrieval.errors import RetrievalError
    from retrieval.pictures import given

    cell = (1, 2) if form == "blocks" else _cell()
    columns = COLUMNS_OF_BLOCKS if form == "blocks" else COLUMNS * cell[0]
    wanted = columns if width >= height else max(1, round(columns * width / height))
    lines = max(1, round(wanted * height / width / cell[1]))
    size = (lines * cell[1], wanted)
    try:
        return FORMS[form](given.pixels(path, size)[0])
    except (RetrievalError, OSError):
        return b""


def _cell() -> tuple[int, int]:
    """Return width and height of a character, in pixels."""
    try:
        import fcntl
        import struct
        import termios

        rows, columns, width, height = struct.unpack(
            "HHHH", fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
        )
        return (width // columns, height // rows) if width and height and rows and columns else CELL
    except (ImportError, OSError):
        return CELL
