"""`retrieval has`: tell whether pictures are in an index."""

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.errors import complain_of
from retrieval.cli.find_index import open_index
from retrieval.cli.formats import Format, chosen
from retrieval.cli.help import HOW_SHOWN
from retrieval.cli.options import Folder, Json, Nul, Paths, Quiet, Verbose
from retrieval.cli.printing import put, put_data
from retrieval.cli.relations import Relations, relations_of, said
from retrieval.cli.screen import Screen
from retrieval.errors import UnreadableImage
from retrieval.types import displayed

if TYPE_CHECKING:
    from retrieval.organising.known import Known

UNREADABLE = 2
"""The exit code if a picture could not be read."""


def has(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Pictures; they need not be indexed.")],
    relation: Relations = None,
    missing: Annotated[
        bool,
        typer.Option(
            "--missing", rich_help_panel=HOW_SHOWN, help="Show only the pictures that the index does not have."
        ),
    ] = False,
    json_lines: Json = False,
    paths: Paths = False,
    nul: Nul = False,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Tell whether the index has pictures, or copies of them.

        retrieval has new.jpg
        retrieval has card/a.jpg card/b.jpg --missing --paths

    A picture is recognised by its bytes at once. Without the same bytes, the most similar images are compared with it,
    pixel by pixel, in all orientations. --paths prints the pictures that were given, of those that are shown. The exit
    code is 0 if the index has all of them, 1 if it lacks one, and 2 if one could not be read.
    """
    form = chosen(json_lines=json_lines, paths=paths, nul=nul, template=None, each=None, batch=None, example={})
    relations = relations_of(relation)
    has_all, is_unreadable = True, False
    with open_index(index) as opened:
        from retrieval.organising.known import known

        for image in images:
            try:
                found = known(opened, image, relations)
            except UnreadableImage as error:
                complain_of(error, str(error), error.hint)
                is_unreadable = True
                continue
            has_all = has_all and bool(found)
            if not (missing and found):
                _put(image, found, form)
    if is_unreadable or not has_all:
        raise typer.Exit(UNREADABLE if is_unreadable else 1)


def _put(image: str, found: "tuple[Known, ...]", form: object) -> None:
    match form:
        case Format.JSON:
            put(json.dumps({"image": image, "found": [item.as_dict() for item in found]}))
        case Format.PATHS | Format.PATHS0:
            put_data([os.fsencode(image)], b"\0" if form is Format.PATHS0 else b"\n")
        case _:
            screen = Screen.of_stdout()
            put(f"{displayed(image)}: {'in the index' if found else 'not in the index'}")
            for item in found:
                screen.put(f"  {said(str(item.relation)):<11}  {item.score:.4f}  ", item.path)
