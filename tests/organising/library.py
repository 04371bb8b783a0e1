"""Two folders of real pictures with copies, plans for them, and what is compared before and after."""

import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import NamedTuple

import pytest

from retrieval import BadInput
from retrieval.organising.cloning import clone
from retrieval.organising.contents import seen
from retrieval.organising.plan import Act, Kind

MTIME = 1_234_567_890_123_456_789


class State(NamedTuple):
    """What an undo gives back to a file."""

    data: bytes
    mode: int
    mtime_ns: int


def state_of(folder: Path) -> dict[bytes, State | str]:
    """Return what lies below a folder: path -> state of a regular file, or the kind of anything else."""
    found: dict[bytes, State | str] = {}
    for place, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            path = os.path.join(place, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                found[path] = State(
                    Path(os.fsdecode(path)).read_bytes(), stat.S_IMODE(status.st_mode), status.st_mtime_ns
                )
            else:
                found[path] = stat.filemode(status.st_mode)[0]
    return found


def put_library(folder: Path, pictures: list[Path]) -> Path:
    """Make a library of four pictures, each with a mode and a time of its own, and return the first, `kept.jpg`.

    `hardlink.jpg` is a copy of it. The others differ, so that it is seen if one is lost.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = ("kept", "hardlink", "trash", "move", "again")
    for number, (name, picture) in enumerate(zip(names, (pictures[0], *pictures), strict=False)):
        shutil.copyfile(picture, folder / f"{name}.jpg")
        dress(folder / f"{name}.jpg", number)
    return folder / "kept.jpg"


def dress(path: Path | bytes, number: int = 0) -> None:
    """Give a file a mode and a time by which it is told from others."""
    os.chmod(path, 0o600 + 0o10 * number)
    os.utime(path, ns=(MTIME - number, MTIME + 7 * number))


def digest(path: Path | bytes) -> bytes:
    return hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).digest()


def act(kind: Kind, path: Path | bytes, kept: Path | bytes, target: Path | None = None, text: str = "") -> Act:
    """Return an act on files as they are now."""
    return Act(
        kind=kind,
        path=os.fsencode(path),
        sha256=digest(path),
        kept=os.fsencode(kept),
        kept_sha256=digest(kept),
        target=b"" if target is None else os.fsencode(target),
        text=text,
    )


def demand_clones(folder: Path) -> None:
    """Skip the test, with the reason, if files in this folder cannot share their blocks."""
    path = folder / "probe"
    path.write_bytes(b"some blocks")
    try:
        clone(os.fsencode(path), os.fsencode(folder / "clone"), seen(os.fsencode(path)).facts)
    except BadInput as error:
        pytest.skip(str(error))
    finally:
        for name in ("probe", "clone"):
            (folder / name).unlink(missing_ok=True)
