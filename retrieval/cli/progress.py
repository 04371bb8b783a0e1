"""Progress bars on stderr, drawn only on a terminal and not with -q; and Ctrl-C during long work."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from retrieval.cli.errors import InterruptedRunError
from retrieval.cli.printing import talkative

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def interruptible(kept: Callable[[], str]) -> Iterator[None]:
    """Let Ctrl-C in the block end the command with the sentence that `kept` returns.

    The sentence says what is kept and how to continue.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedRunError(kept()) from None


@contextmanager
def bar(facts: str, last: str = "") -> "Iterator[Progress | None]":
    """Yield a progress bar that shows `facts`, the remaining time and `last`; yield None if no bar is wanted.

    `facts` and `last` are templates of rich. The caller gives each task the fields that the templates name. No text is
    treated as markup of rich, because names of files may contain brackets.
    """
    if not _wanted():
        yield None
        return
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn(facts, markup=False),
        rich.TextColumn("ETA"),
        rich.TimeRemainingColumn(),
        rich.TextColumn(last, style="red", markup=False),
    )
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as drawn:
        yield drawn


@contextmanager
def counting(description: str, total: int) -> Iterator[Callable[[float], None] | None]:
    """Yield a function that draws how many of `total` steps are done; yield None if no bar is wanted.

    With a `total` of 1, the function takes the share of the work that is done.
    """
    if not _wanted():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as drawn:
        task = drawn.add_task(description, total=total)

        def show(done: float) -> None:
            drawn.update(task, completed=done)

        yield show


@contextmanager
def stepping() -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield a function that draws the current step, by its name, and how much of it is done; None if no bar is wanted.

    A step that begins takes the place of the one before.
    """
    if not _wanted():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as drawn:
        task = drawn.add_task("", total=None)

        def show(name: str, done: int, total: int) -> None:
            drawn.update(task, description=name, completed=done, total=total)

        yield show


def _wanted() -> bool:
    """Tell whether progress is drawn: on a terminal, without -q."""
    return sys.stderr.isatty() and talkative()
