"""What an index knows about itself: how much there is, where, and what could not be read."""

from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sql

from retrieval.disk.writers import is_writing
from retrieval.networks import loading
from retrieval.networks.loading import Model
from retrieval.pictures import scan
from retrieval.storage import roots, tables
from retrieval.storage.commit import LOCK, RANKING, Store
from retrieval.types import Coverage, Failure, Info, added_up


def coverage(store: Store, connection: sql.Connection) -> Coverage:
    """Return how much an answer can draw on that comes from the same transaction."""
    images = tables.latest(connection).images
    unreadable, offline = tables.count_unreadable(connection), tables.count_offline(connection)
    return Coverage(images, unreadable, offline, updating=is_writing(store.folder / LOCK))


def info(store: Store, made_with: Model) -> Info:
    """Return the facts that `retrieval info` prints."""
    with store.connection() as connection:
        generation = tables.latest(connection)
        forms = store.vectors.forms(generation.segments)
        return Info(
            images=generation.images,
            vectors=generation.vectors,
            generation=generation.number,
            backbone=str(made_with),
            dim=made_with.row["dim"],
            rule=made_with.rule,
            roots=roots.folders_of(store),
            search=added_up(forms),
            ranking=tables.setting(connection, RANKING),
            parity=(loading.stored_facts(store) or {}).get("parity"),
            offline=tables.count_offline(connection),
            failures=tables.count_unreadable(connection),
            bytes=scan.size(store.folder),
        )


def images(store: Store, folder: bytes | None) -> Iterator[tuple[int, Path]]:
    """Yield the id and the path of every place of a picture, of those below `folder` if given."""
    with store.connection() as connection:
        at = roots.places(store, connection)
        spots = dict.fromkeys(at, b"") if folder is None else roots.within(store, connection, folder)
        for root, below in spots.items():
            for image, path in tables.images_below(connection, root, below):
                yield image, roots.path_of(at[root], path)


def failures(store: Store) -> Iterator[Failure]:
    """Yield the files that could not be read."""
    with store.connection() as connection:
        at = roots.places(store, connection)
        for row in tables.unreadable_files(connection):
            yield Failure(roots.path_of(at[row.root], row.path), row.reason or "")
