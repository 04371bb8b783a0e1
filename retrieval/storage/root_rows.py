"""Queries over the table of the roots. As in `queries`, every function takes a connection that is in a transaction."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sql

from retrieval.errors import IndexDamaged
from retrieval.storage import queries
from retrieval.storage.bounds import loaded
from retrieval.storage.records import Root
from retrieval.storage.signing import REPAIR, Row, signed, sound
from retrieval.storage.tables import roots

_ROOTS = sql.select(roots)


def all_roots(connection: sql.Connection) -> list[Root]:
    """Return the roots, in byte order of their paths."""
    rows = sound(roots, (tuple(row) for row in connection.execute(_ROOTS)))
    return sorted((_root(row) for row in rows), key=lambda root: root.path)


def _root(row: Row) -> Root:
    id_, path, beside, exclude, mounts, identity, _digest = row
    return Root(
        id=id_,
        path=path,
        beside=beside,
        exclude=_patterns(exclude),
        mounts=() if mounts is None else tuple(mounts.split(b"\0")),
        identity=identity,
    )


def _patterns(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    patterns = loaded(text)
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise IndexDamaged("the excludes of a folder are not a list of patterns", hint=REPAIR)
    return tuple(patterns)


def _row(root: Root) -> dict[str, Any]:
    return signed(
        roots,
        {
            "path": root.path,
            "beside": root.beside,
            "exclude": json.dumps(root.exclude) if root.exclude else None,
            "mounts": b"\0".join(root.mounts) if root.mounts else None,
            "identity": root.identity,
        },
    )


def put_root(connection: sql.Connection, root: Root) -> int:
    """Insert a root, or renew the row of one that has an id; return its id."""
    if root.id:
        connection.execute(sql.update(roots).where(roots.c.id == root.id), _row(root))
        return root.id
    return int(connection.execute(sql.insert(roots).returning(roots.c.id), _row(root)).scalar_one())


def renew_roots(connection: sql.Connection, changed: Iterable[Root]) -> None:
    """Renew the rows of several roots that have an id, even if a root is now at the path that another one had."""
    renewed = list(changed)
    for root in renewed:
        put_root(connection, replace(root, path=b"\0%d" % root.id))  # a value that is not a path, so that none collide
    for root in renewed:
        put_root(connection, root)


def delete_root(connection: sql.Connection, id_: int) -> None:
    """Forget a root, which must have no places."""
    connection.execute(sql.delete(roots).where(roots.c.id == id_))


def absorb_roots(connection: sql.Connection, inner: Mapping[int, bytes], outer: int) -> None:
    """Move the places of the roots `inner` to the root `outer`, forget the inner roots, and insert a generation.

    `inner` gives the path of each inner root from `outer`, which is "" or ends in `/`. For a place that both roots
    know, the row of the inner root is kept.
    """
    displaced: set[int] = set()  # ids of images that may have no place any more
    for root, prefix in inner.items():
        while rows := queries.files_below(connection, root, b"", None, limit=queries.PART):
            moved = [row._replace(root=outer, path=prefix + row.path) for row in rows]
            displaced |= queries.delete_files(connection, [row.id for row in rows if row.id is not None])
            displaced |= queries.put_files(connection, moved)
        delete_root(connection, root)
    queries.delete_homeless(connection, sorted(displaced))
    now = queries.latest(connection)
    queries.insert_generation(connection, queries.following(connection, now, now.segments))
