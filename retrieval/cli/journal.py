"""`retrieval journal`: list what was done with files."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from retrieval.cli.find_index import open_index
from retrieval.cli.options import Folder, Json, Quiet, Verbose
from retrieval.cli.printing import note, put
from retrieval.cli.screen import Screen

if TYPE_CHECKING:
    from retrieval.organising.journal import Entry

NAMES = {"separate": "undo", "restore": "undo", "erase": "undo"}
"""Kind of a step -> its name for a person, if that differs."""


def journal(json_lines: Json = False, index: Folder = None, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """List what was done with files, the earliest first.

        retrieval journal
        retrieval journal --json

    A line has the number of the run, the time (UTC), what was done, and the file. The exit code is 1 if nothing was
    done.
    """
    with open_index(index) as opened:
        from retrieval.organising.journal import Journal

        entries = Journal(opened.folder).entries()
    undone = {entry.undoes for entry in entries if entry.done}
    screen = Screen.of_stdout()
    for entry in entries:
        state = _state(entry, undone)
        if json_lines:
            put(json.dumps(_facts(entry, state)))
        else:
            path = entry.step.path if entry.undoes is None else entry.step.place
            name = NAMES.get(entry.step.kind, entry.step.kind)
            screen.put(
                f"{entry.run:>4}  {entry.time[:19]}  {name:<8}  ",
                Path(os.fsdecode(path)),
                state and f"  ({state})",
            )
    if not entries:
        note("nothing was done with files")
        raise typer.Exit(1)


def _state(entry: "Entry", undone: set[int | None]) -> str:
    """Return what has become of a step, empty if it is simply done."""
    if entry.done is None:
        return "not known: the process was killed; the next run finds out"
    if not entry.done:
        return f"not done: {entry.why}"
    return "undone" if entry.number in undone else ""


def _facts(entry: "Entry", state: str) -> dict[str, object]:
    return {
        "run": entry.run,
        "number": entry.number,
        "time": entry.time,
        "kind": entry.step.kind,
        "path": os.fsdecode(entry.step.path),
        "place": os.fsdecode(entry.step.place),
        "kept": os.fsdecode(entry.step.kept),
        "undoes": entry.undoes,
        "state": state or "done",
    }
