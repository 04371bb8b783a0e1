"""The rows of one committed state of an index, read in one transaction.

Other folders read the tables only through the methods of `Rows`.
"""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from retrieval.disk.locks import is_writing
from retrieval.errors import BadInput
from retrieval.storage import metadata_rows, queries, root_rows
from retrieval.storage.conditions import EVERY, Condition, facts_of, where
from retrieval.storage.records import FileRow, Generation, Place, Root, Spot
from retrieval.storage.roots import home_of, path_of, places_of, relative, spots
from retrieval.storage.settings import UNREAD
from retrieval.types import Coverage, Failure, Found, Ids, IndexedImage, Picture, RootInfo, displayed

LOCK = "writer.lock"
"""Name of the file that the writer locks, in the folder of the index."""


class Rows:
    """One committed state of an index, without its vectors. It is valid inside the transaction in which it was made."""

    def __init__(self, connection: sql.Connection, folder: Path) -> None:
        """Read through `connection`, which is in a transaction, the rows of the index in `folder`."""
        self.connection = connection
        """For use within `storage` only."""
        self._folder = folder

    # -- the index ------------------------------------------------------------------------------------------------

    @cached_property
    def generation(self) -> Generation:
        """The newest generation."""
        return queries.latest(self.connection)

    def encoder(self) -> dict[str, Any]:
        """Return the row of the encoder that made the vectors, by names of columns."""
        return queries.encoder(self.connection, self.generation.fingerprint)

    def setting(self, name: str) -> Any:  # noqa: ANN401 - what JSON holds
        """Return a setting; None if it was never set, or if its row is damaged, which `verify` reports."""
        return queries.setting_if_sound(self.connection, name)

    def coverage(self) -> Coverage:
        """Return the numbers of images, of unreadable files and of offline images, and whether a process is writing."""
        return Coverage(
            images=self.generation.images,
            unreadable=queries.count_unreadable(self.connection),
            offline=queries.count_offline(self.connection),
            updating=is_writing(self._folder / LOCK),
            unread=bool(self.setting(UNREAD)),
        )

    # -- roots ----------------------------------------------------------------------------------------------------

    @cached_property
    def roots(self) -> list[Root]:
        """The roots, in byte order of the paths that they had at their latest updates."""
        return root_rows.all_roots(self.connection)

    @cached_property
    def root_places(self) -> dict[int, bytes]:
        """Where each root is now, absolute, by id of the root; in the order of `roots`."""
        return places_of(home_of(self._folder), self.roots)

    def root_infos(self) -> tuple[RootInfo, ...]:
        """Return the roots as users see them, in the order of `roots`."""
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
        """Return where `path` lies in the roots: first the path as it is named, then the target of its links."""
        return spots(self.root_places, path)

    def spots_below(self, folder: bytes | None) -> list[tuple[int, bytes]]:
        """Return which parts of which roots lie below `folder`: pairs of the id of a root and a folder in it.

        For None, all roots are returned. The folder in a root is relative to the root; it ends in `/`, or is "" for
        the whole root. Raises `BadInput` if the index has no image below `folder`.
        """
        if folder is None:
            return [(root, b"") for root in self.root_places]
        path = os.path.realpath(folder)
        found = {root: b"" for root, place in self.root_places.items() if relative(path, place) is not None}
        holding = self.spots(path)
        if holding:
            spot = holding[0]
            part_of_root = spot.below + b"/" if spot.below else b""
            found = {spot.root: part_of_root} | found
        if not any(queries.count_below(self.connection, root, below) for root, below in found.items()):
            name = displayed(folder)
            if os.path.isfile(path):
                raise BadInput(f"{name} is a file, not a folder", hint="give a folder that holds indexed pictures")
            hint = f"put them there with: retrieval index {name}"
            raise BadInput(f"no picture below {name} is in the index", hint=hint)
        return list(found.items())

    # -- files ----------------------------------------------------------------------------------------------------

    def files_below(self, root: int, folder: bytes = b"", after: bytes | None = None, *, limit: int) -> list[FileRow]:
        """Return up to `limit` places of `root` below `folder` whose paths follow `after`, in byte order of the paths.

        `folder` is "" for the whole root, a folder that ends in `/`, or the path of one file.
        """
        return queries.files_below(self.connection, root, folder, after, limit)

    def files_by_id(self, ids: Sequence[int]) -> list[FileRow]:
        """Return the places with these ids, in byte order of their paths."""
        return sorted(queries.files_by_id(self.connection, ids), key=lambda row: row.path)

    def files_at(self, path: bytes) -> tuple[Spot, dict[int, int | None]]:
        """Return where `path` lies, and the places at and below it: id of the place -> id of its image, or None.

        Raises `BadInput` if the index knows no place there.
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
        """Return up to `limit` files and folders of `root` that could not be read and whose paths follow `after`.

        Each comes with its path from the root. They are in byte order of these paths.
        """
        place = self.root_places[root]
        rows = queries.unreadable_files(self.connection, root, after, limit)
        return [(row.path, Failure(path_of(place, row.path), row.reason or "")) for row in rows]

    # -- images ---------------------------------------------------------------------------------------------------

    def sha256_of(self, image: int) -> bytes | None:
        """Return the SHA-256 of the content of an image; None if the index has no image with this id."""
        return queries.sha256_of_id(self.connection, image)

    def contents_of(self, images: Sequence[int]) -> dict[int, bytes]:
        """Return the SHA-256 of each of `images` that is in the index, by id of the image."""
        return queries.contents_of(self.connection, images)

    def image_at(self, root: int, path: bytes) -> int | None:
        """Return the id of the image at a path from a root; None if the index has no image there."""
        return queries.image_at(self.connection, root, path)

    def matching(self, condition: Condition) -> Ids:
        """Return the ids of the images of which a place meets a condition, in ascending order."""
        return queries.matching(self.connection, self._where(condition))

    def _where(self, condition: Condition) -> sql.ColumnElement[bool]:
        return where(condition, facts_of(self.root_places))

    def any_without_metadata(self) -> bool:
        """Tell whether there is an image whose metadata were never read."""
        return metadata_rows.any_unread(self.connection)

    def without_metadata(self, root: int, after: bytes, limit: int) -> list[tuple[Found, int]]:
        """Return up to `limit` places of `root` whose metadata were never read, with the ids of their images.

        Their paths follow `after`, in byte order. Places that are offline are left out. `ctime_ns` is not known.
        """
        rows = metadata_rows.unread(self.connection, root, after, limit)
        return [(Found(path, size, mtime_ns, 0), image) for path, size, mtime_ns, image in rows]

    def image_ids(self, most: int | None = None) -> Ids:
        """Return the ids of all images in ascending order, or the first `most` of them, which are a random sample."""
        return queries.image_ids(self.connection, most)

    def places(self, images: Sequence[int], condition: Condition = EVERY) -> dict[int, list[Place]]:
        """Return the places of each image that meet a condition, by id of the image; only images with such a place.

        Places that can be reached come before those that are offline. Then the order is that of the roots and paths.
        """
        chosen = None if condition == EVERY else self._where(condition)
        found: dict[int, list[Place]] = {}
        for place in queries.places(self.connection, images, self.root_places, chosen):
            found.setdefault(place.image, []).append(place)
        return found

    def images_below(
        self, root: int, folder: bytes, after: bytes | None, limit: int, condition: Condition = EVERY
    ) -> list[tuple[bytes, IndexedImage]]:
        """Return up to `limit` places of images in `root` below `folder` that meet `condition` and follow `after`.

        Each comes with its path from the root. They are in byte order of these paths.
        """
        place = self.root_places[root]
        rows = queries.images_below(self.connection, root, folder, after, limit, self._where(condition))
        return [(file.path, _indexed(place, file, picture)) for file, picture in rows]

    def files_of(self, images: Sequence[int]) -> dict[int, list[IndexedImage]]:
        """Return id of an image -> its files, in the order of `places`; only images that the index has."""
        order = {root: number for number, root in enumerate(self.root_places)}
        rows = [row for row in queries.files_of(self.connection, images) if row[0].root in order]
        rows.sort(key=lambda row: (row[0].offline, order[row[0].root], row[0].path))
        found: dict[int, list[IndexedImage]] = {}
        for file, picture in rows:
            found.setdefault(picture.id, []).append(_indexed(self.root_places[file.root], file, picture))
        return found


def _indexed(place: bytes, file: FileRow, picture: Picture) -> IndexedImage:
    """Return a file of an image, in a root at `place`."""
    return IndexedImage(
        id=picture.id,
        path=path_of(place, file.path),
        width=picture.width,
        height=picture.height,
        format=picture.format,
        metadata=picture.metadata,
        bytes=file.size,
        modified_ns=file.mtime_ns,
        sha256=picture.sha256.hex(),
        offline=bool(file.offline),
    )
