"""Which index a command uses: the one that is named, or the nearest one at or above the working folder."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from retrieval.cli.printing import note
from retrieval.errors import BadInput, IndexNotFound, RetrievalError
from retrieval.types import displayed

if TYPE_CHECKING:
    from retrieval.index import Index
    from retrieval.networks.options import NetworkOptions

NAME = "index_data"
"""Name of the folder of an index, if no other name is given."""
VARIABLE = "RETRIEVAL_INDEX"
"""Environment variable with the folder of the index."""


def open_index(given: Path | None, **network: "Unpack[NetworkOptions]") -> "Index":
    """Open the index to use. `network` has the options of `Index.open`. Raise what `located` and `Index.open` raise."""
    folder = located(given)
    from retrieval.index import Index  # imports the database, which --help and --version do without

    return Index.open(folder, **network)


def located(given: Path | None) -> Path:
    """Return the folder of the index to use: `given`, or else `index_data` here or in a folder above, as git does.

    Raise `IndexNotFound` if there is no index, and `BadInput` if `given` is not a folder.
    """
    if given is not None:
        demand_folder(given)
        if not has_index(given):
            source = f", the folder in {VARIABLE}" if os.environ.get(VARIABLE) == os.fspath(given) else ""
            raise IndexNotFound(
                f"there is no index in {displayed(given)}{source}",
                hint=f"give the folder of an index with --index or {VARIABLE}, or make a new index with: "
                f"retrieval index FOLDER --index {displayed(given)}",
            )
        return given
    here = working_folder()
    if has_index(here / NAME):
        return Path(NAME)
    found = _above(here)
    if found is None:
        folders = ", ".join(displayed(folder) for folder in (here, *here.parents))
        raise IndexNotFound(
            f"there is no index here: no {NAME} in {folders}",
            hint=f"give the folder of an index with --index or {VARIABLE}, or make a new index with: "
            "retrieval index FOLDER",
        )
    note(f"using the index in {displayed(os.path.relpath(found))}")
    return found


def to_update(given: Path | None, folders: Sequence[Path]) -> Path:
    """Return the folder of the index to update with `folders`; there need not be an index in it yet.

    An index in a folder above is used if it contains all `folders`, or if no folders are given. Otherwise the index is
    to be made here, because an index in another place gets new folders only if the user names it.
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
    if _contains(found, folders):
        note(f"using the index in {shown}")
        return found
    added = displayed(folders[0])
    note(f"the index in {shown} does not contain {added}; to add {added} to that index: --index {shown}")
    return Path(NAME)


def _contains(index: Path, folders: Sequence[Path]) -> bool:
    """Tell whether each of `folders` is a root of the index or lies below one; False if the index cannot be opened."""
    from retrieval.index import Index

    with suppress(RetrievalError), Index.open(index) as opened:
        roots = [os.path.realpath(root.path) for root in opened.folders()]
        return all(_below_one_of(roots, os.path.realpath(folder)) for folder in folders)
    return False


def _below_one_of(roots: Sequence[str], folder: str) -> bool:
    return any(os.path.commonpath([root, folder]) == root for root in roots)


def _above(here: Path) -> Path | None:
    """Return the nearest `index_data` with an index in a folder above `here`; None if there is none.

    An index of another user (except root) is passed over. An index in a shared folder is used only if it is named.
    """
    for place in here.parents:
        folder = place / NAME
        if has_index(folder) and folder.stat().st_uid in {os.geteuid(), 0}:
            return folder
    return None


def working_folder() -> Path:
    """Return the working folder; raise `BadInput` if it was deleted."""
    try:
        return Path.cwd()
    except OSError:
        raise BadInput("the working folder no longer exists", hint="change to another folder") from None


def demand_folder(where: Path) -> None:
    """Raise `BadInput` if `where` exists and is not a folder."""
    if os.path.lexists(where) and not os.path.isdir(where):
        raise BadInput(
            f"an index is a folder, but {displayed(where)} is not a folder", hint="give another place with --index DIR"
        )


def has_index(folder: Path) -> bool:
    """Tell whether `folder` holds an index, as `Index.exists` does."""
    from retrieval.index import Index  # imports the database, which opening or making the index needs anyway

    return Index.exists(folder)
