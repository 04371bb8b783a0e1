"""The worker: read one file and decode the picture in it. It knows nothing of the index except a list of ids.

    file -read-> bytes -hash-> an id that is known? -yes-> Known
                                                    -no--> decode -> Decoded, or Failed
         -> Vanished, NotAPicture or Failed, if there are no bytes of a picture

`read` is a pure function of values that can be pickled, so it can run in threads, in processes, or on other machines.
An error with one file becomes a value of that file, and stops no run.
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
    """The settings with which all files of a run are read."""

    source: Source
    size: tuple[int, int]
    """Height and width of the pictures that the network takes, in pixels."""
    rule: int
    """Version of the decode rule of the index."""
    known: Ids
    """Ids of images, ascending. A file whose content has one of these ids is not decoded."""


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
    """A remark on how the picture was read, as in `decode.Decoded`; "" for none."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The file has the name or the first bytes of a picture, but cannot be used."""

    file: Found
    reason: str
    unread: bool = False
    """Whether the bytes could not be read. Then the row that the file has in the index may still be right."""


@dataclass(frozen=True, slots=True)
class NotAPicture:
    """The file holds something else."""

    file: Found


@dataclass(frozen=True, slots=True)
class Vanished:
    """The file was deleted after the scan saw it."""

    file: Found


Value = Known | Decoded | Failed | NotAPicture | Vanished
"""What a file holds. Size and times in `file` are those of the bytes that were read; the scan may have seen older ones.
"""


def read(task: Task, file: Found) -> Value:
    """Return what `file` holds; never raises an `Exception`."""
    try:
        return _read(task, file)
    except Exception as error:  # noqa: BLE001 - an error that nobody foresaw is a failure of this file alone
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
    except Exception as error:  # noqa: BLE001 - as in `read`, but with the size and times of the bytes that were read
        return failed(now, error)


def _decoded(task: Task, file: Found, data: bytes, sha256: bytes) -> Decoded:
    from retrieval.pictures import decode  # a run that finds only known pictures does not wait for all decoders

    decoded = decode.decode(data, task.size, task.rule, path=file.path)
    picture = Picture(sha256, decoded.width, decoded.height, decoded.format, decoded.metadata)
    return Decoded(file, picture, decoded.pixels, decoded.note)


def is_among(ids: Ids, wanted: int) -> bool:
    """Tell whether `wanted` is one of `ids`, which ascend."""
    position = int(np.searchsorted(ids, wanted))
    return position < len(ids) and bool(ids[position] == wanted)
