"""`retrieval list`: list the images of an index that meet a filter."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from retrieval.cli.filtering import Below, Camera, MinMp, Taken, Where, filter_of
from retrieval.cli.find_index import open_index
from retrieval.cli.help import HOW_SHOWN, WHAT
from retrieval.cli.options import Folder, Json, Quiet, Verbose
from retrieval.cli.printing import note, put, put_data
from retrieval.cli.screen import Screen
from retrieval.errors import BadInput
from retrieval.types import IndexedImage, displayed

BY_PATH = "path"
SORTS: Mapping[str, Callable[[IndexedImage], Any]] = {
    "name": lambda image: image.path.name,
    "taken": lambda image: (image.taken is None, image.taken),
    "pixels": lambda image: -image.width * image.height,
}
"""Name of an order -> the key of an image in it; equal ones stay in the order of their paths."""


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
            help="Order: path, name, taken (earliest first, unknown last) or pixels (most first).",
        ),
    ] = BY_PATH,
    json_lines: Json = False,
    paths: Annotated[
        bool, typer.Option("--paths", rich_help_panel=HOW_SHOWN, help="Print only paths, unchanged, one per line.")
    ] = False,
    nul: Annotated[
        bool, typer.Option("--print0", "-0", rich_help_panel=HOW_SHOWN, help="Print only paths, a NUL after each.")
    ] = False,
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
    if [json_lines, paths or nul].count(True) > 1:
        raise BadInput("only one of --json, --paths and -0 can be given")
    if sort != BY_PATH and sort not in SORTS:
        raise BadInput(f"there is no order {displayed(sort)}", hint=f"choose one of: {BY_PATH}, {', '.join(SORTS)}")
    if keys:
        _put_keys()
        return
    chosen = filter_of(where, taken, below, camera, min_mp)
    with open_index(index) as opened:
        images: Iterable[IndexedImage] = opened.images(folder, where=chosen)
        if sort != BY_PATH:
            images = sorted(images, key=SORTS[sort])
        if paths or nul:
            end = b"\0" if nul else b"\n"
            found = _put(images, lambda image: put_data([os.fsencode(image.path)], end))
        elif json_lines:
            found = _put(images, lambda image: put(json.dumps(image.as_dict())))
        else:
            screen = Screen.of_stdout()
            found = _put(images, lambda image: _put_row(image, screen))
    if not found:
        note("no image of the index meets the filter" if chosen else "the index is empty")
        raise typer.Exit(1)


def _put(images: Iterable[IndexedImage], write: Callable[[IndexedImage], None]) -> bool:
    """Write all images, and return whether there were any."""
    found = False
    for image in images:
        write(image)
        found = True
    return found


def _put_row(image: IndexedImage, screen: Screen) -> None:
    """Write the time, the size in pixels, the format and the path of an image."""
    size = f"{image.width}x{image.height}"
    row = f"{image.taken or '-':<19}  {size:>11}  {image.format:<5}  "
    screen.put(row, image.path, "  (offline)" if image.offline else "")


def _put_keys() -> None:
    """Write the keys of filters."""
    from retrieval.searching.filters import KEYS

    width = max(len(key.example) for key in KEYS.values())
    for key in KEYS.values():
        put(f"{key.example:<{width}}  {key.meaning}")
