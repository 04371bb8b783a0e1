"""`--open` hands the best matches to the program of the system, at most ten, each once."""

import os
import sys
import time
from pathlib import Path

import pytest

from retrieval import Index
from tests.commands import lines, run
from tests.fakes import ColourEncoder, colour, picture, put

if sys.platform in {"win32", "darwin"}:
    pytest.skip("the program is that of Linux", allow_module_level=True)

PATIENCE = 30
"""Seconds after which a viewer that was not started is given up."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with twelve `photos`, `index_data`, and a viewer that writes down what it is to show."""
    for number in range(12):
        put(tmp_path / "photos" / f"a b{number}.png", picture(colour(number)))
    with Index.create(tmp_path / "index_data", encoder=ColourEncoder()) as index:
        index.add(tmp_path / "photos")
    script = f"#!/bin/sh\n[ $# = 1 ] && echo \"$1\" >> '{tmp_path}/shown'\necho noise\n"
    put(tmp_path / "bin" / "xdg-open", script.encode())
    (tmp_path / "bin" / "xdg-open").chmod(0o755)
    return tmp_path


def shown(home: Path, number: int) -> list[str]:
    """What the viewer was given, once it has shown a number of pictures."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if (home / "shown").exists() and len(told := (home / "shown").read_text().splitlines()) >= number:
            return sorted(told)
        time.sleep(0.05)
    raise AssertionError(f"the viewer was not started {number} times")


def with_viewer(home: Path) -> str:
    return os.pathsep.join([os.fspath(home / "bin"), os.environ["PATH"]])


def test_the_best_matches_are_shown_beside_the_table(home: Path) -> None:
    query = ("query", "photos/a b1.png", "-k", "3")
    paths = lines(run(*query, "--paths", cwd=home).stdout)
    bare = run(*query, cwd=home)
    told = run(*query, "--open", cwd=home, PATH=with_viewer(home))
    assert (told.returncode, told.stdout, told.stderr) == (0, bare.stdout, bare.stderr)
    assert shown(home, 3) == sorted(paths)


def test_at_most_ten_are_shown_and_only_those_that_are_there(home: Path) -> None:
    (home / "photos" / "a b11.png").unlink()
    told = run("query", "photos/a b1.png", "-k", "12", "--include-self", "--open", cwd=home, PATH=with_viewer(home))
    assert "note: --open shows the first 10 of 11 pictures" in lines(told.stderr)
    pictures = shown(home, 10)
    assert len(set(pictures)) == 10
    assert os.fspath(home / "photos" / "a b11.png") not in pictures


def test_what_cannot_be_is_told_before_any_search(tmp_path: Path) -> None:
    told = run("query", "x.png", "--open", cwd=tmp_path, PATH="")
    assert told.returncode == 2
    assert lines(told.stderr) == [
        "error: --open cannot show pictures, because there is no program xdg-open",
        "hint: install xdg-utils, or show pictures in the terminal with --preview",
    ]
    told = run("query", "x.png", "--open", "--json", cwd=tmp_path)
    assert lines(told.stderr)[0] == "error: only one of --json and --open can be given"
