"""`sheets`: all pictures of a report in one."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval.errors import BadInput, StorageError
from retrieval.showing import sheets
from retrieval.showing.report import Card, Report, Section


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.webp", "WEBP")])
def test_a_sheet_has_the_format_of_its_name(report: Report, tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / "out").mkdir()
    written = sheets.write(report, tmp_path / "out" / name)
    with Image.open(tmp_path / "out" / name) as image:
        assert image.format == kind
    assert written == (4, 0, (tmp_path / "out" / name).stat().st_size)


def test_each_picture_is_there_with_its_colour(tmp_path: Path) -> None:
    cards = []
    for number in range(7):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (60, 60), (30 * number + 20, 10, 200)).save(path)
        cards.append(Card(path=path, lines=["score 0.5"]))
    sheets.write(Report(title="", sections=[Section(title="", cards=cards)]), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    for number in range(7):
        near = np.abs(pixels - [30 * number + 20, 10, 200]).max(axis=1) <= 4
        assert 0.9 * 3600 <= near.sum() <= 1.1 * 3600


def test_a_sheet_of_many_says_what_it_leaves_out(cards: list[Card], tmp_path: Path) -> None:
    many = Report(title="", sections=[Section(title="", cards=cards[:1] * (sheets.MOST + 5))])
    assert sheets.write(many, tmp_path / "sheet.jpg")[:2] == (sheets.MOST, 5)


def test_nothing_makes_an_empty_sheet(tmp_path: Path) -> None:
    assert sheets.write(Report(title="", sections=[]), tmp_path / "sheet.png").pictures == 0


def test_other_names_and_places_are_refused(report: Report, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="names no kind of picture"):
        sheets.write(report, tmp_path / "sheet.txt")
    with pytest.raises(StorageError):
        sheets.write(report, tmp_path / "nowhere" / "sheet.png")
