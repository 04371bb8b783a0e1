"""`retrieval cluster`: groups of images that are alike."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.filtering import Where
from retrieval.cli.find_index import open_index
from retrieval.cli.formats import Format, chosen
from retrieval.cli.help import HOW_COMPUTED, HOW_MANY, HOW_SHOWN
from retrieval.cli.options import Batch, Each, Folder, Json, Line, Nul, Paths, Quiet, Verbose
from retrieval.cli.printing import counted, note, put
from retrieval.cli.progress import counting
from retrieval.cli.rows import asked, note_nothing, put_rows
from retrieval.cli.screen import Screen, cells
from retrieval.cli.showing import ContactSheet, Html, Opening, demand_showable, show_report
from retrieval.types import displayed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from retrieval.overview.clusters import Cluster, Member

EXAMPLE = {"cluster": 1, "size": 1, "name": "a", "path": "a", "tags": [], "members": []}
"""A cluster as JSON can hold it, with all fields."""
MEMBER = {"id": 1, "path": "a", "cluster": 1, "score": 0.5}
"""A member of a cluster as JSON can hold it."""


def cluster(
    where: Where = None,
    min_size: Annotated[
        int,
        typer.Option(metavar="N", min=1, rich_help_panel=HOW_MANY, help="Least number of images in a cluster."),
    ] = 3,
    resolution: Annotated[
        float,
        typer.Option(
            metavar="R", min=0.001, max=1000, rich_help_panel=HOW_COMPUTED,
            help="Above 1: more and smaller clusters. Below 1: fewer and larger ones.",
        ),
    ] = 1.0,
    members: Annotated[
        bool,
        typer.Option(
            "--members", rich_help_panel=HOW_SHOWN,
            help="Print a line for each image in a cluster, not for each cluster.",
        ),
    ] = False,
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
) -> None:  # fmt: skip
    r"""Group images that are alike, and show a typical image of each.

        retrieval cluster --where "taken:2024" --min-size 10 --json
        retrieval cluster --members --format '{cluster}\t{path}'

    Each line has the number of the cluster, its number of images, its name and its most typical image; the largest
    cluster comes first. The name is the tag that tells the cluster from the others, if the index has tags. The exit
    code is 1 if there is no cluster, or a command of -x or -X failed.
    """
    form = chosen(
        json_lines=json_lines, paths=paths, nul=nul, template=line, each=each, batch=batch,
        example=MEMBER if members else EXAMPLE,
    )  # fmt: skip
    demand_showable(html, contact_sheet, opening=opening)
    with open_index(index) as opened:
        from retrieval.overview import clusters
        from retrieval.showing import reports

        met = asked(opened, where)
        with counting("comparing", 1) as progress:
            found = clusters.cluster(opened, where=met, min_size=min_size, resolution=resolution, progress=progress)
        show_report(lambda: reports.of_clusters(opened, found), html, contact_sheet, opening=opening)
    if not found.clusters and not found.rest:
        note_nothing(where)
    if members:
        rest = found.rest if form is Format.JSON else ()
        succeeded = put_rows(form, [*(one for each in found.clusters for one in each.members), *rest], _put_members)
    else:
        succeeded = put_rows(form, found.clusters, _put_table)
        if form is Format.JSON and found.rest:
            put(json.dumps(found.rest_as_dict()))
    if found.rest:
        one = "is" if len(found.rest) == 1 else "are"
        note(f"{counted(len(found.rest), 'image')} {one} in no cluster of {min_size} or more")
    raise typer.Exit(0 if succeeded and found.clusters else 1)


def _put_table(found: "Iterable[Cluster]") -> None:
    """Write the number, the size, the name and the exemplar of each cluster."""
    clusters, screen = list(found), Screen.of_stdout()
    titles = ["name", *(displayed(one.name) for one in clusters)]
    width = max(map(cells, titles)) if any(one.name for one in clusters) else 0
    title, *names = [f"{title}{' ' * (width - cells(title))}  " if width else "" for title in titles]
    if clusters:
        put(f"cluster  images  {title}most typical image")
    for one, name in zip(clusters, names, strict=True):
        screen.put(f"{one.number:>7}  {len(one.members):>6}  {name}", one.path)


def _put_members(found: "Iterable[Member]") -> None:
    """Write the number of the cluster, the score and the path of each image."""
    screen = Screen.of_stdout()
    for one in found:
        screen.put(f"{one.cluster:>7}  {one.score:>7.4f}  ", one.path)
