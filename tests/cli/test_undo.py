"""`undo`: what `duplicates` did with files is reverted, and what cannot be is said."""

import os
from pathlib import Path

import pytest

from retrieval import Index
from tests.cli.conftest import HOSTILE
from tests.commands import called, lines, run
from tests.fakes import ColourEncoder
from tests.organising.library import state_of

SAME = ("duplicates", "--relation", "same_bytes")


def test_nothing_to_undo(copies: Path) -> None:
    told = called("undo", cwd=copies)
    assert (told.returncode, told.stdout, lines(told.stderr)) == (1, b"", ["note: there is nothing to undo"])


@pytest.mark.parametrize("how", [["--trash"], ["--move-to", "away"], ["--hardlink"]])
def test_files_get_back_their_places_bytes_names_times_and_modes(copies: Path, how: list[str]) -> None:
    before = state_of(copies / "photos")
    done = run(*SAME, *how, "--yes", "--quiet", cwd=copies)
    assert done.returncode == 0, done.stderr
    assert lines(done.stdout)[-1].startswith("3 files ")
    assert state_of(copies / "photos") != before
    undone = run("undo", cwd=copies)
    assert (undone.returncode, undone.stdout) == (0, b"3 files as before\n"), undone.stderr
    assert b"to find these files again: retrieval index" in undone.stderr
    assert state_of(copies / "photos") == before
    assert called("undo", cwd=copies).returncode == 1, "an undo is not undone"


def test_several_runs_are_undone_the_latest_ones(copies: Path) -> None:
    first = state_of(copies / "photos")
    assert called(*SAME, "--where", "path:b.png|sub", "--trash", "--yes", cwd=copies).returncode == 0
    second = state_of(copies / "photos")
    assert set(first) - set(second) == {os.fsencode(copies / "photos/sub/copy.png")}
    assert called(*SAME, "--move-to", "away", "--yes", cwd=copies).returncode == 0
    assert called("undo", cwd=copies).stdout == b"2 files as before\n"
    assert state_of(copies / "photos") == second
    assert called("index", cwd=copies).returncode == 0
    assert called(*SAME, "--move-to", "away", "--yes", cwd=copies).returncode == 0
    assert called("undo", "5", cwd=copies).stdout == b"3 files as before\n"
    assert state_of(copies / "photos") == first


def test_a_file_whose_place_is_taken_is_left_and_can_be_undone_later(copies: Path) -> None:
    before = state_of(copies / "photos")
    assert called(*SAME, "--trash", "--yes", cwd=copies).returncode == 0
    (copies / "photos/copy.png").write_bytes(b"something new")
    told = called("undo", cwd=copies)
    assert (told.returncode, told.stdout) == (2, b"2 files as before\n")
    (sentence,) = (line for line in lines(told.stderr) if "left as it is" in line)
    assert "copy.png" in sentence
    assert (copies / "photos/copy.png").read_bytes() == b"something new"
    (copies / "photos/copy.png").unlink()
    assert called("undo", cwd=copies).stdout == b"1 file as before\n"
    assert state_of(copies / "photos") == before


def test_a_file_that_changed_in_the_trash_is_left_there(copies: Path) -> None:
    assert called(*SAME, "--trash", "--yes", cwd=copies).returncode == 0
    for path in (copies / "data/Trash/files").iterdir():
        path.write_bytes(b"changed")
    told = called("undo", cwd=copies)
    assert (told.returncode, told.stdout) == (2, b"0 files as before\n")
    assert told.stderr.count(b"has changed since") == 3
    assert b"retrieval index" not in told.stderr, "there is nothing to find"
    assert all(character.isprintable() for line in told.stderr.decode().split("\n") for character in line)


def test_the_index_forgets_the_removal_of_what_came_back_and_no_other(copies: Path) -> None:
    marked = copies / "photos/b.png"
    assert called(*SAME, "--trash", "--yes", cwd=copies).returncode == 0
    with Index.open(copies / "index_data", encoder=ColourEncoder()) as index:
        (kept,) = (image.sha256 for image in index.images() if image.path == marked)
        index.decide(removed=[("0" * 64, kept), (kept, "0" * 64)])
    assert called("undo", cwd=copies).returncode == 0
    with Index.open(copies / "index_data", encoder=ColourEncoder()) as index:
        assert index.decisions().removed == {("0" * 64, kept)}


def test_while_the_index_is_being_written_files_come_back_all_the_same(copies: Path) -> None:
    before = state_of(copies / "photos")
    with Index.open(copies / "index_data", encoder=ColourEncoder()) as index, index._store.writing():
        done = called(*SAME, "--trash", "--yes", cwd=copies)
        assert done.returncode == 0
        assert b"the index still lists the files that are gone" in done.stderr
        assert b"to bring it up to date: retrieval index" in done.stderr
        undone = called("undo", cwd=copies)
    assert (undone.returncode, undone.stdout) == (0, b"3 files as before\n")
    assert b"the index still remembers that these files were removed" in undone.stderr
    assert state_of(copies / "photos") == before


def test_a_damaged_journal_is_said_and_nothing_is_done(copies: Path) -> None:
    assert called(*SAME, "--trash", "--yes", cwd=copies).returncode == 0
    after = state_of(copies / "photos")
    journal = copies / "index_data/organising.journal"
    journal.write_bytes(b"x" + journal.read_bytes()[1:])
    for command in ("undo", "journal"):
        told = called(command, cwd=copies)
        assert (told.returncode, told.stdout) == (2, b"")
        assert b"organising.journal are damaged" in told.stderr
    assert state_of(copies / "photos") == after


@pytest.mark.parametrize("wrong", ["0", "-1", "all", "1.5"])
def test_a_number_of_runs_is_from_1(copies: Path, wrong: str) -> None:
    told = called("undo", "--", wrong, cwd=copies)
    assert (told.returncode, told.stdout) == (2, b"")
    assert lines(told.stderr)[0].startswith("error: ")


def test_without_an_index_there_is_nothing_to_open(tmp_path: Path) -> None:
    for command in ("undo", "journal", "duplicates"):
        told = called(command, cwd=tmp_path)
        assert (told.returncode, told.stdout) == (2, b"")
        assert b"error: there is no index here" in told.stderr


def test_the_hostile_name_came_back_as_it_was(copies: Path) -> None:
    path = os.path.join(os.fsencode(copies / "photos"), HOSTILE)
    assert called(*SAME, "--trash", "--yes", cwd=copies).returncode == 0
    assert not os.path.lexists(path)
    assert called("undo", cwd=copies).returncode == 0
    assert os.path.isfile(path)
