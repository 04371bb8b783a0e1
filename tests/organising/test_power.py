"""What a power cut leaves: the order in which files and folders are flushed to the disk, and old ones given up."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from retrieval.organising.acting import carry_out, undo
from retrieval.organising.journal import Journal
from retrieval.organising.plan import Act, Plan
from tests.organising.library import act, put_library
from tests.storage.test_commit import folder_in_memory


@pytest.fixture
def folder(pictures: list[Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    if sys.platform != "linux":
        pytest.skip("only Linux tells the path of an open file")
    with folder_in_memory() as made:
        monkeypatch.setenv("XDG_DATA_HOME", os.fspath(made / "data"))
        (made / "index").mkdir()
        put_library(made / "library", pictures)
        yield made


def steps_of(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files and folders that are flushed, renamed and deleted, in their order."""
    found: list[str] = []

    def name_of(path: bytes) -> str:
        name = Path(os.fsdecode(path)).name
        return "temporary" if name.endswith(".partial") else name.partition(".")[0] + Path(name).suffix

    def recorded(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            paths = [os.readlink(f"/proc/self/fd/{arguments[0]}")] if name == "flush" else arguments
            found.append(" ".join([name, *(name_of(path) for path in paths)]))
            return real(*arguments)

        return call

    with monkeypatch.context() as patch:
        for name, function in (("flush", "fsync"), ("rename", "replace"), ("link", "link"), ("delete", "unlink")):
            patch.setattr(os, function, recorded(name, getattr(os, function)))
        work()
    return found[found.index("flush index") + 1 :]  # that is the opening of the journal


def carried_out(folder: Path, one: Act, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """Return the steps of an act and of its undo."""
    plan, journal = Plan(acts=(one,), roots=(os.fsencode(folder),)), Journal(folder / "index")
    done = steps_of(lambda: carry_out(plan, journal), monkeypatch)
    return done, steps_of(lambda: undo(journal), monkeypatch)


BEGIN = END = ["flush organising.journal"]


def test_a_hard_link_is_on_the_disk_before_the_journal_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = act("hardlink", folder / "library" / "hardlink.jpg", folder / "library" / "kept.jpg")
    done, undone = carried_out(folder, one, monkeypatch)
    replaced = ["flush temporary", "rename temporary hardlink.jpg", "flush library"]
    assert done == [*BEGIN, "link kept.jpg temporary", *replaced, *END]
    assert undone == [*BEGIN, *replaced, *END]


def test_a_note_is_on_the_disk_before_the_file_is_in_the_trash(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, undone = carried_out(
        folder, act("trash", folder / "library" / "trash.jpg", folder / "library" / "kept.jpg"), monkeypatch
    )
    assert done == [
        *BEGIN,
        "flush trash.trashinfo",
        "flush info",
        "rename trash.jpg trash.jpg",
        "flush files",
        "flush library",
        *END,
    ]
    back = ["rename trash.jpg trash.jpg", "flush library", "delete trash.trashinfo", "flush info", "flush files"]
    assert undone == [*BEGIN, *back, *END]


def test_a_file_is_deleted_when_its_copy_on_another_drive_is_on_the_disk(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.stat(folder).st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("there is only one file system here")
    (tmp_path / "far").mkdir()
    one = act("move", folder / "library" / "move.jpg", folder / "library" / "kept.jpg", tmp_path / "far")
    done, undone = carried_out(folder, one, monkeypatch)
    copied = ["rename move.jpg move.jpg", "flush temporary", "rename temporary move.jpg"]  # the first rename fails
    assert done == [*BEGIN, *copied, "flush far", "delete move.jpg", "flush far", "flush library", *END]
    assert undone == [*BEGIN, *copied, "flush library", "delete move.jpg", "flush library", "flush far", *END]
