"""Files -> what they hold: read, hash, decode and embed, with a bounded look-ahead, the order kept, failures as values.

    files -read+hash-> known content? -yes-> Known
                                      -no--> decode -fails-> Failed, NoPicture or Vanished
                                                    -else--> batch -encode-> Embedded

Reading and decoding run in threads (Pillow lets go of the interpreter), the network in the caller's. Of a file only its
pixels at the network's size are held, and of those at most `LOOK_AHEAD` batches.
"""

import hashlib
import itertools
import logging
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import SHORT, UNFORESEEN, RetrievalError, ShortMemory, UnreadableImage, reason_of
from retrieval.networks.embedding import BATCH, NO_VECTOR, together, vectors_of
from retrieval.networks.encoder import Encoder
from retrieval.pictures.source import Source, contents
from retrieval.process.threads import Item, in_order
from retrieval.types import Found, Picture, Pixels, Timing, displayed, image_id

log = logging.getLogger("retrieval")

LOOK_AHEAD = 2
"""Batches being read while one is encoded."""


@dataclass(frozen=True, slots=True)
class Known:
    """The content is in the index."""

    file: Found
    image: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """The content is new."""

    file: Found
    picture: Picture
    vector: NDArray[np.float32]
    """(dim,), of length 1."""
    note: str = ""
    """What is to be known of how it was read; see `decode.Decoded`."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The file holds a picture that cannot be used, or could not be read at all."""

    file: Found
    reason: str
    unread: bool = False
    """The system did not give the bytes: what is known of the file may still be true."""


@dataclass(frozen=True, slots=True)
class NoPicture:
    """The file holds something else."""

    file: Found


@dataclass(frozen=True, slots=True)
class Vanished:
    """The file was there when it was found and is not any more."""

    file: Found


Outcome = Known | Embedded | Failed | NoPicture | Vanished


@dataclass(frozen=True, slots=True)
class _Decoded:
    file: Found
    picture: Picture
    pixels: NDArray[np.uint8]
    note: str


def embed(
    files: Iterable[Found],
    source: Source,
    size: tuple[int, int],
    rule: int,
    encoder: Callable[[], Encoder],
    known: Callable[[bytes], bool],
    threads: int,
    timing: Timing,
) -> Generator[list[Outcome], None, None]:
    """Yield what the `files` of `source` hold, in their order, in lists of at most `BATCH`.

    `size` is what the encoder wants, `rule` the decode rule of the index. `encoder` is called when the first picture
    has to be embedded, never if none has. `known` tells whether content with a SHA-256 is in the index; all `threads`
    that read and decode call it. Adds to `timing` as `Report.timing` says.
    """
    over = threading.Event()

    def looked_up(sha256: bytes) -> bool:
        if over.is_set():  # a thread that was left behind, whose index may be closed by now
            raise CancelledError
        return known(sha256)

    def read(file: Found) -> Outcome | _Decoded:
        with timing.of("read"):
            return _or_failed(file, partial(_read, file, source=source, size=size, rule=rule, known=looked_up))

    count = together(size, BATCH)
    with closing(in_order(read, files, threads, LOOK_AHEAD * count)) as outcomes:
        try:
            while batch := _waited(outcomes, count, timing):
                yield _encoded(batch, encoder, known, timing)
        finally:
            over.set()


def _waited(source: Iterator[Item], count: int, timing: Timing) -> list[Item]:
    with timing.of("wait"):
        return list(itertools.islice(source, count))


def _or_failed(file: Found, read: Callable[[], "Outcome | _Decoded"]) -> "Outcome | _Decoded":
    """Return `read()`; whatever goes wrong with one file is a failure of that file and stops no run."""
    try:
        return read()
    except (RetrievalError, CancelledError):  # of the index, such as a database that cannot be asked; of the run
        raise
    except Exception as error:  # noqa: BLE001 - what nobody foresaw
        return _failed(file, error)


def _failed(file: Found, error: Exception) -> "Failed":
    if isinstance(error, MemoryError):
        return Failed(file, SHORT, unread=True)
    if isinstance(error, OSError) and error.errno is not None:  # the system is busy, or a drive is away
        return Failed(file, reason_of(error), unread=True)
    log.debug("%s: %s", displayed(file.path), UNFORESEEN, exc_info=error)
    return Failed(file, UNFORESEEN)


def _read(
    file: Found, *, source: Source, size: tuple[int, int], rule: int, known: Callable[[bytes], bool]
) -> Outcome | _Decoded:
    try:
        file, data = contents(source, file.path)  # the size and times of what is read, not of what the scan saw
    except FileNotFoundError:
        return Vanished(file)
    except OSError as error:
        return Failed(file, reason_of(error), unread=True)
    except ShortMemory as error:
        return Failed(file, str(error), unread=True)
    except UnreadableImage as error:
        return Failed(file, str(error))
    return NoPicture(file) if data is None else _decoded(file, data, size, rule, known)


def _decoded(
    file: Found, data: bytes, size: tuple[int, int], rule: int, known: Callable[[bytes], bool]
) -> Outcome | _Decoded:
    sha256 = hashlib.sha256(data).digest()
    if known(sha256):
        return Known(file, image_id(sha256))
    from retrieval.pictures import (
        decode,
    )  # with all that decodes pictures, for which nobody waits whose pictures are known

    try:
        decoded = decode.decode(data, size, rule, path=file.path)
    except ShortMemory as error:
        return Failed(file, str(error), unread=True)
    except UnreadableImage as error:
        return Failed(file, str(error))
    picture = Picture(sha256, decoded.width, decoded.height, decoded.format, decoded.taken)
    return _Decoded(file, picture, decoded.pixels, decoded.note)


def _encoded(
    batch: list[Outcome | _Decoded], encoder: Callable[[], Encoder], known: Callable[[bytes], bool], timing: Timing
) -> list[Outcome]:
    """Replace what is decoded in `batch` by what is embedded; no content goes through the network twice."""
    decoded = {item.picture.sha256: item.pixels for item in batch if isinstance(item, _Decoded)}
    fresh = {sha256: pixels for sha256, pixels in decoded.items() if not known(sha256)}
    vectors: dict[bytes, _Vector] = {}
    if fresh:
        with timing.of("load"):
            ready = encoder()
        with timing.of("encode"):
            vectors = dict(zip(fresh, _vectors(ready, np.stack(list(fresh.values()))), strict=True))
    return [_outcome(item, vectors) if isinstance(item, _Decoded) else item for item in batch]


def _outcome(item: _Decoded, vectors: "dict[bytes, _Vector]") -> Outcome:
    """Return what became of `item`, taking its vector out of `vectors`: what comes again is known by then."""
    if item.picture.sha256 not in vectors:
        return Known(item.file, item.picture.id)
    vector = vectors[item.picture.sha256]
    if isinstance(vector, Exception):
        return _failed(item.file, vector)
    if vector is None:
        return Failed(item.file, NO_VECTOR)
    del vectors[item.picture.sha256]
    return Embedded(item.file, item.picture, vector, item.note)


_Vector = NDArray[np.float32] | None | Exception
"""What became of a picture in the network: see `vectors_of`, or what it raised."""


def _vectors(encoder: Encoder, pixels: Pixels) -> list[_Vector]:
    """Return what `vectors_of` returns; where that raises, what each picture alone gives or raises.

    An error is a picture's only where the network takes another one after it: else it is raised.
    """
    try:
        return list(vectors_of(encoder, pixels))
    except RetrievalError:
        raise
    except Exception:
        found = [_alone(encoder, picture) for picture in pixels]
        good = [picture for picture, vector in zip(pixels, found, strict=True) if not isinstance(vector, Exception)]
        if len(good) < len(found) and isinstance(_alone(encoder, (*good, np.full_like(pixels[0], 128))[0]), Exception):
            raise
        return found


def _alone(encoder: Encoder, picture: NDArray[np.uint8]) -> _Vector:
    try:
        return vectors_of(encoder, picture[None])[0]
    except RetrievalError:
        raise
    except Exception as error:  # noqa: BLE001 - an encoder may raise anything
        return error
