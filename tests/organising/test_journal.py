"""The journal: what is in it survives, a torn last line is no damage, and other damage is said."""

from pathlib import Path

import pytest

from retrieval import IndexBusy, IndexDamaged, IndexNotFound, StorageError
from retrieval.organising.contents import Facts, Stamp
from retrieval.organising.journal import Journal
from retrieval.organising.steps import Step
from tests.storage.test_commit import in_child

STEP = Step(
    kind="trash",
    path=b"/a\n\xff.jpg",
    place=b"/trash/a",
    temporary=b"/trash/t",
    sha256=bytes(range(32)),
    stamp=Stamp(1, 2, 3),
    facts=Facts(0o644, 2**62, -1, 0, 0, {"user.tag": "ff00"}),
    kept=b"/b",
    info=b"/info/a",
    note="[Trash Info]\nä",
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A journal of two steps; the second has no end."""
    made = Journal(tmp_path)
    with made.writing() as writer:
        writer.end(writer.begin(1, STEP), done=False, why="it was not to be")
        writer.begin(writer.next_run(), STEP, undoes=1)
    return made


def test_a_journal_that_nobody_has_written_is_empty_and_stays_absent(tmp_path: Path) -> None:
    assert Journal(tmp_path).entries() == []
    assert [*tmp_path.iterdir()] == []


def test_steps_are_read_as_they_were_written(journal: Journal) -> None:
    first, second = journal.entries()
    assert (first.number, first.run, first.undoes, first.done, first.why) == (1, 1, None, False, "it was not to be")
    assert (second.number, second.run, second.undoes, second.done, second.why) == (2, 2, 1, None, "")
    assert first.step == second.step == STEP
    assert first.time <= second.time
    with journal.writing() as writer:
        assert writer.entries == [first, second]
        assert writer.begin(writer.next_run(), STEP).number == 3


def test_a_last_line_that_was_cut_short_is_ignored_and_then_removed(journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "organising.journal"
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for length in range(last, len(whole)):
        path.write_bytes(whole[:length])
        assert [entry.number for entry in journal.entries()] == [1]
    with journal.writing():
        pass
    assert path.read_bytes() == whole[:last]


def test_damage_before_the_last_line_is_said(journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "organising.journal"
    whole = path.read_bytes()
    for place in range(0, whole.index(b"\n") + 1, 37):
        path.write_bytes(whole[:place] + b"!" + whole[place + 1 :])
        with pytest.raises(IndexDamaged, match=r"byte 0 and the bytes after it in .*organising\.journal are damaged"):
            journal.entries()
        with pytest.raises(IndexDamaged), journal.writing():
            pass


def test_a_journal_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "organising.journal").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="is a link"), Journal(tmp_path).writing():
        pass


def _try(folder: Path) -> None:
    with Journal(folder).writing():
        pass


def test_one_process_writes_at_a_time(journal: Journal, tmp_path: Path) -> None:
    with journal.writing():
        with pytest.raises(IndexBusy, match="another process is moving or linking files of the index"):
            in_child(_try, tmp_path)
        assert len(journal.entries()) == 2, "readers do not wait"
    in_child(_try, tmp_path)


def test_a_journal_in_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFound, match="there is no index in"), Journal(tmp_path / "gone").writing():
        pass
    assert not (tmp_path / "gone").exists()
