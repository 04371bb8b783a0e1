"""Writing a file whole or not at all."""

import os
from pathlib import Path

import pytest

from retrieval.disk import files


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_takes_its_place_when_it_is_whole(
    durable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    place = tmp_path / "a.json"
    place.write_bytes(b"old")
    with files.replacing(place, durable=durable) as file:
        file.write(b"new")
        file.flush()
        assert place.read_bytes() == b"old"
    assert place.read_bytes() == b"new"
    assert len(flushed) == (2 if durable else 0), "the file and its folder"
    assert [*tmp_path.iterdir()] == [place]


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
def test_what_fails_leaves_the_older_file_alone(error: BaseException, tmp_path: Path) -> None:
    place = tmp_path / "a.json"
    place.write_bytes(b"old")

    def half_written() -> None:
        with files.replacing(place, durable=True) as file:
            file.write(b"half of the n")
            raise error

    with pytest.raises(type(error)):
        half_written()
    assert place.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [place]


def test_what_a_kill_left_is_written_over(tmp_path: Path) -> None:
    left = tmp_path / "a.json.partial"
    left.write_bytes(b"a long beginning that was never finished")
    with files.replacing(tmp_path / "a.json", durable=True, partial=left) as file:
        file.write(b"new")
    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert not left.exists()


def test_a_finished_file_moves_to_another_folder(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "a.bin").write_bytes(b"bytes")
    files.move_durably(tmp_path / "work" / "a.bin", tmp_path / "b.bin")
    assert (tmp_path / "b.bin").read_bytes() == b"bytes"
    assert not (tmp_path / "work" / "a.bin").exists()


def test_the_size_of_a_folder_counts_what_is_below_it(tmp_path: Path) -> None:
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "deep" / "deeper" / "b").write_bytes(b"45")
    assert files.size_of(tmp_path) == 5
