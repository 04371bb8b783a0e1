"""One change of the disk: how it is made, and how its state is found out and made whole after an error or a kill.

A file is moved (`trash`, `move`, and `restore`, which moves it back) or gets another file in its place (`hardlink`,
`reflink`, and `separate`, which gives it blocks of its own again). The name is never without its file. Or a file that
says something of it is written beside it (`sidecar`, and `erase`, which deletes that file again).

    moved to the same file system       moved to another one                  another file in its place
    1  an empty file takes the place    1  an empty file takes the place      1  the new file under a temporary name
    2  rename over the empty file       2  copy under a temporary name        2  rename over the old file
                                        3  rename over the empty file
                                        4  delete the old file

A kill before the (first) rename: the old file is whole, and `settle` deletes what the step has made. After the rename:
the new file is whole, and `settle` completes the step.
"""

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from retrieval.disk import files
from retrieval.errors import BadInput, reason_of
from retrieval.organising import cloning, contents
from retrieval.organising.contents import Facts, Stamp
from retrieval.organising.plan import Kind
from retrieval.types import displayed

StepKind = Kind | Literal["restore", "separate", "erase"]
REPLACING = frozenset({"hardlink", "reflink", "separate"})
BESIDE = frozenset({"sidecar", "erase"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change, with all that is needed to do it, to find out whether it was done, and to revert it."""

    kind: StepKind
    path: bytes
    """The file before the step."""
    place: bytes
    """The file after the step. It equals `path` if another file takes its place. For a sidecar, the file beside it."""
    temporary: bytes
    """Name of the unfinished file, in the folder of `place`."""
    sha256: bytes
    """SHA-256 of the content, which the step does not change; of the sidecar, if it is about that."""
    stamp: Stamp
    """Stamp of the file at `path` before the step."""
    facts: Facts
    """Facts of the file before the act; an undo gives them back."""
    kept: bytes = b""
    """The file that stays; empty for an undo."""
    info: bytes = b""
    """The note in the trash; empty outside the trash."""
    note: str = ""
    """Content of the note, or of the sidecar."""


def perform(step: Step) -> None:
    """Do a step durably. Raises `BadInput` with the reason if it was not done; then all is as before.

    Raises `Unsettled` if it cannot be found out whether it was done.
    """
    if step.kind == "restore" and contents.stamp_of(step.path) is None:
        settle(step)  # somebody has moved the file back
        return
    if step.kind not in REPLACING and step.kind != "erase":
        _claim(step.place)
    try:
        _change(step)
    except (BadInput, OSError) as error:
        if not settle(step):
            raise _refusal(step, error) from error


def _change(step: Step) -> None:
    match step.kind:
        case "hardlink" | "reflink" | "separate":
            _replace(step)
        case "sidecar":
            _write(step)
        case "erase":
            _erase(step)
        case _:
            _move(step)


def _refusal(step: Step, error: BadInput | OSError) -> BadInput:
    if isinstance(error, BadInput):
        return error
    return BadInput(f"{displayed(step.path)} cannot be changed: {reason_of(error)}")


# -- moving -------------------------------------------------------------------------------------------------------


def _claim(place: bytes) -> None:
    """Put an empty file at `place`. Raises `BadInput` if anything is there, which stays untouched."""
    try:
        contents.created(place).close()
    except FileExistsError as error:
        raise BadInput(f"{displayed(place)} exists already") from error
    except OSError as error:
        raise BadInput(f"{displayed(place)} cannot be written: {reason_of(error)}") from error


def _move(step: Step) -> None:
    if step.kind == "trash":
        with contents.created(step.info) as file:
            file.write(step.note.encode())
            file.flush()
            os.fsync(file.fileno())
        _flush_folder_of(step.info)
    _demand_unchanged(step)
    if step.kind == "restore":
        contents.dress(step.path, step.facts)
    try:
        os.replace(step.path, step.place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _move_across(step)
    _flush_folder_of(step.place)
    _tidy_move(step, done=True)


def _move_across(step: Step) -> None:
    """Move the file to another file system: the old file is deleted when the copy is whole and on the disk."""
    before = contents.stamp_of(step.path)
    contents.copy(step.path, step.temporary, step.facts)
    _demand_content(step)
    os.replace(step.temporary, step.place)
    _flush_folder_of(step.place)
    if contents.stamp_of(step.path) == before:  # otherwise somebody has just written to it, and it stays
        os.unlink(step.path)


def _tidy_move(step: Step, *, done: bool) -> None:
    """Delete the note if the file is not in the trash, and flush the folder that the file has left."""
    if (step.kind, done) in {("trash", False), ("restore", True)} and step.info:
        _delete(step.info)
    _flush_folder_of(step.path)


# -- replacing ----------------------------------------------------------------------------------------------------


def _replace(step: Step) -> None:
    if step.kind == "hardlink":
        os.link(step.kept, step.temporary)
        contents.flush(step.temporary)  # the kept file may be so new that the disk does not have it yet
    elif step.kind == "reflink":
        cloning.clone(step.kept, step.temporary, step.facts)
    else:
        contents.copy(step.path, step.temporary, step.facts)
    _demand_content(step)  # from now on, the content has a name that nobody else knows
    _demand_unchanged(step)
    os.replace(step.temporary, step.place)
    _flush_folder_of(step.place)


# -- writing beside ----------------------------------------------------------------------------------------------


def _write(step: Step) -> None:
    with contents.created(step.temporary) as file:
        file.write(step.note.encode())
        file.flush()
        os.chmod(step.temporary, step.facts.mode & 0o666)
        os.fsync(file.fileno())
    _demand_unchanged(step)
    os.replace(step.temporary, step.place)
    _flush_folder_of(step.place)


def _erase(step: Step) -> None:
    if contents.stamp_of(step.path) is not None:
        _demand_unchanged(step)
    _delete(step.path)


# -- what is demanded in between ----------------------------------------------------------------------------------


def _demand_unchanged(step: Step) -> None:
    """Raise `BadInput` if somebody has written to the file, or has replaced it, since it was read."""
    if contents.stamp_of(step.path) != step.stamp:
        raise BadInput(f"{displayed(step.path)} is being changed by another program")


def _demand_content(step: Step) -> None:
    if not contents.has(step.temporary, step.sha256):
        raise BadInput(f"the new file for {displayed(step.path)} is not as it should be")


def _delete(path: bytes) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
        _flush_folder_of(path)


def _flush_folder_of(path: bytes) -> None:
    with suppress(FileNotFoundError):  # a folder that is gone has nothing to keep
        files.flush_folder(Path(os.fsdecode(os.path.dirname(path))))


# -- after an error or a kill -------------------------------------------------------------------------------------


class Unsettled(Exception):
    """It cannot be found out whether a step was done: both places are missing, or changed, or cannot be read."""


def settle(step: Step) -> bool:
    """Find out whether a step was done; complete it if it was, and clear away what it made if it was not.

    Raises `Unsettled` with a sentence; then no file is deleted.
    """
    try:
        done = _was_done(step)
        if done is not None:
            _delete(step.temporary)
    except OSError as error:
        raise Unsettled(f"{displayed(step.path)} cannot be looked at: {reason_of(error)}") from error
    if done is None:
        places = dict.fromkeys(map(displayed, (step.path, step.place)))
        raise Unsettled(f"the file is not found with its content at {' or '.join(places)}")
    return done


def _was_done(step: Step) -> bool | None:
    """Tell whether a step was done, None if that cannot be found out."""
    if step.kind in REPLACING:
        return _was_replaced(step)
    if step.kind not in BESIDE:
        return _was_moved(step)
    if not os.path.isdir(os.path.dirname(step.place)):
        return None
    _flush_folder_of(step.place)
    return _was_written(step) if step.kind == "sidecar" else contents.stamp_of(step.path) is None


def _was_written(step: Step) -> bool:
    found = contents.stamp_of(step.place)
    if found is not None and not found.size:
        os.unlink(step.place)  # the empty file that took the place
    return contents.has(step.place, step.sha256)


def _was_replaced(step: Step) -> bool | None:
    if not contents.has(step.path, step.sha256):
        return None
    _flush_folder_of(step.path)
    found = contents.stamp_of(step.path)
    return found is not None and found.inode != step.stamp.inode


def _was_moved(step: Step) -> bool | None:
    is_there, is_here = contents.has(step.place, step.sha256), contents.has(step.path, step.sha256)
    if is_there and is_here:
        contents.dress(step.place, step.facts)
        contents.flush(step.place)
        _flush_folder_of(step.place)
        os.unlink(step.path)
    elif is_here:
        found = contents.stamp_of(step.place)
        if found is not None and not found.size:
            os.unlink(step.place)
    elif not is_there or _may_be_away(step):
        return None
    _flush_folder_of(step.place)
    _tidy_move(step, done=is_there)
    return is_there


def _may_be_away(step: Step) -> bool:
    """Tell whether the old file may still exist, on a drive that is away, while a copy of it is at the new place."""
    found = contents.stamp_of(step.place)
    is_copy = found is not None and found.inode != step.stamp.inode
    return is_copy and not os.path.isdir(os.path.dirname(step.path))
