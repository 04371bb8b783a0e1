"""The names of the rankings. The ranking "expansion" is computed by the module `expansion`.

This module imports no numpy, so that `options` can be imported without waiting for numpy.
"""

from retrieval.errors import BadInput

AUTO, NONE, EXPANSION = "auto", "none", "expansion"
"""The ranking that `Index.tune` has set; the ranking by score; the ranking by query expansion."""


def check(name: str) -> None:
    """Raise `BadInput` if `name` is not the name of a ranking."""
    if name not in {AUTO, NONE, EXPANSION}:
        raise BadInput(f"there is no ranking {name}", hint=f"choose one of: {AUTO}, {NONE}, {EXPANSION}")
