"""The cache of the user: names with folders, another folder in its place, and what is deleted in it."""

import os
import time
from pathlib import Path

import pytest

from retrieval.disk import cache

OLD = time.time() - cache.UNUSED - 1000


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a cache that no other test has written to, in a process that has looked through no folder yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_swept", set())


def aged(name: str) -> Path:
    """Write a file that nobody has read for longer than `UNUSED`."""
    path = cache.folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"old")
    os.utime(path, (OLD, OLD))
    return path


@pytest.mark.parametrize("name", ["a.json", "thumbnails/1-256/ab/cdef.jpg"])
def test_what_was_written_is_read(name: str) -> None:
    assert cache.read(name) is None
    cache.write(name, b"some")
    assert cache.read(name) == b"some"
    cache.write(name, b"other")
    assert cache.read(name) == b"other"
    assert [path.name for path in (cache.folder() / name).parent.iterdir()] == [Path(name).name]


def test_another_folder_can_be_the_cache_and_the_users_stays_untouched(tmp_path: Path) -> None:
    cache.write("a/b.jpg", b"some", tmp_path / "elsewhere")
    assert cache.read("a/b.jpg", tmp_path / "elsewhere") == b"some"
    assert cache.read("a/b.jpg") is None
    assert not cache.folder().exists()


def test_a_cache_that_cannot_be_written_or_read_is_like_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file in place of the folder")
    cache.write("a/b.jpg", b"some")
    assert cache.read("a/b.jpg") is None
    cache.write("a.jpg", b"some", tmp_path / "cache")
    assert cache.read("a.jpg", tmp_path / "cache") is None


def test_a_user_without_a_home_folder_has_an_empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("platformdirs.user_cache_path", homeless)
    cache.write("a.jpg", b"some")
    assert cache.read("a.jpg") is None


def test_what_nobody_has_read_for_long_is_deleted_and_what_is_read_stays() -> None:
    unused, used, other = aged("ab/unused.jpg"), aged("ab/used.jpg"), aged("ab/notes.txt")
    assert cache.read("ab/used.jpg") == b"old"
    cache.write("ab/new.jpg", b"new")
    assert not unused.exists()
    assert used.exists()
    assert other.exists(), "a file of that kind is none of ours"


def test_a_folder_of_many_files_is_looked_through_once_and_every_folder_is() -> None:
    cache.write("ab/new.jpg", b"new")
    later, elsewhere = aged("ab/later.jpg"), aged("cd/unused.jpg")
    cache.write("ab/newer.jpg", b"new")
    assert later.exists()
    cache.write("cd/new.jpg", b"new")
    assert not elsewhere.exists()


def test_the_cache_itself_is_looked_through_each_time() -> None:
    cache.write("new.json", b"new")
    later = aged("later.json")
    cache.write("newer.json", b"new")
    assert not later.exists()
