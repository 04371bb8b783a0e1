"""The places and images that the next commit of a run will write."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from retrieval.errors import UNFORESEEN
from retrieval.storage.commit import Store, UnstorableError
from retrieval.storage.records import FileRow
from retrieval.storage.view import Change
from retrieval.types import Picture, Vectors, displayed

log = logging.getLogger("retrieval")


@dataclass
class Pending:
    """Places and images that are not committed yet."""

    files: list[FileRow] = field(default_factory=list)
    """Places to insert or renew."""
    pictures: list[Picture] = field(default_factory=list)
    """New images."""
    vectors: list[Vectors] = field(default_factory=list)
    """Vector of each new image, (dim,), in the order of `pictures`."""
    sha256: dict[int, bytes] = field(default_factory=dict)
    """Id of each new image -> the SHA-256 of its content."""
    counted: dict[bytes, str] = field(default_factory=dict)
    """Path of each place of an image -> the field of `Report` in which it was counted."""

    def put_picture(self, picture: Picture, vector: Vectors, path: bytes, counted: str) -> None:
        """Add a new image, found at `path` and counted in the field `counted` of `Report`."""
        self.pictures.append(picture)
        self.vectors.append(vector)
        self.sha256[picture.id] = picture.sha256
        self.counted[path] = counted

    def commit(self, store: Store, reader: Callable[[], str]) -> list[FileRow]:
        """Commit everything, and return the rows that the database cannot store.

        The files of these rows are committed as unreadable, by the version of the reading code that `reader` returns.
        """
        try:
            store.commit(self._change(self.files))
        except UnstorableError:
            return list(self._refused(store, reader))
        return []

    def _change(self, files: Sequence[FileRow]) -> Change:
        """Return the change that writes `files` and those of their images that are new."""
        images = {row.image for row in files}
        positions = [position for position, picture in enumerate(self.pictures) if picture.id in images]
        if not positions:
            return Change(files)
        import numpy as np

        pictures = [self.pictures[position] for position in positions]
        return Change(files, pictures, np.stack([self.vectors[position] for position in positions]))

    def _refused(self, store: Store, reader: Callable[[], str]) -> Iterator[FileRow]:
        """Commit each place alone. If the database cannot store it, commit it as unreadable, and yield its row."""
        for row in self.files:
            try:
                store.commit(self._change([row]))
            except UnstorableError:
                log.debug("%s cannot be stored", displayed(row.path), exc_info=True)
                store.commit(Change([row._replace(image=None, reason=UNFORESEEN, reader=reader())]))
                yield row
            else:
                self._forget(row.image)

    def _forget(self, image: int | None) -> None:
        """Forget a new image that is committed now."""
        kept = [position for position, picture in enumerate(self.pictures) if picture.id != image]
        self.pictures = [self.pictures[position] for position in kept]
        self.vectors = [self.vectors[position] for position in kept]
