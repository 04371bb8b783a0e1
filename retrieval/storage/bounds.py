"""Bounds of the values in rows: lengths, ranges and shapes, checked whenever a row is read.

A digest shows that a row is unchanged, not that this program wrote it. An index that comes from somebody else may
contain anything. So every value is checked against these bounds before it is used as a path, a size or an argument.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Check = Callable[[Any], bool]
"""A function that tells whether a value of the right type is within its bounds."""

LARGEST = 2**62
"""An upper bound of all counts and numbers that this program writes."""
DIMENSIONS = 65_536
"""Largest length of a vector."""
SIDE = 16_384
"""Largest side of the pictures that a network takes, in pixels."""
TEXT = 2000
"""Largest length of a text, in characters."""
JSON = 8_000_000
"""Largest length of a setting, in characters: the mean of vectors of 65,536 numbers takes 1.4 million."""
SHA256_BYTES = 32


def between(least: float, most: float) -> Check:
    """Return a check that a number is at least `least` and at most `most`."""

    def check(value: float) -> bool:
        return least <= value <= most

    return check


def is_short(value: str) -> bool:
    """Tell whether a text is short enough to be one that this program wrote."""
    return len(value) <= TEXT


def is_path_below(value: bytes) -> bool:
    """Tell whether `value` is a relative path that does not lead out of its root."""
    if not value or value[:1] == b"/" or b"\0" in value:
        return False
    return b".." not in value or b".." not in value.split(b"/")


def is_place(value: bytes) -> bool:
    """Tell whether `value` is a path below a root, or "", which is the root itself."""
    return not value or is_path_below(value)


def is_named(value: str) -> bool:
    """Tell whether a text is the JSON of a record with a name. The code that uses a record checks its other fields."""
    record = loaded(value)
    return isinstance(record, dict) and isinstance(record.get("name"), str) and is_plain(record)


def is_finite(value: object) -> bool:
    """Tell whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_plain(value: object, depth: int = 4) -> bool:
    """Tell whether a JSON value consists of short texts and finite numbers, nested at most `depth` deep."""
    if isinstance(value, dict):
        return _are_plain([*value.keys(), *value.values()], depth)
    if isinstance(value, list):
        return _are_plain(value, depth)
    if isinstance(value, str):
        return is_short(value)
    return value is None or isinstance(value, bool) or is_finite(value)


def _are_plain(values: Sequence[object], depth: int) -> bool:
    return depth > 0 and len(values) <= TEXT and all(is_plain(value, depth - 1) for value in values)


def loaded(text: str) -> Any:  # noqa: ANN401 - what JSON holds
    """Return the value of a JSON text; None for a text that is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


# -- rows ---------------------------------------------------------------------------------------------------------


def _is_sha256(value: bytes) -> bool:
    return len(value) == SHA256_BYTES


def _is_absolute(value: bytes) -> bool:
    return value[:1] == b"/" and b"\0" not in value


def _are_places(value: bytes) -> bool:
    return all(is_place(place) for place in value.split(b"\0"))


def _are_texts(value: str) -> bool:
    """Tell whether a text is the JSON of a list of short texts."""
    texts = loaded(value)
    return isinstance(texts, list) and all(isinstance(text, str) and is_short(text) for text in texts)


def _is_json_length(value: str) -> bool:
    return len(value) <= JSON


_is_count = between(0, LARGEST)
_is_pixels = between(1, 2**31)

COLUMNS: Mapping[str, Mapping[str, Check]] = {
    "encoders": {
        "fingerprint": is_short,
        "backbone": is_named,
        "dim": between(1, DIMENSIONS),
        "height": between(1, SIDE),
        "width": between(1, SIDE),
        "rule": between(1, 1000),
    },
    "generations": {
        "number": between(1, LARGEST),
        "images": _is_count,
        "files": _is_count,
        "vectors": _is_count,
    },
    "segments": {
        "position": between(0, 100_000),
        "ref": is_short,  # the vector store checks refs: no other code knows what they look like
        "vectors": between(1, LARGEST),
    },
    "images": {
        "sha256": _is_sha256,
        "width": _is_pixels,
        "height": _is_pixels,
        "format": is_short,
        "taken": is_short,
    },
    "metadata": {
        "make": is_short,
        "model": is_short,
        "lens": is_short,
        "iso": _is_count,
        "aperture": is_finite,
        "exposure": is_finite,
        "focal_length": is_finite,
        "latitude": between(-90, 90),
        "longitude": between(-180, 180),
        "rating": between(-1, 5),
        "keywords": _are_texts,
    },
    "roots": {
        "path": _is_absolute,
        "beside": is_path_below,
        "exclude": _is_json_length,
        "mounts": _are_places,
        "identity": is_short,
    },
    "files": {"path": is_place, "offline": between(0, 1), "reason": is_short, "reader": is_short},
    "settings": {"name": is_short, "value": _is_json_length},
}
"""The columns that have bounds, by table. NULL is not checked: a column that may be NULL may be NULL in any row."""


def row_check(table: str, names: Sequence[str]) -> Check:
    """Return a check that all values of a row of `table` are within bounds; `names` are the columns of the row."""
    checks = [(names.index(name), check) for name, check in COLUMNS.get(table, {}).items() if name in names]

    def check_row(row: tuple[Any, ...]) -> bool:
        return all(row[position] is None or check(row[position]) for position, check in checks)

    return check_row
