"""What a search can be told."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from retrieval.arguments import flag, integer, number, strings, word
from retrieval.errors import BadInput
from retrieval.searching.ranking import AUTO, check
from retrieval.types import displayed

VIEWS = ("mirror", "multiscale")
"""Ways to look at a picture besides as it is: mirrored, and its middle, which has half of its area."""
HIGHEST = 1.001
"""A cosine is 1 at most, but for rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How a query is answered. All who search take these options: the Python API, the command line and evaluation.

    Raises `BadInput` for a value that cannot be used.
    """

    offset: int = 0
    """Number of the best matches that are left out."""
    min_score: float | None = None
    """Least score of a match, -1 to 1; None for no such limit."""
    include_self: bool = False
    """Whether the query itself can be a match. Otherwise the file at a path is none (its copies are, with score 1), nor
    is the image of an id or a match."""
    exact: bool = False
    """Whether every vector is looked at. Otherwise the search structures of the index find nearly all of the nearest:
    `Index.info` tells their recall."""
    ranking: str = AUTO
    """Order of the matches: "none" for by score, "expansion" for by `Match.relevance` (see `expansion`), "auto" for
    what `Index.tune` has set, which is "none" at first."""
    likelihood: bool = False
    """Whether matches are told their `Match.probability`: how likely they are related to the query (see `likelihood`).
    """
    likely: bool = False
    """Whether only likely matches are returned: none where the index cannot tell. Includes `likelihood`."""
    views: Sequence[str] = ()
    """Names of `VIEWS`. The vector of a picture whose bytes are at hand is the mean of its own vector and of theirs."""
    tags: bool = False
    """Whether matches are told their `Match.tags`, where the index has tags."""

    def __post_init__(self) -> None:
        """Take what a caller gave as the types that are used; `BadInput` for what cannot be used."""
        take = partial(object.__setattr__, self)
        take("offset", integer(self.offset, "offset", 0))
        if self.min_score is not None:
            take("min_score", number(self.min_score, "min_score", -HIGHEST, HIGHEST))
        for name in ("include_self", "exact", "likelihood", "likely", "tags"):
            take(name, flag(getattr(self, name), name))
        check(word(self.ranking, "ranking"))
        take("views", strings(self.views, "views"))
        for view in self.views:
            if view not in VIEWS:
                raise BadInput(f"there is no view {displayed(view)}", hint=f"there are: {', '.join(VIEWS)}")

    @property
    def judged(self) -> bool:
        """Whether the search has to tell which matches are likely."""
        return self.likelihood or self.likely
