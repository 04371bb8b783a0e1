"""Reports of real pictures, and a real browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """An empty page; the test fails if a script of it fails or writes to the console."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    yield opened
    context.close()
    assert not said
