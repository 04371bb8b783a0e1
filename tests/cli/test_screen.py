"""Tables on a terminal: a row is a line, paths are links and cannot do harm; in a pipe, paths are whole."""

import os
import re
import socket
import sys
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from retrieval import Index
from retrieval.cli.screen import CUT, Screen, shortened
from retrieval.types import displayed
from tests.commands import called, lines
from tests.fakes import ColourEncoder, colour, picture, put

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals", allow_module_level=True)

from tests.cli.terminal import on_terminal, plain

NAMES = (
    "a.png",
    "holidays in the mountains/" * 5 + "IMG_2034.png",
    "写真" * 30 + ".png",
    "e\u0301" * 70 + ".png",
    "🏔" * 30 + " \x1b[31m\n.png",
    "%20 \udcff.png",
)
LINK = re.compile(r"\x1b\]8;;([^\x1b]+)\x1b\\([^\x1b]*)\x1b\]8;;\x1b\\")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos`, whose names are long, wide and hostile, and `index_data`."""
    folder = tmp_path_factory.mktemp("screen")
    for number, name in enumerate(NAMES):
        put(folder / "photos" / name, picture(colour(number)))
    put(folder / "photos" / "copies" / ("x" * 90 + ".png"), picture(colour(1)))
    with Index.create(folder / "index_data", encoder=ColourEncoder()) as index:
        index.add(folder / "photos")
    return folder


@pytest.mark.parametrize("command", [("query", "photos/a.png", "--include-self"), ("list",)])
@pytest.mark.parametrize("columns", [60, 100])
def test_every_row_fits_the_width_and_every_path_is_a_link(home: Path, command: tuple[str, ...], columns: int) -> None:
    seen = on_terminal(*command, cwd=home, columns=columns)
    rows = plain(seen).splitlines()
    assert len(rows) == (9 if command[0] == "query" else 7)
    assert all(cell_len(row) <= columns for row in rows)
    assert any(cell_len(row) in {columns - 1, columns} for row in rows)
    assert all(character.isprintable() for row in rows for character in row)
    urls = [urlsplit(url) for url, _ in LINK.findall(seen)]
    assert {url.netloc for url in urls} == {socket.gethostname()}
    linked = {os.fsdecode(unquote_to_bytes(url.path)) for url in urls}
    assert {os.fspath(home / "photos" / name) for name in NAMES} == {path for path in linked if "copies" not in path}


def test_paths_below_the_working_folder_are_relative(home: Path) -> None:
    texts = [text for _, text in LINK.findall(on_terminal("list", cwd=home, columns=200))]
    assert "photos/a.png" in texts
    texts = [text for _, text in LINK.findall(on_terminal("list", "--index", "../index_data", cwd=home / "photos"))]
    assert "a.png" in texts
    inner = home / "photos" / "copies"
    texts = [text for _, text in LINK.findall(on_terminal("list", "--index", home / "index_data", cwd=inner))]
    assert all(text.startswith(("/", "x")) for text in texts)


def test_a_dumb_terminal_gets_no_sequences(home: Path) -> None:
    seen = on_terminal("query", "photos/a.png", "--include-self", cwd=home, TERM="dumb")
    assert "\x1b" not in seen
    assert all(cell_len(row) <= 80 for row in seen.splitlines())


def test_a_pipe_gets_whole_absolute_paths(home: Path) -> None:
    told = lines(called("query", "photos/a.png", "--include-self", cwd=home).stdout)
    for name in NAMES:
        assert sum(displayed(home / "photos" / name) in row for row in told) == 1
    assert CUT not in "".join(told)


def test_no_working_folder_means_absolute_paths() -> None:
    assert Screen(80).shown(Path("/a/b.png")) == "/a/b.png"
    assert Screen(80, Path("/a")).shown(Path("/a/b.png")) == "b.png"
    assert Screen(80, Path("/a")).shown(Path("/ab/b.png")) == "/ab/b.png"


@given(st.text(), st.integers(1, 60))
def test_shortened_text_fits_and_keeps_both_ends(name: str, width: int) -> None:
    text = displayed(name.encode("utf-8", "surrogatepass"))
    short = shortened(text, width)
    assert cell_len(short) <= width
    if short != text:
        begin, _, end = short.partition(CUT)
        assert text.startswith(begin) or CUT in begin
        assert text.endswith(end) or CUT in end


@given(st.text("abcdef/", min_size=30), st.integers(5, 29))
def test_shortened_text_fills_the_width(text: str, width: int) -> None:
    begin, end = shortened(text, width).split(CUT)
    assert len(begin) + 1 + len(end) == width
    assert 0 <= len(end) - len(begin) <= 1
