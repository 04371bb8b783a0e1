"""What a person asks about: pictures that are named, listed in a file, or come on stdin; and advice where it fails."""

import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.cli.output import complain, log, show_traceback
from retrieval.errors import BadInput, RetrievalError, UnreadableImage, reason_of
from retrieval.pictures import reading
from retrieval.types import Tagged, displayed

STDIN = "-"
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
WORD = re.compile(r"[^\W\d_]+([ -][^\W\d_]+)*")


@dataclass(frozen=True, slots=True)
class Asked:
    """One query."""

    name: str
    """As it was given; `STDIN` for what came from there."""
    picture: str | bytes | Tagged
    """Its path, the bytes of its file, or the tag that is asked for."""


def asked(images: Sequence[str], files_from: str | None, *, nul: bool) -> list[Asked]:
    """Return the queries in order: those that are named, then those that a list names; `BadInput`."""
    if nul and files_from is None:
        raise BadInput("--from0 says how a list is written", hint="give the list with --files-from FILE")
    if [*images, files_from].count(STDIN) > 1:
        raise BadInput("only one thing can come on stdin")
    names = [*images, *([] if files_from is None else listed(files_from, nul=nul))]
    return [Asked(name, _piped() if name == STDIN and name in images else name) for name in names]


def _piped() -> bytes:
    return reading.read_stream(sys.stdin.buffer)


def listed(source: str, *, nul: bool) -> list[str]:
    """Return the paths that a file or stdin lists, one a line or with a NUL after each; `BadInput`."""
    try:
        data = _table(source)
    except OSError as error:
        raise BadInput(f"{displayed(source)} cannot be read: {reason_of(error)}", hint=LISTS) from error
    except UnreadableImage as error:
        raise BadInput(f"{displayed(source)} is no list: {error}", hint=LISTS) from error
    lines = data.split(b"\0") if nul else data.replace(b"\r\n", b"\n").split(b"\n")
    names = [os.fsdecode(line) for line in lines if line]
    if not names:
        what = "standard input" if source == STDIN else displayed(source)
        raise BadInput(f"{what} lists no pictures", hint=LISTS)
    if any("\0" in name for name in names):
        raise BadInput(f"{displayed(source)} has NUL characters in it", hint="say so with --from0")
    return names


LISTS = "a list has the path of a picture on each line; with --from0, a NUL after each"


def _table(source: str) -> bytes:
    if source == STDIN:
        return reading.read_stream(sys.stdin.buffer, reading.TABLE)
    return reading.read_regular(source, reading.TABLE)


def _refused(query: Asked, error: RetrievalError) -> tuple[str, str]:
    """Return why a query has no answer, and what may help."""
    name = query.name
    shown = displayed(name)
    if isinstance(query.picture, bytes):
        if not query.picture:
            return "standard input is empty", "pipe the bytes of a picture into it: retrieval query - < IMAGE"
        return f"standard input cannot be used: {error}", error.hint
    if URL.match(name):
        return f"{shown} is no file", "download it first, or pipe it: curl URL | retrieval query -"
    if os.path.isdir(name):
        return f"{shown} is a folder", f"ask about a picture in it, or index it with: retrieval index {shown}"
    if WORD.fullmatch(name) and not os.path.lexists(name):
        return f"there is no file {shown}", f"to find pictures by what they show: retrieval query --tag '{shown}'"
    return str(error), error.hint


def complain_of(query: Asked, error: RetrievalError) -> None:
    """Say why a query has no answer, and what may help."""
    sentence, hint = _refused(query, error)
    if log.isEnabledFor(logging.DEBUG):
        show_traceback(error)
    complain("error", sentence)
    if hint:
        complain("hint", hint)
