"""The rows of the table `metadata`: what cameras and people noted about the images.

An image has no row until its metadata are read. `images.taken` has the time, because it was there first.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sql

from retrieval.storage import sqlite
from retrieval.storage.signing import Row, signed, sound
from retrieval.storage.tables import ImageRow, files, images, metadata
from retrieval.types import Metadata, Picture

PART = 5000
"""Number of images whose metadata are stored at a time."""
_FACTS = [column.name for column in metadata.c if column.name not in {"image", "keywords", "digest"}]
_PUT = sqlite.upsert(metadata, key=["image"], values=[*_FACTS, "keywords", "digest"])
_RENEW = (
    sql.update(images)
    .where(images.c.id == sql.bindparam("key"))
    .values({name: sql.bindparam(name) for name in ("taken", "digest")})
)
_HAS_NONE = ~sql.exists().where(metadata.c.image == images.c.id)


def read(taken: str | None, row: Row) -> Metadata:
    """Return the metadata of an image from its row, all columns; `IndexDamaged` for a damaged row.

    `taken` is the time that the row of the image has. The values of a missing row are all None.
    """
    if row[0] is None:
        return Metadata(taken=taken)
    (values,) = sound(metadata, [tuple(row)])
    facts = dict(zip(metadata.c.keys(), values, strict=True))
    known = {name: facts[name] for name in _FACTS}
    return Metadata(taken=taken, **known, keywords=tuple(json.loads(facts["keywords"])))


def insert(connection: sql.Connection, pictures: Sequence[Picture]) -> None:
    """Insert the metadata of new images."""
    connection.execute(sql.insert(metadata), [_row(picture.id, picture.metadata) for picture in pictures])


def put(connection: sql.Connection, noted: Mapping[int, Metadata]) -> None:
    """Store the metadata of images that are in the index, by id. If they have no time, the time that is known stays."""
    ids = [*noted]
    for start in range(0, len(ids), PART):
        chosen = sql.select(images).where(images.c.id.in_(ids[start : start + PART]))
        rows = list(map(ImageRow._make, sound(images, map(tuple, connection.execute(chosen)))))
        if rows:  # images may have left the index meanwhile
            connection.execute(_PUT, [_row(row.id, noted[row.id]) for row in rows])
        renewed = [(row, noted[row.id].taken) for row in rows if noted[row.id].taken not in {None, row.taken}]
        if renewed:
            values = [signed(images, row._asdict() | {"taken": taken}) for row, taken in renewed]
            connection.execute(
                _RENEW, [{name: row[name] for name in ("taken", "digest")} | {"key": row["id"]} for row in values]
            )


def _row(image: int, noted: Metadata) -> dict[str, Any]:
    facts = {name: getattr(noted, name) for name in _FACTS}
    return signed(metadata, {"image": image, **facts, "keywords": json.dumps(noted.keywords)})


def delete_stray(connection: sql.Connection) -> None:
    """Forget the metadata of images that are no longer in the index."""
    gone = ~sql.exists().where(images.c.id == metadata.c.image)
    connection.execute(sql.delete(metadata).where(gone))


def any_unread(connection: sql.Connection) -> bool:
    """Tell whether there is an image whose metadata were never read."""
    return connection.scalar(sql.select(images.c.id).where(_HAS_NONE).limit(1)) is not None


def unread(connection: sql.Connection, root: int, after: bytes, limit: int) -> list[tuple[bytes, int, int, int]]:
    """Return path, size, time and image of up to `limit` places of `root` whose metadata were never read.

    The paths follow `after`, in byte order. Places that are offline are left out.
    """
    columns = (files.c.path, files.c.size, files.c.mtime_ns, files.c.image)
    here = (files.c.root == root, files.c.path > after, files.c.offline == 0)
    chosen = sql.select(*columns).join(images, images.c.id == files.c.image).where(*here, _HAS_NONE)
    rows = connection.execute(chosen.order_by(files.c.path).limit(limit))
    return [(row.path, row.size, row.mtime_ns, row.image) for row in rows]
