"""`retrieval verify`: check an index for damage, and repair it."""

from typing import Annotated

import typer

from retrieval.cli.find_index import open_index
from retrieval.cli.help import WHAT
from retrieval.cli.options import Folder, Quiet, Verbose
from retrieval.cli.printing import counted, note, put
from retrieval.errors import BadInput


def verify(
    repair: Annotated[
        bool, typer.Option("--repair", rich_help_panel=WHAT, help="Repair what can be repaired without loss.")
    ] = False,
    forget_lost: Annotated[
        bool,
        typer.Option(
            "--forget-lost", rich_help_panel=WHAT, help="With --repair: also forget images that cannot be repaired."
        ),
    ] = False,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Check every checksum of the index, and report damage.

        retrieval verify
        retrieval verify --repair

    The exit code is 0 if the index is whole, and 1 if it is damaged.
    """
    if forget_lost and not repair:
        raise BadInput("--forget-lost needs --repair", hint="run: retrieval verify --repair --forget-lost")
    with open_index(index) as opened:
        result = opened.verify(repair=repair, forget_lost=forget_lost)
    for sentence in result.lost:
        put(f"lost: {sentence}")
    for sentence in result.unsaved:
        put(f"would be lost: {sentence}")
    for sentence in result.damage:
        put(f"damaged: {sentence}")
    if result.orphans:
        note(f"{counted(result.orphans, 'leftover file')} of interrupted or merged work; a later run deletes them")
    if result.whole:
        put("whole")
        return
    if not repair:
        note("to repair what can be repaired: retrieval verify --repair")
    if result.unsaved:
        note("nothing was forgotten; to forget what cannot be repaired: retrieval verify --repair --forget-lost")
    raise typer.Exit(1)
