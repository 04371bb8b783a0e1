"""`retrieval outliers`: the images least like the others."""

from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.filtering import Where
from retrieval.cli.find_index import open_index
from retrieval.cli.formats import chosen
from retrieval.cli.options import Batch, Each, Folder, Json, Line, Nul, Paths, Quiet, Verbose
from retrieval.cli.progress import counting
from retrieval.cli.rows import asked, note_nothing, put_rows
from retrieval.cli.screen import Screen
from retrieval.cli.showing import ContactSheet, Html, Opening, demand_showable, show_report

if TYPE_CHECKING:
    from collections.abc import Iterable

    from retrieval.overview.outliers import Outlier

EXAMPLE = {"id": 1, "path": "a", "score": 0.5, "nearest": "a"}
"""An outlier as JSON can hold it, with all fields."""


def outliers(
    count: Annotated[int, typer.Argument(metavar="[N]", min=0, help="Number of images.")] = 20,
    where: Where = None,
    json_lines: Json = False,
    paths: Paths = False,
    nul: Nul = False,
    line: Line = None,
    each: Each = None,
    batch: Batch = None,
    html: Html = None,
    contact_sheet: ContactSheet = None,
    opening: Opening = False,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Find the images least like the others, most unusual first.

        retrieval outliers 50
        retrieval outliers --where "taken:2024" --paths

    The score of an image is its mean score with the ten nearest others: lower is more unusual. Copies and pictures that
    look the same do not count. With a filter, only images that meet it are compared. The exit code is 1 if there is no
    image, or a command of -x or -X failed.
    """
    form = chosen(json_lines=json_lines, paths=paths, nul=nul, template=line, each=each, batch=batch, example=EXAMPLE)
    demand_showable(html, contact_sheet, opening=opening)
    with open_index(index) as opened:
        from retrieval.overview import outliers as overview
        from retrieval.showing import reports

        met = asked(opened, where)
        with counting("comparing", 1) as progress:
            found = overview.outliers(opened, count, where=met, progress=progress)
        show_report(lambda: reports.of_outliers(opened, found), html, contact_sheet, opening=opening)
    if not found and count:
        note_nothing(where)
    succeeded = put_rows(form, found, _put_table)
    raise typer.Exit(0 if succeeded and (found or not count) else 1)


def _put_table(found: "Iterable[Outlier]") -> None:
    screen = Screen.of_stdout()
    for one in found:
        screen.put(f"{one.score:>7.4f}  ", one.path)
