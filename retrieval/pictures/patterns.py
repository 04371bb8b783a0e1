"""Patterns in the syntax of .gitignore, matched with paths in a bounded time.

For a pattern like `*a*a*a*b`, a plain regular expression tries every way to divide a name among the stars, which takes
seconds, then years. That is not necessary. A star may always match as little as it can, because the text between two
stars has a fixed length. The same is true of `**`, because there is a fixed number of names between two of them. So
each such piece becomes an atomic group: it is matched once, at the first place that fits, and never tried again. The
time grows with the length of the path times the length of the pattern.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

LONGEST = 4096
"""Most characters of a pattern: no path on Linux is longer (PATH_MAX)."""

_ANY = "[^/]"
_STAR = "*"
_CLASSES = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "blank": r"\ \t", "cntrl": r"\x00-\x1f\x7f", "digit": "0-9",
    "graph": r"\x21-\x7e", "lower": "a-z", "print": r"\x20-\x7e", "punct": r"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e",
    "space": r"\t-\r\ ", "upper": "A-Z", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_NAMED_CLASS = re.compile(r"\[:([^]]*):\]")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line of a .gitignore."""

    matches: Callable[[str], object]
    """Function of a path, or of the last name of a path if the pattern is not `anchored`. It returns a true value if
    the pattern matches."""
    anchored: bool
    """Whether the pattern has a slash before its end. Such a pattern is relative to its own folder."""
    folders: bool
    """Whether the pattern ends in a slash. Such a pattern matches folders only."""
    leaves_out: bool
    """Whether the paths that match are left out. A pattern that begins with `!` brings them back."""


def parsed(line: str) -> Pattern | None:
    """Return the pattern in a line, None for a comment or an empty line; `ValueError` if the line is not a pattern."""
    text = _trimmed(line.rstrip("\n"))
    if not text or text.startswith("#"):
        return None
    negated, text = text.startswith("!"), text.removeprefix("!")
    folders, text = text.endswith("/"), text.removesuffix("/")
    anchored, text = "/" in text, text.removeprefix("/")
    if not text or len(text) > LONGEST:
        raise ValueError("the pattern is longer than any path" if text else "the pattern is empty")
    return Pattern(_matcher(text), anchored, folders, not negated)


def _matcher(text: str) -> Callable[[str], object]:
    if re.escape(text) == text:  # no character has a special meaning, so no regular expression is needed
        return text.__eq__
    return re.compile(_regex(list(_segments(text)))).fullmatch


def verdict(patterns: Sequence[Pattern], path: bytes) -> bool | None:
    """Tell whether `patterns` leave out `path`: the last pattern that matches decides; None if no pattern matches.

    `path` is relative to the folder of the patterns, and ends in `/` if it is a folder. The folders that lead to it
    must not be left out themselves.
    """
    below = os.fsdecode(path)
    is_folder = below.endswith("/")
    below = below.removesuffix("/")
    name = below.rpartition("/")[2]
    for pattern in reversed(patterns):
        may_match = is_folder or not pattern.folders
        if may_match and pattern.matches(below if pattern.anchored else name):
            return pattern.leaves_out
    return None


def _trimmed(line: str) -> str:
    """Return `line` without the spaces at its end, but with a space that a backslash escapes."""
    bare = line.rstrip(" ")
    escapes = len(bare) - len(bare.rstrip("\\"))
    return bare + " " if escapes % 2 and bare != line else bare


# -- a pattern in pieces: names between slashes; each is a list of stars and of regular expressions for one character --


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
    """Read the piece of a pattern that begins at the place `at`. Return the place behind the piece, and the piece."""
    match text[at]:
        case "*":
            return at + 1, _STAR
        case "?":
            return at + 1, _ANY
        case "[":
            return _bracket(text, at + 1)
        case "\\":
            if at + 1 == len(text):
                raise ValueError("the backslash at its end escapes nothing")
            return at + 2, _literal(text[at + 1])
    return at + 1, _literal(text[at])


def _literal(character: str) -> str:
    return character if character == "/" else re.escape(character)


def _bracket(text: str, at: int) -> tuple[int, str]:
    """Read a set of characters, such as `[a-z]`. Return the place behind the set, and the set as a regular expression.

    `at` is the place behind the opening bracket. A set means the same as in git's wildmatch.c.
    """
    negated = text[at : at + 1] in {"!", "^"}
    if negated:
        at += 1
    members, first, before = "", True, ""
    while first or text[at : at + 1] != "]":
        first = False
        named = _NAMED_CLASS.match(text, at)
        if named is not None:
            if named[1] not in _CLASSES:
                raise ValueError(f"there is no class of characters [:{named[1]}:]")
            members += _CLASSES[named[1]]
            at, before = named.end(), ""
        elif before and text[at : at + 1] == "-" and text[at + 1 : at + 2] not in {"", "]"}:
            at, last = _character(text, at + 1)
            if last < before:
                raise ValueError("the end of a range comes before its beginning")
            members, before = f"{members}-{re.escape(last)}", ""
        else:
            at, before = _character(text, at)
            members += re.escape(before)
    return at + 1, f"[^/{members}]" if negated else f"(?!/)[{members}]"


def _character(text: str, at: int) -> tuple[int, str]:
    """Read a character of a set, which a backslash may escape. Return the place behind it, and the character."""
    if text[at : at + 1] == "\\":
        at += 1
    if at >= len(text):
        raise ValueError("a bracket is not closed")
    return at + 1, text[at]


# -- pieces -> a regular expression that never backtracks -----------------------------------------------------------


def _regex(segments: Sequence[Sequence[str]]) -> str:
    """Return a regular expression for a path."""
    groups: list[list[str]] = [[]]  # the names between two `**`
    for segment in segments:
        if len(segment) > 1 and set(segment) == {_STAR}:
            groups.append([])
        else:
            groups[-1].append(_name(segment))
    if len(groups) == 1:
        return "/".join(groups[0])
    first, *middle, last = ("".join(f"{name}/" for name in group) for group in groups)
    between = "".join(f"(?>(?:[^/]*+/)*?{group})" for group in middle if group)
    return first + between + (f"(?:[^/]*+/)*?{last[:-1]}" if last else "(?s:.+)")


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
