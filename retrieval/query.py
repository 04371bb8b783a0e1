"""What is asked: a query of any kind -> a vector, stored or computed, and the content that it is."""

import hashlib
import itertools
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval import cutoff, derived, images, metadata, pipeline, ranking, roots
from retrieval.cutoff import Background
from retrieval.errors import BadInput, UnreadableImage, reason_of
from retrieval.metadata import Place
from retrieval.model import Model
from retrieval.runtimes import Encoder
from retrieval.store import Store, View
from retrieval.types import EXACT, LIKELY, Ids, Match, Pixels, Timing, displayed, image_id

Query = str | bytes | os.PathLike[str] | Image.Image | NDArray[np.uint8] | int | Match
"""A path; the bytes of a picture file; a PIL image; an RGB array (height, width, 3) of uint8; the id of an indexed
image, or a match."""


VIEWS = ("mirror", "multiscale")
"""What a picture is looked at as besides: mirrored; and its middle, of half the area."""


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
    ranking: str = ranking.AUTO
    judge: bool = False
    auto: bool = False
    views: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse views that are none."""
        for name in self.views:
            if name not in VIEWS:
                raise BadInput(f"there is no view {name}", hint=f"there are: {', '.join(VIEWS)}")


class Neighbours(NamedTuple):
    """What was found for a query, the best first."""

    ids: Ids
    scores: NDArray[np.float32]
    relevance: NDArray[np.float32] | None = None
    """What they are ordered by, if it is not the score; NaN behind those that were ranked."""
    false: NDArray[np.float64] | None = None
    """The false matches to expect, where that was asked for and can be told: see `cutoff`."""
    probability: NDArray[np.float64] | None = None
    """How likely the match at each rank is related; there where `false` is."""

    @classmethod
    def of(cls, found: Sequence[tuple[int, float]]) -> "Neighbours":
        """Return those with these ids and scores."""
        ids, scores = ([pair[column] for pair in found] for column in (0, 1))
        return cls(np.array(ids, dtype=np.int64), np.array(scores, dtype=np.float32))

    def at(self, places: NDArray[np.int64] | slice) -> "Neighbours":
        """Return those at some places, in that order."""
        rest = [None if column is None else column[places] for column in (self.relevance, self.false, self.probability)]
        return Neighbours(self.ids[places], self.scores[places], *rest)  # type: ignore[arg-type]  # which is which


@dataclass
class Asked:
    """A query on its way to a vector: it has one, or pixels."""

    id: int | None = None
    """The content that it is; None for a PIL image or an array, which have no bytes."""
    vector: NDArray[np.float32] | None = None
    pixels: Pixels | None = None
    """The views of a picture, (n, height, width, 3); their mean becomes its vector."""


@dataclass(frozen=True, slots=True)
class Reader:
    """What queries are understood by."""

    store: Store
    view: View
    size: tuple[int, int]
    """Height and width that the network wants."""
    views: Sequence[str] = ()

    def understood(self, query: Query) -> Asked:
        """Return `query` with its stored vector if the index has it and no views are asked for, else with pixels."""
        match query:
            case Match():
                return _stored(self.view, query.id)
            case int() if not isinstance(query, bool):
                return _stored(self.view, query)
            case bytes():
                return self._content(query)
            case np.ndarray() | Image.Image():
                return Asked(pixels=self._viewed(_picture(query)))
            case str() | os.PathLike():
                return self._file(os.fsencode(query))
        raise BadInput(f"a query is a path, bytes, a PIL image, an RGB array or an id, not {type(query).__name__}")

    def _file(self, path: bytes) -> Asked:
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            id_ = _placed(self.store, self.view, path)
            if id_ is None:
                raise UnreadableImage(f"{displayed(path)} cannot be read: {reason_of(error)}") from error
            return _stored(self.view, id_)
        try:
            return self._content(data)
        except UnreadableImage as error:
            raise UnreadableImage(f"{displayed(path)} cannot be used: {error}") from error

    def _content(self, data: bytes) -> Asked:
        sha256 = hashlib.sha256(data).digest()
        id_ = image_id(sha256)
        if not self.views and metadata.sha256_of_id(self.view.connection, id_) == sha256:
            return _stored(self.view, id_)
        pixels = images.decode(data, self.size).pixels[None]
        if self.views:
            pixels = self._viewed(Image.fromarray(images.decode(data, self._larger()).pixels), pixels)
        return Asked(id_, pixels=pixels)

    def _viewed(self, picture: Image.Image, whole: Pixels | None = None) -> Pixels:
        """Return the views of a picture, itself first, which may be there as `whole`."""
        found = [images.fit(picture, self.size) if whole is None else whole[0]]
        if "mirror" in self.views:
            found.append(found[0][:, ::-1])
        if "multiscale" in self.views:
            found.append(images.fit(picture.crop(_middle(*picture.size)), self.size))
        return np.stack(found)

    def _larger(self) -> tuple[int, int]:
        """Return the size of which the middle is as large as the network wants it."""
        return math.ceil(self.size[0] * math.sqrt(2)), math.ceil(self.size[1] * math.sqrt(2))


def _middle(width: int, height: int) -> tuple[int, int, int, int]:
    """Return the box of half the area in the middle of a picture: left, upper, right, lower."""
    left, upper = (round(side * (1 - math.sqrt(0.5)) / 2) for side in (width, height))
    return left, upper, max(left + 1, width - left), max(upper + 1, height - upper)


def embed(asked: Sequence[Asked], encoder: Callable[[], Encoder], timing: Timing) -> None:
    """Give those queries a vector that have none, embedding them together; `UnreadableImage`."""
    fresh = [(item, item.pixels) for item in asked if item.pixels is not None]
    if fresh:
        with timing.of("load"):
            ready = encoder()
        with timing.of("encode"):
            found = iter(pipeline.vectors_of(ready, np.concatenate([pixels for _, pixels in fresh])))
        for item, pixels in fresh:
            vectors = [vector for vector in itertools.islice(found, len(pixels)) if vector is not None]
            if not vectors:
                raise UnreadableImage(f"the query cannot be used: {pipeline.NO_VECTOR}")
            mean = np.mean(vectors, axis=0)
            item.vector = vectors[0] if len(vectors) == 1 else mean / np.linalg.norm(mean)


def answers(
    store: Store, view: View, queries: Iterable[Query], k: int, model: Model, options: Options, timing: Timing
) -> Iterator[list[Neighbours]]:
    """Yield the `k` best of each query, some queries at a time."""
    mean = derived.mean_for(view, options.ranking)
    reader, source = Reader(store, view, model.size, options.views), iter(queries)
    while some := list(itertools.islice(source, pipeline.BATCH)):
        with timing.of("read"):
            asked = [reader.understood(one) for one in some]
        embed(asked, model.encoder, timing)
        with timing.of("search"):
            background = derived.background_for(view) if options.judge or options.auto else None
            found = neighbours(view, asked, k, options, mean, background)
        yield found


def neighbours(
    view: View,
    asked: Sequence[Asked],
    k: int,
    options: Options,
    mean: NDArray[np.float32] | None,
    background: Background | None,
) -> list[Neighbours]:
    """Return the `k` best of each query that are good enough, without the query itself unless it is to be included.

    They are ranked by expansion, about the `mean` of the corpus, where there is one, and judged by the `background`.
    """
    exact = options.exact or all(form.form == EXACT for form in view.snapshot.forms)
    count = 0 if mean is None else ranking.SHORTLIST if exact else ranking.SHORT
    vectors = np.stack([one.vector for one in asked if one.vector is not None])
    hits = view.search(vectors, max(k, count, 0 if background is None else cutoff.DEPTH) + 1, exact=exact)
    found = []
    for one, vector, ids, scores in zip(asked, vectors, hits.ids, hits.scores, strict=True):
        kept = ids >= 0 if options.include_self or one.id is None else (ids >= 0) & (ids != one.id)
        near = Neighbours(ids[kept], scores[kept])
        if mean is not None and len(near.ids):
            near = _ranked(view, vector, near, count, mean)
        if background is not None:
            near = _judged(view, vector, near, near.ids != one.id, background)
        found.append(near.at(_good(near, options)[:k]))
    return found


def _good(near: Neighbours, options: Options) -> NDArray[np.int64]:
    """Return the places of what scores enough, and with `auto` of what is likely, if that can be told."""
    good = np.ones(len(near.ids), dtype=bool)
    if options.min_score is not None:
        good &= near.scores >= options.min_score
    if options.auto and near.probability is not None:
        good &= near.probability >= LIKELY
    return np.flatnonzero(good)


def _judged(
    view: View, vector: NDArray[np.float32], near: Neighbours, others: NDArray[np.bool_], background: Background
) -> Neighbours:
    """Return neighbours with what is to be thought of them; those that are not `others` are the query itself.

    What shows the same picture is no false match. Of a better order than by score, the probability is that of the rank:
    as many are right among the first, or more.
    """
    false, probability = np.zeros(len(near.ids)), np.ones(len(near.ids))
    false[others] = background.false_matches(vector, view.snapshot.get(near.ids[others]))
    false[near.scores >= ranking.COPY] = 0
    probability[others] = cutoff.probabilities(false[others])
    return near._replace(false=false, probability=probability)


def _ranked(
    view: View, vector: NDArray[np.float32], near: Neighbours, count: int, mean: NDArray[np.float32]
) -> Neighbours:
    """Return neighbours with the first `count` of them in the order of their relevance.

    Copies of the query are no company of it: their relevance is their score.
    """
    relevant = np.full(len(near.ids), np.nan, dtype=np.float32)
    relevant[:count] = near.scores[:count]
    others = np.flatnonzero(near.scores[:count] < ranking.COPY)
    if len(others):
        relevant[others] = ranking.relevance(vector, view.snapshot.get(near.ids[others]), mean)
    order = np.arange(len(near.ids))
    order[:count] = ranking.ranked(near.ids[:count], near.scores[:count], relevant[:count])
    return Neighbours(near.ids[order], near.scores[order], relevant[order])


def matches(store: Store, view: View, found: Sequence[Neighbours], offset: int) -> list[list[Match]]:
    """Return neighbours, but for the first `offset`, with their places; those that have a place."""
    rows = [_listed(near.at(slice(offset, None))) for near in found]
    where = _places(store, view, sorted({id_ for row in rows for id_, _ in row}))
    return [
        [_match(rank, where[id_], facts) for rank, (id_, facts) in enumerate(row, offset + 1)]
        for row in ([item for item in row if item[0] in where] for row in rows)
    ]


def _listed(near: Neighbours) -> list[tuple[int, dict[str, float | None]]]:
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
    for place in metadata.places(view.connection, ids, at):
        grouped[place.image].append((place, roots.path_of(at[place.root], place.path)))
    return grouped


def _match(rank: int, places: Sequence[tuple[Place, Path]], facts: dict[str, Any]) -> Match:
    (first, path), *others = places
    copies = tuple(copy for _, copy in others)
    return Match(rank, path=path, id=first.image, width=first.width, height=first.height, copies=copies, **facts)


def known(store: Store, view: View, path: bytes) -> int | None:
    """Return the indexed content of the file at `path`, or what was there where it cannot be read; None for neither."""
    try:
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return _placed(store, view, path)
    id_ = image_id(sha256)
    return id_ if metadata.sha256_of_id(view.connection, id_) == sha256 else None


def _placed(store: Store, view: View, path: bytes) -> int | None:
    """Return the content that was at `path` when its folder was last updated."""
    spot = roots.locate(store, view.connection, path)
    return None if spot is None else metadata.image_at(view.connection, spot.root, spot.below)


def _stored(view: View, id_: int) -> Asked:
    if metadata.sha256_of_id(view.connection, id_) is None:
        raise BadInput(f"no image of the index has the id {id_}")
    return Asked(id_, view.vector(id_)[0])


def pixels(picture: str | bytes | os.PathLike[str] | Image.Image | NDArray[np.uint8], size: tuple[int, int]) -> Pixels:
    """Return a picture as a network of that input size sees it, (1, height, width, 3); `UnreadableImage`."""
    if isinstance(picture, np.ndarray | Image.Image):
        return images.fit(_picture(picture), size)[None]
    if isinstance(picture, bytes):
        return images.decode(picture, size).pixels[None]
    shown = displayed(picture)
    try:
        return images.decode(Path(picture).read_bytes(), size).pixels[None]
    except OSError as error:
        raise UnreadableImage(f"{shown} cannot be read: {reason_of(error)}") from error
    except UnreadableImage as error:
        raise UnreadableImage(f"{shown} cannot be used: {error}") from error


def _picture(given: Image.Image | NDArray[np.uint8]) -> Image.Image:
    """Return a picture that is in memory, upright; `BadInput` for an array that is none."""
    if isinstance(given, Image.Image):
        return images.upright(given)
    array = given
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:  # noqa: PLR2004
        raise BadInput(f"an RGB array is (height, width, 3) of uint8, not {array.shape} of {array.dtype}")
    return Image.fromarray(array)
