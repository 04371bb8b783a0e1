"""A report as one picture: rows of small pictures, each with its name and its first line below it."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from retrieval.disk.files import disk_errors, replacing
from retrieval.errors import BadInput
from retrieval.showing.report import Card, Report
from retrieval.showing.small import small
from retrieval.types import displayed

MOST = 400
"""Largest number of pictures of a sheet, which is 20 rows high then."""
COLUMNS, CELL, LINE, GAP = 20, 160, 16, 8
"""Largest number of pictures in a row; sides of the place of a picture, height of a line of text, and space between, in
pixels."""
LINES = 2
PAPER, INK, QUIET, ACCENT = "#ffffff", "#1b1b1b", "#595959", "#0b57d0"
SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Endings of the names of sheets -> format."""


class Written(NamedTuple):
    """A sheet that was written."""

    pictures: int
    left_out: int
    """Number of pictures behind the first `MOST`."""
    bytes: int
    """Size of the file, in bytes."""


def format_of(path: Path) -> str:
    """Return the format of a sheet by the name of its file; raise `BadInput` for a name that tells none."""
    if path.suffix.lower() not in SUFFIXES:
        raise BadInput(f"{displayed(path)} names no kind of picture", hint=f"let it end in {', '.join(SUFFIXES)}")
    return SUFFIXES[path.suffix.lower()]


def write(report: Report, path: Path) -> Written:
    """Write a sheet of a report to a file, in place of what is there.

    The ending of the name tells the format. Raises `BadInput` for another ending, and `StorageError` if the file cannot
    be written.
    """
    kind = format_of(path)
    cards = [card for section in report.sections for card in (section.lead, *section.cards) if card is not None]
    data = io.BytesIO()
    _sheet(cards[:MOST]).save(data, kind)
    with disk_errors(), replacing(path, durable=False) as file:
        file.write(data.getvalue())
    return Written(min(len(cards), MOST), max(0, len(cards) - MOST), data.tell())


def _sheet(cards: list[Card]) -> Image.Image:
    columns = max(1, min(COLUMNS, len(cards), round((1.5 * len(cards)) ** 0.5)))
    rows = max(1, -(-len(cards) // columns))
    step, height = CELL + GAP, CELL + LINES * LINE + GAP
    sheet = Image.new("RGB", (GAP + columns * step, GAP + rows * height), PAPER)
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    with ThreadPoolExecutor() as threads:
        for number, (card, picture) in enumerate(zip(cards, threads.map(small, cards), strict=True)):
            left, top = GAP + number % columns * step, GAP + number // columns * height
            if picture.jpeg:
                with Image.open(io.BytesIO(picture.jpeg)) as opened:
                    opened.thumbnail((CELL, CELL))
                    sheet.paste(opened, (left + (CELL - opened.width) // 2, top + (CELL - opened.height) // 2))
            for line, (text, colour) in enumerate(_texts(card, picture.why)):
                canvas.text((left, top + CELL + line * LINE), _cut(text, font), colour, font)
    return sheet


def _texts(card: Card, why: str) -> Iterator[tuple[str, str]]:
    yield displayed(card.path.name), INK
    first = next(iter(card.lines), "")
    said = ": ".join(filter(None, (card.mark, why or first)))
    yield displayed(said), ACCENT if card.mark else QUIET


def _cut(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """Return a text that is not wider than a picture. What is in the middle of a longer one is left out."""
    shown, kept = text, len(text) // 2
    while kept and font.getlength(shown) > CELL:
        kept -= 1
        shown = f"{text[:kept]}…{text[len(text) - kept :]}"
    return shown
