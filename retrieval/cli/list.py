"""`retrieval list`: list the images of an index that meet a filter."""

import json
import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from retrieval.cli.execution import Execution
from retrieval.cli.filtering import Below, Camera, MinMp, Taken, Where, filter_of
from retrieval.cli.find_index import open_index
from retrieval.cli.formats import Form, Format, chosen, put_filled
from retrieval.cli.help import HOW_SHOWN, WHAT
from retrieval.cli.options import Batch, Each, Folder, Json, Line, Nul, Paths, Pictures, Quiet, Verbose
from retrieval.cli.orders import AS_LISTED, ORDERS, SIMILARITY, by_similarity, demand_order, in_order
from retrieval.cli.preview import Preview, demand_name
from retrieval.cli.printing import note, put, put_data
from retrieval.cli.screen import Screen
from retrieval.cli.templates import Template
from retrieval.types import IndexedImage, Metadata

EXAMPLE = IndexedImage(
    1, Path("a"), 1, 1, "PNG", Metadata("2026", "a", "a", "a", 1, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, ("a",)), 1, 1, "a"
).as_dict()
"""An image as JSON can hold it, with all fields."""


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
    paths: Paths = False,
    nul: Nul = False,
    line: Line = None,
    each: Each = None,
    batch: Batch = None,
    pictures: Pictures = None,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """List the indexed images, all or those that meet a filter.

        retrieval list --where "taken:2024-06..2024-08 mp:>12"
        retrieval list --where "format:png|gif -path:screenshots" --paths

    A filter has terms of a key, a colon and a value; an image must meet all of them. `|` stands between values of which
    one must be met, a minus before a key means not, `*` and `?` stand for any characters and for one. `--keys` lists
    the keys. The exit code is 1 if no image meets the filter, or a command of -x or -X failed.
    """
    form = chosen(
        json_lines=json_lines,
        paths=paths,
        nul=nul,
        template=line,
        each=each,
        batch=batch,
        example=EXAMPLE,
        table=["--preview"] if pictures else [],
    )
    demand_name(pictures)
    demand_order(sort, ORDERS)
    if keys:
        _put_keys()
        return
    met = filter_of(where, taken, below, camera, min_mp)
    with open_index(index) as opened:
        images: Iterable[IndexedImage] = opened.images(folder, where=met)
        if sort.startswith(SIMILARITY):
            images = by_similarity(opened, images, sort.removeprefix(SIMILARITY), met)
        elif sort != AS_LISTED:
            images = in_order(images, sort)
        some = iter(images)
        first = next(some, None)
        succeeded = first is not None and _put(chain([first], some), form, Preview.named(pictures))
    if first is None:
        note("no image of the index meets the filter" if met else "the index is empty")
    raise typer.Exit(0 if succeeded else 1)


def _put(images: Iterable[IndexedImage], form: Form, preview: Preview) -> bool:
    """Write all images, or run a command on them; return False if a command failed."""
    match form:
        case Format.PATHS | Format.PATHS0:
            end = b"\0" if form is Format.PATHS0 else b"\n"
            put_data((os.fsencode(image.path) for image in images), end)
        case Format.JSON:
            for image in images:
                put(json.dumps(image.as_dict()))
        case Template():
            put_filled(form, (image.as_dict() for image in images))
        case Execution():
            return form.run(image.path for image in images)
        case _:
            screen = Screen.of_stdout()
            for image in images:
                if not image.offline:
                    preview.put(image.path, image.width, image.height)
                _put_row(image, screen)
    return True


def _put_row(image: IndexedImage, screen: Screen) -> None:
    """Write the time, the size in pixels, the format and the path of an image."""
    size = f"{image.width}x{image.height}"
    row = f"{(image.taken or '-')[:19]:<19}  {size:>11}  {image.format:<5}  "
    screen.put(row, image.path, "  (offline)" if image.offline else "")


def _put_keys() -> None:
    """Write the keys of filters."""
    from retrieval.searching.filters import KEYS

    width = max(len(key.example) for key in KEYS.values())
    for key in KEYS.values():
        put(f"{key.example:<{width}}  {key.meaning}")
