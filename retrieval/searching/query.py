"""What is asked: a query of any kind -> a vector, stored or to be computed, and what of it is no answer to itself."""

import hashlib
import itertools
import logging
import math
import operator
import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.arguments import MOST, path_of, word
from retrieval.errors import BadInput, UnreadableImage, reason_of
from retrieval.networks import embedding
from retrieval.networks.encoder import Encoder
from retrieval.pictures import given, reading
from retrieval.storage.rows import Rows
from retrieval.storage.view import View
from retrieval.types import Match, Pixels, Tagged, Timing, displayed, image_id

log = logging.getLogger("retrieval")

Query = str | bytes | os.PathLike[str] | Image.Image | NDArray[Any] | int | Match | Tagged
"""A path; the bytes of a picture file; a PIL image; an array as `given.from_array` says; the id of an indexed image, or
a match; or `Tagged`, for the images that have a tag."""
Unusable = BadInput | UnreadableImage
"""What stands in place of an answer to a query that has none."""
Own = Literal["file", "content", "nothing"]
"""What of a query is no answer to itself: of a path, that file alone, and of an id, that image; the content, wherever
it is; or nothing."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A query on its way to a vector: it has one, or pixels."""

    id: int | None = None
    """The content that it is; None for a PIL image or an array, which have no bytes."""
    vector: NDArray[np.float32] | None = None
    pixels: Pixels | None = None
    """The views of a picture, (n, height, width, 3); their mean becomes its vector."""
    left_out: frozenset[int] = frozenset()
    """The images that are no answer."""
    hidden: frozenset[tuple[int, bytes]] = frozenset()
    """The places, root and path, at which no answer is: those of the file that was asked about."""
    listed: Sequence[tuple[int, float]] | None = None
    """The answer, ids and scores, the best first; of a query that is no picture."""

    def without_itself(self) -> "Asked":
        """Return it as one whose own content is no answer."""
        return self if self.id is None else replace(self, left_out=frozenset({self.id}))


@dataclass(frozen=True)
class Reader:
    """What queries are understood by."""

    view: View
    size: tuple[int, int]
    """Height and width that the network wants."""
    rule: int
    """The decode rule of the index."""
    views: Sequence[str] = ()
    own: Own = "nothing"
    tagged: Callable[[str], Sequence[tuple[int, float]]] | None = None
    """What finds (image, score) by the words of a tag, the best first."""

    def tried(self, query: Query) -> Asked | Unusable:
        """Return what `understood` returns, or what it raises of this query; without the bytes that it was made of."""
        try:
            return self.understood(query)
        except (BadInput, UnreadableImage) as error:
            met: BaseException | None = error
            while met is not None:
                traceback.clear_frames(met.__traceback__)
                met = met.__cause__ or met.__context__
            return error

    def understood(self, query: Query) -> Asked:
        """Return `query` with its stored vector if the index has it and no views are asked for, else with pixels."""
        match query:
            case str() | os.PathLike():
                return self._file(path_of(query, "the path of a query"))
            case bytes():
                found = self._content(query)
            case np.ndarray() | Image.Image():
                return Asked(pixels=self._viewed(given.in_memory(query)))
            case Tagged():
                return self._tagged(word(query.words, "words"))
            case Match():
                found = self._image(query.id)
            case _:
                found = self._image(query)
        asked_about = self.own == "content" or (self.own == "file" and not isinstance(query, bytes))
        return found.without_itself() if asked_about else found

    def _tagged(self, words: str) -> Asked:
        if self.tagged is None:
            raise BadInput("a tag is no picture: it has no vector")
        found = self.tagged(words)
        return Asked(listed=[one for one in found if self.view.rows.sha256_of(one[0]) is not None])

    def _file(self, path: bytes) -> Asked:
        spots = {(spot.root, spot.below): self.view.rows.image_at(spot) for spot in self.view.rows.spots(path)}
        there = [image for image in spots.values() if image is not None]
        found = self._read(path, there)
        if self.own == "content":
            return found.without_itself()
        if self.own == "nothing" or not there:
            return found
        elsewhere = {
            image
            for image, places in self.view.rows.places(there).items()
            if any((place.root, place.below) not in spots for place in places)
        }
        return replace(found, left_out=frozenset(there) - elsewhere, hidden=frozenset(spots))

    def _read(self, path: bytes, there: Sequence[int]) -> Asked:
        """Return what the file at `path` is, or, where it cannot be read, what the index knows to be `there`."""
        try:
            data = reading.read_regular(path)
        except UnreadableImage as error:
            raise UnreadableImage(f"{displayed(path)} cannot be read: {error}", hint=error.hint) from error
        except OSError as error:
            if not there:
                raise UnreadableImage(f"{displayed(path)} cannot be read: {reason_of(error)}") from error
            return self._image(there[0])
        try:
            return self._content(data, path)
        except UnreadableImage as error:
            raise UnreadableImage(f"{displayed(path)} cannot be used: {error}") from error

    def _image(self, query: Any) -> Asked:  # noqa: ANN401 - whatever was handed in as a query
        """Return the image of the index with an id, a whole number of Python's or numpy's."""
        try:
            id_ = None if isinstance(query, bool) else operator.index(query)
        except TypeError:
            id_ = None
        if id_ is None:
            kinds = "a path, bytes, a PIL image, an array, an id or a Match"
            raise BadInput(f"a query is {kinds}, not a value of type {type(query).__name__}")
        if not 0 <= id_ <= MOST or self.view.rows.sha256_of(id_) is None:
            raise BadInput(f"no image of the index has the id {id_}")
        return Asked(id_, self.view.vectors(np.array([id_]))[0])

    def _content(self, data: bytes, path: bytes | None = None) -> Asked:
        sha256 = hashlib.sha256(data).digest()
        id_ = image_id(sha256)
        if not self.views and self.view.rows.sha256_of(id_) == sha256:
            return self._image(id_)
        from retrieval.pictures import (
            decode,
        )  # with all that decodes pictures, for which nobody waits whose picture is known

        decoded = decode.decode(data, self.size, self.rule, path=path)
        if decoded.note:
            log.warning("%s: %s", "the query" if path is None else displayed(path), decoded.note)
        pixels = decoded.pixels[None]
        if self.views:
            larger = decode.decode(data, self._larger(), self.rule, path=path)
            pixels = self._viewed(Image.fromarray(larger.pixels), pixels)
        return Asked(id_, pixels=pixels)

    def _viewed(self, picture: Image.Image, whole: Pixels | None = None) -> Pixels:
        """Return the views of a picture, itself first, which may be there as `whole`."""
        found = [given.fitted(picture, self.size, self.rule) if whole is None else whole[0]]
        if "mirror" in self.views:
            found.append(found[0][:, ::-1])
        if "multiscale" in self.views:
            found.append(given.fitted(picture.crop(_middle(*picture.size)), self.size, self.rule))
        return np.stack(found)

    def _larger(self) -> tuple[int, int]:
        """Return the size of which the middle is as large as the network wants it."""
        return math.ceil(self.size[0] * math.sqrt(2)), math.ceil(self.size[1] * math.sqrt(2))


def _middle(width: int, height: int) -> tuple[int, int, int, int]:
    """Return the box of half the area in the middle of a picture: left, upper, right, lower."""
    left, upper = (round(side * (1 - math.sqrt(0.5)) / 2) for side in (width, height))
    return left, upper, max(left + 1, width - left), max(upper + 1, height - upper)


def embedded(
    asked: Sequence[Asked | Unusable], encoder: Callable[[], Encoder], timing: Timing
) -> list[Asked | Unusable]:
    """Return `asked` with a vector each, embedding those together that have none; in place of one, what is wrong."""
    fresh = [one.pixels for one in asked if isinstance(one, Asked) and one.pixels is not None]
    if not fresh:
        return list(asked)
    with timing.of("load"):
        ready = encoder()
    with timing.of("encode"):
        found = iter(embedding.vectors_of(ready, np.concatenate(fresh)))
    return [
        one
        if not isinstance(one, Asked) or one.pixels is None
        else _with_mean(one, itertools.islice(found, len(one.pixels)))
        for one in asked
    ]


def _with_mean(one: Asked, found: "itertools.islice[NDArray[np.float32] | None]") -> Asked | UnreadableImage:
    """Return a query with the mean of the vectors of its views."""
    vectors = [vector for vector in found if vector is not None]
    if not vectors:
        return UnreadableImage(f"the query cannot be used: {embedding.NO_VECTOR}")
    mean = np.mean(vectors, axis=0)
    return replace(one, vector=vectors[0] if len(vectors) == 1 else mean / np.linalg.norm(mean))


def known(rows: Rows, path: bytes) -> int | None:
    """Return the id of the image that the file at `path` holds, or held where it cannot be read; None for neither."""
    try:
        sha256 = hashlib.sha256(reading.read_regular(path)).digest()
    except UnreadableImage:
        return None
    except OSError:
        there = (rows.image_at(spot) for spot in rows.spots(path))
        return next((image for image in there if image is not None), None)
    id_ = image_id(sha256)
    return id_ if rows.sha256_of(id_) == sha256 else None
