"""Read and decode the files of many queries in threads, while earlier ones are answered.

A file whose content the index has is not decoded: its vector is stored.
"""

import hashlib
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from retrieval.arguments import path_of
from retrieval.errors import BadInput, UnreadableImage
from retrieval.pictures import reading
from retrieval.process.threads import in_order
from retrieval.types import Ids, image_id

if TYPE_CHECKING:
    from retrieval.pictures.decode import Decoded

Query = TypeVar("Query")


@dataclass(frozen=True, slots=True)
class File:
    """A file that was read: its digest with its bytes or its pixels, or why it cannot be read."""

    path: bytes
    sha256: bytes = b""
    data: bytes | None = None
    """None if the picture was decoded, or if the file cannot be read."""
    decoded: "Decoded | UnreadableImage | None" = None
    """The picture, or why it cannot be decoded; None if that was not tried."""
    error: UnreadableImage | OSError | None = None
    """Why the file cannot be read; None if it was read."""


def read(path: bytes) -> File:
    """Read a file."""
    try:
        data = reading.read_regular(path)
    except (UnreadableImage, OSError) as error:
        return File(path, error=error)
    return File(path, hashlib.sha256(data).digest(), data)


@dataclass(frozen=True, slots=True)
class Reader:
    """How the files of many queries are read."""

    size: tuple[int, int]
    """Height and width of the input of the network."""
    rule: int
    """The decode rule of the index."""
    known: Ids
    """Ids of the images of the index, ascending."""

    def files(self, queries: Iterable[Query], threads: int, most: int) -> Generator[Query | File, None, None]:
        """Yield the queries, in their order, with the files of those that are paths.

        `threads` threads read, and at most `most` files wait for the caller.
        """
        return in_order(self._file, queries, threads, most)

    def _file(self, query: Query) -> Query | File:
        if not isinstance(query, str | PathLike):
            return query
        try:
            path = path_of(query)
        except BadInput:  # raised again where its turn is
            return query
        file = read(path)
        if file.data is None or self._is_known(image_id(file.sha256)):
            return file
        return File(path, file.sha256, decoded=_decoded(file.data, self.size, self.rule, path))

    def _is_known(self, image: int) -> bool:
        position = int(np.searchsorted(self.known, image))
        return position < len(self.known) and bool(self.known[position] == image)


def _decoded(data: bytes, size: tuple[int, int], rule: int, path: bytes) -> "Decoded | UnreadableImage":
    from retrieval.pictures import decode

    try:
        return decode.decode(data, size, rule, path=path)
    except UnreadableImage as error:
        return error
