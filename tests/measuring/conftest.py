"""An index of red, green and blue pictures."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval import Index
from tests.fakes import ColourEncoder, picture, put


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of red, green and blue pictures, five of each in a subfolder; a blue one lies among the red."""
    for number in range(5):
        for at, name in enumerate(("red", "green", "blue")):
            colour = [10 * number] * 3
            colour[at] = 240
            put(tmp_path / "photos" / name / f"{number}.png", picture(tuple(colour)))
    put(tmp_path / "photos" / "red" / "wrong.png", picture((5, 3, 240)))
    return tmp_path / "photos"


@pytest.fixture
def index(tmp_path: Path, folder: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as made:
        made.add(folder)
        yield made
