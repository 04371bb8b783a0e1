"""The images that a user asks about: on the command line, in a list, or on stdin; and advice if one cannot be used."""

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from retrieval.cli.errors import complain_of
from retrieval.errors import BadInput, RetrievalError, UnreadableImage, reason_of
from retrieval.pictures import reading
from retrieval.types import Blend, displayed

STDIN = "-"
"""The name of standard input on a command line."""
PLUS, MINUS = SIGNS = "+", "-"
"""What stands between the pictures of one question. With a `+` among the images, `-` is not standard input."""
EXAMPLE = "for example: a.jpg + 2:b.jpg - c.jpg"
WEIGHTED = re.compile(r"(\d{1,6}(?:\.\d{1,6})?):(.+)", re.DOTALL | re.ASCII)
"""Pattern of a picture with its weight."""
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
WORDS = re.compile(r"[^\W\d_]+([ -][^\W\d_]+)*")
"""Pattern of text that reads like the name of a class: `golden retriever`."""
ADVICE_ON_LISTS = "a list holds one path per line; with --from0, a NUL character ends each path"


@dataclass(frozen=True, slots=True)
class QueryImage:
    """One image to ask about."""

    name: str
    """The path as the user wrote it; `STDIN` for standard input."""
    image: str | bytes
    """Path of the file, or the bytes of the file."""


def read_queries(images: Sequence[str], files_from: str | None, *, nul: bool) -> list[QueryImage]:
    """Return the images to ask about: first `images`, of the command line, then those in the list `files_from`.

    `nul` means that a NUL character ends each path of the list. Raise `BadInput` for a list that cannot be used.
    """
    if nul and files_from is None:
        raise BadInput("--from0 needs --files-from", hint="give the list with --files-from FILE")
    if [*images, files_from].count(STDIN) > 1:
        raise BadInput("standard input can be used only once", hint="use - for one image or for the list")
    names = list(images)
    if files_from is not None:
        names += read_list(files_from, nul=nul)
    queries = []
    for name in names:
        piped = name == STDIN and name in images  # in a list, - is the name of a file
        queries.append(QueryImage(name, reading.read_stream(sys.stdin.buffer) if piped else name))
    return queries


def read_blend(words: Sequence[str]) -> Blend:
    """Return the one question of a command line such as `a.jpg + 2:b.jpg - c.jpg`.

    Its answers are like `a.jpg` and, with twice the weight, `b.jpg`, and unlike `c.jpg`. Raise `BadInput` if pictures
    and signs do not alternate.
    """
    signed = list(words) if words[0] in SIGNS else [PLUS, *words]
    sides: dict[str, list[tuple[str, float]]] = {PLUS: [], MINUS: []}
    for sign, picture in zip_longest(signed[::2], signed[1::2], fillvalue=""):
        if sign not in SIGNS:
            raise BadInput(f"there is no + or - before {displayed(sign)}", hint=EXAMPLE)
        if picture in {*SIGNS, ""}:
            raise BadInput(f"there is no picture after {sign}", hint=EXAMPLE)
        sides[sign].append(_weighted(picture))
    weighted = sides[PLUS] + sides[MINUS]
    return Blend(
        like=[path for path, _ in sides[PLUS]],
        unlike=[path for path, _ in sides[MINUS]],
        weights=[weight for _, weight in weighted],
    )


def _weighted(picture: str) -> tuple[str, float]:
    """Return the path of a picture and its weight, which may stand before it, as in `2:b.jpg`."""
    found = WEIGHTED.fullmatch(picture)
    if found is None or os.path.lexists(picture):
        return picture, 1.0
    return found[2], float(found[1])


def read_list(source: str, *, nul: bool) -> list[str]:
    """Return the paths in the list `source`, a file or `STDIN`; raise `BadInput` if it cannot be used."""
    shown = "standard input" if source == STDIN else displayed(source)
    try:
        data = _bytes_of_list(source)
    except OSError as error:
        raise BadInput(f"{shown} cannot be read: {reason_of(error)}", hint=ADVICE_ON_LISTS) from error
    except UnreadableImage as error:
        raise BadInput(f"{shown} cannot be used as a list: {error}", hint=ADVICE_ON_LISTS) from error
    lines = data.split(b"\0") if nul else data.replace(b"\r\n", b"\n").split(b"\n")
    names = [os.fsdecode(line) for line in lines if line]
    if not names:
        raise BadInput(f"{shown} lists no images", hint=ADVICE_ON_LISTS)
    if any("\0" in name for name in names):
        raise BadInput(f"{shown} contains NUL characters", hint="if a NUL character ends each path, add --from0")
    return names


def _bytes_of_list(source: str) -> bytes:
    if source == STDIN:
        return reading.read_stream(sys.stdin.buffer, reading.TABLE)
    return reading.read_regular(source, reading.TABLE)


def complain_of_query(query: QueryImage, error: RetrievalError) -> None:
    """Write why a query has no answer, and what may help."""
    sentence, hint = _advice(query, error)
    complain_of(error, sentence, hint)


def _advice(query: QueryImage, error: RetrievalError) -> tuple[str, str]:
    """Return why a query has no answer, and what may help."""
    name, shown = query.name, displayed(query.name)
    if isinstance(query.image, bytes):
        if not query.image:
            return "standard input is empty", "pipe an image into it: retrieval query - < IMAGE"
        return f"standard input cannot be used: {error}", error.hint
    if URL.match(name):
        return f"{shown} is a URL, not a file", "download the image first, or pipe it: curl URL | retrieval query -"
    if os.path.isdir(name):
        return f"{shown} is a folder", f"give an image in it, or index the folder with: retrieval index {shown}"
    if WORDS.fullmatch(name) and not os.path.lexists(name):
        return f"there is no file {shown}", f"to find images by what they show: retrieval query --tag '{shown}'"
    missing = not os.path.lexists(name)
    return str(error), error.hint or ("check the spelling of the path" if missing else "")
