"""Find the ids and scores of the images nearest to queries, in the order of the answer.

vectors -> search -> leave out excluded images -> order by score -> rank by expansion -> judge -> filter -> the first k
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.searching import diversity, expansion, likelihood
from retrieval.searching.expansion import Expansion
from retrieval.searching.likelihood import Background
from retrieval.searching.options import SearchOptions
from retrieval.searching.query import PreparedQuery
from retrieval.storage.view import View
from retrieval.types import LIKELY, Ids

Positions = NDArray[np.int64] | slice


class Neighbours(NamedTuple):
    """The images found for one query, best first. All columns have the same length."""

    ids: Ids
    scores: NDArray[np.float32]
    """Cosines, -1 to 1."""
    relevance: NDArray[np.float32] | None = None
    """As `Match.relevance`, NaN for images whose rank does not follow it; None if all images are ranked by score."""
    false_matches: NDArray[np.float64] | None = None
    """As `Match.false_matches`, NaN where it cannot be told; None if the search did not ask for it."""
    probability: NDArray[np.float64] | None = None
    """As `Match.probability`, NaN where it cannot be told; None if the search did not ask for it."""
    similar: tuple[tuple[int, ...], ...] | None = None
    """Ids of the images that look the same as each image and stand under it; None if the search did not group."""

    @classmethod
    def of(cls, matches: Sequence[tuple[int, float]]) -> "Neighbours":
        """Return neighbours with these ids and scores."""
        ids = np.array([id_ for id_, _ in matches], dtype=np.int64)
        return cls(ids, np.array([score for _, score in matches], dtype=np.float32))

    def among(self, ids: Ids | None) -> "Neighbours":
        """Return those of the neighbours that are among `ids`, in the same order; all of them for None."""
        return self if ids is None else self.at(np.flatnonzero(np.isin(self.ids, ids)))

    def at(self, positions: Positions) -> "Neighbours":
        """Return the neighbours at `positions`, in the order of `positions`."""
        return Neighbours(
            ids=self.ids[positions],
            scores=self.scores[positions],
            relevance=None if self.relevance is None else self.relevance[positions],
            false_matches=None if self.false_matches is None else self.false_matches[positions],
            probability=None if self.probability is None else self.probability[positions],
            similar=None if self.similar is None else _at(self.similar, positions),
        )


def _at(column: tuple[tuple[int, ...], ...], positions: Positions) -> tuple[tuple[int, ...], ...]:
    """Return the items of a column at some positions."""
    return column[positions] if isinstance(positions, slice) else tuple(column[position] for position in positions)


@dataclass(frozen=True)
class NeighbourSearch:
    """A search for the neighbours of vectors in one state of an index."""

    view: View
    options: SearchOptions
    expansion: Expansion | None = None
    """What ranks the neighbours; None to rank by score."""
    background: Background | None = None
    """Images with which scores are compared; None if the index has too few images, or likelihood is not asked for."""
    only: Ids | None = None
    """The images that can be found; None for all."""

    def nearest(self, queries: Sequence[PreparedQuery], k: int) -> list[Neighbours]:
        """Return the best `k` neighbours of each query that pass the options.

        The images that a query excludes are left out. Every query must have a vector.
        """
        if not queries:
            return []
        vectors = np.stack([query.vector for query in queries if query.vector is not None])
        turned = [query.turned for query in queries if query.turned is not None]
        most_excluded = max(1, *(len(query.excluded_ids) for query in queries))
        count = self._depth(k) + most_excluded
        hits = self.view.search(np.concatenate([vectors, *turned]), count, self.only, exact=self.is_exact)
        answers, behind = [], len(queries)
        for number, query in enumerate(queries):
            vector, ids, scores = vectors[number], hits.ids[number], hits.scores[number]
            if query.turned is not None:
                rows = [number, *range(behind, behind + len(query.turned))]
                behind += len(query.turned)
                best = int(np.argmax(hits.scores[rows, 0]))
                vector = vector if best == 0 else query.turned[best - 1]
                ids, scores = _highest(hits.ids[rows], hits.scores[rows])
            answers.append(self._answer(query, vector, ids, scores, k))
        return answers

    @property
    def is_exact(self) -> bool:
        """Whether the search looks at every vector."""
        return self.options.exact or self.view.is_exact

    @property
    def _share(self) -> float:
        """Share of the images of the index that can be found."""
        return 1 if self.only is None else len(self.only) / max(1, self.view.images)

    @property
    def _shortlist(self) -> int:
        """Number of neighbours that expansion ranks."""
        if self.expansion is None:
            return 0
        return expansion.SHORTLIST if self.is_exact else expansion.SHORTLIST_OF_STRUCTURE

    def _depth(self, k: int) -> int:
        """Return the number of neighbours that ranking, judging, grouping and the caller need."""
        return max(k, self._shortlist, self._pool(k), 0 if self.background is None else likelihood.DEPTH)

    def _pool(self, k: int) -> int:
        """Return the number of neighbours that are grouped or spread; 0 for none."""
        return max(diversity.POOL, 10 * k) if self.options.group or self.options.mmr is not None else 0

    def _answer(
        self, query: PreparedQuery, vector: NDArray[np.float32], ids: Ids, scores: NDArray[np.float32], k: int
    ) -> Neighbours:
        """Return the best `k` neighbours of one query that pass the options."""
        allowed = (ids >= 0) & ~np.isin(ids, [*query.excluded_ids])
        neighbours = _by_score(ids[allowed], scores[allowed], query)
        if self.expansion is not None and len(neighbours.ids):
            neighbours = self._ranked(vector, neighbours, self.expansion)
        if self.options.needs_likelihood:
            first = slice(max(k, likelihood.DEPTH))
            neighbours = self._judged(vector, neighbours, first, neighbours.ids == query.id)
        passing = neighbours.at(self._passing(neighbours))
        if self.options.group:
            passing = self._grouped(passing.at(slice(self._pool(k))))
        if self.options.mmr is not None:
            pool = passing.at(slice(self._pool(k)))
            passing = pool.at(diversity.spread(pool.scores, self.view.vectors(pool.ids), self.options.mmr, k))
        return passing.at(slice(k))

    def _grouped(self, neighbours: Neighbours) -> Neighbours:
        """Return neighbours without those that look the same as a better one, which stand under it."""
        heads = diversity.grouped(self.view.vectors(neighbours.ids))
        similar: list[list[int]] = [[] for _ in heads]
        for position, head in enumerate(heads.tolist()):
            if head != position:
                similar[head].append(int(neighbours.ids[position]))
        grouped = neighbours._replace(similar=tuple(map(tuple, similar)))
        return grouped.at(np.flatnonzero(heads == np.arange(len(heads))))

    def _ranked(self, vector: NDArray[np.float32], neighbours: Neighbours, by: Expansion) -> Neighbours:
        """Return neighbours whose first ones, the shortlist, are ranked by expansion; the others stay behind them.

        The relevance of a copy of the query is its score: a copy must not count as a neighbour in the expansion.
        """
        shortlist = slice(self._shortlist)
        scores = neighbours.scores[shortlist]
        relevance = np.full(len(neighbours.ids), np.nan, dtype=np.float32)
        copies = int(np.count_nonzero(scores >= expansion.COPY))  # they stand first, because the order is by score
        relevance[:copies] = scores[:copies]
        if copies < len(scores):
            near = self.view.vectors(neighbours.ids[shortlist][copies:])
            relevance[copies : len(scores)] = expansion.relevance(vector, near, by.mean, by.ranking.share)
        order = np.arange(len(neighbours.ids))
        order[shortlist] = expansion.ranked(neighbours.ids[shortlist], scores, relevance[shortlist], by.ranking.first)
        relevance[copies : copies + by.ranking.first] = np.nan
        return neighbours._replace(relevance=relevance).at(order)

    def _judged(
        self, vector: NDArray[np.float32], neighbours: Neighbours, first: slice, is_query: NDArray[np.bool_]
    ) -> Neighbours:
        """Return neighbours with their numbers of false matches and probabilities, NaN where they cannot be told.

        Only the `first` neighbours are judged, because that takes as long as ranking them. `is_query` marks the image
        of the query itself. A copy of the query is certain, even without a background. The probability belongs to the
        rank and not to the image. It also holds where expansion has ranked the neighbours, because at least as many of
        the first ones are right then as in the order of scores.
        """
        known = neighbours.at(first)
        is_query, count = is_query[first], len(known.ids)
        false_matches, probability = np.zeros(count), np.ones(count)
        copies = is_query | (known.scores >= expansion.COPY)
        if self.background is None:
            probability[~copies] = 0
        else:
            others = ~is_query
            vectors = self.view.vectors(known.ids[others])
            false_matches[others] = self._share * self.background.false_matches(vector, vectors)
            false_matches[copies] = 0
            probability[others] = likelihood.probabilities(false_matches[others])
            probability[copies] = 1
        unknown = probability < LIKELY
        false_matches[unknown] = probability[unknown] = np.nan
        behind = np.full(len(neighbours.ids) - count, np.nan)
        return neighbours._replace(
            false_matches=np.concatenate([np.minimum(false_matches, self.view.images), behind]),
            probability=np.concatenate([probability, behind]),
        )

    def _passing(self, neighbours: Neighbours) -> NDArray[np.int64]:
        """Return the positions of neighbours that score at least `min_score` and, with `likely`, have a probability."""
        passing = np.ones(len(neighbours.ids), dtype=bool)
        if self.options.min_score is not None:
            passing &= neighbours.scores >= self.options.min_score
        if self.options.likely and neighbours.probability is not None:
            passing &= ~np.isnan(neighbours.probability)
        return np.flatnonzero(passing)


def _highest(ids: Ids, scores: NDArray[np.float32]) -> tuple[Ids, NDArray[np.float32]]:
    """Return the images that several searches found, (searches, k), each once, with the highest of its scores."""
    order = np.lexsort((-scores.ravel(), ids.ravel()))
    found, kept = ids.ravel()[order], scores.ravel()[order]
    is_first = np.concatenate([[True], found[1:] != found[:-1]])
    return found[is_first], kept[is_first]


def _by_score(ids: Ids, scores: NDArray[np.float32], query: PreparedQuery) -> Neighbours:
    """Return neighbours in the order of their scores, equal scores in ascending order of id.

    Rounding is corrected: no score is over 1, and the content of the query has the score 1, so that `min_score=1` finds
    every copy. The vector of a query with views is not the stored vector, so the score of its content is not corrected.
    """
    scores = np.minimum(scores, np.float32(1))
    if query.id is not None and query.pixels is None:
        scores[ids == query.id] = 1
    order = np.lexsort((ids, -scores))
    return Neighbours(ids[order], scores[order])
