"""Conditions on images and their places, as SQL. `searching.filters` makes them from what people write.

A condition is about one place of an image: the row of a file together with the row of its image. An image meets a
condition if one of its places does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import sqlalchemy as sql

from retrieval.storage.tables import files, images


class Operator(Enum):
    """How a fact compares with a value."""

    EQUAL = "="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="


@dataclass(frozen=True, slots=True)
class Comparison:
    """The fact is known, and compares so with a value."""

    fact: str
    """A name of `FACTS`."""
    operator: Operator
    value: float | str


@dataclass(frozen=True, slots=True)
class Like:
    """The fact is known, and is like a pattern. The case of the letters A to Z makes no difference."""

    fact: str
    """A name of `FACTS`."""
    pattern: str
    """Pattern of SQL: `%` stands for any characters, `_` for one, and a backslash before a character for itself."""


@dataclass(frozen=True, slots=True)
class Not:
    """The condition is not met; it is also not met where a fact that it needs is unknown."""

    condition: "Condition"


@dataclass(frozen=True, slots=True)
class All:
    """All conditions are met."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one condition is met."""

    conditions: tuple["Condition", ...]


Condition = Comparison | Like | Not | All | AnyOf
EVERY = All(())
"""The condition that every place meets."""

_PATH = sql.cast(files.c.path, sql.Text)
_PIXELS = images.c.width * images.c.height
_other = files.alias("other")

FACTS: Mapping[str, sql.ColumnElement[Any]] = {
    "path": _PATH,
    # The characters that are no slash are taken from the end of the path, which leaves the folder
    "name": sql.func.replace(_PATH, sql.func.rtrim(_PATH, sql.func.replace(_PATH, "/", "")), ""),
    "format": images.c.format,
    "width": images.c.width,
    "height": images.c.height,
    "megapixels": _PIXELS / 1e6,
    "ratio": images.c.width * 1.0 / images.c.height,
    "bytes": files.c.size,
    "modified": files.c.mtime_ns,
    "taken": images.c.taken,
    "offline": files.c.offline,
    "copies": sql.select(sql.func.count()).where(_other.c.image == images.c.id).scalar_subquery(),
}
"""Name of a fact -> the column or expression that has it. Conditions name no other column."""

_COMPARE = {
    Operator.EQUAL: sql.ColumnElement.__eq__,
    Operator.LESS: sql.ColumnElement.__lt__,
    Operator.AT_MOST: sql.ColumnElement.__le__,
    Operator.MORE: sql.ColumnElement.__gt__,
    Operator.AT_LEAST: sql.ColumnElement.__ge__,
}


def where(condition: Condition) -> sql.ColumnElement[bool]:
    """Return a condition as SQL, over a row of `files` joined with the row of its image in `images`."""
    match condition:
        case Comparison(fact, operator, value):
            return _known(_COMPARE[operator](FACTS[fact], sql.literal(value)))
        case Like(fact, pattern):
            return _known(FACTS[fact].ilike(pattern, escape="\\"))
        case Not(inner):
            return sql.not_(where(inner))
        case All(parts):
            return sql.and_(sql.true(), *map(where, parts))
        case AnyOf(parts):
            return sql.or_(sql.false(), *map(where, parts))


def _known(condition: sql.ColumnElement[Any]) -> sql.ColumnElement[bool]:
    """Return a condition that is false, and not NULL, where the fact is unknown."""
    return sql.func.coalesce(condition, sql.false())
