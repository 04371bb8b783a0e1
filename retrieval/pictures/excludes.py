"""The exclude patterns of a root: patterns are added, removed, and rewritten for a folder higher up."""

import os
import re
from collections.abc import Iterable, Sequence

from retrieval.errors import BadInput
from retrieval.pictures import patterns, scan
from retrieval.types import displayed


def changed(kept: Sequence[str], more: Sequence[str], less: Sequence[str], below: bytes = b"") -> tuple[str, ...]:
    """Return the patterns of a root, `kept`, without those in `less` and with those in `more` at the end.

    The order matters, because the last pattern that matches a path decides. `more` and `less` are relative to `below`,
    the path of a folder from the root. A pattern of `more` that is in `kept` already stays at its place. Raises
    `BadInput` for a text that is not a pattern, and for a pattern of `less` that is not in `kept`.
    """
    scan.leaves_out([*more, *less])
    left = list(kept)
    for pattern in less:
        written = beneath(pattern, below)
        if written not in left:
            written = pattern  # the caller may also copy a pattern as the root has it
        if written not in left:
            shown = ", ".join(map(displayed, kept))
            hint = f"these patterns are excluded: {shown}" if kept else "no pattern is excluded"
            raise BadInput(f"{displayed(pattern)} is not excluded", hint=hint)
        left.remove(written)
    return joined(left, [beneath(pattern, below) for pattern in more if patterns.parsed(pattern) is not None])


def joined(*lists: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns of all `lists` in order, each pattern once."""
    return tuple(dict.fromkeys(pattern for patterns_ in lists for pattern in patterns_))


def beneath(pattern: str, folder: bytes) -> str:
    """Rewrite a pattern of `folder`, so that it means the same in a folder higher up.

    `folder` is the path from the higher folder. A pattern with a slash before its end is relative to its own folder.
    Any other pattern matches at any depth below its folder: https://git-scm.com/docs/gitignore.
    """
    parsed = patterns.parsed(pattern) if folder else None
    if parsed is None:
        return pattern
    place = re.sub(r"([\\*?\[\]!#])", r"\\\1", os.fsdecode(folder.rstrip(b"/")))
    negation, body = ("", pattern) if parsed.leaves_out else ("!", pattern[1:])
    return f"{negation}/{place}/" + (body.lstrip("/") if parsed.anchored else f"**/{body}")
