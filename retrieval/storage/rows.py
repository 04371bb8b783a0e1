"""The rows of one committed state: what an index knows, read in one transaction.

The verbs of `Rows` are all that other folders ask of the tables.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from retrieval.disk.locks import is_writing
from retrieval.errors import BadInput, IndexDamaged
from retrieval.storage import queries, root_rows
from retrieval.storage.roots import Root, Spot, home_of, path_of, places_of, relative, spots
from retrieval.storage.tables import FileRow, Generation, Place
from retrieval.types import Coverage, Failure, Ids, IndexedImage, RootInfo, displayed

LOCK = "writer.lock"
"""The file that the writer locks, in the folder of the index."""


class Rows:
    """One committed state of an index, without its vectors. It is valid inside the transaction that it was made in."""

    def __init__(self, connection: sql.Connection, folder: Path) -> None:
        """Read through `connection`, which is in a transaction; `folder` is that of the index."""
        self.connection = connection
        """For the modules of this folder only."""
        self._folder = folder

    # -- the index ------------------------------------------------------------------------------------------------

    @cached_property
    def generation(self) -> Generation:
        """The generation that was committed last."""
        return queries.latest(self.connection)

    def encoder(self) -> dict[str, Any]:
        """Return the row of the encoder that made the vectors."""
        return queries.encoder(self.connection, self.generation.fingerprint)

    def setting(self, name: str) -> Any:  # noqa: ANN401 - what JSON holds
        """Return a setting; None where it was never set, or where its row is damaged, which `verify` reports."""
        with suppress(IndexDamaged):
            return queries.setting(self.connection, name)
        return None

    def coverage(self) -> Coverage:
        """Return how much of what was found an answer can draw on."""
        return Coverage(
            images=self.generation.images,
            unreadable=queries.count_unreadable(self.connection),
            offline=queries.count_offline(self.connection),
            updating=is_writing(self._folder / LOCK),
        )

    # -- roots ----------------------------------------------------------------------------------------------------

    @cached_property
    def roots(self) -> list[Root]:
        """The roots, in byte order of the paths that they had at their latest update."""
        return root_rows.all_roots(self.connection)

    @cached_property
    def root_places(self) -> dict[int, bytes]:
        """Id of each root -> where the root is now, absolute; in the order of `roots`."""
        return places_of(home_of(self._folder), self.roots)

    def root_infos(self) -> tuple[RootInfo, ...]:
        """Return the roots as a person knows them, in the order of `roots`."""
        return tuple(
            RootInfo(
                path=path_of(self.root_places[root.id], b""),
                images=queries.count_below(self.connection, root.id),
                reachable=os.path.isdir(self.root_places[root.id]),
                exclude=root.exclude,
            )
            for root in self.roots
        )

    def spots(self, path: bytes) -> list[Spot]:
        """Return where `path` lies in the roots: first as it is named, then what a link there leads to."""
        return spots(self.root_places, path)

    def spots_below(self, folder: bytes | None) -> list[tuple[int, bytes]]:
        """Return (id of a root, its folder) for all that lies below `folder`; all roots for None.

        The folder of a root is relative to the root. It ends in `/`, or is empty for all of the root. `BadInput` where
        no image is known below `folder`.
        """
        if folder is None:
            return [(root, b"") for root in self.root_places]
        path = os.path.realpath(folder)
        found = {root: b"" for root, place in self.root_places.items() if relative(path, place) is not None}
        for spot in self.spots(path)[:1]:
            found = {spot.root: spot.below and spot.below + b"/"} | found
        if not any(queries.count_below(self.connection, root, below) for root, below in found.items()):
            name = displayed(folder)
            hint = f"put them there with: retrieval index {name}"
            raise BadInput(f"no picture below {name} is in the index", hint=hint)
        return list(found.items())

    # -- files ----------------------------------------------------------------------------------------------------

    def files_below(self, root: int, folder: bytes = b"", after: bytes | None = None, *, limit: int) -> list[FileRow]:
        """Return the files of `root` below `folder` whose paths follow `after`, in byte order; at most `limit`.

        `folder` is empty, a file, or ends in `/`.
        """
        return queries.files_below(self.connection, root, folder, after, limit)

    def files_by_id(self, ids: Sequence[int]) -> list[FileRow]:
        """Return the files that have these ids, in byte order of their paths."""
        return sorted(queries.files_by_id(self.connection, ids), key=lambda row: row.path)

    def files_at(self, path: bytes) -> tuple[Spot, dict[int, int | None]]:
        """Return where `path` lies, and the files there: id of the file -> id of its image, or None.

        Those are the file at `path`, or all files below it. `BadInput` where the index knows nothing there.
        """
        for spot in self.spots(path):
            files = dict(queries.files_at(self.connection, spot.root, spot.below))
            if files or not spot.below:
                return spot, files
        sentence = f"nothing at {displayed(path)} is in the index"
        raise BadInput(sentence, hint="see the indexed folders with: retrieval info")

    def count_reachable(self, root: int) -> int:
        """Return the number of places of images in `root` that are not offline."""
        return queries.count_below(self.connection, root, offline=False)

    def any_offline(self, root: int, folder: bytes) -> bool:
        """Tell whether a place of `root` below `folder` is offline."""
        return queries.any_offline(self.connection, root, folder)

    def failures(self, root: int, after: bytes | None, limit: int) -> list[tuple[bytes, Failure]]:
        """Return the files and folders of `root` that could not be read, each with its path from the root.

        In byte order, at most `limit`, those whose paths follow `after`.
        """
        place = self.root_places[root]
        rows = queries.unreadable_files(self.connection, root, after, limit)
        return [(row.path, Failure(path_of(place, row.path), row.reason or "")) for row in rows]

    # -- images ---------------------------------------------------------------------------------------------------

    def sha256_of(self, image: int) -> bytes | None:
        """Return the SHA-256 of the content of an image; None where the index has no image of that id."""
        return queries.sha256_of_id(self.connection, image)

    def contents_of(self, images: Sequence[int]) -> dict[int, bytes]:
        """Return the SHA-256 of those of `images` that the index has: id -> SHA-256."""
        return queries.contents_of(self.connection, images)

    def image_at(self, spot: Spot) -> int | None:
        """Return the id of the image whose place is `spot`, None where none is there."""
        return queries.image_at(self.connection, spot.root, spot.below)

    def image_ids(self, most: int | None = None) -> Ids:
        """Return the ids of all images, ascending; or the first `most`, a random sample, as ids come from digests."""
        return queries.image_ids(self.connection, most)

    def places(self, images: Sequence[int]) -> dict[int, list[Place]]:
        """Return the places of images: id of the image -> its places, those that can be reached first, then by path."""
        found: dict[int, list[Place]] = {}
        for place in queries.places(self.connection, images, self.root_places):
            found.setdefault(place.image, []).append(place)
        return found

    def images_below(
        self, root: int, folder: bytes, after: bytes | None, limit: int
    ) -> list[tuple[bytes, IndexedImage]]:
        """Return the places of images in `root` below `folder`, each with its path from the root.

        In byte order, at most `limit`, those whose paths follow `after`.
        """
        place = self.root_places[root]
        return [
            (
                path,
                IndexedImage(
                    id=picture.id,
                    path=path_of(place, path),
                    width=picture.width,
                    height=picture.height,
                    format=picture.format,
                    taken=picture.taken,
                    offline=bool(offline),
                ),
            )
            for path, offline, picture in queries.images_below(self.connection, root, folder, after, limit)
        ]
