"""Read the metadata of images that an earlier version has indexed, from the headers of their files.

The files are not read as a whole, and nothing is embedded. Each page of files is a commit, so an interrupted run goes
on where it was. A file that cannot be read now is tried again by the next update.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import chain

from retrieval.errors import RetrievalError
from retrieval.pictures import metadata
from retrieval.pictures.source import Source
from retrieval.process.threads import in_order
from retrieval.storage.commit import Store
from retrieval.storage.settings import UNREAD
from retrieval.storage.view import Change
from retrieval.types import Found, Metadata, displayed

PAGE = 2000
"""Number of files of a commit."""
TOGETHER = 50
"""Number of files that a thread takes at a time. A header takes so little time that handing over single files would
take as long."""
Place = tuple[Found, int]
"""A file, and the id of its image."""
log = logging.getLogger("retrieval")


def are_unread(store: Store) -> bool:
    """Tell whether there are images whose metadata have to be read."""
    with store.rows() as rows:
        return bool(rows.setting(UNREAD))


def read(store: Store, root: int, source: Source, threads: int, progress: Callable[[int], None]) -> None:
    """Read the metadata of the images in a root that have none yet; within `Store.writing`.

    `progress` is called with the number of files that were looked at so far.
    """
    log.warning("the metadata of the images are read from their files, because an earlier version did not; once")
    count = 0
    for page in _pages(store, root):
        parts = [page[start : start + TOGETHER] for start in range(0, len(page), TOGETHER)]
        with closing(in_order(partial(_all_noted, source), parts, threads, 2 * threads)) as noted:
            store.commit(Change(metadata=dict(chain.from_iterable(noted))))
        count += len(page)
        progress(count)
    with store.rows() as rows:
        is_complete = not rows.any_without_metadata()
    if is_complete:
        store.put_setting(UNREAD, None)


def _pages(store: Store, root: int) -> Iterator[list[Place]]:
    after = b""
    while True:
        with store.rows() as rows:
            page = rows.without_metadata(root, after, PAGE)
        if not page:
            return
        yield page
        after = page[-1][0].path


def _all_noted(source: Source, places: Sequence[Place]) -> list[tuple[int, Metadata]]:
    """Return the ids of images and the metadata in their files, of those files that can be read."""
    return list(filter(None, (_noted(source, place) for place in places)))


def _noted(source: Source, place: Place) -> tuple[int, Metadata] | None:
    """Return the id of an image and the metadata in its file; None if the file cannot be read or was changed."""
    file, image = place
    try:
        with source.open(file.path) as (now, stream):
            if now.storable()[1:3] != file[1:3]:
                return None
            return image, metadata.read(stream)
    except (OSError, RetrievalError) as error:
        log.debug("%s: its metadata cannot be read: %s", displayed(file.path), error)
        return None
