"""The images that are looked at together."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from retrieval import Index
from retrieval.overview import gathered


def test_an_image_has_the_first_of_its_files_that_can_be_reached(index: Index, photos: Path) -> None:
    away = photos.parent / "away"
    shutil.copytree(photos / "red", away)
    index.add(away)
    assert {path.parent.name for path in gathered.paths_of(index).values()} == {"away", "green", "blue", "photos"}
    away.rename(photos.parent / "elsewhere")
    away.mkdir()
    index.add(away)
    assert {path.parent.name for path in gathered.paths_of(index).values()} == {"red", "green", "blue", "photos"}


def test_each_image_comes_once_with_its_vector_in_ascending_order_of_id(index: Index) -> None:
    images = gathered.gather(index)
    assert images.ids.tolist() == sorted({image.id for image in index.images()})
    assert np.array_equal(images.vectors, index.vectors(images.ids.tolist()))


def test_images_that_another_process_removes_meanwhile_are_left_out(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = gathered.paths_of
    calls = []

    def slow(*arguments: object) -> dict[int, Path]:
        found = listed(*arguments)  # type: ignore[arg-type]
        if not calls:
            index.remove(photos / "red")
        calls.append(1)
        return found

    monkeypatch.setattr(gathered, "paths_of", slow)
    assert {path.parent.name for path in gathered.gather(index).paths} == {"photos", "green", "blue"}
