"""Rows that carry a digest, so that a row in which a bit has flipped on the disk is never used.

SQLite has no checksums of its pages. So each row of a signed table ends with a digest of its other columns. Code that
reads rows checks the digest, the types and the bounds of each row, and raises `IndexDamaged` for a row that fails.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

import sqlalchemy as sql

from retrieval.errors import IndexDamaged
from retrieval.storage import bounds

REPAIR = "see what can be saved with: retrieval verify --repair"
"""Hint of errors about damage."""
BYTES = sql.LargeBinary

Row = tuple[Any, ...]
"""All columns of a table, in order."""


def signed_table(schema: sql.MetaData, name: str, *columns: Any) -> sql.Table:  # noqa: ANN401 - columns, constraints
    """Return a table whose rows end with a digest of their other columns.

    The digest does not include a column `id`, because the database may choose its value. Damage of an `id` is left to
    the database's own check.
    """
    table = sql.Table(name, schema, *columns, sql.Column("digest", BYTES, nullable=False))
    table.info["signed"] = tuple(column.name for column in table.c if column.name not in {"id", "digest"})
    table.info["types"] = frozenset(itertools.product(*(_types(column) for column in table.c)))
    table.info["check"] = bounds.row_check(name, table.c.keys())
    return table


def _types(column: sql.Column[Any]) -> list[type]:
    """Return the types that a value of `column` can have."""
    types = [column.type.python_type]
    if column.nullable:
        types.append(type(None))
    return types


def signed(table: sql.Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return `row` with its digest. `row` has a value for every column, except for an `id` that is yet to be chosen."""
    return {**row, "digest": digest_of(tuple(row[name] for name in table.info["signed"]))}


def is_sound(table: sql.Table, row: Row) -> bool:
    """Tell whether `row` matches its digest, and has types and values that this program can have written."""
    expected = digest_of(row[-1 - len(table.info["signed"]) : -1])
    return bool(row[-1] == expected and tuple(map(type, row)) in table.info["types"] and table.info["check"](row))


def sound(table: sql.Table, rows: Iterable[Row]) -> Iterator[Row]:
    """Yield `rows`, each with all columns of `table` in order; `IndexDamaged` at the first row that is not sound."""
    # The checks of `is_sound`, written out: an update reads millions of rows through this loop.
    first, types, check = -1 - len(table.info["signed"]), table.info["types"], table.info["check"]
    for row in rows:
        if row[-1] != digest_of(row[first:-1]) or tuple(map(type, row)) not in types or not check(row):
            raise IndexDamaged(f"a row of the table {table.name} is damaged", hint=REPAIR)
        yield row


def digest_of(values: tuple[Any, ...]) -> bytes:
    """Return the digest of the signed columns of a row, 8 bytes."""
    return blake2b(ascii(values).encode(), digest_size=8).digest()
