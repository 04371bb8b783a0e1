"""Facts about an index: how much is in it, all its images, and all files that could not be read.

Long lists are read page by page. Each page is read in a transaction of its own, so that no transaction stays open while
the caller works on the items.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from retrieval.disk import files
from retrieval.storage.commit import Store
from retrieval.storage.conditions import EVERY, Condition
from retrieval.storage.rows import Rows
from retrieval.storage.settings import RANKING
from retrieval.types import Failure, IndexedImage, Info, added_up

Item = TypeVar("Item")
Page = list[tuple[bytes, Item]]
"""Items with their paths from the root, in byte order of these paths."""

PAGE = 5000
"""Number of rows that are read in one transaction."""


def info(store: Store, backbone: str, parity: float | None) -> Info:
    """Return the facts that `retrieval info` prints. `backbone` and `parity` are facts that only the caller knows."""
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


def images(store: Store, folder: bytes | None, condition: Condition = EVERY) -> Iterator[IndexedImage]:
    """Yield the places of images that meet a condition, all or those below `folder`, in byte order of root and path.

    Raises `BadInput` if the index has no image below `folder`.
    """
    with store.rows() as rows:
        spots = rows.spots_below(folder)
    for root, below in spots:
        yield from _by_pages(store, root, partial(_page_of_images, root, below, condition))


def _page_of_images(
    root: int, below: bytes, condition: Condition, rows: Rows, after: bytes | None
) -> Page[IndexedImage]:
    return rows.images_below(root, below, after, PAGE, condition)


def failures(store: Store) -> Iterator[Failure]:
    """Yield the files and folders that could not be read, in byte order of root and path."""
    with store.rows() as rows:
        roots = list(rows.root_places)
    for root in roots:
        yield from _by_pages(store, root, partial(_page_of_failures, root))


def _page_of_failures(root: int, rows: Rows, after: bytes | None) -> Page[Failure]:
    return rows.failures(root, after, PAGE)


def _by_pages(store: Store, root: int, page_of: Callable[[Rows, bytes | None], Page[Item]]) -> Iterator[Item]:
    """Yield the items of all pages of a root; `page_of` returns the page that follows a path.

    The items end early if the root is forgotten meanwhile.
    """
    after: bytes | None = None
    while True:
        with store.rows() as rows:
            page = page_of(rows, after) if root in rows.root_places else []
        for path, item in page:
            yield item
            after = path
        if len(page) < PAGE:
            return
