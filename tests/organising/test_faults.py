"""Full disks, folders that may not be written to, and programs that write to the same files."""

import errno
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval import StorageError
from retrieval.organising.acting import Outcome, carry_out, recover, undo
from retrieval.organising.journal import Journal
from retrieval.organising.plan import Kind, Plan
from tests.organising.library import State, act, dress, put_library, state_of
from tests.storage.test_commit import NOBODY, folder_in_memory, in_child, unshared

# -- a full disk --------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(pictures: list[Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A library of pictures, an index folder and a trash, in memory."""
    with folder_in_memory() as made:
        monkeypatch.setenv("XDG_DATA_HOME", os.fspath(made / "data"))
        (made / "index").mkdir()
        (made / "sorted").mkdir()
        put_library(made / "library", pictures)
        yield made


def plan_of(folder: Path, target: Path) -> Plan:
    """A move of each picture but the kept one."""
    library = folder / "library"
    names = sorted(path.name for path in library.iterdir() if path.name != "kept.jpg")
    acts = tuple(act("move", library / name, library / "kept.jpg", target) for name in names)
    return Plan(acts=acts, roots=(os.fsencode(library),))


def full(folder: Path, disk: Path, size: str, target: Path) -> tuple[Outcome, list[str]]:
    """Mount a disk of some size, move four pictures while it is full, and say what came of it."""
    disk.mkdir(exist_ok=True)
    unshared(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", os.fspath(disk)])
    before = state_of(folder / "library")
    target.mkdir(exist_ok=True)
    journal = Journal(folder / "index")
    outcome = carry_out(plan_of(folder, target), journal)
    names = sorted(os.listdir(target))
    contents = {
        state.data for state in (state_of(folder / "library") | state_of(target)).values() if isinstance(state, State)
    }
    assert contents >= {state.data for state in before.values() if isinstance(state, State)}
    subprocess.run(["mount", "-o", "remount,size=10m", os.fspath(disk)], check=True)
    assert all(entry.done is not None for entry in recover(journal))
    assert undo(journal, n=9).refused == ()
    assert state_of(folder / "library") == before
    assert state_of(target) == {}
    return outcome, names


def test_a_target_without_room_takes_what_fits_and_loses_nothing(folder: Path) -> None:
    size = 4096 * (2 + sum(-(-path.stat().st_size // 4096) for path in (folder / "library").iterdir()) // 2)
    try:
        outcome, names = in_child(full, folder, folder / "disk", str(size), folder / "disk" / "target")
    except PermissionError as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    assert 0 < outcome.done < 4
    assert len(names) == outcome.done, "nothing unfinished is left"
    assert {refusal.why.rpartition(": ")[2] for refusal in outcome.refused} == {"no space left on device"}


def _without_room(folder: Path, limits: list[int]) -> None:
    """Move pictures while the journal may not grow beyond some bytes, which cuts lines short; then undo it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before, journal = state_of(folder / "library"), Journal(folder / "index")
    for limit in limits:
        plan = plan_of(folder, folder / "sorted")
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        with pytest.raises(StorageError, match="the index cannot be used: File too large"):
            carry_out(plan, journal)
        moved = len(os.listdir(folder / "sorted"))
        assert len(journal.entries()) >= moved, "nothing is done that is not in the journal"
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert undo(journal, n=9) == Outcome(moved, ())
        assert state_of(folder / "library") == before
        assert state_of(folder / "sorted") == {}
        (folder / "index" / "organising.journal").unlink()


def test_without_room_for_the_journal_nothing_more_is_done_and_all_can_be_undone(folder: Path) -> None:
    in_child(_without_room, folder, list(range(0, 2500, 90)))


# -- folders that may not be written to -----------------------------------------------------------------------------


def _as_nobody(folder: Path) -> list[str]:
    os.environ["XDG_DATA_HOME"] = os.fspath(folder / "data")  # a server that forks children keeps its own environment
    os.seteuid(NOBODY)
    library = folder / "library"
    kept = library / "kept.jpg"
    acts = (
        act("trash", library / "trash.jpg", kept),
        act("move", library / "move.jpg", kept, folder / "sorted"),
        act("move", library / "again.jpg", kept, folder / "closed"),
        act("hardlink", library / "hardlink.jpg", kept),
    )
    outcome = carry_out(Plan(acts=acts, roots=(os.fsencode(library),)), Journal(folder / "index"))
    assert recover(Journal(folder / "index")) == []
    return [refusal.why.replace(os.fspath(folder), "") for refusal in outcome.refused]


@pytest.mark.parametrize("closed", ["library", "closed"])
def test_folders_that_may_not_be_written_to_are_refused(folder: Path, closed: str) -> None:
    if os.geteuid():
        pytest.skip("only the superuser can become another user")
    (folder / "closed").mkdir()
    (folder / "data").mkdir()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    os.chmod(folder / closed, 0o555)
    before = state_of(folder / "library")
    refused = in_child(_as_nobody, folder)
    assert all(why.endswith(": permission denied") for why in refused)
    assert len(refused) == (4 if closed == "library" else 1)
    assert state_of(folder / "closed") == state_of(folder / "sorted") == {} or closed == "closed"
    undo(Journal(folder / "index"))
    assert state_of(folder / "library") == before


# -- a failing disk -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", range(1, 40))
def test_a_flush_that_fails_leaves_each_act_done_or_not_done(
    folder: Path, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, calls, flush = state_of(folder / "library"), 0, os.fsync

    def fails(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        flush(descriptor)

    plan, journal = every_kind(folder), Journal(folder / "index")
    monkeypatch.setattr(os, "fsync", fails)
    try:
        carry_out(plan, journal)
    except StorageError as error:
        assert str(error) == "the index cannot be used: Input/output error"  # noqa: PT017 - only some flushes raise
    monkeypatch.setattr(os, "fsync", flush)
    recover(journal)
    undo(journal)
    assert state_of(folder / "library") == before
    assert state_of(folder / "sorted") == state_of(folder / "data") == {}


def every_kind(folder: Path) -> Plan:
    library = folder / "library"
    kept = library / "kept.jpg"
    acts = (
        act("trash", library / "trash.jpg", kept),
        act("move", library / "move.jpg", kept, folder / "sorted"),
        act("hardlink", library / "hardlink.jpg", kept),
    )
    return Plan(acts=acts, roots=(os.fsencode(library),))


# -- another program ----------------------------------------------------------------------------------------------

EDITED = b"edited"


def save(path: Path, how: str) -> None:
    """Save an edited picture, as editors do: into the file, or as a new file of the same name."""
    if how == "in place":
        path.write_bytes(EDITED)
    else:
        path.with_name("aside").write_bytes(EDITED)
        path.with_name("aside").rename(path)


def is_there(folder: Path) -> bool:
    states = [state for part in ("library", "sorted", "data") for state in state_of(folder / part).values()]
    return any(isinstance(state, State) and state.data == EDITED for state in states)


@pytest.mark.parametrize("how", ["in place", "aside"])
@pytest.mark.parametrize("name", ["trash", "move", "hardlink"])
def test_what_another_program_saves_meanwhile_is_not_lost(
    pictures: list[Path], folder: Path, name: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program saves before one flush of the plan. What it saved is there afterwards, and after an undo."""
    flush = os.fsync
    for number in range(1, 100):
        for part in ("library", "index", "sorted", "data"):
            shutil.rmtree(folder / part, ignore_errors=True)
            (folder / part).mkdir()
        put_library(folder / "library", pictures)
        left = number

        def saves(descriptor: int) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                save(folder / "library" / f"{name}.jpg", how)
            flush(descriptor)

        plan = every_kind(folder)
        monkeypatch.setattr(os, "fsync", saves)
        carry_out(plan, Journal(folder / "index"))
        monkeypatch.setattr(os, "fsync", flush)
        if left > 0:
            break
        assert is_there(folder), f"lost at flush {number}"
        undo(Journal(folder / "index"))
        assert is_there(folder), f"lost by the undo, after flush {number}"
    assert number > 10


# -- at random ----------------------------------------------------------------------------------------------------

steps = st.tuples(st.sampled_from(["trash", "move", "hardlink"]), st.integers(0, 5), st.integers(0, 5), st.booleans())


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=12))
def test_whatever_is_done_in_whatever_order_all_comes_back(done: list[tuple[Kind, int, int, bool]]) -> None:
    """Six files with two contents. Each act is a run of its own; some are undone at once, the others at the end."""
    with folder_in_memory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", os.fspath(folder / "data"))
        for part in ("library", "index", "sorted"):
            (folder / part).mkdir()
        paths = [folder / "library" / f"{number}.jpg" for number in range(6)]
        for number, path in enumerate(paths):
            path.write_bytes(b"content %d" % (number % 2))
            dress(path, number)
        before, journal = state_of(folder / "library"), Journal(folder / "index")
        for kind, number, kept, is_undone in done:
            path, other = paths[number], paths[kept]
            if path == other or not (path.exists() and other.exists()):
                continue
            if kind == "hardlink" and (number - kept) % 2:
                continue
            target = folder / "sorted" if kind == "move" else None
            carry_out(Plan(acts=(act(kind, path, other, target),), roots=(os.fsencode(folder),)), journal)
            if is_undone:
                undo(journal)
        assert undo(journal, n=100).refused == ()
        assert state_of(folder / "library") == before
        assert state_of(folder / "sorted") == state_of(folder / "data") == {}
