"""`retrieval remove`: forget pictures."""

from typing import Annotated

import typer

from retrieval import plugins
from retrieval.cli.options import DEFAULT_FOLDER, Folder, Quiet, Verbose
from retrieval.cli.output import put_report


def remove(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="A file or folder; it need not exist.")],
    index: Folder = DEFAULT_FOLDER,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Forget pictures. The files are left alone; a later `index` of their folder finds them again."""
    with plugins.load("api:Index").open(index) as opened:
        for path in paths:
            put_report(opened.remove(path))
