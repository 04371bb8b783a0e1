"""`retrieval remove`: forget images."""

from typing import Annotated

import typer

from retrieval.cli.find_index import open_index
from retrieval.cli.options import Folder, Quiet, Verbose
from retrieval.cli.report import put_report


def remove(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Files or folders; they need not exist any longer.")
    ],
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Forget files or folders; on the disk they stay as they are.

        retrieval remove photos/old.jpg
        retrieval remove photos/2019 photos/2020

    A later `retrieval index` of their folder adds them again, unless they are excluded.
    """
    with open_index(index) as opened:
        for path in paths:
            put_report(opened.remove(path))
