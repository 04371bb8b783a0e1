"""What is done with files, and what an undo gives back."""

import os
import socket
from pathlib import Path

import pytest

from retrieval import BadInput, IndexBusy
from retrieval.organising.acting import Outcome, carry_out, recover, undo, undoable
from retrieval.organising.journal import Journal
from retrieval.organising.plan import Act, Plan
from retrieval.organising.rules import refusals
from tests.organising.library import act, demand_clones, dress, put_library, state_of
from tests.storage.test_commit import folder_in_memory

NAMES = (b"new\nline.jpg", b"-rf.jpg", b"not-utf8-\xff\xfe.jpg", b"x" * 251 + b".jpg", b"#?%20;&.jpg", b".hidden", b" ")


class Library:
    """A folder of pictures, and an index folder beside it."""

    def __init__(self, folder: Path, pictures: list[Path]) -> None:
        self.folder = folder / "library"
        self.kept = put_library(self.folder, pictures)
        (folder / "index").mkdir()
        (folder / "sorted").mkdir()
        self.sorted = folder / "sorted"
        self.trash = folder / "data" / "Trash"
        self.journal = Journal(folder / "index")

    def plan(self, *acts: Act, safe: tuple[Path, ...] = ()) -> Plan:
        return Plan(acts=acts, roots=(os.fsencode(self.folder),), safe=tuple(map(os.fsencode, safe)))

    def carry_out(self, *acts: Act, safe: tuple[Path, ...] = ()) -> Outcome:
        return carry_out(self.plan(*acts, safe=safe), self.journal)

    def refused(self, *acts: Act, safe: tuple[Path, ...] = ()) -> str:
        """Return why the one act is refused, when it is planned and when it is done alike; nothing has changed."""
        before = state_of(self.folder), state_of(self.sorted)
        planned = [why for _, why in refusals(self.plan(*acts, safe=safe))]
        outcome = self.carry_out(*acts, safe=safe)
        assert planned == [refusal.why for refusal in outcome.refused]
        assert outcome.done == 0
        assert (state_of(self.folder), state_of(self.sorted)) == before
        return planned[0].replace(os.fspath(self.folder.parent), "")


@pytest.fixture
def library(pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setenv("XDG_DATA_HOME", os.fspath(tmp_path / "data"))
    return Library(tmp_path, pictures)


# -- each kind ----------------------------------------------------------------------------------------------------


def test_a_file_goes_to_the_trash_with_a_note_and_comes_back(library: Library) -> None:
    before = state_of(library.folder)
    path = library.folder / "trash.jpg"
    assert library.carry_out(act("trash", path, library.kept)) == Outcome(1, ())
    assert not path.exists()
    (place,), (info,) = ([*(library.trash / name).iterdir()] for name in ("files", "info"))
    assert info.name == place.name + ".trashinfo"
    assert info.read_text().startswith(f"[Trash Info]\nPath={path}\nDeletionDate=20")
    assert (place.name[:6], place.suffix, place.read_bytes()) == ("trash.", ".jpg", before[os.fsencode(path)].data)
    assert undo(library.journal) == Outcome(1, ())
    assert state_of(library.folder) == before
    assert state_of(library.trash) == {}


def test_a_file_moves_to_a_folder_under_a_free_name_and_comes_back(library: Library) -> None:
    before = state_of(library.folder)
    (library.sorted / "move.jpg").write_bytes(b"another file")
    (library.sorted / "move-2.jpg").symlink_to("nowhere")
    path = library.folder / "move.jpg"
    assert library.carry_out(act("move", path, library.kept, library.sorted)).done == 1
    assert not path.exists()
    assert state_of(library.sorted)[os.fsencode(library.sorted / "move-3.jpg")] == before[os.fsencode(path)]
    assert undo(library.journal).done == 1
    assert state_of(library.folder) == before
    assert {path.name for path in library.sorted.iterdir()} == {"move.jpg", "move-2.jpg"}
    assert (library.sorted / "move.jpg").read_bytes() == b"another file"


def test_a_file_moves_to_another_file_system_and_comes_back(library: Library) -> None:
    before = state_of(library.folder)
    with folder_in_memory() as elsewhere:
        if os.stat(elsewhere).st_dev == os.stat(library.folder).st_dev:
            pytest.skip("there is only one file system here")
        path = library.folder / "move.jpg"
        assert library.carry_out(act("move", path, library.kept, elsewhere)).done == 1
        assert not path.exists()
        assert state_of(elsewhere) == {os.fsencode(elsewhere / "move.jpg"): before[os.fsencode(path)]}
        assert undo(library.journal).done == 1
        assert state_of(elsewhere) == {}
    assert state_of(library.folder) == before


def test_two_names_become_one_file_and_two_again(library: Library) -> None:
    before = state_of(library.folder)
    path = library.folder / "hardlink.jpg"
    assert library.carry_out(act("hardlink", path, library.kept)).done == 1
    assert path.samefile(library.kept)
    assert state_of(library.folder)[os.fsencode(library.kept)] == before[os.fsencode(library.kept)]
    assert undo(library.journal).done == 1
    assert not path.samefile(library.kept)
    assert state_of(library.folder) == before


def test_files_share_their_blocks_and_part_again(library: Library) -> None:
    demand_clones(library.folder)
    before = state_of(library.folder)
    path = library.folder / "hardlink.jpg"
    inode = path.stat().st_ino
    assert library.carry_out(act("reflink", path, library.kept)).done == 1
    assert path.stat().st_ino not in {inode, library.kept.stat().st_ino}
    assert state_of(library.folder) == before
    assert undo(library.journal).done == 1
    assert state_of(library.folder) == before


def test_where_blocks_cannot_be_shared_a_reflink_is_refused_and_nothing_changes(library: Library) -> None:
    """The memory of Linux is such a file system."""
    with folder_in_memory() as elsewhere:
        if not os.fspath(elsewhere).startswith("/dev/shm"):
            pytest.skip("there is no file system in memory here")
        paths = [elsewhere / name for name in ("a.jpg", "b.jpg")]
        for path in paths:
            path.write_bytes(library.kept.read_bytes())
        before = state_of(elsewhere)
        plan = Plan(acts=(act("reflink", *paths),), roots=(os.fsencode(elsewhere),))
        outcome = carry_out(plan, library.journal)
        assert outcome.done == 0
        assert "this file system cannot let files share their blocks: " in outcome.refused[0].why
        assert state_of(elsewhere) == before


# -- sidecars -----------------------------------------------------------------------------------------------------

WORDS = "<words>sea</words>"


def test_a_sidecar_is_written_beside_a_file_and_erased_again(library: Library) -> None:
    before = state_of(library.folder)
    path = library.folder / "again.jpg"
    assert library.carry_out(act("sidecar", path, library.kept, text=WORDS)) == Outcome(1, ())
    sidecar = library.folder / "again.jpg.xmp"
    assert sidecar.read_text() == WORDS
    assert sidecar.stat().st_mode & 0o777 == path.stat().st_mode & 0o666
    sidecar_state = {os.fsencode(sidecar)}
    assert state_of(library.folder).keys() - before.keys() == sidecar_state
    assert undo(library.journal) == Outcome(1, ())
    assert state_of(library.folder) == before
    assert undo(library.journal) == Outcome(0, ())


def test_a_sidecar_that_is_there_is_not_changed(library: Library) -> None:
    (library.folder / "kept.jpg.xmp").write_text("mine")
    why = library.refused(act("sidecar", library.kept, library.kept, text=WORDS))
    assert why == "/library/kept.jpg.xmp exists already, and is not changed"


def test_files_stay_whose_words_could_not_be_written_beside_the_kept_one(library: Library) -> None:
    (library.folder / "kept.jpg.xmp").write_text("mine")
    before = state_of(library.folder)
    beside = act("sidecar", library.kept, library.kept, text=WORDS)
    other = act("trash", library.folder / "move.jpg", library.folder / "again.jpg")
    outcome = library.carry_out(beside, act("trash", library.folder / "trash.jpg", library.kept), other)
    assert outcome.done == 1, "what has nothing to do with it goes on"
    assert [os.path.basename(refusal.path) for refusal in outcome.refused] == [b"kept.jpg", b"trash.jpg"]
    assert "stays, because the sidecar of" in outcome.refused[1].why
    assert before.keys() - state_of(library.folder).keys() == {os.fsencode(library.folder / "move.jpg")}


def test_an_undo_erases_no_sidecar_that_has_changed_and_misses_none_that_is_gone(library: Library) -> None:
    sidecar = library.folder / "kept.jpg.xmp"
    library.carry_out(act("sidecar", library.kept, library.kept, text=WORDS))
    sidecar.write_text("more words")
    outcome = undo(library.journal)
    assert (outcome.done, outcome.refused[0].why.rpartition("/")[2]) == (0, "kept.jpg.xmp has changed since")
    assert sidecar.read_text() == "more words"
    sidecar.unlink()
    assert undo(library.journal) == Outcome(1, ())
    assert not undoable(library.journal.entries())


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_go_and_come_back(library: Library, name: bytes) -> None:
    paths = [os.path.join(os.fsencode(library.folder), kind + name[: 250 - len(kind)]) for kind in (b"", b"-t", b"-h")]
    for number, path in enumerate(paths):
        Path(os.fsdecode(path)).write_bytes(library.kept.read_bytes())
        dress(path, number)
    before = state_of(library.folder)
    acts = (
        act("move", paths[0], library.kept, library.sorted),
        act("trash", paths[1], library.kept),
        act("hardlink", paths[2], library.kept),
    )
    plan = Plan.from_dict(library.plan(*acts).as_dict())
    assert carry_out(plan, library.journal) == Outcome(3, ())
    assert [*map(os.path.basename, state_of(library.sorted))] == [os.path.basename(paths[0])]
    assert undo(library.journal) == Outcome(3, ())
    assert state_of(library.folder) == before


# -- what is refused ----------------------------------------------------------------------------------------------


def test_a_file_that_has_changed_is_refused_and_the_run_goes_on(library: Library) -> None:
    path, other = library.folder / "trash.jpg", library.folder / "move.jpg"
    acts = act("trash", path, library.kept), act("trash", other, library.kept)
    path.write_bytes(b"a better version")
    outcome = library.carry_out(*acts)
    assert outcome.done == 1
    assert [(refusal.path, refusal.why) for refusal in outcome.refused] == [
        (os.fsencode(path), f"{path} has changed since the plan was made")
    ]
    assert path.read_bytes() == b"a better version"
    assert not other.exists()


def test_nothing_goes_without_the_file_to_keep(library: Library) -> None:
    one = act("trash", library.folder / "trash.jpg", library.kept)
    library.kept.write_bytes(b"no picture")
    assert library.refused(one) == "/library/kept.jpg, the file to keep, has changed since the plan was made"
    library.kept.unlink()
    assert library.refused(one) == "/library/kept.jpg is missing"
    library.kept.symlink_to("trash.jpg")
    assert library.refused(one) == "/library/kept.jpg is a link"


def test_two_files_that_shall_go_for_each_other_do_not_both_go(library: Library) -> None:
    """A link among the folders hides from the plan that the files are the same."""
    (library.folder / "also").symlink_to(library.folder)
    acts = (
        act("trash", library.folder / "hardlink.jpg", library.folder / "also" / "kept.jpg"),
        act("trash", library.folder / "kept.jpg", library.folder / "also" / "hardlink.jpg"),
    )
    outcome = library.carry_out(*acts)
    assert outcome.done == 1
    assert outcome.refused[0].why == f"{library.folder}/hardlink.jpg is missing"
    assert library.kept.exists()


def test_the_last_copy_is_not_removed_under_another_path(library: Library) -> None:
    (library.folder / "also").symlink_to(library.folder)
    why = library.refused(act("trash", library.folder / "also" / "kept.jpg", library.kept))
    assert why == "/library/also/kept.jpg and /library/kept.jpg are the same file, and it is the last copy"


def test_a_hard_link_can_go_while_the_other_stays(library: Library) -> None:
    path = library.folder / "second.jpg"
    os.link(library.kept, path)
    before = state_of(library.folder)
    assert library.refused(act("hardlink", path, library.kept)).endswith("are one file already")
    assert library.carry_out(act("trash", path, library.kept)).done == 1
    assert library.kept.exists()
    assert undo(library.journal).done == 1
    assert path.samefile(library.kept)
    assert state_of(library.folder) == before


def test_nothing_outside_the_roots_is_touched(library: Library) -> None:
    outside = library.sorted / "outside.jpg"
    outside.write_bytes(library.kept.read_bytes())
    assert (
        library.refused(act("trash", outside, library.kept)) == "/sorted/outside.jpg lies outside the indexed folders"
    )
    (library.folder / "door").symlink_to(library.sorted)
    through = act("trash", library.folder / "door" / "outside.jpg", library.kept)
    assert library.refused(through) == "/library/door/outside.jpg lies outside the indexed folders"
    dotted = act("trash", os.fspath(library.folder) + "/../sorted/outside.jpg", library.kept)
    assert "lies outside the indexed folders" in library.refused(dotted)


def test_nothing_in_a_safe_folder_is_touched_but_may_be_kept(library: Library) -> None:
    safe = library.folder / "safe"
    safe.mkdir()
    (safe / "kept.jpg").write_bytes(library.kept.read_bytes())
    lies = act("trash", safe / "kept.jpg", library.kept)
    assert "lies in the safe folder" in library.refused(lies, safe=(safe,))
    into = act("move", library.folder / "move.jpg", library.kept, safe)
    assert "lies in the safe folder" in library.refused(into, safe=(safe,))
    assert library.carry_out(act("trash", library.kept, safe / "kept.jpg"), safe=(safe,)).done == 1


@pytest.mark.parametrize("kind", ["a link", "a folder", "a FIFO", "not a regular file"])
def test_what_is_no_file_is_refused(library: Library, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = library.folder / "odd"
    planned = act("trash", library.folder / "trash.jpg", library.kept)
    odd = Act(
        kind="trash", path=os.fsencode(path), sha256=planned.sha256, kept=planned.kept, kept_sha256=planned.kept_sha256
    )
    if kind == "a link":
        path.symlink_to("trash.jpg")
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a FIFO":
        os.mkfifo(path)
    else:
        monkeypatch.chdir(library.folder)  # the path of a socket may have about 100 bytes
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind("odd")
    assert library.refused(odd) == f"/library/odd is {kind}"


def test_an_empty_file_is_refused(library: Library) -> None:
    path = library.folder / "empty.jpg"
    path.touch()
    assert library.refused(act("trash", path, library.kept)) == "/library/empty.jpg is empty"


def test_a_target_that_is_no_folder_or_the_folder_of_the_file_is_refused(library: Library) -> None:
    path = library.folder / "move.jpg"
    assert library.refused(act("move", path, library.kept, library.folder / "none")) == "/library/none is not a folder"
    assert library.refused(act("move", path, library.kept, library.kept)) == "/library/kept.jpg is not a folder"
    why = library.refused(act("move", path, library.kept, library.folder))
    assert why == "/library/move.jpg lies in /library already"


def test_a_hard_link_to_another_file_system_is_refused(library: Library) -> None:
    with folder_in_memory() as elsewhere:
        if os.stat(elsewhere).st_dev == os.stat(library.folder).st_dev:
            pytest.skip("there is only one file system here")
        kept = elsewhere / "kept.jpg"
        kept.write_bytes(library.kept.read_bytes())
        why = library.refused(act("hardlink", library.folder / "hardlink.jpg", kept))
        assert why.endswith("lie on two file systems, so one cannot be a link to the other")


# -- undo ---------------------------------------------------------------------------------------------------------


def test_undo_reverts_the_last_runs_the_newest_first(library: Library) -> None:
    before = state_of(library.folder)
    for name in ("trash", "move", "again"):
        library.carry_out(act("trash", library.folder / f"{name}.jpg", library.kept))
    assert undo(library.journal).done == 1
    assert (library.folder / "again.jpg").exists()
    assert not (library.folder / "move.jpg").exists()
    assert undo(library.journal, n=2).done == 2
    assert state_of(library.folder) == before
    assert undo(library.journal, n=5) == Outcome(0, ())


def test_acts_on_one_file_are_undone_in_their_order(library: Library) -> None:
    before = state_of(library.folder)
    path = library.folder / "hardlink.jpg"
    library.carry_out(act("hardlink", path, library.kept))
    library.carry_out(act("trash", path, library.kept))
    assert undo(library.journal, n=2).done == 2
    assert state_of(library.folder) == before


def test_undo_overwrites_nothing_and_can_be_tried_again(library: Library) -> None:
    before = state_of(library.folder)
    path = library.folder / "trash.jpg"
    library.carry_out(act("trash", path, library.kept))
    path.write_bytes(b"a new picture")
    outcome = undo(library.journal)
    assert (outcome.done, [refusal.why for refusal in outcome.refused]) == (0, [f"{path} exists already"])
    assert path.read_bytes() == b"a new picture"
    path.unlink()
    assert undo(library.journal).done == 1
    assert state_of(library.folder) == before


def test_a_file_that_a_file_manager_has_restored_counts_as_undone(library: Library) -> None:
    before = state_of(library.folder)
    library.carry_out(*(act("trash", library.folder / f"{name}.jpg", library.kept) for name in ("trash", "again")))
    (place,) = (library.trash / "files").glob("again.*")
    place.rename(library.folder / "again.jpg")
    (library.trash / "info" / f"{place.name}.trashinfo").unlink()
    assert undo(library.journal) == Outcome(2, ())
    assert state_of(library.folder) == before
    assert undo(library.journal) == Outcome(0, ())


def test_undo_refuses_a_file_that_has_changed_since(library: Library) -> None:
    path = library.folder / "hardlink.jpg"
    library.carry_out(act("hardlink", path, library.kept))
    path.write_bytes(b"edited")
    assert undo(library.journal).refused[0].why == f"{path} has changed since"
    assert path.read_bytes() == b"edited"
    library.carry_out(act("move", library.folder / "move.jpg", library.kept, library.sorted))
    (library.sorted / "move.jpg").unlink()
    assert undo(library.journal).refused[0].why == f"{library.sorted}/move.jpg is missing"


def test_undo_gives_back_times_and_modes_that_changed_since(library: Library) -> None:
    before = state_of(library.folder)
    library.carry_out(act("move", library.folder / "move.jpg", library.kept, library.sorted))
    os.chmod(library.sorted / "move.jpg", 0o444)
    os.utime(library.sorted / "move.jpg", (1, 1))
    assert undo(library.journal).done == 1
    assert state_of(library.folder) == before


def test_undo_gives_back_attributes(library: Library) -> None:
    path = library.folder / "hardlink.jpg"
    try:
        os.setxattr(path, "user.tags", b"holiday\0\xff")
    except (AttributeError, OSError) as error:
        pytest.skip(f"this file system has no attributes: {error}")
    library.carry_out(act("hardlink", path, library.kept))
    assert os.listxattr(path) == []
    assert undo(library.journal).done == 1
    assert os.getxattr(path, "user.tags") == b"holiday\0\xff"
    assert os.listxattr(library.kept) == []


def test_undo_makes_a_folder_again_but_follows_no_link_in_its_place(library: Library) -> None:
    folder = library.folder / "deep" / "er"
    folder.mkdir(parents=True)
    (library.folder / "trash.jpg").rename(folder / "trash.jpg")
    library.carry_out(act("trash", folder / "trash.jpg", library.kept))
    folder.rmdir()
    folder.parent.rmdir()
    (library.folder / "deep").symlink_to(library.sorted)
    assert "a link has taken the place of a folder" in undo(library.journal).refused[0].why
    assert [*library.sorted.iterdir()] == []
    (library.folder / "deep").unlink()
    assert undo(library.journal).done == 1
    assert (folder / "trash.jpg").exists()


@pytest.mark.parametrize("n", [0, -1])
def test_no_runs_cannot_be_undone(library: Library, n: int) -> None:
    with pytest.raises(BadInput, match="cannot be undone"):
        undo(library.journal, n=n)


# -- more than one process ----------------------------------------------------------------------------------------


def test_two_runs_at_once_are_refused(library: Library) -> None:
    with library.journal.writing(), pytest.raises(IndexBusy, match="another process is moving or linking files"):
        library.carry_out(act("trash", library.folder / "trash.jpg", library.kept))
    assert (library.folder / "trash.jpg").exists()
    assert recover(library.journal) == undoable(library.journal.entries()) == []
