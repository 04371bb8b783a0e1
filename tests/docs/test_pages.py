"""README and guide are whole: links lead somewhere, what they name exists, what they draw and list is the program's."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from retrieval.cli.app import COMMANDS
from tests.conftest import PROJECT
from tests.docs.pages import GUIDE, PAGES, README, anchors, blocks, links
from tests.test_architecture import FLOORS

CLI = PROJECT / "docs" / "cli.md"
TEXTS = {page: page.read_text() for page in PAGES}
PROSE = "\n".join(text for page, text in TEXTS.items() if page != CLI)
"""All but the page that is made from the commands."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        target, _, anchor = link.partition("#")
        place = (page.parent / target).resolve() if target else page
        assert place.is_file(), f"{link} on {page.name}"
        assert place.is_relative_to(PROJECT)
        assert not anchor or anchor in anchors(place), f"{link} on {page.name}"


def test_every_page_of_the_guide_is_in_its_table_of_contents() -> None:
    contents = PROJECT / "docs" / "index.md"
    assert {page.name for page in GUIDE} - {"index.md"} <= set(links(contents))
    assert {f"docs/{page.name}" for page in GUIDE} <= set(links(README))


def test_readme_is_for_the_first_ten_minutes() -> None:
    assert len(TEXTS[README].splitlines()) <= 200


def test_what_is_named_exists() -> None:
    for script in set(re.findall(r"scripts/\w+(?:\.py)?", PROSE)):
        assert os.access(PROJECT / script, os.R_OK if script.endswith(".py") else os.X_OK), script
    for test in set(re.findall(r"tests/[\w/]+\.py", PROSE)):
        assert (PROJECT / test).is_file(), test
    for module in set(
        re.findall(r"`((?!scripts/|tests/)\w+/\w+\.py|\w+/)`", TEXTS[PROJECT / "docs" / "contributing.md"])
    ):
        assert (PROJECT / "retrieval" / module).exists(), module


def test_what_is_quoted_is_what_the_program_says() -> None:
    sources = "\n".join(path.read_text() for path in (PROJECT / "retrieval").rglob("*.py"))
    quoted = re.findall(r'"([a-z][\w, ]+)"', TEXTS[PROJECT / "docs" / "troubleshooting.md"])
    assert len(quoted) >= 3
    for sentence in quoted:
        assert sentence in sources, sentence


def test_every_command_is_explained() -> None:
    names = set(COMMANDS)
    assert names == {
        *("index", "query", "list", "evaluate", "tune", "classify", "labels", "train"),
        *("backbones", "info", "verify", "remove", "compact"),
        *("cluster", "outliers", "sample", "map"),
        *("duplicates", "undo", "journal", "has", "diff", "watch", "serve"),
    }
    for name in names:
        assert f"retrieval {name}" in PROSE


def test_the_page_of_the_commands_is_made_from_the_commands() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "scripts.cli_reference"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert made.stdout == TEXTS[CLI], "write it with: scripts/cli_reference --update"


def test_the_table_of_backbones_is_the_programs() -> None:
    table = subprocess.run([sys.executable, "-m", "retrieval", "backbones"], capture_output=True, text=True, check=True)
    assert table.stdout in [block.text for block in blocks(PROJECT / "docs" / "backbones.md")]


def test_the_floors_are_those_of_the_architecture() -> None:
    (drawn,) = (
        block.text for block in blocks(PROJECT / "docs" / "contributing.md") if block.text.startswith("10  __main__")
    )
    lines = drawn.splitlines()
    assert len(lines) == len(FLOORS)
    for number, line in enumerate(reversed(lines)):
        level, rooms, *_ = re.split(r"\s{2,}", line.strip())
        assert (int(level), set(rooms.split(" · "))) == (number, FLOORS[number])
