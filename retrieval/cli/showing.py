"""The options that write what was found as a page or as a sheet of pictures."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.help import HOW_SHOWN
from retrieval.cli.printing import counted, note
from retrieval.errors import BadInput
from retrieval.types import displayed

if TYPE_CHECKING:
    from collections.abc import Callable

    from retrieval.showing.report import Report

Html = Annotated[
    Path | None,
    typer.Option(
        "--html", metavar="FILE", rich_help_panel=HOW_SHOWN,
        help="Write a page with the pictures to FILE, too. It needs no other file and no network.",
    ),
]  # fmt: skip
ContactSheet = Annotated[
    Path | None,
    typer.Option(
        "--contact-sheet", metavar="FILE", rich_help_panel=HOW_SHOWN,
        help="Write one picture of all pictures to FILE, too: .png, .jpg or .webp.",
    ),
]  # fmt: skip
Opening = Annotated[
    bool, typer.Option("--open", rich_help_panel=HOW_SHOWN, help="Open the page of --html in the browser.")
]


def demand_showable(html: Path | None, sheet: Path | None, *, opening: bool = False) -> None:
    """Raise `BadInput` for files that cannot be written, before anything is computed."""
    if opening and html is None:
        raise BadInput("--open opens the page of --html", hint="add --html FILE")
    for path in (html, sheet):
        if path is not None and not path.absolute().parent.is_dir():
            raise BadInput(f"the folder of {displayed(path)} does not exist")
    if sheet is not None:
        from retrieval.showing import sheets

        sheets.format_of(sheet)


def show_report(make: "Callable[[], Report]", html: Path | None, sheet: Path | None, *, opening: bool = False) -> None:
    """Write a report in the forms that were asked for, and say what was written."""
    if html is None and sheet is None:
        return
    report = make()
    if html is not None:
        from retrieval.showing import pages

        written = pages.write(report, html)
        _note(html, written.pictures, written.left_out, written.bytes)
        if opening:
            webbrowser.open(html.absolute().as_uri())
    if sheet is not None:
        from retrieval.showing import sheets

        drawn = sheets.write(report, sheet)
        _note(sheet, drawn.pictures, drawn.left_out, drawn.bytes)


def _note(path: Path, pictures: int, left_out: int, size: int) -> None:
    rest = f"; {counted(left_out, 'picture')} left out, because it would be too large" if left_out else ""
    note(f"{displayed(path)}: {counted(pictures, 'picture')}, {size / 1e6:.1f} MB{rest}")
