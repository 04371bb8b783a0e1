"""What callers hand in, looked at before it is used.

Each check returns the value as it is used from there on, or raises `BadInput` with a sentence that begins with a name.
"""

import math
import operator
import os
from collections.abc import Iterator
from typing import Any

from retrieval.errors import BadInput
from retrieval.types import displayed

MOST = 2**63 - 1
"""Largest whole number: databases and arrays count in 64 bits."""
SHOWN = 60
"""Characters of a wrong value that its error shows, at most."""


def path_of(value: Any, name: str = "the path") -> bytes:  # noqa: ANN401 - whatever a caller hands in
    """Return a path (str, bytes or os.PathLike) as the bytes that the file system knows; `name` says what it is of."""
    if not isinstance(value, str | bytes | os.PathLike):
        raise BadInput(f"{name} must be a path, not {_shown(value)}")
    try:
        path = os.fsencode(value)
    except (TypeError, UnicodeError):  # an own PathLike that gives something else, or a lone surrogate
        raise BadInput(f"{name} is no path of this system: {_shown(value)}") from None
    if not path:
        raise BadInput(f"{name} is empty", hint="write . for the current folder")
    if b"\0" in path:
        raise BadInput(f"{name} has a NUL character in it: {displayed(path)}")
    return path


def text_path(value: Any, name: str = "the path") -> str:  # noqa: ANN401 - likewise
    """Return what `path_of` does, as text."""
    return os.fsdecode(path_of(value, name))


def strings(value: Any, name: str) -> tuple[str, ...]:  # noqa: ANN401 - likewise
    """Return several strings; one alone is refused, since its letters would be taken for them."""
    found = several(value, name, "strings")
    for one in found:
        if not isinstance(one, str):
            raise BadInput(f"{name} must hold strings, not {_shown(one)}")
    return found


def several(value: Any, name: str, what: str) -> tuple[Any, ...]:  # noqa: ANN401 - likewise
    """Return the items of an iterable that is not one string."""
    return tuple(iterable(value, name, what))


def iterable(value: Any, name: str, what: str) -> Iterator[Any]:  # noqa: ANN401 - likewise
    """Return an iterable that is not one string, unread: `name` must be a list of `what`."""
    if isinstance(value, str | bytes | bytearray | os.PathLike):
        raise BadInput(f"{name} must be a list of {what}, not {_shown(value)}", hint="put it in a list: [...]")
    try:
        found: Iterator[Any] = iter(value)
    except TypeError:
        raise BadInput(f"{name} must be a list of {what}, not {_shown(value)}") from None
    return found


def integer(value: Any, name: str, least: int, most: int = MOST) -> int:  # noqa: ANN401 - likewise
    """Return a whole number from `least` to `most`, of Python's or numpy's; True is none, and 3.0 is none."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise BadInput(f"{name} must be a whole number, not {_shown(value)}")
    if not least <= number <= most:
        bounds = f"at least {least}" if number < least else f"at most {most}"
        raise BadInput(f"{name} must be {bounds}, not {_shown(number)}")
    return number


def number(value: Any, name: str, least: float, most: float) -> float:  # noqa: ANN401 - likewise
    """Return a number from `least` to `most`, of Python's or numpy's; NaN is none."""
    try:
        found = math.nan if isinstance(value, str | bytes | bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not least <= found <= most:
        raise BadInput(f"{name} must be a number from {least:g} to {most:g}, not {_shown(value)}")
    return found


def flag(value: Any, name: str) -> bool:  # noqa: ANN401 - likewise
    """Return a truth value, of Python's or numpy's."""
    if type(value).__name__ not in {"bool", "bool_"}:  # numpy's is `bool_` before 2.0
        raise BadInput(f"{name} must be True or False, not {_shown(value)}")
    return bool(value)


def word(value: Any, name: str) -> str:  # noqa: ANN401 - likewise
    """Return a string that is not empty and can be printed."""
    if not isinstance(value, str):
        raise BadInput(f"{name} must be a string, not {_shown(value)}")
    if not value:
        raise BadInput(f"{name} is empty")
    if not value.isprintable():
        raise BadInput(f"{name} has characters that cannot be printed: {displayed(value)[:SHOWN]}")
    return value


def call(value: Any, name: str) -> Any:  # noqa: ANN401 - likewise
    """Return what can be called, or None."""
    if value is not None and not callable(value):
        raise BadInput(f"{name} must be a function, not {_shown(value)}")
    return value


def _shown(value: Any) -> str:  # noqa: ANN401 - likewise
    """Return a wrong value as one short line that names its type."""
    try:
        text = displayed(repr(value))
    except Exception:  # noqa: BLE001 - a foreign `__repr__` may raise anything
        text = ""
    kind = type(value).__name__
    return text if text and len(text) <= SHOWN and not text.startswith("<") else f"a value of type {kind}"
