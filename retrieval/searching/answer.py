"""How a query is answered: options, the nearest, their order and what is to be thought of them, their places."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from retrieval.arguments import flag, integer, iterable, number, strings, word
from retrieval.errors import BadInput, IndexDamaged, UnreadableImage
from retrieval.networks.embedding import BATCH
from retrieval.networks.loading import Model
from retrieval.searching import expansion, likelihood, statistics
from retrieval.searching.likelihood import Background
from retrieval.searching.query import VIEWS, Asked, Own, Query, Reader, Unusable, embedded
from retrieval.storage import roots, tables
from retrieval.storage.commit import Store
from retrieval.storage.tables import Place
from retrieval.storage.view import View
from retrieval.types import EXACT, LIKELY, Ids, Match, Timing, displayed

HIGHEST = 1.001
"""A cosine is 1 at most, but for what it is rounded by."""


class SearchOptions(TypedDict, total=False):
    """How a query is answered, as `Index.search` takes it."""

    offset: int
    min_score: float | None
    include_self: bool
    exact: bool
    ranking: str
    judge: bool
    auto: bool
    views: Sequence[str]


@dataclass(frozen=True, slots=True)
class Options:
    """`SearchOptions`, all of them."""

    offset: int = 0
    min_score: float | None = None
    include_self: bool = False
    exact: bool = False
    ranking: str = expansion.AUTO
    judge: bool = False
    auto: bool = False
    views: Sequence[str] = ()

    @property
    def judged(self) -> bool:
        """Whether it is to be told which neighbours are likely."""
        return self.judge or self.auto

    def __post_init__(self) -> None:
        """Take what a caller gave as what it is used as; `BadInput` for what cannot be."""
        take = partial(object.__setattr__, self)
        take("offset", integer(self.offset, "offset", 0))
        if self.min_score is not None:
            take("min_score", number(self.min_score, "min_score", -HIGHEST, HIGHEST))
        for name in ("include_self", "exact", "judge", "auto"):
            take(name, flag(getattr(self, name), name))
        expansion.check(word(self.ranking, "ranking"))
        take("views", strings(self.views, "views"))
        for view in self.views:
            if view not in VIEWS:
                raise BadInput(f"there is no view {displayed(view)}", hint=f"there are: {', '.join(VIEWS)}")

    @property
    def own(self) -> Own:
        """What of a query is no answer to itself."""
        return "nothing" if self.include_self else "file"


class Neighbours(NamedTuple):
    """What was found for a query, the best first."""

    ids: Ids
    scores: NDArray[np.float32]
    relevance: NDArray[np.float32] | None = None
    """What they are ordered by, if it is not the score; NaN behind those that were ranked."""
    false: NDArray[np.float64] | None = None
    """The false matches to expect, where that was asked for; NaN where it cannot be told: see `likelihood`."""
    probability: NDArray[np.float64] | None = None
    """How likely the match at each rank is related, `LIKELY` or more; NaN where it cannot be told."""

    @classmethod
    def of(cls, found: Sequence[tuple[int, float]]) -> "Neighbours":
        """Return those with these ids and scores."""
        ids, scores = ([pair[column] for pair in found] for column in (0, 1))
        return cls(np.array(ids, dtype=np.int64), np.array(scores, dtype=np.float32))

    def at(self, places: NDArray[np.int64] | slice) -> "Neighbours":
        """Return those at some places, in that order."""
        rest = [None if column is None else column[places] for column in (self.relevance, self.false, self.probability)]
        return Neighbours(self.ids[places], self.scores[places], *rest)  # type: ignore[arg-type]  # which is which


Answer = tuple[Asked, Neighbours]
"""A query with what was found for it."""


def answers(
    reader: Reader, queries: Iterable[Query], k: int, model: Model, options: Options, timing: Timing
) -> Iterator[list[Answer | Unusable]]:
    """Yield the `k` best of each query, some queries at a time; in place of an answer, what is wrong with a query."""
    view, source = reader.view, iter(queries)
    mean = statistics.mean_for(view, options.ranking)
    while some := list(itertools.islice(source, BATCH)):
        with timing.of("read"):
            asked = [reader.tried(one) for one in some]
        asked = embedded(asked, model.encoder, timing)
        with timing.of("search"):
            background = statistics.background_for(view) if options.judged else None
            usable = [one for one in asked if isinstance(one, Asked)]
            found = iter(neighbours(view, usable, k, options, mean, background))
        yield [(one, next(found)) if isinstance(one, Asked) else one for one in asked]


def results(
    store: Store,
    view: View,
    model: Model,
    queries: Iterable[Query],
    k: int,
    timing: Timing | None,
    options: SearchOptions,
) -> list[list[Match] | Unusable]:
    """Return the matches of each query, or what is wrong with it; `BadInput` for options that make no sense."""
    how, k, spent = Options(**options), integer(k, "k", 1), Timing() if timing is None else timing
    if not isinstance(spent, Timing):
        raise BadInput("timing must be a Timing of retrieval.types")
    several = iterable(queries, "queries", "queries")
    reader = Reader(store, view, model.size, model.rule, how.views, how.own)
    found: list[list[Match] | Unusable] = []
    for some in answers(reader, several, how.offset + k, model, how, spent):
        with spent.of("look up"):
            found += with_matches(reader, some, how.offset)
    return found


def nearest(
    store: Store, view: View, model: Model, queries: Iterable[Query], k: int, options: Options
) -> Iterator[Neighbours]:
    """Yield the `k` best of each query, of which no copy is a neighbour; raise what is wrong with one."""
    reader = Reader(store, view, model.size, model.rule, own="content")
    for some in answers(reader, queries, k, model, options, Timing()):
        for one in some:
            if isinstance(one, BadInput | UnreadableImage):
                raise one
            yield one[1]


def neighbours(
    view: View,
    asked: Sequence[Asked],
    k: int,
    options: Options,
    mean: NDArray[np.float32] | None,
    background: Background | None,
) -> list[Neighbours]:
    """Return the `k` best of each query that are good enough, without the images that it leaves out.

    They are ranked by expansion, about the `mean` of the corpus, where there is one, and judged by the `background` if
    that is asked for.
    """
    if not asked:
        return []
    exact = options.exact or all(form.form == EXACT for form in view.snapshot.forms)
    count = 0 if mean is None else expansion.SHORTLIST if exact else expansion.SHORT
    vectors = np.stack([one.vector for one in asked if one.vector is not None])
    further = max(1, *(len(one.left_out) for one in asked))
    hits = view.search(vectors, max(k, count, 0 if background is None else likelihood.DEPTH) + further, exact=exact)
    found = []
    for one, vector, ids, scores in zip(asked, vectors, hits.ids, hits.scores, strict=True):
        kept = (ids >= 0) & ~np.isin(ids, [*one.left_out])
        near = _rounded(ids[kept], scores[kept], one)
        if mean is not None and len(near.ids):
            near = _ranked(view, vector, near, count, mean)
        if options.judged:
            near = _judged(view, vector, near, near.ids != one.id, background)
        found.append(near.at(_good(near, options)[:k]))
    return found


def _rounded(ids: Ids, scores: NDArray[np.float32], one: Asked) -> Neighbours:
    """Return neighbours with scores of 1 at most, and of 1 for the content that was asked about, despite rounding.

    So `min_score=1` finds every copy. A query of several views is another vector than the stored one: its score stays.
    """
    exact = np.minimum(scores, np.float32(1))
    if one.id is not None and one.pixels is None:
        exact[ids == one.id] = 1
    order = np.lexsort((ids, -exact))
    return Neighbours(ids[order], exact[order])


def _good(near: Neighbours, options: Options) -> NDArray[np.int64]:
    """Return the places of what scores enough, and with `auto` of what is likely."""
    good = np.ones(len(near.ids), dtype=bool)
    if options.min_score is not None:
        good &= near.scores >= options.min_score
    if options.auto and near.probability is not None:
        good &= ~np.isnan(near.probability)
    return np.flatnonzero(good)


def _judged(
    view: View, vector: NDArray[np.float32], near: Neighbours, others: NDArray[np.bool_], background: Background | None
) -> Neighbours:
    """Return neighbours with what can be told of them, NaN where nothing can; not `others` is the query itself.

    What shows the same picture is certain, also where there is no background. Of a better order than by score, the
    probability is that of the rank: as many are right among the first, or more.
    """
    false, probability = np.zeros(len(near.ids)), np.ones(len(near.ids))
    copies = ~others | (near.scores >= expansion.COPY)
    if background is None:
        probability[~copies] = 0
    else:
        false[others] = background.false_matches(vector, view.snapshot.get(near.ids[others]))
        false[copies] = 0
        probability[others] = likelihood.probabilities(false[others])
        probability[copies] = 1
    untold = probability < LIKELY
    false[untold] = probability[untold] = np.nan
    return near._replace(false=np.minimum(false, view.generation.images), probability=probability)


def _ranked(
    view: View, vector: NDArray[np.float32], near: Neighbours, count: int, mean: NDArray[np.float32]
) -> Neighbours:
    """Return neighbours with the first `count` of them in the order of their relevance.

    Copies of the query are no company of it: their relevance is their score.
    """
    relevant = np.full(len(near.ids), np.nan, dtype=np.float32)
    relevant[:count] = near.scores[:count]
    others = np.flatnonzero(near.scores[:count] < expansion.COPY)
    if len(others):
        relevant[others] = expansion.relevance(vector, view.snapshot.get(near.ids[others]), mean)
    order = np.arange(len(near.ids))
    order[:count] = expansion.ranked(near.ids[:count], near.scores[:count], relevant[:count])
    return Neighbours(near.ids[order], near.scores[order], relevant[order])


def with_matches(reader: Reader, found: Sequence[Answer | Unusable], offset: int) -> list[list[Match] | Unusable]:
    """Return the matches of each answer; what is wrong with a query stays in its place."""
    there = iter(matches(reader.store, reader.view, [one for one in found if isinstance(one, tuple)], offset))
    return [next(there) if isinstance(one, tuple) else one for one in found]


def matches(store: Store, view: View, found: Sequence[Answer], offset: int) -> list[list[Match]]:
    """Return neighbours, but for the first `offset`, with their places; those that have a place to be shown.

    `IndexDamaged` for one that has none at all: in one transaction, every image has one.
    """
    rows = [_listed(near.at(slice(offset, None))) for _, near in found]
    wanted = {id_ for row in rows for id_, _ in row}
    where = _places(store, view, sorted(wanted))
    if missing := wanted - where.keys():
        hint = "see what is damaged with: retrieval verify"
        raise IndexDamaged(f"image {min(missing)} of the index has no place", hint=hint)
    return [_matches(row, where, one.hidden, offset) for (one, _), row in zip(found, rows, strict=True)]


def _matches(
    row: "Sequence[tuple[int, Facts]]",
    where: dict[int, list[tuple[Place, Path]]],
    hidden: frozenset[tuple[int, bytes]],
    offset: int,
) -> list[Match]:
    shown = [
        ([at for at in where[id_] if (at[0].root, at[0].path) not in hidden] if hidden else where[id_], facts)
        for id_, facts in row
    ]
    there = ((places, facts) for places, facts in shown if places)
    return [_match(rank, places, facts) for rank, (places, facts) in enumerate(there, offset + 1)]


Facts = dict[str, Any]
"""The fields of a match that are numbers."""


def _listed(near: Neighbours) -> list[tuple[int, Facts]]:
    """Return the id of each neighbour with the fields of its match that are numbers."""
    names = ("score", "relevance", "false_matches", "probability")
    columns = [[None] * len(near.ids) if column is None else column.tolist() for column in near[1:]]
    rows = zip(*columns, strict=True)
    facts = [
        {name: None if value is None or math.isnan(value) else value for name, value in zip(names, row, strict=True)}
        for row in rows
    ]
    return list(zip(near.ids.tolist(), facts, strict=True))


def _places(store: Store, view: View, ids: Sequence[int]) -> dict[int, list[tuple[Place, Path]]]:
    at = roots.places(store, view.connection)
    grouped: dict[int, list[tuple[Place, Path]]] = defaultdict(list)
    for place in tables.places(view.connection, ids, at):
        grouped[place.image].append((place, roots.path_of(at[place.root], place.path)))
    return grouped


def _match(rank: int, places: Sequence[tuple[Place, Path]], facts: Facts) -> Match:
    (first, path), *others = places
    told: dict[str, Any] = {"copies": tuple(copy for _, copy in others), "offline": bool(first.offline)}
    return Match(rank, path=path, id=first.image, width=first.width, height=first.height, **told, **facts)
