"""The worker: one file becomes one value, whatever is in it, wherever it runs."""

import hashlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import UNFORESEEN
from retrieval.indexing import worker
from retrieval.indexing.worker import Decoded, Failed, Known, NotAPicture, Task, Value, Vanished
from retrieval.pictures.source import Folder
from retrieval.types import DECODE_RULE, Found, image_id
from tests.fakes import colour, picture, put


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path / "picture.png", picture(colour(1), (8, 6)))
    put(tmp_path / "copy.png", (tmp_path / "picture.png").read_bytes())
    put(tmp_path / "damaged.png", b"\x89PNG\r\n\x1a\n and nothing more")
    put(tmp_path / "text.txt", b"some words")
    return tmp_path


def task(folder: Path, *known: int) -> Task:
    return Task(Folder(bytes(folder)), (4, 4), DECODE_RULE, np.array(sorted(known), dtype=np.int64))


def read(folder: Path, name: str, *known: int) -> Value:
    return worker.read(task(folder, *known), Found(name.encode(), 0, 0, 0))


def test_a_picture_is_decoded_with_the_size_and_times_of_what_was_read(folder: Path) -> None:
    value = read(folder, "picture.png")
    assert isinstance(value, Decoded)
    assert value.pixels.shape == (4, 4, 3)
    assert (value.picture.width, value.picture.height, value.picture.format) == (8, 6, "PNG")
    assert value.picture.sha256 == hashlib.sha256((folder / "picture.png").read_bytes()).digest()
    assert value.file.size == (folder / "picture.png").stat().st_size


def test_content_that_is_known_is_not_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = hashlib.sha256((folder / "picture.png").read_bytes()).digest()
    monkeypatch.setattr("retrieval.pictures.decode.decode", None)
    for name in ("picture.png", "copy.png"):
        value = read(folder, name, 5, image_id(sha256), 2**62)
        assert isinstance(value, Known)
        assert (value.sha256, value.image, value.file.path) == (sha256, image_id(sha256), name.encode())


def test_everything_else_is_a_value_too(folder: Path) -> None:
    damaged = read(folder, "damaged.png")
    assert isinstance(damaged, Failed)
    assert "PNG" in damaged.reason
    assert not damaged.unread
    assert isinstance(read(folder, "text.txt"), NotAPicture)
    assert isinstance(read(folder, "nowhere.png"), Vanished)
    (folder / "folder.png").mkdir()
    value = read(folder, "folder.png")
    assert isinstance(value, Failed)
    assert value.unread


def test_an_error_that_nobody_foresaw_is_a_failure_of_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("at 0x7f3a")

    monkeypatch.setattr(worker, "contents", broken)
    value = read(folder, "picture.png")
    assert isinstance(value, Failed)
    assert value.reason == UNFORESEEN
    assert "0x7f3a" not in value.reason


def test_another_process_gives_the_same_values(folder: Path) -> None:
    """A task and all values can be pickled: workers may be processes, or other machines."""
    names = ["picture.png", "damaged.png", "text.txt", "nowhere.png"]
    files = [Found(name.encode(), 0, 0, 0) for name in names]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        values = list(pool.map(partial(worker.read, task(folder)), files))
    assert [type(value) for value in values] == [Decoded, Failed, NotAPicture, Vanished]
    here = worker.read(task(folder), files[0])
    assert isinstance(here, Decoded)
    assert isinstance(values[0], Decoded)
    np.testing.assert_array_equal(values[0].pixels, here.pixels)
    assert (values[0].picture, values[0].file) == (here.picture, here.file)
