"""Turn a query of any kind into its vector, and into the images and files that must not be among its matches.

    id, Match, and the path or bytes of known content ─────────> stored vector ──┐
    vector ────────────────────────────────────────────────────> scaled ─────────┤
    PIL image, array, and the path or bytes of new content ──> pixels ─ network ─┴─> PreparedQuery with a vector
    Blend ── each of its pictures, as above; the weighted sum of their vectors ──────> PreparedQuery with a vector
    Tagged ────────────────────────────────────────────────────────────────────────> PreparedQuery with its matches

`QueryReader.prepare` reads one query at a time and needs no network. `embed` then embeds the pixels of several queries
together.
"""

import hashlib
import logging
import math
import operator
import os
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.arguments import MOST, number, path_of, several, word
from retrieval.errors import BadInput, UnreadableImage, reason_of
from retrieval.pictures import given, reading
from retrieval.searching import ahead
from retrieval.searching.crop import Box, Crop
from retrieval.searching.options import PLAIN, SearchOptions
from retrieval.storage.conditions import EVERY, Condition
from retrieval.storage.rows import Rows
from retrieval.storage.view import View
from retrieval.types import Blend, Match, Pixels, Tagged, Vectors, displayed, image_id
from retrieval.vectors.scaling import unit_vectors

if TYPE_CHECKING:
    from retrieval.pictures.decode import Decoded

log = logging.getLogger("retrieval")

FAR = 0.5
"""Weight of the mean of the pictures `Blend.unlike`, as a share of that of `Blend.like` (Rocchio 1971, Relevance
feedback in information retrieval). On Corel-1k, the first 20 answers to one picture of a class and one of another class
have the other class for a share of 0.48 (MobileNetV2). If another picture of that class is subtracted, the share is
0.16 with a weight of 0.25, 0.05 with 0.5 and 0.02 with 1; the share of the first class is 0.80, 0.90 and 0.91."""

Query = str | bytes | os.PathLike[str] | Image.Image | NDArray[Any] | int | Match | Blend | Tagged
"""A path, the bytes of a picture file, a PIL image, an array that `given.from_array` accepts, a vector (dim,), the id
of an indexed image, a `Match`, a `Blend` of several of these, or `Tagged` for the images that have a tag."""
Unusable = BadInput | UnreadableImage
"""The error of a query that cannot be used. It stands in place of the answer."""
Excluded = Literal["file", "content", "nothing"]
"""What is excluded from the matches of a query. "file" excludes the file of a query by path, or the image of a query by
id or match. "content" excludes the image of the query with all its copies, whatever the kind of the query."""
FindTagged = Callable[[str], Sequence[tuple[int, float]]]
"""Words of a tag -> (id, score) of the images that have the tag, best first."""


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """A query that was read. It has a vector, or `pixels` or `parts` from which `embed` makes it, or `tag_matches`."""

    id: int | None = None
    """Id of the content of the query; None for a PIL image or an array, which have no bytes."""
    vector: NDArray[np.float32] | None = None
    """(dim,), of length 1."""
    turned: Vectors | None = None
    """(n, dim), vectors of the picture in other orientations; None if there are none."""
    pixels: Pixels | None = None
    """The picture, and then other orientations of it, (n * scales, height, width, 3)."""
    scales: int = 1
    """Number of pictures in `pixels` for each orientation. A vector is the mean of the vectors of an orientation."""
    parts: tuple[tuple[float, "PreparedQuery"], ...] = ()
    """The pictures of a blend with their weights, which are negative for `Blend.unlike`. The vector is their sum."""
    excluded_ids: frozenset[int] = frozenset()
    """Images that must not be matches."""
    excluded_files: frozenset[tuple[int, bytes]] = frozenset()
    """Files that must not be shown as places of a match, as (id of the root, path from the root)."""
    tag_matches: Sequence[tuple[int, float]] | None = None
    """(id, score) of the matches of a query by tag, best first; None for a query by picture."""

    def without_itself(self) -> "PreparedQuery":
        """Return the query with its own content excluded from the matches."""
        return self if self.id is None else replace(self, excluded_ids=frozenset({self.id}))


@dataclass(frozen=True)
class QueryReader:
    """Reader of the queries that are answered in one state of an index."""

    view: View
    size: tuple[int, int]
    """Height and width of the input of the network."""
    rule: int
    """Decode rule of the index."""
    options: SearchOptions = PLAIN
    """What a search was told: its views."""
    excluded: Excluded = "nothing"
    find_tagged: FindTagged | None = None
    """Finds the images that have a tag; None to refuse queries by tag."""
    crop: Crop | None = None
    """Part of each picture to search with; None for the whole picture."""
    condition: Condition = EVERY
    """The condition that the places of matches meet."""

    def prepare(self, query: Query | ahead.File) -> PreparedQuery | Unusable:
        """Return `query` with its vector, its pixels or its tag matches, or the error that says why it cannot be used.

        The stored vector is used if the index has the content and no views are asked for. The traceback of an error is
        cleared, because it would keep the bytes of the query in memory as long as the caller keeps the error.
        """
        try:
            return self._prepared(query)
        except (BadInput, UnreadableImage) as error:
            cause: BaseException | None = error
            while cause is not None:
                traceback.clear_frames(cause.__traceback__)
                cause = cause.__cause__ or cause.__context__
            return error

    def _prepared(self, query: Query | ahead.File) -> PreparedQuery:
        match query:
            case str() | os.PathLike():
                prepared = self._of_file(ahead.read(path_of(query, "the path of a query")))
            case ahead.File():
                prepared = self._of_file(query)
            case bytes():
                prepared = self._of_content(ahead.File(b"", hashlib.sha256(query).digest(), query))
            case np.ndarray() | Image.Image():
                return self._in_memory(query)
            case Tagged():
                return self._of_tag(word(query.words, "words"))
            case Blend():
                return self._of_blend(query)
            case Match():
                prepared = self._of_image(query.id)
            case _:
                prepared = self._of_image(query)
        if isinstance(query, str | os.PathLike | ahead.File):
            return prepared
        names_an_image = not isinstance(query, bytes)
        if self.excluded == "content" or (self.excluded == "file" and names_an_image):
            return prepared.without_itself()
        return prepared

    # -- kinds of queries -----------------------------------------------------------------------------------------

    def _of_tag(self, words: str) -> PreparedQuery:
        """Return a query with the images that have a tag. Images that have left the index are dropped."""
        if self.find_tagged is None:
            raise BadInput("a tag is not a picture: it has no vector")
        matches = [(image, score) for image, score in self.find_tagged(words) if self._is_indexed(image)]
        return PreparedQuery(tag_matches=matches)

    def _in_memory(self, query: Image.Image | NDArray[Any]) -> PreparedQuery:
        """Return a query with a picture; or with a vector, (dim,), which is scaled to length 1 and has no views."""
        if isinstance(query, Image.Image) or query.ndim != 1:
            return self._pictured(None, self._part(given.in_memory(query)))
        if self.crop is not None:
            raise BadInput("a vector cannot be cropped", hint="give the picture")
        return PreparedQuery(vector=unit_vectors(query[None], 1, self.view.rows.encoder()["dim"])[0])

    def _of_blend(self, blend: Blend) -> PreparedQuery:
        """Return a query with the pictures of a blend. What the pictures exclude is excluded."""
        like, unlike = several(blend.like, "like", "pictures"), several(blend.unlike, "unlike", "pictures")
        if not like:
            raise BadInput("like is empty", hint="a blend needs a picture that the answers are to be like")
        for picture in (*like, *unlike):
            if isinstance(picture, Tagged | Blend):
                raise BadInput(f"a blend is made of pictures, not of a {type(picture).__name__}")
        weights = _weights(blend.weights, len(like), len(unlike))
        parts = tuple(zip(weights, map(self._prepared, (*like, *unlike)), strict=True))
        ids = frozenset[int]().union(*(part.excluded_ids for _, part in parts))
        files = frozenset[tuple[int, bytes]]().union(*(part.excluded_files for _, part in parts))
        return PreparedQuery(parts=parts, excluded_ids=ids | self._only_at(files), excluded_files=files)

    def _of_file(self, file: ahead.File) -> PreparedQuery:
        """Return the picture in a file that was read.

        If "file" is excluded, the file is excluded in every root that contains its path or the target of its links. An
        image without another file is excluded as well, so that the search finds another image in its place.
        """
        files = [(spot.root, spot.below) for spot in self.view.rows.spots(file.path)]
        images = self._images_at(files)
        prepared = self._read(file, images)
        if self.excluded == "content":
            return prepared.without_itself()
        if self.excluded == "nothing" or not images:
            return prepared
        return replace(prepared, excluded_ids=self._only_at(frozenset(files)), excluded_files=frozenset(files))

    def _images_at(self, files: Iterable[tuple[int, bytes]]) -> list[int]:
        """Return the ids of the images that the index has at some files, each (id of the root, path from the root)."""
        images = (self.view.rows.image_at(root, path) for root, path in files)
        return [image for image in images if image is not None]

    def _only_at(self, files: frozenset[tuple[int, bytes]]) -> frozenset[int]:
        """Return the images at some files that have no other file that meets the condition."""
        images = self._images_at(files)
        with_other_files = {
            image
            for image, places in self.view.rows.places(images, self.condition).items()
            if any((place.root, place.below) not in files for place in places)
        }
        return frozenset(images) - with_other_files

    def _read(self, file: ahead.File, images: Sequence[int]) -> PreparedQuery:
        """Return the picture in a file that was read.

        `images` are the ids of the images that the index has at its path. If the file cannot be opened, return the
        first of them.
        """
        match file.error:
            case UnreadableImage() as error:
                raise UnreadableImage(f"{displayed(file.path)} cannot be read: {error}", hint=error.hint) from error
            case OSError() as error:
                if not images or self.crop is not None:
                    raise UnreadableImage(f"{displayed(file.path)} cannot be read: {reason_of(error)}") from error
                return self._of_image(images[0])
        try:
            return self._of_content(file)
        except UnreadableImage as error:
            raise UnreadableImage(f"{displayed(file.path)} cannot be used: {error}") from error

    def _of_image(self, query: Any) -> PreparedQuery:  # noqa: ANN401 - whatever a caller gave as a query
        """Return the image of the index whose id is `query`, a whole number of Python or numpy."""
        try:
            id_ = None if isinstance(query, bool) else operator.index(query)  # True would be taken for 1
        except TypeError:
            id_ = None
        if id_ is None:
            kinds = "a path, bytes, a PIL image, an array, an id or a Match"
            raise BadInput(f"a query is {kinds}, not a value of type {type(query).__name__}")
        if not 0 <= id_ <= MOST or not self._is_indexed(id_):
            raise BadInput(f"no image of the index has the id {id_}")
        if self.crop is not None:
            raise BadInput("only the file of an image can be cropped, not an id or a match", hint="give its path")
        return PreparedQuery(id_, self.view.vectors(np.array([id_]))[0])

    def _of_content(self, file: ahead.File) -> PreparedQuery:
        """Return the picture in the bytes of a file, whose path may be b""."""
        id_ = image_id(file.sha256)
        if self.crop is not None:
            return self._pictured(id_, self._decoded_part(file, self.crop))
        if not self.options.views and self.view.rows.sha256_of(id_) == file.sha256:
            return self._of_image(id_)
        decoded = self._decoded(file, self.size)
        if not self.options.views:
            return PreparedQuery(id_, pixels=decoded.pixels[None])
        larger = self._decoded(file, self._larger_size(), noted=True)
        return self._pictured(id_, Image.fromarray(larger.pixels), decoded.pixels)

    def _decoded(self, file: ahead.File, size: tuple[int, int], *, noted: bool = False) -> "Decoded":
        """Return the picture in a file in a size. Unless `noted`, write a note if the picture is incomplete."""
        decoded = file.decoded
        if isinstance(decoded, UnreadableImage):
            raise decoded
        if decoded is None:
            # Loads all decoders; a query with a stored vector does not wait for them
            from retrieval.pictures import decode

            assert file.data is not None  # noqa: S101 - a file has its bytes or its pixels
            decoded = decode.decode(file.data, size, self.rule, path=file.path or None)
        if decoded.note and not noted:
            log.warning("%s: %s", displayed(file.path) or "the query", decoded.note)
        return decoded

    def _is_indexed(self, image: int) -> bool:
        return self.view.rows.sha256_of(image) is not None

    # -- parts ----------------------------------------------------------------------------------------------------

    def _part(self, picture: Image.Image) -> Image.Image:
        """Return the part of a picture to search with."""
        if self.crop is None:
            return picture
        return picture.crop(_inside(self.crop.box(*picture.size), *picture.size))

    def _decoded_part(self, file: ahead.File, crop: Crop) -> Image.Image:
        """Return a part of the picture in a file, as large as the network needs it."""
        small = self._decoded(file, self.size)
        left, upper, right, lower = box = crop.box(small.width, small.height)
        height = min(small.height, math.ceil(math.sqrt(2) * self.size[0] / (lower - upper)))
        width = min(small.width, math.ceil(math.sqrt(2) * self.size[1] / (right - left)))
        decoded = self._decoded(file, (height, width), noted=True)
        return Image.fromarray(decoded.pixels).crop(_inside(box, width, height))

    # -- views ----------------------------------------------------------------------------------------------------

    def _pictured(self, id_: int | None, picture: Image.Image, whole: NDArray[np.uint8] | None = None) -> PreparedQuery:
        """Return a query with the pixels of a picture and of its views.

        `whole` has the pixels of the picture in the input size of the network, if they were decoded already.
        """
        if whole is None:
            whole = given.fitted(picture, self.size, self.rule)
        upright = [whole]
        if self.options.multiscale:
            upright.append(given.fitted(picture.crop(_middle(*picture.size)), self.size, self.rule))
        pixels = list(upright)
        for name in self.options.orientations:
            pixels += [self._turned(part, name) for part in upright]
        return PreparedQuery(id_, pixels=np.stack(pixels), scales=len(upright))

    def _turned(self, pixels: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
        """Return pixels of the size of the network in another orientation, in that size."""
        turned = np.asarray(Image.fromarray(pixels).transpose(_TURNS[name]))
        return turned if turned.shape == pixels.shape else given.fitted(Image.fromarray(turned), self.size, self.rule)

    def _larger_size(self) -> tuple[int, int]:
        """Return the height and width of a picture whose middle is as large as the input of the network."""
        return math.ceil(self.size[0] * math.sqrt(2)), math.ceil(self.size[1] * math.sqrt(2))


def _weights(given_: Any, like: int, unlike: int) -> list[float]:  # noqa: ANN401 - whatever a caller gave
    """Return the weights of the pictures of a blend: 1 in all for the `like` first ones, -`FAR` for the others."""
    weights = [1.0] * (like + unlike)
    if given_ is not None:
        weights = [number(weight, "a weight", 0, MOST) for weight in several(given_, "weights", "numbers")]
    if len(weights) != like + unlike:
        raise BadInput(
            f"there are {like + unlike} pictures and {len(weights)} weights", hint="give one for each picture"
        )
    if 0 in weights:
        raise BadInput("a weight must be more than 0")
    first, second = sum(weights[:like]), sum(weights[like:])
    return [weight / first for weight in weights[:like]] + [-FAR * weight / second for weight in weights[like:]]


def _inside(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """Return a box in pixels of a picture of this size; it has at least one."""
    left, upper = min(width - 1, round(box[0] * width)), min(height - 1, round(box[1] * height))
    return left, upper, max(left + 1, round(box[2] * width)), max(upper + 1, round(box[3] * height))


_TURNS = {
    "mirror": Image.Transpose.FLIP_LEFT_RIGHT,
    "flip": Image.Transpose.FLIP_TOP_BOTTOM,
    "rot90": Image.Transpose.ROTATE_90,
    "rot180": Image.Transpose.ROTATE_180,
    "rot270": Image.Transpose.ROTATE_270,
    "transpose": Image.Transpose.TRANSPOSE,
    "transverse": Image.Transpose.TRANSVERSE,
}
"""Name of `options.ORIENTATIONS` -> how Pillow turns a picture."""


def _middle(width: int, height: int) -> tuple[int, int, int, int]:
    """Return the box (left, upper, right, lower) of the middle of a picture, which has half of its area."""
    left, upper = (round(side * (1 - math.sqrt(0.5)) / 2) for side in (width, height))
    return left, upper, max(left + 1, width - left), max(upper + 1, height - upper)


# -- looking up ---------------------------------------------------------------------------------------------------


def id_of(rows: Rows, path: bytes) -> int | None:
    """Return the id of the indexed image in the file at `path`; None if the index does not have it.

    The image is recognised by the bytes of the file. If the file cannot be opened, the id is that of the image that the
    index has at this path.
    """
    try:
        sha256 = hashlib.sha256(reading.read_regular(path)).digest()
    except UnreadableImage:
        return None
    except OSError:
        images = (rows.image_at(spot.root, spot.below) for spot in rows.spots(path))
        return next((image for image in images if image is not None), None)
    id_ = image_id(sha256)
    return id_ if rows.sha256_of(id_) == sha256 else None


def stored_vectors(view: View, ids: Sequence[int]) -> Vectors:
    """Return the stored vectors of images, (n, dim), in the order of `ids`; `BadInput` for an unknown id."""
    known = view.rows.contents_of(ids)
    for id_ in ids:
        if id_ not in known:
            raise BadInput(f"no image of the index has the id {id_}")
    if not ids:
        return np.zeros((0, view.rows.encoder()["dim"]), dtype=np.float32)
    return view.vectors(np.array(ids, dtype=np.int64))
