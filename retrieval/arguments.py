"""Checks of the arguments that callers of the library hand in.

Each check returns the value in the type that the package uses, or raises `BadInput`. The sentence of the error begins
with the `name` of the argument, which the caller of the check gives.
"""

import math
import operator
import os
from collections.abc import Iterator
from typing import Any

from retrieval.errors import BadInput
from retrieval.types import displayed

MOST = 2**63 - 1
"""Largest whole number that an argument may be: databases and arrays count in signed integers of 64 bits."""
SHOWN = 60
"""Most characters of a wrong value that an error shows."""


def path_of(value: Any, name: str = "the path") -> bytes:  # noqa: ANN401 - whatever a caller hands in
    """Return a path (str, bytes or os.PathLike) as the bytes that the file system uses."""
    if not isinstance(value, str | bytes | os.PathLike):
        raise BadInput(f"{name} must be a path, not {_shown(value)}")
    try:
        path = os.fsencode(value)
    except (TypeError, UnicodeError):  # a PathLike that returns something else, or a lone surrogate
        raise BadInput(f"{name} is not a path that this system can have: {_shown(value)}") from None
    if not path:
        raise BadInput(f"{name} is empty", hint="for the current folder, write .")
    if b"\0" in path:
        raise BadInput(f"{name} has a NUL character in it: {displayed(path)}")
    return path


def text_path(value: Any, name: str = "the path") -> str:  # noqa: ANN401 - as above
    """Return a path as a string; checks what `path_of` checks."""
    return os.fsdecode(path_of(value, name))


def strings(value: Any, name: str) -> tuple[str, ...]:  # noqa: ANN401 - as above
    """Return the strings of an iterable. A single string is refused, because it is an iterable of its letters."""
    items = several(value, name, "strings")
    for item in items:
        if not isinstance(item, str):
            raise BadInput(f"{name} must hold strings, not {_shown(item)}")
    return items


def several(value: Any, name: str, what: str) -> tuple[Any, ...]:  # noqa: ANN401 - as above
    """Return all items of an iterable; checks what `iterable` checks."""
    return tuple(iterable(value, name, what))


def iterable(value: Any, name: str, what: str) -> Iterator[Any]:  # noqa: ANN401 - as above
    """Return an iterator over an iterable, without reading an item. Refuses a string, bytes and a path.

    `what` names the items in the error, for example "strings".
    """
    if isinstance(value, str | bytes | bytearray | os.PathLike):
        raise BadInput(f"{name} must be a list of {what}, not {_shown(value)}", hint="put it in a list: [...]")
    try:
        items: Iterator[Any] = iter(value)
    except TypeError:
        raise BadInput(f"{name} must be a list of {what}, not {_shown(value)}") from None
    return items


def integer(value: Any, name: str, least: int, most: int = MOST) -> int:  # noqa: ANN401 - as above
    """Return a whole number of Python or numpy, from `least` to `most`. A bool and a float such as 3.0 are refused."""
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


def number(value: Any, name: str, least: float, most: float) -> float:  # noqa: ANN401 - as above
    """Return a number of Python or numpy as a float, from `least` to `most`. A bool and NaN are refused."""
    try:
        number = math.nan if isinstance(value, str | bytes | bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not least <= number <= most:  # which refuses NaN too
        raise BadInput(f"{name} must be a number from {least:g} to {most:g}, not {_shown(value)}")
    return number


def flag(value: Any, name: str) -> bool:  # noqa: ANN401 - as above
    """Return a bool of Python or numpy as a bool of Python."""
    if type(value).__name__ not in {"bool", "bool_"}:  # the type of numpy was called `bool_` before numpy 2.0
        raise BadInput(f"{name} must be True or False, not {_shown(value)}")
    return bool(value)


def word(value: Any, name: str) -> str:  # noqa: ANN401 - as above
    """Return a string. An empty string, and one with characters that cannot be printed, are refused."""
    if not isinstance(value, str):
        raise BadInput(f"{name} must be a string, not {_shown(value)}")
    if not value:
        raise BadInput(f"{name} is empty")
    if not value.isprintable():
        raise BadInput(f"{name} has characters that cannot be printed: {displayed(value)[:SHOWN]}")
    return value


def call(value: Any, name: str) -> Any:  # noqa: ANN401 - as above
    """Return `value`, which must be a function or None."""
    if value is not None and not callable(value):
        raise BadInput(f"{name} must be a function, not {_shown(value)}")
    return value


def _shown(value: Any) -> str:  # noqa: ANN401 - as above
    """Return how an error shows a wrong value: as code, or only its type if the code is longer than `SHOWN`."""
    try:
        text = displayed(repr(value))
    except Exception:  # noqa: BLE001 - the `__repr__` of the caller's class may raise anything
        text = ""
    is_short = 0 < len(text) <= SHOWN
    if is_short and not text.startswith("<"):
        return text
    return f"a value of type {type(value).__name__}"
