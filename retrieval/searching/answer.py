"""Answer queries in one state of an index: prepare, embed and search them, and give each match its files and tags.

`Searcher` holds what all queries of a search share. It takes queries in batches, so that the network embeds several
pictures at once.
"""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain, islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import BadInput, IndexDamaged, RetrievalError, UnreadableImage
from retrieval.networks.embedding import BATCH
from retrieval.networks.encoder import Encoder
from retrieval.searching import ahead, statistics
from retrieval.searching.crop import Crop
from retrieval.searching.embedded import embed
from retrieval.searching.matches import Matches
from retrieval.searching.neighbours import Neighbours, NeighbourSearch
from retrieval.searching.options import SearchOptions
from retrieval.searching.query import Excluded, PreparedQuery, Query, QueryReader, Unusable
from retrieval.searching.ranking import NONE
from retrieval.storage import tag_state
from retrieval.storage.commit import Store
from retrieval.storage.conditions import EVERY, Condition
from retrieval.storage.records import Place
from retrieval.storage.view import View
from retrieval.types import Answers, Ids, Match, Timing, Vectors

THREADS = 8
"""Largest number of threads that read the files of queries."""


class Network(Protocol):
    """The network that embeds the queries for which the index has no stored vector."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input of the network."""
        ...

    @property
    def rule(self) -> int:
        """The decode rule of the index."""
        ...

    def encoder(self) -> Encoder:
        """Return the encoder, which is loaded at the first call."""
        ...


@dataclass(frozen=True)
class Found:
    """A query with its neighbours."""

    query: PreparedQuery
    neighbours: Neighbours


@dataclass(frozen=True)
class Searcher:
    """Answers queries in one state of an index."""

    store: Store
    view: View
    """The state that is searched. Tags are not part of this state: the latest ones are used."""
    network: Network
    options: SearchOptions = field(default_factory=SearchOptions)
    timing: Timing = field(default_factory=Timing)
    """Receives the seconds spent on `read`, `load`, `encode`, `search` and `look up`."""

    def answers(self, queries: Sequence[Query], k: int) -> Answers:
        """Return the answers to `queries`, with the coverage of the same state.

        After an exact search of an index with search structures, the answers also say how many of the `k` best matches
        by score the structures find as well.
        """
        results, coverage = self.matches(queries, k), self.view.rows.coverage()
        if not self.options.exact or self.view.is_exact:
            return Answers(results, coverage, among=self._among)
        by_score = replace(self.options, ranking=NONE, likelihood=False, likely=False, tags=False)
        exact = replace(self, options=by_score, timing=Timing())
        by_structure = replace(exact, options=replace(by_score, exact=False))
        structures = _overlap(exact.matches(queries, k), by_structure.matches(queries, k))
        return Answers(results, coverage, structures, self._among)

    def matches(self, queries: Iterable[Query], k: int) -> list[Matches | Unusable]:
        """Return the matches of each query, or the error for which it has none, in the order of `queries`."""
        view, network, options = self.view, self.network, self.options
        excluded: Excluded = "nothing" if options.include_self else "file"
        find_tagged = partial(_find_tagged, self.store)
        crop = None if options.crop is None else Crop.parse(options.crop)
        reader = QueryReader(view, network.size, network.rule, options, excluded, find_tagged, crop, self._condition)
        answers: list[Matches | Unusable] = []
        for batch in self._found(reader, queries, options.offset + k):
            with self.timing.of("look up"):
                found = [item for item in batch if isinstance(item, Found)]
                matches = iter(matches_of(view, found, options.offset, self._condition))
                answers.extend(next(matches) if isinstance(item, Found) else item for item in batch)
        if not (options.tags and tag_state.exist(self.store)):
            return answers
        from retrieval.searching import tags  # most indexes have none

        return [tags.with_tags(self.store, answer) if isinstance(answer, Matches) else answer for answer in answers]

    def neighbours(self, queries: Iterable[Query], k: int) -> Iterator[Neighbours]:
        """Yield the best `k` neighbours of each query, without its copies.

        Raises the error of the first query that cannot be used; a query by tag cannot be used here.
        """
        reader = QueryReader(self.view, self.network.size, self.network.rule, excluded="content")
        for batch in self._found(reader, queries, k):
            for item in batch:
                if not isinstance(item, Found):
                    raise item
                yield item.neighbours

    def embed(self, pictures: Sequence[Query]) -> Vectors:
        """Return the vectors of n >= 1 pictures, (n, dim), in the order of `pictures`. They are embedded together.

        Raises the error of the first picture that has no vector; a query by tag has none.
        """
        reader = QueryReader(self.view, self.network.size, self.network.rule)
        vectors: list[NDArray[np.float32]] = []
        for query in embed([reader.prepare(picture) for picture in pictures], self.network.encoder, self.timing):
            if isinstance(query, BadInput | UnreadableImage):
                raise query
            assert query.vector is not None  # noqa: S101 - `embed` gives a vector to every picture
            vectors.append(query.vector)
        return np.stack(vectors)

    # -- inside ---------------------------------------------------------------------------------------------------

    @cached_property
    def _search(self) -> NeighbourSearch:
        """The search of this state. It is made at first use, because its statistics take time to compute."""
        view, options = self.view, self.options
        background = statistics.background_for(view) if options.needs_likelihood else None
        return NeighbourSearch(view, options, statistics.expansion_for(view, options.ranking), background, self._only)

    @cached_property
    def _condition(self) -> Condition:
        """The condition that the places of matches meet."""
        if self.options.where is None:
            return EVERY
        from retrieval.searching.filters import condition_of, resolved  # most searches have no filter

        return resolved(condition_of(self.options.where), partial(_find_tagged, self.store))

    @cached_property
    def _only(self) -> Ids | None:
        """The images that meet the filter; None if there is no filter."""
        return None if self._condition == EVERY else self.view.matching(self._condition)

    @property
    def _among(self) -> int | None:
        return None if self._only is None else len(self._only)

    def _prepared(self, reader: QueryReader, queries: Iterable[Query]) -> Iterator[list[PreparedQuery | Unusable]]:
        """Yield the queries in batches, read. The files of many queries are read ahead, in threads."""
        remaining = iter(queries)
        first = list(islice(remaining, BATCH + 1))
        source: Iterable[Query | ahead.File] = chain(first, remaining)
        with ExitStack() as stack:
            if len(first) > BATCH and reader.crop is None and not reader.options.views:
                known = self.view.rows.image_ids()
                threads = min(THREADS, os.cpu_count() or 1)
                files = ahead.Reader(self.network.size, self.network.rule, known).files
                source = stack.enter_context(closing(files(source, threads, 2 * BATCH)))
            some = iter(source)
            while True:
                with self.timing.of("read"):
                    batch = [reader.prepare(query) for query in islice(some, BATCH)]
                if not batch:
                    return
                yield batch

    def _found(self, reader: QueryReader, queries: Iterable[Query], k: int) -> Iterator[list[Found | Unusable]]:
        """Yield, for each batch, its queries with their best `k` neighbours; an unusable query becomes its error."""
        for batch in self._prepared(reader, queries):
            prepared = embed(batch, self.network.encoder, self.timing)
            with self.timing.of("search"):
                by_vector = [item for item in prepared if isinstance(item, PreparedQuery) and item.vector is not None]
                neighbours = iter(self._search.nearest(by_vector, k))
                found: list[Found | Unusable] = []
                for item in prepared:
                    if not isinstance(item, PreparedQuery):
                        found.append(item)
                    elif item.tag_matches is not None:
                        found.append(Found(item, Neighbours.of(item.tag_matches).among(self._only).at(slice(k))))
                    else:
                        found.append(Found(item, next(neighbours)))
            yield found


def _overlap(exact_answers: Sequence[Matches | Unusable], answers: Sequence[Matches | Unusable]) -> tuple[int, int]:
    """Return how many of the matches in `exact_answers` are in `answers` too, and how many there are."""
    in_both = total = 0
    for exact, plain in zip(exact_answers, answers, strict=True):
        if not isinstance(exact, RetrievalError) and not isinstance(plain, RetrievalError):
            in_both += len({match.id for match in exact} & {match.id for match in plain})
            total += len(exact)
    return in_both, total


# -- matches ------------------------------------------------------------------------------------------------------


def matches_of(view: View, found: Sequence[Found], offset: int = 0, condition: Condition = EVERY) -> list[Matches]:
    """Return the neighbours of each query as matches with their files, without the first `offset` neighbours.

    Only files that meet the condition are shown, which all neighbours have.
    A neighbour is left out if the query excludes all of its files. Raises `IndexDamaged` for an image without a place,
    because every image of a committed state has one.
    """
    shown = [item.neighbours.at(slice(offset, None)) for item in found]
    ids: set[int] = set()
    for neighbours in shown:
        ids.update(neighbours.ids.tolist())
        ids.update(chain.from_iterable(neighbours.similar or ()))
    places = view.rows.places(sorted(ids), condition)
    if missing := ids - places.keys():
        hint = "see what is damaged with: retrieval verify"
        raise IndexDamaged(f"image {min(missing)} of the index has no place", hint=hint)
    return [
        _matches(neighbours, places, item.query.excluded_files, offset)
        for item, neighbours in zip(found, shown, strict=True)
    ]


def _matches(
    neighbours: Neighbours,
    places: Mapping[int, Sequence[Place]],
    excluded_files: frozenset[tuple[int, bytes]],
    offset: int,
) -> Matches:
    """Return the neighbours of one query as matches, with ranks from `offset` + 1."""
    scores = neighbours.scores.tolist()
    relevance = _known(neighbours.relevance, len(scores))
    false_matches = _known(neighbours.false_matches, len(scores))
    probability = _known(neighbours.probability, len(scores))
    similar = neighbours.similar or [()] * len(scores)
    matches: list[Match] = []
    for position, id_ in enumerate(neighbours.ids.tolist()):
        files = [place for place in places[id_] if (place.root, place.below) not in excluded_files]
        if not files:
            continue
        first, *copies = files
        matches.append(
            Match(
                rank=offset + len(matches) + 1,
                score=scores[position],
                path=first.path,
                id=id_,
                width=first.width,
                height=first.height,
                copies=tuple(place.path for place in copies),
                offline=first.offline,
                relevance=relevance[position],
                false_matches=false_matches[position],
                probability=probability[position],
                taken=first.taken,
                similar=tuple(places[other][0].path for other in similar[position]),
            )
        )
    return Matches(matches)


def _known(column: NDArray[np.floating] | None, count: int) -> list[float | None]:
    """Return a column of `Neighbours` as a list of `count` values, None where it is absent or NaN."""
    if column is None:
        return [None] * count
    return [None if math.isnan(value) else value for value in column.tolist()]


def _find_tagged(store: Store, words: str) -> list[tuple[int, float]]:
    from retrieval.searching import tags  # only a query for a tag waits for it

    return tags.search(store, words)
