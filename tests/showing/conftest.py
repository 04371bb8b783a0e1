"""Reports of real pictures."""

from pathlib import Path

import pytest
from PIL import Image

from retrieval.showing.report import Card, Report, Section

HOSTILE = "<img src=x onerror=alert(1)>\n\x1b[31m\"'&.png"
"""The name of a file that a page must show as text."""


@pytest.fixture
def cards(tmp_path: Path) -> list[Card]:
    """Pictures of four shapes, one with a hostile name, and a file that is none."""
    found = []
    for number, (name, size) in enumerate({"a.png": (90, 60), "b.jpg": (60, 90), HOSTILE: (500, 20)}.items()):
        Image.new("RGB", size, (80 * number, 90, 160)).save(tmp_path / name)
        found.append(Card(path=tmp_path / name, lines=[f"score 0.{number}"]))
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return [*found, Card(path=tmp_path / "torn.png")]


@pytest.fixture
def report(cards: list[Card]) -> Report:
    first, *others = cards
    sections = [Section(title="<b>query</b>", lead=first, cards=others), Section(title="", facts=[("map", "0.5")])]
    return Report(title="Found & shown", sections=sections, summary=["A </script> sentence."])
