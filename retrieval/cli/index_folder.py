"""Which index a command uses: the one that is named, or the nearest one above the working folder."""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval import plugins
from retrieval.cli.output import note
from retrieval.errors import BadInput, IndexNotFound, RetrievalError
from retrieval.types import displayed

if TYPE_CHECKING:
    from retrieval.index import Index

NAME = "index_data"
"""The folder of an index where nobody says another."""
VARIABLE = "RETRIEVAL_INDEX"


def open_index(given: Path | None, **options: Any) -> "Index":  # noqa: ANN401 - passed on
    """Open the index to use, with the `options` of `Index.open`."""
    opened: Index = plugins.load("api:Index").open(located(given), **options)
    return opened


def located(given: Path | None) -> Path:
    """Return the folder of the index to use: `given`, or `index_data` here or, as git does, in a folder above.

    `IndexNotFound` where there is none, `BadInput` where `given` is no folder.
    """
    if given is not None:
        demand_folder(given)
        if not has_index(given):
            source = f", which {VARIABLE} names" if os.environ.get(VARIABLE) == os.fspath(given) else ""
            raise IndexNotFound(
                f"there is no index in {displayed(given)}{source}",
                hint=f"name the folder of one with --index or {VARIABLE}, or make one there with: "
                f"retrieval index FOLDER --index {displayed(given)}",
            )
        return given
    here = working_folder()
    if has_index(here / NAME):
        return Path(NAME)
    found = _above(here)
    if found is None:
        names = ", ".join(displayed(place) for place in (here, *here.parents))
        raise IndexNotFound(
            f"there is no index here: no {NAME} in {names}",
            hint=f"name the folder of one with --index or {VARIABLE}, or make one with: retrieval index FOLDER",
        )
    note(f"using the index in {displayed(os.path.relpath(found))}")
    return found


def to_update(given: Path | None, folders: Sequence[Path]) -> Path:
    """Return the folder of the index to bring up to date with `folders`; there need not be an index yet.

    One in a folder above is taken where it knows all of them, or none are given. Else a new one is to be made here:
    pictures come into an index of another place only where that is named.
    """
    if given is not None:
        demand_folder(given)
        return given if folders else located(given)
    here = working_folder()
    if not folders:
        return located(None)
    found = None if has_index(here / NAME) else _above(here)
    if found is None:
        demand_folder(Path(NAME))
        return Path(NAME)
    shown = displayed(os.path.relpath(found))
    if _knows(found, folders):
        note(f"using the index in {shown}")
        return found
    note(f"the index in {shown} does not know {displayed(folders[0])}; to add to that one: --index {shown}")
    return Path(NAME)


def _knows(index: Path, folders: Sequence[Path]) -> bool:
    """Tell whether all `folders` are among those of an index, or below one; not if it cannot be opened."""
    with suppress(RetrievalError), plugins.load("api:Index").open(index) as opened:
        roots = [os.path.realpath(root.path) for root in opened.folders()]
        return all(
            any(os.path.commonpath([root, real]) == root for root in roots) for real in map(os.path.realpath, folders)
        )
    return False


def _above(here: Path) -> Path | None:
    """Return the nearest `index_data` that has an index in a folder above `here`; None where there is none.

    One that belongs to another user is passed over: what lies in a shared folder is used only where it is named.
    """
    for place in here.parents:
        folder = place / NAME
        if has_index(folder) and folder.stat().st_uid in {os.geteuid(), 0}:
            return folder
    return None


def working_folder() -> Path:
    """Return where we are; `BadInput` where that is gone."""
    try:
        return Path.cwd()
    except OSError:
        raise BadInput("the working folder does not exist any more", hint="change to another folder") from None


def demand_folder(where: Path) -> None:
    """Raise `BadInput` where `where` is something else than a folder."""
    if os.path.lexists(where) and not os.path.isdir(where):
        raise BadInput(
            f"an index is a folder, and {displayed(where)} is none", hint="give another place with --index DIR"
        )


def has_index(folder: Path) -> bool:
    """Tell whether there is an index in `folder`, or something that cannot be looked at: opening it says why."""
    from retrieval.storage.commit import DATABASE  # which is heavy, and needed next

    try:
        return stat.S_ISREG(os.stat(folder / DATABASE).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
