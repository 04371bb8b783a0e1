"""A real browser: Chromium, without a window. Tests that need it are skipped where it is not installed."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

ANSWERED = "Failed to load resource: the server responded with"
"""How the console begins to tell of an answer that is an error, which a page may expect."""


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
    opened.on("console", lambda message: None if message.text.startswith(ANSWERED) else said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    yield opened
    context.close()
    assert not said
