"""The names of the rankings. `expansion` computes the only one that is not by score.

This module imports no numpy, because `options` imports it.
"""

from retrieval.errors import BadInput

AUTO, NONE, EXPANSION = "auto", "none", "expansion"
"""The ranking that `Index.tune` has set; the ranking by score; the ranking by query expansion."""


def check(name: str) -> None:
    """Raise `BadInput` if `name` is not the name of a ranking."""
    if name not in {AUTO, NONE, EXPANSION}:
        raise BadInput(f"there is no ranking {name}", hint=f"choose one of: {AUTO}, {NONE}, {EXPANSION}")
