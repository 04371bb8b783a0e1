"""`retrieval undo`: revert what was done with files."""

from typing import Annotated

import typer

from retrieval.cli.find_index import open_index
from retrieval.cli.options import Folder, Quiet, Verbose
from retrieval.cli.printing import counted, note, note_each, put


def undo(
    runs: Annotated[int, typer.Argument(metavar="[N]", min=1, help="Number of runs to undo, the latest ones.")] = 1,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Undo what `duplicates` did with files.

        retrieval undo
        retrieval undo 3

    Files get back their places, bytes, names, times and modes. A file that has changed since, or whose place is taken,
    is left as it is; the exit code is then 2. The exit code is 1 if there is nothing to undo.
    """
    with open_index(index) as opened:
        from retrieval.organising import deciding

        outcome, _, stale = deciding.undo(opened, runs)
    if stale:
        note(f"the index still remembers that these files were removed: {stale}")
    note_each([f"left as it is: {refusal.why}" for refusal in outcome.refused])
    if not outcome.done and not outcome.refused:
        note("there is nothing to undo")
        raise typer.Exit(1)
    put(f"{counted(outcome.done, 'file')} as before")
    if outcome.done:
        note("to find these files again: retrieval index")
    if outcome.refused:
        raise typer.Exit(2)
