"""Queries over the rows of the roots. Every function takes a connection that is in a transaction, as in `queries`."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sql

from retrieval.errors import IndexDamaged
from retrieval.storage import queries
from retrieval.storage.roots import Root
from retrieval.storage.signing import REPAIR, signed, sound
from retrieval.storage.tables import roots

_ROOTS = sql.select(roots)


def all_roots(connection: sql.Connection) -> list[Root]:
    """Return the roots in byte order of their paths."""
    rows = sound(roots, map(tuple, connection.execute(_ROOTS)))
    return sorted(map(_root, rows), key=lambda root: root.path)


def _root(row: tuple[Any, ...]) -> Root:
    id_, path, beside, exclude, mounts, identity, _ = row
    folders = () if mounts is None else tuple(mounts.split(b"\0"))
    return Root(id_, path, beside, _patterns(exclude), folders, identity)


def _patterns(text: str | None) -> tuple[str, ...]:
    try:
        patterns = [] if text is None else json.loads(text)
    except (ValueError, RecursionError):
        patterns = None
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise IndexDamaged("the excludes of a folder are no list of patterns", hint=REPAIR)
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


def renew_roots(connection: sql.Connection, some: Iterable[Root]) -> None:
    """Renew the rows of roots that have an id: all together, since one may be now where another was."""
    renewed = list(some)
    for root in renewed:
        put_root(connection, replace(root, path=b"\0%d" % root.id))  # which is no path
    for root in renewed:
        put_root(connection, root)


def delete_root(connection: sql.Connection, id_: int) -> None:
    """Forget a root that has no files."""
    connection.execute(sql.delete(roots).where(roots.c.id == id_))


def absorb_roots(connection: sql.Connection, inner: Mapping[int, bytes], outer: int) -> None:
    """Make the files of the roots `inner`, id -> its folder below `outer`, files of `outer`, and forget `inner`.

    A place that both know keeps what the inner root knew of it. That is a commit of its own.
    """
    left: set[int] = set()
    for root, prefix in inner.items():
        while rows := queries.files_below(connection, root, b"", None, limit=queries.PART):
            left |= queries.delete_files(connection, [row.id for row in rows if row.id is not None])
            left |= queries.put_files(connection, [row._replace(root=outer, path=prefix + row.path) for row in rows])
        delete_root(connection, root)
    queries.delete_homeless(connection, sorted(left))
    now = queries.latest(connection)
    queries.insert_generation(connection, queries.following(connection, now, now.segments))
