"""What the next commit of a run will hold."""

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
    """Places and pictures that are not committed yet."""

    files: list[FileRow] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    vectors: list[Vectors] = field(default_factory=list)
    sha256: dict[int, bytes] = field(default_factory=dict)
    counted: dict[bytes, str] = field(default_factory=dict)
    """Path of each picture -> the field of `Report` that it was counted in."""

    def put(self, row: FileRow) -> None:
        """Add a place."""
        self.files.append(row)

    def put_picture(self, picture: Picture, vector: Vectors, path: bytes, counted: str) -> None:
        """Add a new content, found at `path`."""
        self.pictures.append(picture)
        self.vectors.append(vector)
        self.sha256[picture.id] = picture.sha256
        self.counted[path] = counted

    def commit(self, store: Store, reader: Callable[[], str]) -> list[FileRow]:
        """Commit it, and return the rows that the database did not take: those files are failures of `reader` now."""
        try:
            store.commit(self._change(self.files))
        except UnstorableError:
            return list(self._refused(store, reader))
        return []

    def _change(self, files: Sequence[FileRow]) -> Change:
        """Return `files`, and what is new of their pictures, as a commit wants it."""
        held = {row.image for row in files}
        places = [place for place, picture in enumerate(self.pictures) if picture.id in held]
        if not places:
            return Change(files)
        import numpy as np

        pictures = [self.pictures[place] for place in places]
        return Change(files, pictures, np.stack([self.vectors[place] for place in places]))

    def _refused(self, store: Store, reader: Callable[[], str]) -> Iterator[FileRow]:
        """Commit each place alone, a failure instead where the database does not take it; yield those."""
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
        """Forget a picture that is committed."""
        kept = [place for place, picture in enumerate(self.pictures) if picture.id != image]
        self.pictures = [self.pictures[place] for place in kept]
        self.vectors = [self.vectors[place] for place in kept]
