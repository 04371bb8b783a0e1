"""`retrieval map`: a point in the plane for each image."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli import tables
from retrieval.cli.filtering import Where
from retrieval.cli.find_index import open_index
from retrieval.cli.formats import chosen
from retrieval.cli.help import HOW_COMPUTED, HOW_SHOWN
from retrieval.cli.options import Folder, Json, Line, Quiet, Verbose
from retrieval.cli.printing import counted, note
from retrieval.cli.progress import counting
from retrieval.cli.rows import asked, note_nothing, put_rows
from retrieval.cli.screen import Screen
from retrieval.cli.showing import ContactSheet, Html, Opening, demand_showable, show_report
from retrieval.types import displayed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from retrieval.overview.maps import Point

EXAMPLE = {"id": 1, "path": "a", "x": 0.5, "y": 0.5, "cluster": 1}
"""A point as JSON can hold it, with all fields."""


def map_images(
    where: Where = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=HOW_COMPUTED,
            help="neighbours: near images stay near. pca: quick, the two directions of largest difference.",
        ),
    ] = "neighbours",
    clusters: Annotated[
        bool,
        typer.Option("--clusters", rich_help_panel=HOW_COMPUTED, help="Give each point the number of its cluster."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            rich_help_panel=HOW_SHOWN,
            help="Write to a file and not to stdout: .csv, .json, or .parquet (needs pyarrow).",
        ),
    ] = None,
    json_lines: Json = False,
    csv_rows: Annotated[
        bool, typer.Option("--csv", rich_help_panel=HOW_SHOWN, help="Print CSV, with the names of columns first.")
    ] = False,
    line: Line = None,
    html: Html = None,
    contact_sheet: ContactSheet = None,
    opening: Opening = False,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Place images in the plane, those that are alike near each other.

        retrieval map --out map.csv
        retrieval map --where "taken:2024" --clusters --json

    Coordinates are from -1 to 1. Images that are near are alike; a large distance says nothing. An image with copies
    has one point. The exit code is 1 if there is no image.
    """
    form = chosen(
        json_lines=json_lines, csv_rows=csv_rows, paths=False, nul=False, template=line, each=None, batch=None,
        example=EXAMPLE, table=[] if out is None else ["--out"],
    )  # fmt: skip
    if out is not None:
        tables.demand_kind(out)
    demand_showable(html, contact_sheet, opening=opening)
    with open_index(index) as opened:
        from retrieval.overview import maps
        from retrieval.showing import reports

        met = asked(opened, where)
        with counting("placing", 1) as progress:
            found = maps.place(opened, method=method, where=met, clusters=clusters, progress=progress)
        show_report(lambda: reports.of_map(opened, found), html, contact_sheet, opening=opening)
    if not found:
        note_nothing(where)
    if out is None:
        put_rows(form, found, _put_table)
    else:
        tables.write(out, [one.as_dict() for one in found])
        note(f"{counted(len(found), 'image')} in {displayed(out)}")
    raise typer.Exit(0 if found else 1)


def _put_table(found: "Iterable[Point]") -> None:
    screen = Screen.of_stdout()
    for one in found:
        screen.put(f"{one.x:>7.4f}  {one.y:>7.4f}  ", one.path)
