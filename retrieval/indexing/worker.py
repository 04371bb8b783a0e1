"""The worker: a file becomes what it holds, decoded, without any knowledge of the index but a list of ids.

    file -read-> bytes -hash-> an id that is known? -yes-> Known
                                                    -no--> decode -> Decoded, or Failed
         -> Vanished, NotAPicture or Failed, where there are no bytes of a picture

`read` is a pure function of values that can be pickled, so it can run in threads, in processes, or on other machines.
Everything that goes wrong with one file becomes a value of that file, and stops no run.
"""

import hashlib
import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import SHORT, UNFORESEEN, ShortMemory, UnreadableImage, reason_of
from retrieval.pictures.source import Source, contents
from retrieval.types import Found, Ids, Picture, displayed, image_id

log = logging.getLogger("retrieval")


@dataclass(frozen=True, slots=True)
class Task:
    """What all files of a run are read with."""

    source: Source
    size: tuple[int, int]
    """Height and width of the pixels that the network wants."""
    rule: int
    """The decode rule of the index."""
    known: Ids
    """Ids of images, ascending. A file whose content has one of them is not decoded."""


@dataclass(frozen=True, slots=True)
class Known:
    """The content of the file has an id that the index knows. The file was not decoded."""

    file: Found
    sha256: bytes

    @property
    def image(self) -> int:
        """The id of the content."""
        return image_id(self.sha256)


@dataclass(frozen=True, slots=True)
class Decoded:
    """The file holds a picture, and here are its pixels."""

    file: Found
    picture: Picture
    pixels: NDArray[np.uint8]
    """(height, width, 3), RGB, 0-255, upright."""
    note: str = ""
    """Why the picture is not quite what the file should hold; see `decode.Decoded`."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The file is called a picture, or begins like one, and cannot be used."""

    file: Found
    reason: str
    unread: bool = False
    """Whether the system did not give the bytes. What is known of the file may still be true then."""


@dataclass(frozen=True, slots=True)
class NotAPicture:
    """The file holds something else."""

    file: Found


@dataclass(frozen=True, slots=True)
class Vanished:
    """The file was deleted after the scan saw it."""

    file: Found


Value = Known | Decoded | Failed | NotAPicture | Vanished
"""What a file holds. `file` has the size and times of what was read, which may be newer than what the scan saw."""


def read(task: Task, file: Found) -> Value:
    """Return what `file` holds; never raises an `Exception`."""
    try:
        return _read(task, file)
    except Exception as error:  # noqa: BLE001 - whatever nobody foresaw is a failure of this file alone
        return failed(file, error)


def failed(file: Found, error: Exception) -> Failed:
    """Return the failure of a file for which `error` was raised."""
    if isinstance(error, ShortMemory):
        return Failed(file, str(error), unread=True)
    if isinstance(error, UnreadableImage):
        return Failed(file, str(error))
    if isinstance(error, MemoryError):
        return Failed(file, SHORT, unread=True)
    if isinstance(error, OSError) and error.errno is not None:  # the system is busy, or a drive is away
        return Failed(file, reason_of(error), unread=True)
    log.debug("%s: %s", displayed(file.path), UNFORESEEN, exc_info=error)
    return Failed(file, UNFORESEEN)


def _read(task: Task, file: Found) -> Value:
    try:
        now, data = contents(task.source, file.path)
    except FileNotFoundError:
        return Vanished(file)
    if data is None:
        return NotAPicture(now)
    sha256 = hashlib.sha256(data).digest()
    if is_among(task.known, image_id(sha256)):
        return Known(now, sha256)
    try:
        return _decoded(task, now, data, sha256)
    except Exception as error:  # noqa: BLE001 - likewise; it is a failure of what was read, not of what was seen
        return failed(now, error)


def _decoded(task: Task, file: Found, data: bytes, sha256: bytes) -> Decoded:
    from retrieval.pictures import decode  # a run that finds known pictures only does not wait for all decoders

    found = decode.decode(data, task.size, task.rule, path=file.path)
    picture = Picture(sha256, found.width, found.height, found.format, found.taken)
    return Decoded(file, picture, found.pixels, found.note)


def is_among(ids: Ids, wanted: int) -> bool:
    """Tell whether `wanted` is one of `ids`, which ascend."""
    position = int(np.searchsorted(ids, wanted))
    return position < len(ids) and bool(ids[position] == wanted)
