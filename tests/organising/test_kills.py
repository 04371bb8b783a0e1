"""A kill at each system call that changes the disk: what is recovered is whole, and an undo gives everything back."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from retrieval.organising.acting import carry_out, recover, undo, undoable
from retrieval.organising.journal import Journal
from retrieval.organising.plan import Plan
from tests.organising.library import State, act, demand_clones, put_library, state_of
from tests.storage.test_commit import folder_in_memory, start

CALLS = ("chmod", "close", "fsync", "ftruncate", "link", "mkdir", "open", "replace", "unlink", "utime", "write")
"""Functions of `os` through which the disk is changed. The process dies before a call, and also in the midst of one
that writes: half of the bytes are then in the file."""


def die_at(step: int) -> None:
    """Have this process kill itself at the `step`-th call, from 1."""
    left = step

    def deadly(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                if name == "write":
                    real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call

    for name in CALLS:
        setattr(os, name, deadly(getattr(os, name), name))


def plan_of(library: Path, elsewhere: Path) -> Plan:
    """One act of each kind, and a move to another file system."""
    kept = library / "kept.jpg"
    acts = (
        act("sidecar", kept, kept, text="<words/>"),
        act("trash", library / "trash.jpg", kept),
        act("move", library / "move.jpg", kept, library / "sorted"),
        act("hardlink", library / "hardlink.jpg", kept),
        act("move", library / "again.jpg", kept, elsewhere),
    )
    return Plan(acts=acts, roots=(os.fsencode(library),))


def reflink_of(library: Path, elsewhere: Path) -> Plan:
    """One act, where the file system can do it."""
    return Plan(acts=(act("reflink", library / "hardlink.jpg", library / "kept.jpg"),), roots=(os.fsencode(library),))


def _work(connection: Any, folder: Path, elsewhere: Path, what: str, step: int) -> None:
    os.environ["XDG_DATA_HOME"] = os.fspath(folder / "data")
    journal = Journal(folder / "index")
    plans = {"carry out": plan_of, "reflink": reflink_of}
    plan = plans[what](folder / "library", elsewhere) if what in plans else None
    die_at(step)
    if plan is not None:
        carry_out(plan, journal)
    elif what == "undo":
        undo(journal)
    else:
        recover(journal)
    os._exit(0)


def is_killed(folder: Path, elsewhere: Path, what: str, step: int) -> bool:
    """Do something in another process that dies at a step; tell whether it came so far."""
    child, connection = start(_work, folder, elsewhere, what, step)
    child.join(120)
    connection.close()
    assert child.exitcode in {0, -signal.SIGKILL}, f"{what} at {step}: exit code {child.exitcode}"
    return child.exitcode != 0


@pytest.fixture
def folders(pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Path]]:
    """A library with an index folder, in memory, and a folder on another file system."""
    with folder_in_memory() as folder:
        if os.stat(folder).st_dev == os.stat(tmp_path).st_dev:
            pytest.skip("there is only one file system here")
        monkeypatch.setenv("XDG_DATA_HOME", os.fspath(folder / "data"))
        (folder / "index").mkdir()
        (folder / "library" / "sorted").mkdir(parents=True)
        put_library(folder / "library", pictures)
        yield folder, tmp_path


def contents_of(*folders: Path) -> set[bytes]:
    """The contents of all files, whatever their names."""
    return {state.data for folder in folders for state in state_of(folder).values() if isinstance(state, State)}


def is_either_way(folder: Path, elsewhere: Path, before: dict[bytes, State | str]) -> None:
    """Recover, and demand that each step is wholly done or not at all."""
    journal = Journal(folder / "index")
    originals = {state.data for state in before.values() if isinstance(state, State)}
    assert originals <= contents_of(folder, elsewhere), "lost before the recovery"
    assert all(entry.done is not None for entry in recover(journal))
    steps = [entry.step for entry in undoable(journal.entries())]
    done = {step.path: step for step in steps if step.kind != "sidecar"}
    assert done.keys() <= before.keys()
    now = state_of(folder / "library") | state_of(elsewhere)
    for sidecar in (step.place for step in steps if step.kind == "sidecar"):
        assert Path(os.fsdecode(sidecar)).read_text() == "<words/>"
        del now[sidecar]
    for path, state in before.items():
        assert isinstance(state, State)
        if path in done:
            place = Path(os.fsdecode(done[path].place))
            assert place.read_bytes() == state.data
            assert done[path].kind == "hardlink" or place.stat().st_mtime_ns == state.mtime_ns
            now.pop(done[path].place, None)
        else:
            assert now.pop(path) == state
    assert not now, "nothing unfinished is left"


def is_all_undone(folder: Path, elsewhere: Path, before: dict[bytes, State | str]) -> None:
    assert undo(Journal(folder / "index"), n=100).refused == ()
    assert state_of(folder / "library") == before
    assert state_of(elsewhere) == state_of(folder / "data") == {}


def kill_at_each_step(folder: Path, elsewhere: Path, what: str, prepare: Callable[[], object]) -> int:
    """Return at how many steps the process was killed; each time nothing is lost, and all can be undone."""
    before, kills = state_of(folder / "library"), 0
    prepare()
    while is_killed(folder, elsewhere, what, kills + 1):
        kills += 1
        is_either_way(folder, elsewhere, before)
        is_all_undone(folder, elsewhere, before)
        prepare()
    is_all_undone(folder, elsewhere, before)
    return kills


def test_a_kill_at_each_step_of_carrying_out_a_plan(folders: tuple[Path, Path]) -> None:
    assert kill_at_each_step(*folders, "carry out", lambda: None) > 80


def test_a_kill_at_each_step_of_an_undo(folders: tuple[Path, Path]) -> None:
    folder, elsewhere = folders

    def prepare() -> None:
        carry_out(plan_of(folder / "library", elsewhere), Journal(folder / "index"))

    assert kill_at_each_step(folder, elsewhere, "undo", prepare) > 80


@pytest.mark.parametrize("what", ["reflink", "undo"])
def test_a_kill_at_each_step_of_a_reflink(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    demand_clones(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", os.fspath(tmp_path / "data"))
    for name in ("index", "elsewhere"):
        (tmp_path / name).mkdir()
    put_library(tmp_path / "library", pictures)

    def prepare() -> None:
        if what == "undo":
            carry_out(reflink_of(tmp_path / "library", tmp_path), Journal(tmp_path / "index"))

    assert kill_at_each_step(tmp_path, tmp_path / "elsewhere", what, prepare) > 20


@pytest.mark.parametrize("first", [0, *(pytest.param(first, marks=pytest.mark.slow) for first in range(1, 16))])
def test_a_kill_at_each_step_of_a_recovery(folders: tuple[Path, Path], first: int) -> None:
    """The plan is killed before, at every sixteenth of its steps."""
    folder, elsewhere = folders
    kills, reached = 0, True
    step = first + 1
    while reached:

        def prepare(step: int = step) -> None:
            nonlocal reached
            reached = is_killed(folder, elsewhere, "carry out", step)

        kills += kill_at_each_step(folder, elsewhere, "recover", prepare)
        step += 16
    assert kills > 50


def test_a_kill_on_a_drive_that_is_away_now_is_settled_when_it_is_back(folders: tuple[Path, Path]) -> None:
    folder, elsewhere = folders
    before = state_of(folder / "library")
    step, unknown = 5, 0
    while is_killed(folder, elsewhere, "carry out", step):
        step += 4
        (folder / "library").rename(folder / "away")
        for entry in recover(Journal(folder / "index")):
            if entry.done is None:
                unknown += 1
                assert entry.why.startswith("the file is not found with its content at ")
        (folder / "away").rename(folder / "library")
        is_either_way(folder, elsewhere, before)
        is_all_undone(folder, elsewhere, before)
    assert unknown
