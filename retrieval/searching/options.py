"""The options of a search."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from retrieval.arguments import flag, integer, number, strings, word
from retrieval.errors import BadInput
from retrieval.searching.crop import Crop
from retrieval.searching.ranking import AUTO, check
from retrieval.types import displayed

if TYPE_CHECKING:
    from retrieval.searching.filters import Filter

ORIENTATIONS = ("mirror", "flip", "rot90", "rot180", "rot270", "transpose", "transverse")
"""Names of the ways in which a picture can be turned or mirrored, as Pillow has them: `rot90` is counterclockwise,
`flip` puts the top at the bottom, `transpose` and `transverse` are mirrored and turned."""
MULTISCALE, ALL = "multiscale", "all"
VIEWS = (*ORIENTATIONS, MULTISCALE, ALL)
"""Names of the views of a picture that can be searched with besides the picture itself. "multiscale" is its middle,
with half of its area; "all" are all orientations."""
LEAST_BALANCE = 0.01
"""Least `mmr`. With 0, only the first match would have to do with the query."""
HIGHEST = 1.001
"""Largest `min_score`. A cosine is at most 1, but rounding can lift it above 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How a query is answered. The Python API, the command line and evaluation all take these options.

    Raises `BadInput` for a value that cannot be used.
    """

    offset: int = 0
    """Number of the best matches to leave out, 0 or more."""
    min_score: float | None = None
    """Least score of a match, -1 to 1; None for no limit."""
    include_self: bool = False
    """Whether the query itself can be a match. If not, a query by path leaves out the file at that path (its copies
    stay, with score 1), and a query by id or by match leaves out that image."""
    exact: bool = False
    """Whether the search looks at every vector. If not, it uses the search structures of the index, which find nearly
    all of the nearest images: `Index.info` shows their recall."""
    ranking: str = AUTO
    """Order of the matches. "none" is by score. "expansion" is by `Match.relevance` (see `searching.expansion`).
    "mixed" is by score for copies of the query and for the 3 best other matches, and by `Match.relevance` for the rest.
    "auto" is the ranking that `Index.tune` has set; if `tune` was never called, it is "mixed" in an index of at least
    100 images, and else "none"."""
    where: "str | Filter | None" = None
    """Filter, as in "format:jpeg mp:>12" or `Filter.mp > 12` (see `searching.filters`). Only files that meet it can be
    matches, and the nearest ones of these are found. None stands for all files. Raises `BadFilter` for a faulty one."""
    likelihood: bool = False
    """Whether matches get their `probability` and `false_matches` (see `searching.likelihood`)."""
    likely: bool = False
    """Whether to return only matches that get a `probability`. There are none if the index cannot tell. Implies
    `likelihood`."""
    views: Sequence[str] = ()
    """Names of `VIEWS`. With orientations, the score of an image is the highest of the scores for the picture and for
    each orientation; so mirrored and turned copies are found. The images are ranked and judged by the orientation that
    finds the nearest image. With "multiscale", each vector is the mean of those of the picture and of its middle. A
    query by id or by match keeps its stored vector."""
    crop: str | None = None
    """Part of the query to search with, "x,y,width,height" from the upper left corner of the upright picture, each in
    pixels or in per cent, as in "10%,10%,50%,50%"; None for all of it. A query by id or match has no pixels to crop."""
    group: bool = False
    """Whether matches that look the same as a better one stand under it, as `Match.similar`: bursts, and pictures that
    were saved again (see `searching.diversity`). The best ten times `k` neighbours, or 100, are looked at."""
    mmr: float | None = None
    """How much a match counts for itself, more than 0 and at most 1, and not for being unlike those before it: maximal
    marginal relevance (see `searching.diversity`); None or 1 for the usual order. The matches are chosen among the best
    ten times `k` neighbours, or 100, and ranked in the order in which they are chosen."""
    tags: bool = False
    """Whether matches get their `tags`, if the index has tags."""

    def __post_init__(self) -> None:
        """Convert each value to the type that is used; `BadInput` for a value that cannot be used."""
        replace = partial(object.__setattr__, self)  # the dataclass is frozen
        replace("offset", integer(self.offset, "offset", 0))
        if self.min_score is not None:
            replace("min_score", number(self.min_score, "min_score", -HIGHEST, HIGHEST))
        for name in ("include_self", "exact", "likelihood", "likely", "group", "tags"):
            replace(name, flag(getattr(self, name), name))
        if self.mmr is not None:
            replace("mmr", number(self.mmr, "mmr", LEAST_BALANCE, 1))
        check(word(self.ranking, "ranking"))
        if self.where is not None:
            from retrieval.searching.filters import condition_of  # most searches have no filter

            condition_of(self.where)
        if self.crop is not None:
            Crop.parse(word(self.crop, "crop"))
        replace("views", strings(self.views, "views"))
        for view in self.views:
            if view not in VIEWS:
                raise BadInput(f"there is no view {displayed(view)}", hint=f"choose from: {', '.join(VIEWS)}")

    @property
    def orientations(self) -> tuple[str, ...]:
        """The orientations to search with besides the picture as it is."""
        return tuple(name for name in ORIENTATIONS if name in self.views or ALL in self.views)

    @property
    def multiscale(self) -> bool:
        """Whether to look at the middle of the picture too."""
        return MULTISCALE in self.views

    @property
    def needs_likelihood(self) -> bool:
        """Whether the search has to compute how likely the matches are."""
        return self.likelihood or self.likely


PLAIN = SearchOptions()
"""The options of a search if the caller gives none."""
