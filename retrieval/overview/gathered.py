"""The images of an index that are looked at together: each image once, with one path and its vector."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from retrieval.errors import BadInput
from retrieval.index import Index
from retrieval.types import Ids, Vectors

if TYPE_CHECKING:
    from retrieval.searching.filters import Filter

PART = 4096
"""Number of images whose vectors are read at once."""
TRIES = 3
"""Number of times that the images are listed, because another process may remove some before their vectors are read."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Images in ascending order of id."""

    ids: Ids
    paths: Sequence[Path]
    """Path of one file of each image: the first that can be reached, in byte order of root and path."""
    vectors: Vectors
    """(n, dim)."""

    def __len__(self) -> int:
        return len(self.ids)


def gather(index: Index, where: "str | Filter | None" = None) -> Gathered:
    """Return the images of which a file meets the filter `where`, with their vectors; all images for None.

    The vectors take dim times 4 bytes per image: 512 MB for 100,000 images of 1280 numbers. Raises `BadFilter` for a
    faulty filter.
    """
    for _ in range(TRIES - 1):
        with suppress(BadInput):
            return _gathered(index, where)
    return _gathered(index, where)


def _gathered(index: Index, where: "str | Filter | None") -> Gathered:
    paths = paths_of(index, where)
    ids = np.array(list(paths), dtype=np.int64)
    vectors = np.empty((len(ids), index.vectors(()).shape[1]), dtype=np.float32)  # parts put together would take twice
    for start in range(0, len(ids), PART):
        part = slice(start, start + PART)
        vectors[part] = index.vectors(ids[part].tolist())
    return Gathered(ids, list(paths.values()), vectors)


def paths_of(index: Index, where: "str | Filter | None" = None) -> dict[int, Path]:
    """Return id -> path of the images of which a file meets the filter, in ascending order of id.

    Of several files, the path is that of the first one that is not offline, in byte order of root and path.
    """
    paths: dict[int, Path] = {}
    offline: set[int] = set()
    for image in index.images(where=where):
        if image.id not in paths or (image.id in offline and not image.offline):
            paths[image.id] = image.path
            (offline.add if image.offline else offline.discard)(image.id)
    return dict(sorted(paths.items()))
