"""What an index knows about itself: how much there is, where, and what could not be read.

Long lists are read page by page. Each page is read in a transaction of its own, so that a slow caller holds none.
"""

from collections.abc import Iterator

from retrieval.disk import files
from retrieval.storage.commit import RANKING, Store
from retrieval.types import Failure, IndexedImage, Info, added_up

PAGE = 5000
"""Number of rows that are read in one transaction."""


def info(store: Store, backbone: str, parity: float | None) -> Info:
    """Return the facts that `retrieval info` prints; `backbone` and `parity` are told by the caller."""
    with store.rows() as rows:
        generation, encoder, coverage = rows.generation, rows.encoder(), rows.coverage()
        return Info(
            images=generation.images,
            vectors=generation.vectors,
            generation=generation.number,
            backbone=backbone,
            dim=encoder["dim"],
            rule=encoder["rule"],
            roots=rows.root_infos(),
            search=added_up(store.vectors.forms(generation.segments)),
            ranking=rows.setting(RANKING),
            parity=parity,
            offline=coverage.offline,
            failures=coverage.unreadable,
            bytes=files.size_of(store.folder),
        )


def images(store: Store, folder: bytes | None) -> Iterator[IndexedImage]:
    """Yield the places of images, of those below `folder` if that is given, in byte order of root and path."""
    with store.rows() as rows:
        spots = rows.spots_below(folder)
    for root, below in spots:
        after: bytes | None = None
        while True:
            with store.rows() as rows:
                page = rows.images_below(root, below, after, PAGE) if root in rows.root_places else []
            yield from (image for _, image in page)
            if len(page) < PAGE:
                break
            after = page[-1][0]


def failures(store: Store) -> Iterator[Failure]:
    """Yield the files and folders that could not be read, in byte order of root and path."""
    with store.rows() as rows:
        roots = list(rows.root_places)
    for root in roots:
        after: bytes | None = None
        while True:
            with store.rows() as rows:
                page = rows.failures(root, after, PAGE) if root in rows.root_places else []
            yield from (failure for _, failure in page)
            if len(page) < PAGE:
                break
            after = page[-1][0]
