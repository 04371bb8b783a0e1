"""`retrieval sample`: some images of an index."""

from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.filtering import Where
from retrieval.cli.find_index import open_index
from retrieval.cli.formats import chosen
from retrieval.cli.help import HOW_COMPUTED
from retrieval.cli.options import Batch, Each, Folder, Json, Line, Nul, Paths, Quiet, Verbose
from retrieval.cli.progress import counting
from retrieval.cli.rows import asked, note_nothing, put_rows
from retrieval.cli.screen import Screen
from retrieval.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from retrieval.overview.samples import Sampled

EXAMPLE = {"id": 1, "path": "a"}
"""An image of a sample as JSON can hold it."""


def sample(
    count: Annotated[int, typer.Argument(metavar="N", min=0, help="Number of images.")],
    diverse: Annotated[
        bool,
        typer.Option("--diverse", rich_help_panel=HOW_COMPUTED, help="Choose images that differ from each other."),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, rich_help_panel=HOW_COMPUTED, help="Another number draws other images."),
    ] = None,
    where: Where = None,
    json_lines: Json = False,
    paths: Paths = False,
    nul: Nul = False,
    line: Line = None,
    each: Each = None,
    batch: Batch = None,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Choose some images, at random or as different as possible.

        retrieval sample 100 --paths
        retrieval sample 20 --diverse --where "taken:2024" -x 'cp {} best/'

    The same command on the same index chooses the same images. With --diverse, the first image is the most typical one,
    and each further image is the one least like those before it. The exit code is 1 if there is no image, or a command
    of -x or -X failed.
    """
    form = chosen(json_lines=json_lines, paths=paths, nul=nul, template=line, each=each, batch=batch, example=EXAMPLE)
    if diverse and seed is not None:
        raise BadInput("only one of --diverse and --seed can be given", hint="a diverse sample has no chance in it")
    with open_index(index) as opened:
        from retrieval.overview import samples

        met = asked(opened, where)
        if diverse:
            with counting("choosing", 1) as progress:
                found = samples.diverse(opened, count, where=met, progress=progress)
        else:
            found = samples.at_random(opened, count, where=met, seed=seed or 0)
    if not found and count:
        note_nothing(where)
    succeeded = put_rows(form, found, _put_table)
    raise typer.Exit(0 if succeeded and (found or not count) else 1)


def _put_table(found: "Iterable[Sampled]") -> None:
    screen = Screen.of_stdout()
    for one in found:
        screen.put("", one.path)
