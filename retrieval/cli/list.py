"""`retrieval list`: list the images of an index that meet a filter."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from retrieval.cli.filtering import Below, Camera, MinMp, Taken, Where, filter_of
from retrieval.cli.find_index import open_index
from retrieval.cli.help import HOW_SHOWN, WHAT
from retrieval.cli.options import Folder, Json, Quiet, Verbose
from retrieval.cli.orders import AS_LISTED, ORDERS, SIMILARITY, by_similarity, demand_order, in_order
from retrieval.cli.output import Batch, Each, Line, Nul, OnlyPaths, Runner, demand_one, execution_of
from retrieval.cli.paths import Paths
from retrieval.cli.printing import note, put, put_data, put_shown
from retrieval.cli.templates import Template
from retrieval.types import IndexedImage, Metadata

SAMPLE = IndexedImage(
    1, Path("a.jpg"), 1, 1, "JPEG", Metadata("", "", "", "", 1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, ("",)), 1, 1, ""
)
"""An image with all the values that a line of one's own can have."""


def list_images(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="List only images below this folder.")
    ] = None,
    where: Where = None,
    taken: Taken = None,
    below: Below = None,
    camera: Camera = None,
    min_mp: MinMp = None,
    keys: Annotated[
        bool, typer.Option("--keys", rich_help_panel=WHAT, help="List the keys of filters, with an example of each.")
    ] = False,
    sort: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=HOW_SHOWN,
            help="Order: path, name, taken (unknown last), pixels (most first), or similarity:IMAGE.",
        ),
    ] = AS_LISTED,
    json_lines: Json = False,
    paths: OnlyPaths = False,
    nul: Nul = False,
    line: Line = None,
    each: Each = None,
    batch: Batch = None,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """List the indexed images, all or those that meet a filter.

        retrieval list --where "taken:2024-06..2024-08 mp:>12"
        retrieval list --where "format:png|gif -path:screenshots" --paths

    A filter has terms of a key, a colon and a value; an image must meet all of them. `|` stands between values of which
    one must be met, a minus before a key means not, `*` and `?` stand for any characters and for one. `--keys` lists
    the keys. The exit code is 1 if no image meets the filter.
    """
    demand_one(
        {
            "--json": json_lines,
            "--paths or -0": paths or nul,
            "--format": line is not None,
            "-x": each is not None,
            "-X": batch is not None,
        }
    )
    template = None if line is None else Template.parse(line, SAMPLE.as_dict())
    execution = execution_of(each, batch)
    runner = None if execution is None else Runner(execution)
    demand_order(sort, ORDERS)
    if keys:
        _put_keys()
        return
    chosen = filter_of(where, taken, below, camera, min_mp)
    with open_index(index) as opened:
        images: Iterable[IndexedImage] = opened.images(folder, where=chosen)
        if sort.startswith(SIMILARITY):
            images = by_similarity(opened, images, sort.removeprefix(SIMILARITY), chosen)
        elif sort != AS_LISTED:
            images = in_order(images, sort)
        found = 0
        put_image = _put_of(runner, template, json_lines=json_lines, paths=paths, nul=nul)
        for image in images:
            put_image(image)
            found += 1
    if runner is not None:
        runner.end()
    if not found:
        note("no image of the index meets the filter" if chosen else "the index is empty")
        raise typer.Exit(1)
    if runner is not None and not runner.succeeded:
        raise typer.Exit(1)


def _put_of(
    runner: Runner | None, template: Template | None, *, json_lines: bool, paths: bool, nul: bool
) -> Callable[[IndexedImage], None]:
    """Return what writes an image."""
    if runner is not None:
        return lambda image: runner.take([image.path])
    if template is not None:
        return lambda image: put_data([template.line(image.as_dict())], b"\n")
    if json_lines:
        return lambda image: put(json.dumps(image.as_dict()))
    if paths or nul:
        return lambda image: put_data([os.fsencode(image.path)], b"\0" if nul else b"\n")
    shown = Paths.here()
    return lambda image: put_shown(_line(image, shown))


def _line(image: IndexedImage, paths: Paths) -> str:
    """Return the time, the size in pixels, the format and the path of an image."""
    taken = (image.taken or "-")[:19]  # to the second
    size = f"{image.width}x{image.height}"
    before = f"{taken:<19}  {size:>11}  {image.format:<5}  "
    return before + paths.shown(image.path, len(before), "  (offline)" if image.offline else "")


def _put_keys() -> None:
    """Write the keys of filters."""
    from retrieval.searching.filters import KEYS

    width = max(len(key.example) for key in KEYS.values())
    for key in KEYS.values():
        put(f"{key.example:<{width}}  {key.meaning}")
