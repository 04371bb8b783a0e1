"""A query that is understood -> its answer: the nearest, their order, how likely they are, and their places."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import BadInput, IndexDamaged, UnreadableImage
from retrieval.networks.embedding import BATCH
from retrieval.networks.encoder import Encoder
from retrieval.searching import expansion, likelihood, statistics
from retrieval.searching.likelihood import Background
from retrieval.searching.options import SearchOptions
from retrieval.searching.query import Asked, Own, Query, Reader, Unusable, embedded
from retrieval.storage.records import Place
from retrieval.storage.view import View
from retrieval.types import LIKELY, Ids, Match, Timing, Vectors


class Network(Protocol):
    """What embeds the queries that the index has no vector of."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pixels that the encoder wants."""
        ...

    @property
    def rule(self) -> int:
        """The decode rule of the index."""
        ...

    def encoder(self) -> Encoder:
        """Return the encoder, loading it at the first call."""
        ...


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
    reader: Reader, queries: Iterable[Query], k: int, network: Network, options: SearchOptions, timing: Timing
) -> Iterator[list[Answer | Unusable]]:
    """Yield the `k` best of each query, some queries at a time; in place of an answer, what is wrong with a query."""
    view, source = reader.view, iter(queries)
    mean = statistics.mean_for(view, options.ranking)
    while some := list(itertools.islice(source, BATCH)):
        with timing.of("read"):
            asked = [reader.tried(one) for one in some]
        asked = embedded(asked, network.encoder, timing)
        with timing.of("search"):
            background = statistics.background_for(view) if options.judged else None
            usable = [one for one in asked if isinstance(one, Asked) and one.vector is not None]
            found = iter(neighbours(view, usable, k, options, mean, background))
        yield [
            (one, next(found) if one.listed is None else Neighbours.of(one.listed[:k]))
            if isinstance(one, Asked)
            else one
            for one in asked
        ]


def results(
    view: View,
    network: Network,
    tagged: Callable[[str], Sequence[tuple[int, float]]],
    queries: Iterable[Query],
    k: int,
    options: SearchOptions,
    timing: Timing,
) -> list[list[Match] | Unusable]:
    """Return the matches of each query, or the error that says why a query has none."""
    own: Own = "nothing" if options.include_self else "file"
    reader = Reader(view, network.size, network.rule, options.views, own, tagged)
    found: list[list[Match] | Unusable] = []
    for some in answers(reader, queries, options.offset + k, network, options, timing):
        with timing.of("look up"):
            found += with_matches(view, some, options.offset)
    return found


def nearest(
    view: View, network: Network, queries: Iterable[Query], k: int, options: SearchOptions
) -> Iterator[Neighbours]:
    """Yield the `k` best of each query, of which no copy is a neighbour; raise the error of a query that has none."""
    reader = Reader(view, network.size, network.rule, own="content")
    for some in answers(reader, queries, k, network, options, Timing()):
        for one in some:
            if isinstance(one, BadInput | UnreadableImage):
                raise one
            yield one[1]


def embedded_vectors(view: View, network: Network, pictures: Iterable[Query]) -> Vectors:
    """Return the vectors of pictures, (n, dim); raise the error of the first that has none."""
    reader, source = Reader(view, network.size, network.rule), iter(pictures)
    vectors: list[NDArray[np.float32]] = []
    while some := list(itertools.islice(source, BATCH)):
        for one in embedded([reader.tried(picture) for picture in some], network.encoder, Timing()):
            if isinstance(one, BadInput | UnreadableImage):
                raise one
            assert one.vector is not None  # noqa: S101 - `Reader` gives each picture a vector or pixels
            vectors.append(one.vector)
    return np.stack(vectors) if vectors else np.zeros((0, view.rows.encoder()["dim"]), dtype=np.float32)


def neighbours(
    view: View,
    asked: Sequence[Asked],
    k: int,
    options: SearchOptions,
    mean: NDArray[np.float32] | None,
    background: Background | None,
) -> list[Neighbours]:
    """Return the `k` best of each query that are good enough, without the images that it leaves out.

    They are ranked by expansion, about the `mean` of the corpus, where there is one, and judged by the `background` if
    that is asked for.
    """
    if not asked:
        return []
    exact = options.exact or view.is_exact
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


def _good(near: Neighbours, options: SearchOptions) -> NDArray[np.int64]:
    """Return the places of what scores enough, and with `likely` of what is likely."""
    good = np.ones(len(near.ids), dtype=bool)
    if options.min_score is not None:
        good &= near.scores >= options.min_score
    if options.likely and near.probability is not None:
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
        false[others] = background.false_matches(vector, view.vectors(near.ids[others]))
        false[copies] = 0
        probability[others] = likelihood.probabilities(false[others])
        probability[copies] = 1
    untold = probability < LIKELY
    false[untold] = probability[untold] = np.nan
    return near._replace(false=np.minimum(false, view.images), probability=probability)


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
        relevant[others] = expansion.relevance(vector, view.vectors(near.ids[others]), mean)
    order = np.arange(len(near.ids))
    order[:count] = expansion.ranked(near.ids[:count], near.scores[:count], relevant[:count])
    return Neighbours(near.ids[order], near.scores[order], relevant[order])


def with_matches(view: View, found: Sequence[Answer | Unusable], offset: int) -> list[list[Match] | Unusable]:
    """Return the matches of each answer; the error of a query stays at its place."""
    matched = iter(matches(view, [one for one in found if isinstance(one, tuple)], offset))
    return [next(matched) if isinstance(one, tuple) else one for one in found]


def matches(view: View, found: Sequence[Answer], offset: int) -> list[list[Match]]:
    """Return the neighbours of each answer with their places, without the first `offset` of them.

    Neighbours all of whose places are hidden are left out. `IndexDamaged` for an image that has no place at all: in one
    committed state, every image has one.
    """
    rows = [_listed(near.at(slice(offset, None))) for _, near in found]
    wanted = {id_ for row in rows for id_, _ in row}
    places = view.rows.places(sorted(wanted))
    if missing := wanted - places.keys():
        hint = "see what is damaged with: retrieval verify"
        raise IndexDamaged(f"image {min(missing)} of the index has no place", hint=hint)
    return [_matches(row, places, one.hidden, offset) for (one, _), row in zip(found, rows, strict=True)]


def _matches(
    row: "Sequence[tuple[int, Facts]]",
    places: Mapping[int, Sequence[Place]],
    hidden: frozenset[tuple[int, bytes]],
    offset: int,
) -> list[Match]:
    found: list[Match] = []
    for id_, facts in row:
        shown = [place for place in places[id_] if (place.root, place.below) not in hidden]
        if shown:
            found.append(_match(offset + len(found) + 1, shown, facts))
    return found


Facts = dict[str, Any]
"""The fields of a match that are numbers."""
_NUMBERS = ("score", "relevance", "false_matches", "probability")


def _listed(near: Neighbours) -> list[tuple[int, Facts]]:
    """Return the id of each neighbour with the fields of its match that are numbers."""
    columns = (near.scores, near.relevance, near.false, near.probability)
    lists = [[None] * len(near.ids) if column is None else column.tolist() for column in columns]
    rows = zip(*lists, strict=True)
    return [(id_, _facts(row)) for id_, row in zip(near.ids.tolist(), rows, strict=True)]


def _facts(numbers: Sequence[float | None]) -> Facts:
    told = [None if number is None or math.isnan(number) else number for number in numbers]
    return dict(zip(_NUMBERS, told, strict=True))


def _match(rank: int, places: Sequence[Place], facts: Facts) -> Match:
    first, *others = places
    return Match(
        rank,
        path=first.path,
        id=first.image,
        width=first.width,
        height=first.height,
        copies=tuple(place.path for place in others),
        offline=first.offline,
        **facts,
    )
