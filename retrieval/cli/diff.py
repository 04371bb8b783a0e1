"""`retrieval diff`: what one folder has that another one lacks."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.errors import InterruptedRunError
from retrieval.cli.find_index import open_index
from retrieval.cli.formats import Form, Format, chosen
from retrieval.cli.help import WHAT
from retrieval.cli.options import Folder, Json, Nul, Paths, Quiet, Verbose
from retrieval.cli.printing import counted, note, note_each, put, put_data
from retrieval.cli.progress import stepping
from retrieval.cli.relations import Relations, relations_of, said
from retrieval.cli.screen import Screen
from retrieval.cli.showing import ContactSheet, Html, Opening, demand_showable, show_report
from retrieval.errors import BadInput, IndexNotFound
from retrieval.types import displayed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from retrieval.index import Index
    from retrieval.organising.differences import Difference, Differences, State

UNREADABLE = 2
"""The exit code if a file could not be compared."""


def diff(
    first: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder whose pictures are looked for.")],
    second: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder that may lack them.")],
    show: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            rich_help_panel=WHAT,
            help="What is shown, separated by commas: missing, nearly, common, only_there. Without it: all but common; "
            "with --paths, missing.",
        ),
    ] = None,
    relation: Relations = None,
    json_lines: Json = False,
    paths: Paths = False,
    nul: Nul = False,
    html: Html = None,
    contact_sheet: ContactSheet = None,
    opening: Opening = False,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Show what the second folder lacks of the first one.

        retrieval diff card library
        retrieval diff card library --show missing --print0

    A picture is missing if the second folder has neither its bytes nor a copy of it. It is nearly there if there is a
    copy with other bytes. A folder that is indexed is taken as of its latest update. Another one is looked at now, and
    leaves nothing behind. To copy what is missing, give the paths of -0 to: xargs -0 cp -t library. The exit code is 0
    if there are no differences to show, 1 if there are, and 2 if a file could not be compared.
    """  # fmt: skip
    demand_showable(html, contact_sheet, opening=opening)
    form = chosen(json_lines=json_lines, paths=paths, nul=nul, template=None, each=None, batch=None, example={})
    states = _states(show, only_missing=form in {Format.PATHS, Format.PATHS0})
    relations = relations_of(relation)
    from retrieval.organising.differences import differences
    from retrieval.showing import reports

    opened = _opened(index)
    try:
        with stepping() as step:
            found = differences(first, second, opened, relations, step)
    except KeyboardInterrupt:
        raise InterruptedRunError("nothing was changed") from None
    finally:
        if opened is not None:
            opened.close()
    shown = [item for item in found.files if item.state in states]
    _put(shown, form)
    show_report(lambda: reports.of_differences(shown), html, contact_sheet, opening=opening)
    _note_counts(found)
    if found.unreadable or found.not_indexed:
        raise typer.Exit(UNREADABLE)
    if any(item.state != "common" for item in shown):
        raise typer.Exit(1)


def _states(names: str | None, *, only_missing: bool) -> "set[State]":
    from retrieval.organising.differences import State

    if names is None:
        return {State.MISSING} if only_missing else set(State) - {State.COMMON}
    try:
        return {State(name.strip()) for name in names.split(",")}
    except ValueError as error:
        hint = f"choose from: {', '.join(State)}"
        raise BadInput(f"there is nothing to show as {displayed(names)}", hint=hint) from error


def _opened(index: Path | None) -> "Index | None":
    """Open the index to use; return None if none was named and there is none."""
    try:
        return open_index(index)
    except IndexNotFound:
        if index is not None:
            raise
        return None


def _put(shown: "Sequence[Difference]", form: Form) -> None:
    match form:
        case Format.JSON:
            for item in shown:
                put(json.dumps(item.as_dict()))
        case Format.PATHS | Format.PATHS0:
            put_data((os.fsencode(item.path) for item in shown), b"\0" if form is Format.PATHS0 else b"\n")
        case _:
            screen = Screen.of_stdout()
            for item in shown:
                screen.put(f"{said(str(item.state)):<10}  ", item.path)
                if item.other is not None and item.relation is not None:
                    screen.put(f"{'':10}  {said(str(item.relation))}: ", item.other)


def _note_counts(found: "Differences") -> None:
    note_each([f"not compared: {displayed(failure.path)}: {failure.reason}" for failure in found.unreadable])
    if found.not_indexed:
        files = counted(found.not_indexed, "file")
        note(f"{files} of indexed folders not compared: new or changed since; to update the index: retrieval index")
    counts: dict[str, int] = {}
    for item in found.files:
        counts[str(item.state)] = counts.get(str(item.state), 0) + 1
    words = [f"{count} {said(state)}" for state, count in counts.items()]
    note(", ".join(words) if words else f"{counted(0, 'picture')} in both folders")
