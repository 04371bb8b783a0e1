"""The options that filter images, for `query` and `list`."""

from collections.abc import Sequence
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.help import WHAT
from retrieval.cli.printing import note
from retrieval.types import Coverage

if TYPE_CHECKING:
    from retrieval.searching.filters import Filter

Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILTER", rich_help_panel=WHAT,
        help='Only images that meet a filter, for example "taken:2024 -path:old mp:>12"; see `retrieval list --help`.',
    ),
]  # fmt: skip
Taken = Annotated[
    str | None,
    typer.Option(
        metavar="DATE", rich_help_panel=WHAT, help='Short for --where "taken:DATE": 2024, 2024-06.., <2weeks.'
    ),
]
Below = Annotated[
    str | None,
    typer.Option("--path", metavar="GLOB", rich_help_panel=WHAT, help='Short for --where "path:GLOB".'),
]
Camera = Annotated[
    str | None,
    typer.Option(metavar="GLOB", rich_help_panel=WHAT, help='Short for --where "camera:GLOB", as in canon*.'),
]
MinMp = Annotated[
    float | None,
    typer.Option("--min-mp", metavar="N", min=0, rich_help_panel=WHAT, help='Short for --where "mp:>=N".'),
]


def note_unread(coverage: Coverage) -> None:
    """Write a note if a filter may be wrong, because the metadata of some images were never read."""
    if coverage.unread:
        note("filters do not see the metadata of all images yet; to read them: retrieval index")


def filter_of(
    where: Sequence[str] | None, taken: str | None, below: str | None, camera: str | None, min_mp: float | None
) -> "Filter | None":
    """Return the filter that the options make together, None if there are none; `BadFilter` for a faulty one."""
    if not where and all(value is None for value in (taken, below, camera, min_mp)):
        return None
    from retrieval.searching.filters import Filter

    parts = [Filter.parse(text) for text in where or ()]
    if taken is not None:
        parts.append(Filter.taken == taken)
    if below is not None:
        parts.append(Filter.path == below)
    if camera is not None:
        parts.append(Filter.camera == camera)
    if min_mp is not None:
        parts.append(Filter.mp >= min_mp)
    return reduce(and_, parts)
