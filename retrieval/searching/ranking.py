"""The rankings: their names, and how each of them orders the images that are nearest to a query.

The order itself is computed by the module `expansion`. This module imports no numpy, so that `options` can be imported
without waiting for numpy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retrieval.errors import BadInput

AUTO, NONE, MIXED, EXPANSION = "auto", "none", "mixed", "expansion"
"""The ranking that `Index.tune` has set, or else the default; by score; the first few by score and the others by query
expansion; all by query expansion."""
FEWEST = 100
"""Least number of images that an index must have to be ranked by `MIXED` by default. With fewer,
a loss on pictures of one's own cannot be measured (see `measuring.tuning`), and the gain is less sure: of 10 to 50
pictures of the sets below, mean average precision changes by -0.003 to +0.07."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """How query expansion orders the images that are nearest to a query."""

    first: int
    """Number of the best images by score that keep their places. Copies of the query stand before them."""
    share: float
    """Weight of the expanded vectors in the relevance, 0 to 1 (see `expansion.relevance`)."""


RANKINGS: Mapping[str, Ranking] = {MIXED: Ranking(3, 0.75), EXPANSION: Ranking(0, 0.5)}
"""Name -> the ranking, for the rankings that use expansion.

A picture that was changed (cropped, recoloured and so on) nearly always has its original among the first few by score,
and expansion may move it down. So the first few stay. The two numbers of `MIXED` were chosen on four sets (rooms of the
Houses dataset, CIFAR-10, and the photos and art paintings of PACS) with MobileNetV2 and the network `mini`, and 60
changed pictures of each. Against the order by score, the mean reciprocal rank of the originals falls by at most 0.008.
It falls by up to 0.015 if 2 stay, and by up to 0.023 if 1 stays. With a share of 0.5, 0.75 and 1, mean average
precision rises by 0.035, 0.036 and 0.036, and the mean reciprocal rank falls by at most 0.007, 0.008 and 0.010."""

NAMES = (NONE, *RANKINGS)
"""Names of the rankings that an index can use by default, from the one by score to the one that changes it most."""


def check(name: str) -> None:
    """Raise `BadInput` if `name` is not the name of a ranking."""
    _demand(name, (AUTO, *NAMES))


def check_own(name: str) -> None:
    """Raise `BadInput` if `name` is not the name of a ranking that an index can use by default."""
    _demand(name, NAMES)


def _demand(name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise BadInput(f"there is no ranking {name}", hint=f"choose one of: {', '.join(names)}")


def by_default(images: int) -> str:
    """Return the name of the ranking of an index with a number of images for which `Index.tune` has set none."""
    return MIXED if images >= FEWEST else NONE
