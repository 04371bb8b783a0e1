"""An index of red, green and blue pictures, and one that is like none of them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from retrieval import Index
from retrieval.types import Vectors
from tests.fakes import ColourEncoder, picture, put

COLOURS = ("red", "green", "blue")
EACH = 20
"""Number of pictures of each colour; there is one fewer of green, and two fewer of blue."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    generator = np.random.default_rng(5)
    for at, name in enumerate(COLOURS):
        for number in range(EACH - at):
            colour = generator.integers(0, 70, 3).tolist()
            colour[at] = 250
            put(tmp_path / "photos" / name / f"{number:02}.png", picture(tuple(colour)))
    put(tmp_path / "photos" / "odd.png", picture((3, 2, 1)))
    return tmp_path / "photos"


@pytest.fixture
def index(tmp_path: Path, photos: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as made:
        made.add(photos)
        yield made


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "empty", encoder=ColourEncoder()) as made:
        yield made


def blobs(sizes: list[int], dim: int = 24, spread: float = 0.5) -> tuple[Vectors, list[int]]:
    """Vectors in groups around random directions, with the number of the group of each."""
    generator = np.random.default_rng(3)
    centres = generator.standard_normal((len(sizes), dim))
    labels = [number for number, size in enumerate(sizes) for _ in range(size)]
    vectors = centres[labels] + spread * generator.standard_normal((len(labels), dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels
