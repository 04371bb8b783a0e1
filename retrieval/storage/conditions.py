"""Conditions on images and their places, as SQL. `searching.filters` makes them from what people write.

A condition is about one place of an image: the row of a file together with the rows of its image and of its metadata.
An image meets a condition if one of its places does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import sqlalchemy as sql

from retrieval.storage import sqlite
from retrieval.storage import sqlite_functions as functions
from retrieval.storage.tables import files, images, metadata


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
    """The fact is known, and is like a pattern. Neither the case of letters nor the way to write accents counts."""

    fact: str
    """A name of `FACTS`."""
    pattern: str
    """Pattern of SQL: `%` stands for any characters, `_` for one, and a backslash before a character for itself."""


@dataclass(frozen=True, slots=True)
class Known:
    """The fact is known."""

    fact: str
    """A name of `FACTS`."""


@dataclass(frozen=True, slots=True)
class HasKeyword:
    """The picture has a keyword that is like a pattern, as in `Like`."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Near:
    """The picture was taken within a distance of a place."""

    latitude: float
    longitude: float
    kilometres: float


@dataclass(frozen=True, slots=True)
class NearFile:
    """The picture was taken within a distance of another one: the first with a place whose path or name is like this.

    If there is none, no picture meets the condition.
    """

    pattern: str
    kilometres: float


@dataclass(frozen=True, slots=True)
class OneOf:
    """The image has one of some ids."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tagged:
    """The network gives the image a tag. This is no condition for the database: it has to be made a `OneOf`."""

    words: str


@dataclass(frozen=True, slots=True)
class Not:
    """The condition is not met. So this is met wherever a fact that the condition needs is unknown."""

    condition: "Condition"


@dataclass(frozen=True, slots=True)
class All:
    """All conditions are met."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one condition is met."""

    conditions: tuple["Condition", ...]


Condition = Comparison | Like | Known | HasKeyword | Near | NearFile | OneOf | Tagged | Not | All | AnyOf
EVERY = All(())
"""The condition that every place meets."""
Facts = Mapping[str, sql.ColumnElement[Any]]
"""Name of a fact -> the column or expression that has it. Conditions name no other column."""

_other = files.alias("other")
_FACTS: Facts = {
    "path": files.c.path,
    "name": functions.last_part(files.c.path),
    "format": images.c.format,
    "width": images.c.width,
    "height": images.c.height,
    "megapixels": images.c.width * images.c.height / 1e6,
    "ratio": images.c.width * 1.0 / images.c.height,
    "bytes": files.c.size,
    "modified": files.c.mtime_ns,
    "taken": images.c.taken,
    "make": metadata.c.make,
    "model": metadata.c.model,
    "camera": metadata.c.make + " " + metadata.c.model,
    "lens": metadata.c.lens,
    "iso": metadata.c.iso,
    "aperture": metadata.c.aperture,
    "exposure": metadata.c.exposure,
    "focal_length": metadata.c.focal_length,
    "latitude": metadata.c.latitude,
    "longitude": metadata.c.longitude,
    "rating": metadata.c.rating,
    "offline": files.c.offline,
    "copies": sql.select(sql.func.count()).where(_other.c.image == images.c.id).scalar_subquery(),
}
"""The facts that do not depend on where the roots are."""


def facts_of(roots_at: Mapping[int, bytes]) -> Facts:
    """Return all facts of a place, for roots that are at the places `roots_at`: id -> absolute path."""
    root = functions.chosen_by(files.c.root, roots_at)
    name = functions.chosen_by(files.c.root, {id_: place.rpartition(b"/")[2] for id_, place in roots_at.items()})
    named_path = functions.joined_path(name, files.c.path)
    return {
        **_FACTS,
        "root": root,
        "place": functions.joined_path(root, files.c.path),
        "named_path": named_path,
        "folders": functions.joined_path(sql.literal(b""), named_path),
    }


_COMPARE = {
    Operator.EQUAL: sql.ColumnElement.__eq__,
    Operator.LESS: sql.ColumnElement.__lt__,
    Operator.AT_MOST: sql.ColumnElement.__le__,
    Operator.MORE: sql.ColumnElement.__gt__,
    Operator.AT_LEAST: sql.ColumnElement.__ge__,
}


def where(condition: Condition, facts: Facts) -> sql.ColumnElement[bool]:
    """Return a condition as SQL, over a row of `files` joined with those of its image in `images` and `metadata`."""
    match condition:
        case Not(inner):
            return sql.not_(where(inner, facts))
        case All(parts):
            return sql.and_(sql.true(), *(where(part, facts) for part in parts))
        case AnyOf(parts):
            return sql.or_(sql.false(), *(where(part, facts) for part in parts))
        case Known(fact):
            return facts[fact].is_not(None)
        case OneOf(ids):
            return sqlite.is_listed(images.c.id, ids)
        case Tagged():
            raise NotImplementedError("a tag has to be resolved before")
    # False, and not NULL, where the fact is unknown
    return sql.func.coalesce(_of_fact(condition, facts), sql.false())


def _of_fact(condition: Comparison | Like | HasKeyword | Near | NearFile, facts: Facts) -> sql.ColumnElement[Any]:
    """Return a condition as SQL that is NULL where the fact is unknown."""
    match condition:
        case Comparison(fact, operator, value):
            return _COMPARE[operator](facts[fact], sql.literal(value))
        case Like(fact, pattern):
            return functions.is_like(facts[fact], pattern)
        case HasKeyword(pattern):
            return functions.has_item_like(metadata.c.keywords, pattern)
        case Near(latitude, longitude, kilometres):
            return _distance(sql.literal(latitude), sql.literal(longitude)) <= kilometres
        case NearFile(pattern, kilometres):
            return _distance(*_place_of(pattern)) <= kilometres


def _distance(latitude: sql.ColumnElement[Any], longitude: sql.ColumnElement[Any]) -> sql.ColumnElement[float]:
    return functions.kilometres(metadata.c.latitude, metadata.c.longitude, latitude, longitude)


def _place_of(pattern: str) -> tuple[sql.ScalarSelect[Any], sql.ScalarSelect[Any]]:
    """Return latitude and longitude of the first picture with a place whose path or name is like a pattern."""
    file, noted = files.alias(), metadata.alias()
    is_named = functions.is_like(file.c.path, pattern) | functions.is_like(functions.last_part(file.c.path), pattern)
    chosen = sql.select().join_from(file, noted, noted.c.image == file.c.image)
    chosen = chosen.where(is_named, noted.c.latitude.is_not(None)).order_by(file.c.root, file.c.path).limit(1)
    latitude, longitude = (chosen.with_only_columns(column) for column in (noted.c.latitude, noted.c.longitude))
    return latitude.scalar_subquery(), longitude.scalar_subquery()
