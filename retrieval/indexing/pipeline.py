"""Read, decode and embed files, in their order: the driver of the workers.

    files -threads: worker.read-> values -batch-> does the index have the content? -yes-> Known
                                                                                   -no--> embed -> Embedded, or Failed

Reading and decoding run in threads (Pillow releases Python's global lock), and the network runs in the thread of the
caller. The index is asked in one place, once per batch. Only the pixels of a file at the network's size are held in
memory, and those of at most `LOOK_AHEAD` batches.
"""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import RetrievalError
from retrieval.indexing import worker
from retrieval.indexing.worker import Decoded, Failed, Known, NotAPicture, Task, Value, Vanished
from retrieval.networks.embedding import BATCH, NO_VECTOR, together, vectors_of
from retrieval.networks.encoder import Encoder
from retrieval.process.threads import in_order
from retrieval.types import Found, Picture, Pixels, Timing

LOOK_AHEAD = 2
"""Number of batches that are read while one is embedded."""
SAME_ID = "another picture of the index has the same 63-bit id"
"""Why a picture cannot be indexed whose id another image has already. This is unlikely with less than a billion images.
"""
NO_IDS = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Embedded:
    """The file holds a picture that the index does not have, and here is its vector."""

    file: Found
    picture: Picture
    vector: NDArray[np.float32]
    """(dim,), of length 1."""
    note: str = ""
    """A remark on how the picture was read, as in `decode.Decoded`; "" for none."""


Outcome = Known | Embedded | Failed | NotAPicture | Vanished


@dataclass(frozen=True)
class Pipeline:
    """The way from the files of a run to their outcomes."""

    task: Callable[[], Task]
    """Returns the task with which the next file is read."""
    embed: "Callable[[Sequence[Decoded]], Sequence[Vector]]"
    """Returns the result of embedding each of n >= 1 pictures. It is never called if the index has all of them."""
    contents_of: Callable[[Sequence[int]], Mapping[int, bytes]]
    """Returns the SHA-256 of each of some images that the index has at this moment, by id."""
    threads: int
    """Number of threads that read and decode files."""
    timing: Timing
    """Counts the seconds of each step; see `Report.timing`."""

    def run(self, files: Iterable[Found]) -> Generator[list[Outcome], None, None]:
        """Yield the outcomes of `files`, in their order, in lists of at most `BATCH`."""
        count = together(self.task().size, BATCH)
        with closing(in_order(self._read, files, self.threads, LOOK_AHEAD * count)) as values:
            while batch := self._next(values, count):
                yield self._outcomes(batch)

    def _read(self, file: Found) -> Value:
        with self.timing.of("read"):
            return worker.read(self.task(), file)

    def _next(self, values: Iterator[Value], count: int) -> list[Value]:
        with self.timing.of("wait"):
            return list(itertools.islice(values, count))

    def _outcomes(self, batch: Sequence[Value]) -> list[Outcome]:
        """Return the outcomes of a batch of values. Here, and nowhere else, the index is asked what it has."""
        contents = self._contents_for(batch)
        values = [self._decoded_if_new(value, contents) for value in batch]
        read_again = [value for value, first in zip(values, batch, strict=True) if value is not first]
        contents |= self._contents_for(read_again)  # a file that was read again may hold something else by now
        new: dict[int, Decoded] = {}
        for value in values:
            if isinstance(value, Decoded) and value.picture.id not in contents:
                new[value.picture.id] = value
                contents[value.picture.id] = value.picture.sha256  # so that a copy later in this batch is not new
        vectors = self._vectors(list(new.values()))
        return [self._outcome(value, contents, new, vectors) for value in values]

    def _contents_for(self, values: Sequence[Value]) -> dict[int, bytes]:
        """Return what the index has under the ids of some values: id -> SHA-256."""
        images = [_image(value) for value in values if isinstance(value, Known | Decoded)]
        return dict(self.contents_of(images)) if images else {}

    def _decoded_if_new(self, value: Value, contents: Mapping[int, bytes]) -> Value:
        """Return `value`, or read and decode its file if the worker knew the id, but the index has no such content.

        This happens if the last place of the content holds another picture now, or if another content has the same id.
        """
        if isinstance(value, Known) and contents.get(value.image) != value.sha256:
            return worker.read(replace(self.task(), known=NO_IDS), value.file)
        return value

    def _vectors(self, new: Sequence[Decoded]) -> "dict[int, Vector]":
        """Return the result of embedding each new picture, by id of the image."""
        if not new:
            return {}
        return {value.picture.id: vector for value, vector in zip(new, self.embed(new), strict=True)}

    @staticmethod
    def _outcome(
        value: Value, contents: Mapping[int, bytes], new: Mapping[int, Decoded], vectors: "Mapping[int, Vector]"
    ) -> Outcome:
        """Return the outcome of a value.

        `contents` has the SHA-256 of images of the index and of this batch, and `new` the pictures that were embedded,
        both by id of the image.
        """
        if not isinstance(value, Decoded):
            return value
        picture = value.picture
        if contents[picture.id] != picture.sha256:
            return Failed(value.file, SAME_ID)
        if picture.id not in new:
            return Known(value.file, picture.sha256)
        return _outcome_of_new(value, vectors[picture.id], is_copy=new[picture.id] is not value)


def _outcome_of_new(value: Decoded, vector: "Vector", *, is_copy: bool) -> Outcome:
    """Return the outcome of a picture that was embedded; `is_copy`: from another file of the batch with its content."""
    if isinstance(vector, Exception):
        return worker.failed(value.file, vector)
    if vector is None:
        return Failed(value.file, NO_VECTOR)
    if is_copy:
        return Known(value.file, value.picture.sha256)
    return Embedded(value.file, value.picture, vector, value.note)


def _image(value: Known | Decoded) -> int:
    """Return the id of the image with the content of the file."""
    return value.image if isinstance(value, Known) else value.picture.id


Vector = NDArray[np.float32] | None | Exception
"""The result of embedding one picture: its vector, (dim,); None if the vector has no direction; or an error."""


def by_network(encoder: Callable[[], Encoder], timing: Timing, new: Sequence[Decoded]) -> list[Vector]:
    """Return the result of embedding each picture with the encoder; count the seconds in `timing`."""
    with timing.of("load"):
        network = encoder()
    with timing.of("encode"):
        return embedded(network, np.stack([value.pixels for value in new]))


def embedded(encoder: Encoder, pixels: Pixels) -> list[Vector]:
    """Return the vector of each picture, as `vectors_of` does. If that raises an error, embed each picture alone.

    Then the result of a picture may be the error that the network raised for it. But if the network does not take
    another picture after the error, the network is at fault, and not the picture: the error is raised.
    """
    try:
        return list(vectors_of(encoder, pixels))
    except RetrievalError:
        raise
    except Exception:
        vectors = [_alone(encoder, picture) for picture in pixels]
        if any(isinstance(vector, Exception) for vector in vectors) and not _works(encoder, pixels, vectors):
            raise
        return vectors


def _works(encoder: Encoder, pixels: Pixels, vectors: Sequence[Vector]) -> bool:
    """Tell whether the network takes a picture that it took before, or a grey one if it took none."""
    good = [picture for picture, vector in zip(pixels, vectors, strict=True) if not isinstance(vector, Exception)]
    trial = good[0] if good else np.full_like(pixels[0], 128)
    return not isinstance(_alone(encoder, trial), Exception)


def _alone(encoder: Encoder, picture: NDArray[np.uint8]) -> Vector:
    """Return the result of embedding one picture, (height, width, 3)."""
    try:
        return vectors_of(encoder, picture[None])[0]
    except RetrievalError:
        raise
    except Exception as error:  # noqa: BLE001 - an encoder may raise anything
        return error
