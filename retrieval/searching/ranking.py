"""The names of the rankings; `expansion` has the one that is computed. This module imports no numpy: options use it."""

from retrieval.errors import BadInput

AUTO, NONE, EXPANSION = "auto", "none", "expansion"
"""The ranking that `retrieval tune` found best; by score; by query expansion."""


def check(name: str) -> None:
    """Raise `BadInput` if `name` is not the name of a ranking."""
    if name not in {AUTO, NONE, EXPANSION}:
        raise BadInput(f"there is no ranking {name}", hint=f"one of {AUTO}, {NONE}, {EXPANSION}")
