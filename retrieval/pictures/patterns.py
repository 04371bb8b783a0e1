"""Patterns in the syntax of .gitignore -> which paths they name, in a time that is bounded.

`*a*a*a*b` asks a regular expression to try every way of sharing a name among the stars: seconds, then years. But a star
may always take as little as it can, because what stands between two stars has a fixed length; so may a `**`, because
what stands between two of them is a fixed number of names. So each such piece is an atomic group: found once, where it
comes first, and never tried again. The time grows with the length of the path times that of the pattern.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

LONGEST = 4096
"""Most characters of a pattern: no path of Linux is longer (PATH_MAX)."""

_ANY = "[^/]"
_STAR = "*"
_CLASSES = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "blank": r"\ \t", "cntrl": r"\x00-\x1f\x7f", "digit": "0-9",
    "graph": r"\x21-\x7e", "lower": "a-z", "print": r"\x20-\x7e", "punct": r"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e",
    "space": r"\t-\r\ ", "upper": "A-Z", "xdigit": "0-9A-Fa-f",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line of a .gitignore."""

    names: Callable[[str], object]
    """Tells whether it names a path, or, where it is not `anchored`, whether it names the last part of one."""
    anchored: bool
    """It has a slash that is not at its end, and so counts from its own folder."""
    folders: bool
    """It ends in a slash, and names folders alone."""
    leaves_out: bool
    """It does not begin with `!`."""


def parsed(line: str) -> Pattern | None:
    """Return the pattern in a line, None for a comment or an empty line; `ValueError` for what can match nothing."""
    text = _trimmed(line.rstrip("\n"))
    if not text or text.startswith("#"):
        return None
    negated, text = text.startswith("!"), text.removeprefix("!")
    folders, text = text.endswith("/"), text.removesuffix("/")
    anchored, text = "/" in text, text.removeprefix("/")
    if not text or len(text) > LONGEST:
        raise ValueError("there is no pattern" if not text else "the pattern is longer than a path")
    names = text.__eq__ if re.escape(text) == text else re.compile(_regex(list(_segments(text)))).fullmatch
    return Pattern(names, anchored, folders, not negated)


def verdict(patterns: Sequence[Pattern], path: bytes) -> bool | None:
    """Tell whether they leave out `path`, a folder's ending in `/`; the last that names it decides, None if none does.

    The path counts from the folder of the patterns, whose other folders on the way were not left out.
    """
    below = os.fsdecode(path)
    is_folder = below.endswith("/")
    below = below.removesuffix("/")
    name = below.rpartition("/")[2]
    for pattern in reversed(patterns):
        if (is_folder or not pattern.folders) and pattern.names(below if pattern.anchored else name):
            return pattern.leaves_out
    return None


def _trimmed(line: str) -> str:
    """Return `line` without the spaces at its end that no backslash keeps."""
    bare = line.rstrip(" ")
    escapes = len(bare) - len(bare.rstrip("\\"))
    return bare + " " if escapes % 2 and bare != line else bare


# -- a pattern in pieces: names between slashes, each a list of stars and of regular expressions for one character -----


def _segments(text: str) -> Iterator[list[str]]:
    segment: list[str] = []
    at = 0
    while at < len(text):
        at, piece = _piece(text, at)
        if piece == "/":
            yield segment
            segment = []
        else:
            segment.append(piece)
    yield segment


def _piece(text: str, at: int) -> tuple[int, str]:
    """Return what begins at a place of a pattern, after the place where it ends."""
    match text[at]:
        case "*":
            return at + 1, _STAR
        case "?":
            return at + 1, _ANY
        case "[":
            return _bracket(text, at + 1)
        case "\\":
            if at + 1 == len(text):
                raise ValueError("a backslash at the end keeps nothing")
            return at + 2, _literal(text[at + 1])
    return at + 1, _literal(text[at])


def _literal(character: str) -> str:
    return character if character == "/" else re.escape(character)


def _bracket(text: str, at: int) -> tuple[int, str]:
    """Return a set of characters, of which the inside begins `at`, as git's wildmatch.c reads it."""
    negated = text[at : at + 1] in {"!", "^"}
    at += negated
    members, first, before = "", True, ""
    while first or text[at : at + 1] != "]":
        first = False
        if (named := re.compile(r"\[:([^]]*):\]").match(text, at)) is not None:
            members += _CLASSES[named[1]] if named[1] in _CLASSES else _refuse("there is no such class of characters")
            at, before = named.end(), ""
        elif before and text[at : at + 1] == "-" and text[at + 1 : at + 2] not in {"", "]"}:
            at, last = _character(text, at + 1)
            if last < before:
                _refuse("a range ends before it begins")
            members, before = f"{members}-{re.escape(last)}", ""
        else:
            at, before = _character(text, at)
            members += re.escape(before)
    return at + 1, f"[^/{members}]" if negated else f"(?!/)[{members}]"


def _character(text: str, at: int) -> tuple[int, str]:
    at += text[at : at + 1] == "\\"
    if at >= len(text):
        _refuse("a bracket is not closed")
    return at + 1, text[at]


def _refuse(why: str) -> str:
    raise ValueError(why)


# -- pieces -> a regular expression that never goes back ------------------------------------------------------------


def _regex(segments: Sequence[Sequence[str]]) -> str:
    groups: list[list[str]] = [[]]  # names that follow one another, between two `**`
    for segment in segments:
        if len(segment) > 1 and set(segment) == {_STAR}:
            groups.append([])
        else:
            groups[-1].append(_name(segment))
    if len(groups) == 1:
        return "/".join(groups[0])
    first, *middle, last = ("".join(f"{name}/" for name in group) for group in groups)
    found = "".join(f"(?>(?:[^/]*+/)*?{group})" for group in middle if group)
    return first + found + (f"(?:[^/]*+/)*?{last[:-1]}" if last else "(?s:.+)")


def _name(segment: Sequence[str]) -> str:
    """Return a regular expression for one name."""
    parts = [""]
    for piece in segment:
        if piece == _STAR:
            parts.append("")
        else:
            parts[-1] += piece
    first, *rest = parts
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>[^/]*?{part})" for part in middle if part) + f"[^/]*{last}"
