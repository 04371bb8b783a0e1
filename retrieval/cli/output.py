"""The options that say how results are written, for `query` and `list`: only one of them at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from retrieval.cli.execute import Execution
from retrieval.cli.help import HOW_SHOWN
from retrieval.errors import BadInput

OnlyPaths = Annotated[
    bool, typer.Option("--paths", rich_help_panel=HOW_SHOWN, help="Print only paths, unchanged, one per line.")
]
Nul = Annotated[
    bool, typer.Option("--print0", "-0", rich_help_panel=HOW_SHOWN, help="Print only paths, a NUL after each.")
]
Line = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="TEXT", rich_help_panel=HOW_SHOWN,
        help=r"Print a line of your own per result: '{path}\t{width}'; names as in --json.",
    ),
]  # fmt: skip
Each = Annotated[
    str | None,
    typer.Option(
        "--exec", "-x", metavar="CMD", rich_help_panel=HOW_SHOWN,
        help="Run a command for each path: 'cp {} best/'; {/} is its name, {//} its folder, {.} without extension.",
    ),
]  # fmt: skip
Batch = Annotated[
    str | None,
    typer.Option(
        "--exec-batch", "-X", metavar="CMD", rich_help_panel=HOW_SHOWN,
        help="Run a command once with all paths: 'feh {}'.",
    ),
]  # fmt: skip


def demand_one(given: Mapping[str, bool]) -> None:
    """Raise `BadInput` if several of some options are given; `given` maps their names to whether they are."""
    if sum(given.values()) > 1:
        *others, last = [name for name, is_given in given.items() if is_given]
        raise BadInput(f"only one of {', '.join(others)} and {last} can be given")


def execution_of(each: str | None, batch: str | None) -> Execution | None:
    """Return the command of `-x` or `-X`; None if there is none."""
    if each is not None:
        return Execution.parse(each, together=False)
    return None if batch is None else Execution.parse(batch, together=True)


@dataclass
class Runner:
    """Runs a command with the paths of results, as they come or once at the end."""

    execution: Execution
    succeeded: bool = True
    """Whether all commands that were run so far succeeded."""
    _waiting: list[Path] = field(default_factory=list)

    def take(self, paths: Sequence[Path]) -> None:
        """Take the paths of some results."""
        if self.execution.together:
            self._waiting += paths
        else:
            self.succeeded &= self.execution.run(paths)

    def end(self) -> None:
        """Run the command that waits for all paths."""
        if self._waiting:
            self.succeeded &= self.execution.run(self._waiting)
