"""The option that names relations of pictures, and their names for people."""

from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.help import WHAT
from retrieval.errors import BadInput
from retrieval.types import displayed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from retrieval.comparing.relation import Relation

Relations = Annotated[
    str | None,
    typer.Option(
        "--relation", metavar="NAMES", rich_help_panel=WHAT,
        help="What counts, separated by commas: same_bytes, same_pixels, reencoded, resized, cropped, rotated, "
        "mirrored, recoloured, edited, burst, same_scene. Without it: all but the last two.",
    ),
]  # fmt: skip


def relations_of(names: str | None) -> "Sequence[Relation]":
    """Return the relations that the option names; raise `BadInput` for an unknown name."""
    from retrieval.comparing.relation import COPIES, Relation

    if names is None:
        return COPIES
    try:
        return [Relation(name.strip()) for name in names.split(",")]
    except ValueError as error:
        hint = f"choose from: {', '.join(Relation)}"
        raise BadInput(f"there is no such relation in {displayed(names)}", hint=hint) from error


def said(name: str) -> str:
    """Return the name of a relation as a person says it: `same bytes`, `re-encoded`."""
    return {"reencoded": "re-encoded"}.get(name, name.replace("_", " "))
