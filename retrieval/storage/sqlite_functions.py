"""SEAM: the functions of conditions that SQLite does not have, or has in a form of its own.

Texts are compared without regard to case and accents as people write them; paths are bytes; places are degrees.
"""

import math
import sqlite3
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sql


def is_like(column: sql.ColumnElement[Any], pattern: str) -> sql.ColumnElement[bool]:
    """Return the condition that a text, or a path as bytes, is like a pattern of SQL; a backslash escapes.

    Neither the case of letters counts nor the way in which Unicode writes an accent: macOS writes it as a character of
    its own.
    """
    return sql.func.folded(column).like(_folded(pattern), escape="\\")


def has_item_like(column: sql.ColumnElement[Any], pattern: str) -> sql.ColumnElement[bool]:
    """Return the condition that an item of a JSON list of texts is like a pattern, as in `is_like`."""
    items = sql.func.json_each(column).table_valued("value")
    return sql.select(sql.true()).select_from(items).where(is_like(items.c.value, pattern)).exists()


def last_part(path: sql.ColumnElement[Any]) -> sql.ColumnElement[Any]:
    """Return the name of the file at a path."""
    return sql.func.last_part(path)


def joined_path(folder: sql.ColumnElement[Any], path: sql.ColumnElement[Any]) -> sql.ColumnElement[Any]:
    """Return a path in a folder."""
    return sql.func.joined_path(folder, path)


def chosen_by(column: sql.ColumnElement[int], values: Mapping[int, bytes]) -> sql.ColumnElement[Any]:
    """Return the value that belongs to a number in `column`; NULL if there is none."""
    if not values:
        return sql.null()
    return sql.case({key: sql.literal(value) for key, value in values.items()}, value=column)


def kilometres(*degrees: sql.ColumnElement[Any]) -> sql.ColumnElement[float]:
    """Return the distance of two places, in kilometres; `degrees` are latitude and longitude of each."""
    return sql.func.kilometres(*degrees)


def _folded(value: str | bytes | None) -> str | None:
    if value is None:
        return None
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text).casefold()


def _last_part(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def _joined_path(folder: bytes | None, path: bytes) -> bytes | None:
    return None if folder is None else folder.rstrip(b"/") + b"/" + path


EARTH = 6371.0088
"""Mean radius of the earth, in kilometres (Moritz 2000, Geodetic Reference System 1980)."""


def _kilometres(*degrees: float | None) -> float | None:
    """Return the length of the great circle between two places, by the haversine formula; None if one is unknown."""
    if None in degrees:
        return None
    latitude, longitude, other_latitude, other_longitude = (math.radians(value or 0.0) for value in degrees)
    half = math.sin((other_latitude - latitude) / 2) ** 2
    half += math.cos(latitude) * math.cos(other_latitude) * math.sin((other_longitude - longitude) / 2) ** 2
    return 2 * EARTH * math.asin(min(1.0, math.sqrt(half)))


_FUNCTIONS: Mapping[str, tuple[int, Callable[..., Any]]] = {
    "folded": (1, _folded),
    "last_part": (1, _last_part),
    "joined_path": (2, _joined_path),
    "kilometres": (4, _kilometres),
}
"""Name of a function that conditions use in SQL -> its number of arguments, and the function."""


def register(connection: sqlite3.Connection) -> None:
    """Let the statements of a connection call the functions."""
    for name, (count, function) in _FUNCTIONS.items():
        connection.create_function(name, count, function, deterministic=True)
