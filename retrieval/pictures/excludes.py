"""The patterns that belong to a root: what is added to them, taken from them, and how they look from a folder above."""

import os
import re
from collections.abc import Iterable, Sequence

from retrieval.errors import BadInput
from retrieval.pictures import patterns, scan
from retrieval.types import displayed


def changed(kept: Sequence[str], more: Sequence[str], less: Sequence[str], below: bytes = b"") -> tuple[str, ...]:
    """Return the patterns `kept` by a root without those of `less` and with those of `more`, which have the last word.

    `more` and `less` are meant from the folder `below` the root. A pattern that is there already keeps its place.
    `BadInput` for what is no pattern, and for one of `less` that is not kept.
    """
    scan.leaves_out([*more, *less])
    left = list(kept)
    for pattern in less:
        found = next((one for one in (beneath(pattern, below), pattern) if one in left), None)
        if found is None:
            shown = ", ".join(map(displayed, kept))
            raise BadInput(
                f"{displayed(pattern)} is not excluded",
                hint=f"these patterns are: {shown}" if kept else "no pattern is",
            )
        left.remove(found)
    return joined(left, [beneath(pattern, below) for pattern in more if patterns.parsed(pattern) is not None])


def joined(*several: Iterable[str]) -> tuple[str, ...]:
    """Return all patterns in order, each once."""
    return tuple(dict.fromkeys(pattern for some in several for pattern in some))


def beneath(pattern: str, folder: bytes) -> str:
    """Return a pattern that means in a folder above what `pattern` means in `folder`, the path from there.

    https://git-scm.com/docs/gitignore: one with a slash, but for the last, counts from its folder; others from anywhere
    below.
    """
    found = patterns.parsed(pattern) if folder else None
    if found is None:
        return pattern
    place = re.sub(r"([\\*?\[\]!#])", r"\\\1", os.fsdecode(folder.rstrip(b"/")))
    negation, body = ("", pattern) if found.leaves_out else ("!", pattern[1:])
    return f"{negation}/{place}/" + (body.lstrip("/") if found.anchored else f"**/{body}")
