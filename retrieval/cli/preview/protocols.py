"""The ways in which terminals show pictures. Each function takes pixels and their width in cells, and returns a text.

The pixels are (height, width, 3) RGB, 0-255. The text ends on the last line of the picture.
"""

import base64
import io
import re
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CHUNK = 4096
"""Largest number of characters of base64 in one sequence: https://sw.kovidgoyal.net/kitty/graphics-protocol/"""
COLOURS = 256
"""Number of colours of a sixel picture: as many as common terminals have registers."""
BAND = 6
"""Number of rows of pixels that one line of sixels has."""
EMPTY = 63
"""Code of the character of a sixel without pixels."""
RUN = re.compile(r"(.)\1{3,}")
"""A run of sixels that is shorter when it is written as `!count`."""
UPPER = "▀"
"""The upper half of a cell, in the colour of the text; the lower half has that of the background."""


def kitty(pixels: NDArray[np.uint8], columns: int) -> str:
    """Return the sequences of kitty's graphics protocol: a PNG, placed at once, with no answer asked for."""
    data = base64.b64encode(_png(pixels)).decode()
    chunks = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    text = ""
    for number, chunk in enumerate(chunks, 1):
        keys = f"a=T,f=100,q=2,c={columns}," if number == 1 else ""
        text += f"\x1b_G{keys}m={int(number < len(chunks))};{chunk}\x1b\\"
    return text


def iterm(pixels: NDArray[np.uint8], columns: int) -> str:
    """Return the sequence of an inline image: a PNG, https://iterm2.com/documentation-images.html."""
    data = _png(pixels)
    keys = f"inline=1;size={len(data)};width={columns};height=auto;preserveAspectRatio=1"
    return f"\x1b]1337;File={keys}:{base64.b64encode(data).decode()}\x07"


def sixel(pixels: NDArray[np.uint8], columns: int) -> str:
    """Return a sixel picture: https://vt100.net/docs/vt3xx-gp/chapter14.html. Colours are parts of 100, as it says."""
    image = Image.fromarray(pixels).quantize(COLOURS)
    palette = np.asarray(image.getpalette(), np.uint8).reshape(-1, 3)
    numbers = np.asarray(image)
    height, width = numbers.shape
    used = np.unique(numbers)
    registers = "".join(
        f"#{number};2;" + ";".join(str(round(int(level) * 100 / 255)) for level in palette[number]) for number in used
    )
    bands = (numbers[start : start + BAND] for start in range(0, height, BAND))
    return f'\x1bPq"1;1;{width};{height}{registers}{"-".join(map(_band, bands))}\x1b\\'


def _band(numbers: NDArray[np.uint8]) -> str:
    """Return up to 6 rows of pixels, given by the numbers of their colours: one line per colour, one over another."""
    weights = 1 << np.arange(len(numbers), dtype=np.uint8)
    lines = []
    for number in np.unique(numbers):
        sixels = EMPTY + weights @ (numbers == number).astype(np.uint8)  # the character of a sixel is 63 + its bits
        text = sixels.tobytes().decode().rstrip(chr(EMPTY))
        lines.append(f"#{number}" + RUN.sub(lambda run: f"!{len(run[0])}{run[1]}", text))
    return "$".join(lines)


def blocks(pixels: NDArray[np.uint8], columns: int) -> str:
    """Return half blocks in 24-bit colours: a cell has two pixels, one above the other."""
    return "\n".join(
        _line(pixels[row], pixels[row + 1] if row + 1 < len(pixels) else None) for row in range(0, len(pixels), 2)
    )


def _line(upper: NDArray[np.uint8], lower: NDArray[np.uint8] | None) -> str:
    """Return a line of half blocks; without `lower` its lower half has the background of the terminal."""
    text = ""
    for column, (red, green, blue) in enumerate(upper.tolist()):
        text += f"\x1b[38;2;{red};{green};{blue}"
        if lower is not None:
            text += ";48;2;" + ";".join(map(str, lower[column].tolist()))
        text += f"m{UPPER}"
    return f"{text}\x1b[0m"


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


PROTOCOLS: Mapping[str, Callable[[NDArray[np.uint8], int], str]] = {
    "kitty": kitty,
    "iterm": iterm,
    "sixel": sixel,
    "blocks": blocks,
}
"""Name of a protocol -> the function that draws with it."""
