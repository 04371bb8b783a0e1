"""Make the picture of a result that README shows: real answers of the backbone mini among drawn pictures."""

import os
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from retrieval import Index
from scripts.drawings import draw, draw_all

PROJECT = Path(__file__).parent.parent
SHOWN = ("sea", "city", "flowers", "balloons")
"""The scenes that are asked about, one per row."""
EACH, OUTSIDE, ANSWERS = 12, 42, 5
"""Variants per scene that are indexed; the variant that is asked about, which is not indexed; answers per row."""
WIDTH, HEIGHT, GAP, CAPTION = 148, 111, 8, 22
"""Of a picture on the sheet, of the space around it and of the line of text below it, in pixels."""
PAPER, INK, MARK = (255, 255, 255), (60, 60, 60), (20, 90, 200)


def main() -> None:
    """Draw pictures, index them, ask about one more of each scene, and save the answers as a sheet."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else PROJECT / "docs" / "result.jpg"
    with tempfile.TemporaryDirectory() as home:
        photos = draw_all(Path(home) / "photos", EACH)
        queries = [Path(home) / f"{scene}.jpg" for scene in SHOWN]
        for scene, query in zip(SHOWN, queries, strict=True):
            draw(scene, OUTSIDE).resize((320, 240), Image.Resampling.LANCZOS).save(query, quality=88)
        with Index.create(Path(home) / "index", backbone="mini") as index:
            index.add(photos)
            rows = [(query, [(one.path, one.score) for one in index.search(query, ANSWERS)]) for query in queries]
            _sheet(rows, index.info().images).save(out, quality=88)
    for query, answers in rows:
        print(query.stem, *(f"{os.path.relpath(path, photos)} {score:.2f}" for path, score in answers), sep="  ")


def _sheet(rows: list[tuple[Path, list[tuple[Path, float]]]], images: int) -> Image.Image:
    """Return a sheet with a row per query: the query, then its answers, each with its score below it."""
    step = WIDTH + GAP
    left = 2 * GAP
    sheet = Image.new(
        "RGB", (left + step * (ANSWERS + 1) + 3 * GAP, GAP + CAPTION + (HEIGHT + CAPTION) * len(rows)), PAPER
    )
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    canvas.text((left, GAP), "query", MARK, font)
    canvas.text((left + step + 2 * GAP, GAP), f"nearest of {images} pictures, with their scores", INK, font)
    for number, (query, answers) in enumerate(rows):
        y = GAP + CAPTION + number * (HEIGHT + CAPTION)
        sheet.paste(Image.open(query).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS), (left, y))
        canvas.rectangle((left - 3, y - 3, left + WIDTH + 2, y + HEIGHT + 2), None, MARK, 3)
        for place, (path, score) in enumerate(answers, 1):
            x = left + step * place + 2 * GAP
            sheet.paste(Image.open(path).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS), (x, y))
            canvas.text((x, y + HEIGHT + 1), f"{score:.3f}", INK, font)
    return sheet


if __name__ == "__main__":
    main()
