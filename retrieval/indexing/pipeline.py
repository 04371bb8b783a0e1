"""Files -> what they hold, embedded: the driver of the workers, with a bounded look-ahead and the order kept.

    files -threads: worker.read-> values -batch-> what does the index have? -> Known
                                                                            -> embed -> Embedded, or Failed

Reading and decoding run in threads (Pillow lets go of the interpreter), the network runs in the thread of the caller.
The index is asked in one place, once for each batch. Of a file only its pixels at the network's size are held, and at
most `LOOK_AHEAD` batches of them.
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
"""The reason for which content with the id of another one fails: unlikely below a billion images."""
NOTHING_KNOWN = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Embedded:
    """The content of the file is new."""

    file: Found
    picture: Picture
    vector: NDArray[np.float32]
    """(dim,), of length 1."""
    note: str = ""
    """Why the picture is not quite what the file should hold; see `decode.Decoded`."""


Outcome = Known | Embedded | Failed | NotAPicture | Vanished


@dataclass(frozen=True)
class Pipeline:
    """How the files of a run become outcomes."""

    task: Callable[[], Task]
    """Gives what the next file is read with."""
    encoder: Callable[[], Encoder]
    """Gives the encoder. It is called when the first picture has to be embedded, and never if none has."""
    contents_of: Callable[[Sequence[int]], Mapping[int, bytes]]
    """Gives the SHA-256 of those images, among some ids, that the index has at this moment."""
    threads: int
    timing: Timing
    """Is told the seconds as `Report.timing` says."""

    def run(self, files: Iterable[Found]) -> Generator[list[Outcome], None, None]:
        """Yield what `files` hold, in their order, in lists of at most `BATCH`."""
        count = together(self.task().size, BATCH)
        with closing(in_order(self._read, files, self.threads, LOOK_AHEAD * count)) as values:
            while batch := self._next(values, count):
                yield self._settled(batch)

    def _read(self, file: Found) -> Value:
        with self.timing.of("read"):
            return worker.read(self.task(), file)

    def _next(self, values: Iterator[Value], count: int) -> list[Value]:
        with self.timing.of("wait"):
            return list(itertools.islice(values, count))

    def _settled(self, batch: Sequence[Value]) -> list[Outcome]:
        """Return what becomes of the values of a batch: this is where the index is asked what it has."""
        stored = dict(self.contents_of([_image(value) for value in batch if isinstance(value, Known | Decoded)]))
        values = [self._decoded_if_new(value, stored) for value in batch]
        fresh: dict[int, Decoded] = {}
        for value in values:
            if isinstance(value, Decoded) and value.picture.id not in stored:
                fresh[value.picture.id] = value
                stored[value.picture.id] = value.picture.sha256  # what comes again in this batch is known by then
        vectors = self._vectors(list(fresh.values()))
        return [self._outcome(value, stored, fresh, vectors) for value in values]

    def _decoded_if_new(self, value: Value, stored: Mapping[int, bytes]) -> Value:
        """Return `value`; decoded where the worker knew its id and the index does not have its content.

        The last place of that content may have become another picture's meanwhile, or its id is that of other content.
        """
        if isinstance(value, Known) and stored.get(value.image) != value.sha256:
            return worker.read(replace(self.task(), known=NOTHING_KNOWN), value.file)
        return value

    def _vectors(self, fresh: Sequence[Decoded]) -> "dict[int, Vector]":
        """Return id of the content -> its vector, or what became of it instead."""
        if not fresh:
            return {}
        with self.timing.of("load"):
            encoder = self.encoder()
        with self.timing.of("encode"):
            vectors = embedded(encoder, np.stack([value.pixels for value in fresh]))
        return {value.picture.id: vector for value, vector in zip(fresh, vectors, strict=True)}

    @staticmethod
    def _outcome(
        value: Value, stored: Mapping[int, bytes], fresh: Mapping[int, Decoded], vectors: "Mapping[int, Vector]"
    ) -> Outcome:
        if not isinstance(value, Decoded):
            return value
        picture = value.picture
        if stored[picture.id] != picture.sha256:
            return Failed(value.file, SAME_ID)
        vector = vectors.get(picture.id)
        if isinstance(vector, Exception):
            return worker.failed(value.file, vector)
        if vector is None and picture.id in fresh:
            return Failed(value.file, NO_VECTOR)
        if vector is None or fresh[picture.id] is not value:
            return Known(value.file, picture.sha256)
        return Embedded(value.file, picture, vector, value.note)


def _image(value: Known | Decoded) -> int:
    return value.image if isinstance(value, Known) else value.picture.id


Vector = NDArray[np.float32] | None | Exception
"""What became of a picture in the network: its vector, None where it has no direction, or what the network raised."""


def embedded(encoder: Encoder, pixels: Pixels) -> list[Vector]:
    """Return the vector of each picture, as `vectors_of` does; where that raises, what each picture gives alone.

    An error is one of a picture only if the network still takes another picture after it; otherwise it is raised.
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
    """Tell whether the network takes a picture that it took before, or else a grey one."""
    good = [picture for picture, vector in zip(pixels, vectors, strict=True) if not isinstance(vector, Exception)]
    trial = good[0] if good else np.full_like(pixels[0], 128)
    return not isinstance(_alone(encoder, trial), Exception)


def _alone(encoder: Encoder, picture: NDArray[np.uint8]) -> Vector:
    try:
        return vectors_of(encoder, picture[None])[0]
    except RetrievalError:
        raise
    except Exception as error:  # noqa: BLE001 - an encoder may raise anything
        return error
