"""A folder as the source of the files of a root."""

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from retrieval import UnreadableImage
from retrieval.pictures.source import Folder, Source, State
from tests.contracts.source import SourceTests
from tests.fakes import put


class TestFolder(SourceTests):
    @pytest.fixture
    def made(self, tmp_path: Path) -> Callable[[Mapping[bytes, bytes]], Source]:
        folders = iter(range(9))

        def make(files: Mapping[bytes, bytes]) -> Source:
            place = os.path.join(os.fsencode(tmp_path), b"%d" % next(folders))
            os.mkdir(place)
            for path, data in files.items():
                put(os.path.join(place, path), data)
            return Folder(place)

        return make


def test_a_link_to_nothing_is_away_and_no_fact_about_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "drive" / "a.png")
    assert Folder(os.fsencode(tmp_path)).state(b"a.png") is State.AWAY


def test_what_cannot_be_looked_at_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(path: object, **_: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)

    monkeypatch.setattr(os, "stat", stale)
    assert Folder(os.fsencode(tmp_path)).state(b"a.png") is State.AWAY


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
def test_a_fifo_in_place_of_a_file_is_neither_opened_nor_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    source = Folder(os.fsencode(tmp_path))
    assert source.state(b"a.png") is State.REPLACED
    with pytest.raises(UnreadableImage, match="not a regular file"), source.open(b"a.png"):
        pass


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    source = Folder(os.fsencode(tmp_path / "no such folder"))
    assert source.identity() is None
    assert source.looks_empty()
    assert source.state(b"a.png") is State.GONE
    (unlisted,) = source.scan()
    assert unlisted.path == b""
