"""What rows and settings can be, whoever signed them: types, shapes and bounds, checked whenever they are read.

A digest tells that a row is what was written, not that this program wrote it. An index that comes from elsewhere may
hold anything, so what is read is held against these bounds before it becomes a path, a size or an argument.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from retrieval.errors import IndexDamaged

Check = Callable[[Any], bool]
"""Tells of a value, of the right type, whether it can be."""

LARGEST = 2**62
"""No count or number of ours reaches that."""
DIMENSIONS, SIDE = 65_536, 16_384
"""Numbers of a vector, and pixels of a side of what a network looks at, at most."""
TEXT, JSON = 2000, 8_000_000
"""Characters of a text, and of a setting, at most: the mean of 65,536 numbers takes 1.4 million."""
_DIGEST = "[0-9a-f]{64}"


def between(least: int, most: int) -> Check:
    """Return what tells whether a number is in those bounds."""
    return lambda value: least <= value <= most


def short(value: str) -> bool:
    """Tell whether a text is of a length that ours have."""
    return len(value) <= TEXT


def is_path_below(value: bytes) -> bool:
    """Tell whether that is a path below a root: relative, and nowhere out of it."""
    if not value or value[:1] == b"/" or b"\0" in value:
        return False
    return b".." not in value or b".." not in value.split(b"/")


def is_place(value: bytes) -> bool:
    """Tell whether that is a path below a root, or the empty one, which is the root itself."""
    return not value or is_path_below(value)


def is_named(value: str) -> bool:
    """Tell whether a text is the JSON of a record with a name. Whoever uses the record knows what else it may say."""
    record = loaded(value)
    return isinstance(record, dict) and isinstance(record.get("name"), str) and _plain(record)


# -- rows ---------------------------------------------------------------------------------------------------------

_COUNT = between(0, LARGEST)
COLUMNS: Mapping[str, Mapping[str, Check]] = {
    "encoders": {
        "fingerprint": short,
        "backbone": is_named,
        "dim": between(1, DIMENSIONS),
        "height": between(1, SIDE),
        "width": between(1, SIDE),
        "rule": between(1, 1000),
    },
    "generations": {"number": between(1, LARGEST), "images": _COUNT, "files": _COUNT, "vectors": _COUNT},
    "segments": {
        "position": between(0, 100_000),
        "ref": short,  # the vector store alone knows what a ref looks like, and checks it
        "vectors": between(1, LARGEST),
    },
    "images": {
        "sha256": lambda value: len(value) == 32,  # noqa: PLR2004 - bytes of a SHA-256
        "width": between(1, 2**31),
        "height": between(1, 2**31),
        "format": short,
        "taken": short,
    },
    "roots": {
        "path": lambda value: value[:1] == b"/" and b"\0" not in value,
        "beside": is_path_below,
        "exclude": lambda value: len(value) <= JSON,
        "mounts": lambda value: all(map(is_place, value.split(b"\0"))),
        "identity": short,
    },
    "files": {"path": is_place, "offline": between(0, 1), "reason": short, "reader": short},
    "settings": {"name": short, "value": lambda value: len(value) <= JSON},
}
"""By table, the columns that have bounds; None is allowed where a column may be null."""


def row_check(table: str, names: Sequence[str]) -> Check:
    """Return what tells of a row of `table`, whose columns are `names`, whether all in it can be."""
    checks = [(names.index(name), check) for name, check in COLUMNS.get(table, {}).items() if name in names]

    def check_row(row: tuple[Any, ...]) -> bool:
        return all(row[place] is None or check(row[place]) for place, check in checks)

    return check_row


# -- settings -----------------------------------------------------------------------------------------------------


def loaded(text: str) -> Any:  # noqa: ANN401 - what JSON holds
    """Return what JSON holds, None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(value: object) -> bool:
    return type(value) is int and 0 <= value <= LARGEST


def _plain(value: object, depth: int = 4) -> bool:
    """Tell whether that is made of short texts and finite numbers."""
    if isinstance(value, dict | list):
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        return depth > 0 and len(parts) <= TEXT and all(_plain(part, depth - 1) for part in parts)
    return value is None or isinstance(value, bool) or _finite(value) or (isinstance(value, str) and short(value))


def _fields(**checks: Check) -> Check:
    """Return what tells whether a value is a dictionary whose entries, as far as they are there, can be."""

    def check(value: Any) -> bool:  # noqa: ANN401 - what JSON holds
        return isinstance(value, dict) and all(
            name not in value or is_right(value[name]) for name, is_right in checks.items()
        )

    return check


def _is_artefact(value: Any) -> bool:  # noqa: ANN401 - what JSON holds
    """Tell whether a value can be the facts of an artefact, with the digests of its files."""
    return (
        isinstance(value, dict)
        and _plain(value)
        and isinstance(value.get("files"), list)
        and all(isinstance(name, str) and re.fullmatch(_DIGEST, name) for name in value["files"])
    )


def _is_ranking(value: Any) -> bool:  # noqa: ANN401 - what JSON holds
    named = isinstance(value, dict) and str(value.get("name")) in {"none", "expansion"}
    return named and _plain(value) and _fields(by=lambda by: isinstance(by, str), plain=_finite, ranked=_finite)(value)


_SETTINGS: Mapping[str, Check] = {
    "float16": lambda value: isinstance(value, bool),
    "search": lambda value: isinstance(value, dict) and _plain(value),  # the vector store alone knows the entries
    "ranking": _is_ranking,
    "mean": lambda value: isinstance(value, list) and 0 < len(value) <= DIMENSIONS and all(map(_finite, value)),
    "graph": _is_artefact,
    "tagged": _fields(generation=_number, made=lambda made: isinstance(made, bool), version=_number),
}


def setting(name: str, text: str) -> Any:  # noqa: ANN401 - what JSON holds
    """Return the value of the setting `name` from its JSON; `IndexDamaged` for one that it cannot have.

    A setting that is not known here can have any.
    """
    value = loaded(text)
    if name in _SETTINGS and not _SETTINGS[name](value):
        sentence = f"the setting {name} of the index is not what was written"
        raise IndexDamaged(sentence, hint="see what can be saved with: retrieval verify --repair")
    return value
