"""The trash of a drive, and what happens where it cannot be used."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retrieval.organising.acting import carry_out, undo
from retrieval.organising.journal import Journal
from retrieval.organising.plan import Plan
from tests.organising.library import act, put_library, state_of
from tests.storage.test_commit import folder_in_memory, in_child, unshared


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as made:
        yield made


def _none(drive: Path) -> None:
    """Nothing is there yet."""


def _shared(drive: Path) -> None:
    """The administrator has made a trash for all users."""
    (drive / ".Trash").mkdir()
    os.chmod(drive / ".Trash", 0o1777)


def _unsafe(drive: Path) -> None:
    """Any user could replace the trash of another one."""
    (drive / ".Trash").mkdir()
    os.chmod(drive / ".Trash", 0o777)


def _link(drive: Path) -> None:
    """The trash of the user leads elsewhere."""
    (drive / f".Trash-{os.getuid()}").symlink_to(drive / "pictures")


def _of_somebody_else(drive: Path) -> None:
    own = drive / f".Trash-{os.getuid()}"
    own.mkdir()
    os.chown(own, 12345, 12345)


def trashed(folder: Path, pictures: list[Path], prepare: Callable[[Path], None]) -> tuple[str, str]:
    """Put a picture of a drive into the trash and undo it; return the folder of the trash and the path in the note."""
    os.environ["XDG_DATA_HOME"] = os.fspath(folder / "data")
    drive = folder / "drive"
    drive.mkdir()
    unshared(["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", os.fspath(drive)])
    library = drive / "my pictures"
    kept = put_library(library, pictures)
    prepare(drive)
    (folder / "index").mkdir()
    before, journal = state_of(library), Journal(folder / "index")
    plan = Plan(acts=(act("trash", library / "trash.jpg", kept),), roots=(os.fsencode(library),))
    assert carry_out(plan, journal).refused == ()
    place = Path(os.fsdecode(journal.entries()[0].step.place))
    trash = place.parent.parent
    assert place.parent.name == "files"
    assert stat.S_IMODE(trash.stat().st_mode) & 0o077 == 0
    assert [*(trash / "info").iterdir()] == [trash / "info" / f"{place.name}.trashinfo"]
    assert undo(journal).refused == ()
    assert state_of(library) == before
    assert state_of(trash) == {}
    return os.fspath(trash.relative_to(folder)), journal.entries()[0].step.note.splitlines()[1]


@pytest.mark.parametrize(
    ("prepare", "trash"),
    [
        (_none, "drive/.Trash-{user}"),
        (_shared, "drive/.Trash/{user}"),
        (_unsafe, "drive/.Trash-{user}"),
        (_link, "data/Trash"),
        (_of_somebody_else, "data/Trash"),
    ],
)
def test_a_file_goes_to_the_trash_of_its_drive_or_else_of_the_home_folder(
    folder: Path, pictures: list[Path], prepare: Callable[[Path], None], trash: str
) -> None:
    try:
        found, note = in_child(trashed, folder, pictures, prepare)
    except PermissionError as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    assert found == trash.format(user=os.getuid())
    is_home = trash == "data/Trash"
    assert note == ("Path=" + os.fspath(folder / "drive") + "/" if is_home else "Path=") + "my%20pictures/trash.jpg"
