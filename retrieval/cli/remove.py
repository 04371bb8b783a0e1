"""`retrieval remove`: forget pictures."""

from typing import Annotated

import typer

from retrieval.cli.index_folder import open_index
from retrieval.cli.options import Folder, Quiet, Verbose
from retrieval.cli.reports import put_report


def remove(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="A file or folder; it need not exist.")],
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Forget pictures. The files are left alone; a later `index` of their folder finds them again."""
    with open_index(index) as opened:
        for path in paths:
            put_report(opened.remove(path))
