"""`retrieval verify`: whether an index is what was written."""

from typing import Annotated

import typer

from retrieval.cli.index_folder import open_index
from retrieval.cli.options import Folder, Quiet, Verbose
from retrieval.cli.output import counted, note, put


def verify(
    repair: Annotated[bool, typer.Option("--repair", help="Rebuild what can be, forget what cannot.")] = False,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Read every byte of the index and say what is damaged; exit with 0 where it is whole, 1 where it is not."""
    with open_index(index) as opened:
        result = opened.verify(repair=repair)
    for sentence in result.lost:
        put(f"lost: {sentence}")
    for sentence in result.damage:
        put(f"damaged: {sentence}")
    if result.orphans:
        note(f"{counted(result.orphans, 'file')} of no commit, merged or left over; a later run deletes them")
    if not result.whole:
        if not repair:
            note("put right what can be with: retrieval verify --repair")
        raise typer.Exit(1)
    put("whole")
