"""Fixtures of the commands that act on files."""

import os
from pathlib import Path

import pytest

from retrieval import Index
from tests.fakes import ColourEncoder, colour, picture, put
from tests.organising.library import dress

HOSTILE = b"\xff\n\x1b[31m.png"
"""A byte that is not UTF-8, a line break, and a colour."""


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `photos` and an index of it, and a trash of its own.

    `a.png` has the same bytes as `copy.png` and as a file with a hostile name, and `b.png` as `sub/copy.png`. Each file
    has a mode and a time of its own.
    """
    files = {b"a.png": 0, b"copy.png": 0, HOSTILE: 0, b"b.png": 1, b"sub/copy.png": 1, b"other.png": 2}
    for number, (name, content) in enumerate(files.items()):
        path = os.path.join(os.fsencode(tmp_path / "photos"), name)
        put(path, picture(colour(content)))
        dress(path, number)
    with Index.create(tmp_path / "index_data", encoder=ColourEncoder()) as index:
        index.add(tmp_path / "photos")
    monkeypatch.setenv("XDG_DATA_HOME", os.fspath(tmp_path / "data"))
    return tmp_path
