"""Rows that carry a digest: a row whose bits have flipped on the disk is never believed.

SQLite has no checksums of its pages, so each row of a signed table ends with a digest of its other columns. Whoever
reads rows checks the digest, the types and the bounds of each, and raises `IndexDamaged` for a row that fails.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

import sqlalchemy as sql

from retrieval.errors import IndexDamaged
from retrieval.storage import bounds

REPAIR = "see what can be saved with: retrieval verify --repair"
"""The hint of an error about damage."""
BYTES = sql.LargeBinary
INTEGER = sql.BigInteger().with_variant(sql.Integer, "sqlite")
"""64 bits. SQLite generates row ids for columns of type INTEGER only, and these have 64 bits as well."""


def signed_table(schema: sql.MetaData, name: str, *columns: Any) -> sql.Table:  # noqa: ANN401 - columns, constraints
    """Return a table whose rows carry a digest of their columns, since SQLite has no checksums of its pages.

    A column `id` is not under it: it may be SQLite's to choose. What SQLite's own check says about it has to do.
    """
    table = sql.Table(name, schema, *columns, sql.Column("digest", BYTES, nullable=False))
    table.info["signed"] = tuple(column.name for column in table.c if column.name not in {"id", "digest"})
    kinds = [(column.type.python_type, *([type(None)] * bool(column.nullable))) for column in table.c]
    table.info["kinds"] = frozenset(itertools.product(*kinds))
    table.info["check"] = bounds.row_check(name, table.c.keys())
    return table


def signed(table: sql.Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return `row`, which names every column but a fresh `id`, with its digest."""
    return {**row, "digest": digest_of(tuple(row[name] for name in table.info["signed"]))}


def is_sound(table: sql.Table, row: tuple[Any, ...]) -> bool:
    """Tell whether `row`, all columns of `table` in order, is what was written, and can be what this program wrote."""
    same = row[-1] == digest_of(row[-1 - len(table.info["signed"]) : -1])
    return bool(same and tuple(map(type, row)) in table.info["kinds"] and table.info["check"](row))


def sound(table: sql.Table, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Yield `rows`, all columns of `table` in order; `IndexDamaged` at one that is not what was written."""
    first, kinds, check = -1 - len(table.info["signed"]), table.info["kinds"], table.info["check"]
    for row in rows:
        if row[-1] != digest_of(row[first:-1]) or tuple(map(type, row)) not in kinds or not check(row):
            raise IndexDamaged(f"a row of the table {table.name} is not what was written", hint=REPAIR)
        yield row


def digest_of(values: tuple[Any, ...]) -> bytes:
    """Return the digest of the columns of a row, those that `signed_table` puts under one."""
    return blake2b(ascii(values).encode(), digest_size=8).digest()
