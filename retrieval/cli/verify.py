"""`retrieval verify`: whether an index is what was written."""

from typing import Annotated

import typer

from retrieval.cli.index_folder import open_index
from retrieval.cli.options import Folder, Quiet, Verbose
from retrieval.cli.output import counted, note, put
from retrieval.errors import BadInput


def verify(
    repair: Annotated[bool, typer.Option("--repair", help="Put right what can be.")] = False,
    forget_lost: Annotated[
        bool, typer.Option("--forget-lost", help="With --repair: forget what cannot be put right.")
    ] = False,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Read every byte of the index and say what is damaged; exit with 0 where it is whole, 1 where it is not."""
    if forget_lost and not repair:
        raise BadInput("--forget-lost is for a repair", hint="say: retrieval verify --repair --forget-lost")
    with open_index(index) as opened:
        result = opened.verify(repair=repair, forget_lost=forget_lost)
    for sentence in result.lost:
        put(f"lost: {sentence}")
    for sentence in result.unsaved:
        put(f"would be lost: {sentence}")
    for sentence in result.damage:
        put(f"damaged: {sentence}")
    if result.orphans:
        note(f"{counted(result.orphans, 'file')} of no commit, merged or left over; a later run deletes them")
    if not result.whole:
        if not repair:
            note("put right what can be with: retrieval verify --repair")
        if result.unsaved:
            note("nothing was forgotten; if it may be: retrieval verify --repair --forget-lost")
        raise typer.Exit(1)
    put("whole")
