"""The formats of matches: a table for people; JSON lines, CSV and paths for programs."""

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from retrieval.cli.paths import Paths
from retrieval.cli.preview import NONE, picture
from retrieval.cli.printing import put, put_data, put_picture, put_shown
from retrieval.cli.templates import Template
from retrieval.types import Match, Tag, displayed

Put = Callable[["Answer"], None]
"""Writes the matches of one query. Answers are written as they come."""


COLUMNS = ("query", *(item.name for item in fields(Match)))
"""Columns of a CSV. They are always the same; the cell of an unknown value is empty."""
BOUNDARY = f"{'':->6}{' the images below may be unrelated ':-<48}"
"""Line of a table between the likely matches and the other matches."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The matches of one query."""

    query: str
    """The query as the user wrote it."""
    matches: Sequence[Match]


# -- for people ---------------------------------------------------------------------------------------------------


def tables(*, named: bool, preview: str) -> Put:
    """Return what writes a table for each answer; if `named`, under the name of its query.

    `preview` is the form of the pictures above the rows (see `cli.preview`).
    """
    shown_paths, is_first = Paths.here(), iter([True])

    def put_answer(answer: Answer) -> None:
        if named:
            if not next(is_first, False):
                put("")
            put(displayed(answer.query))
        _put_table(answer.matches, shown_paths, preview)

    return put_answer


def _put_table(matches: Sequence[Match], paths: Paths, preview: str) -> None:
    """Write the matches as a table; a column is left out if no match has a value for it."""
    columns = _columns(matches)
    if matches:
        put("".join(f"{column.title}  " for column in columns) + "path")
    boundary_to_come = any(match.probability is not None for match in matches)
    for match in matches:
        if boundary_to_come and match.probability is None:
            boundary_to_come = False
            put(BOUNDARY)
        cells = "".join(f"{column.cell(match)}  " for column in columns)
        if preview != NONE and not match.offline:
            _put_preview(match, preview)
        put_shown(cells + paths.shown(match.path, len(cells), _mark(match)))
        for copy in match.copies:
            before = f"{'':>{len(cells)}}also "
            put_shown(before + paths.shown(copy, len(before), "" if match.offline else _missing(copy)))
        for other in match.similar:
            before = f"{'':>{len(cells)}}like "
            put_shown(before + paths.shown(other, len(before), _missing(other)))


def _put_preview(match: Match, form: str) -> None:
    """Write the picture of a match, if it can be read."""
    sequences = picture(match.path, match.width, match.height, form)
    if sequences:
        put_picture(sequences)


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table, to the left of the path. The title and all cells have the same width."""

    title: str
    cell: Callable[[Match], str]


def _columns(matches: Sequence[Match]) -> list[_Column]:
    """Return the columns that a table of `matches` has to the left of the path."""
    columns = [_Column("rank", _rank), _Column(" score", _score)]
    if any(match.relevance is not None for match in matches):
        columns.append(_Column("relevance", _relevance))
    if any(match.probability is not None for match in matches):
        columns.append(_Column("likely", _probability))
    width = max((len(_tag(match)) for match in matches), default=0)
    if width > 0:
        columns.append(_Column(f"{'tag':<{width}}", lambda match: f"{_tag(match):<{width}}"))
    return columns


def _rank(match: Match) -> str:
    return f"{match.rank:>4}"


def _score(match: Match) -> str:
    return f"{match.score:>6.4f}"


def _relevance(match: Match) -> str:
    return f"{'':>9}" if match.relevance is None else f"{match.relevance:>9.4f}"


def _probability(match: Match) -> str:
    return f"{'':>6}" if match.probability is None else f"{match.probability:>6.0%}"


def _tag(match: Match) -> str:
    return displayed(match.tags[0].name) if match.tags else ""


def _mark(match: Match) -> str:
    """Return a remark on a file that cannot be opened. An offline file is not looked at, because that may hang."""
    return "  (offline)" if match.offline else _missing(match.path)


def _missing(path: Path) -> str:
    return "" if os.path.lexists(path) else "  (not there now)"


# -- for programs -------------------------------------------------------------------------------------------------


def json_lines(answer: Answer) -> None:
    """Write one JSON object per match."""
    for match in answer.matches:
        put(json.dumps({"query": answer.query} | match.as_dict()))


def csv_rows() -> Put:
    """Return what writes one row per match, and has written a header."""
    put_data([_csv_line(COLUMNS)], b"\r\n")
    return lambda answer: put_data((_csv_line(_cells(answer, match)) for match in answer.matches), b"\r\n")


def paths(end: bytes) -> Put:
    """Return what writes the path of each match, as the bytes of the file system, followed by `end`."""
    return lambda answer: put_data([os.fsencode(match.path) for match in answer.matches], end)


def lines(template: Template) -> Put:
    """Return what writes a line of one's own for each match."""
    return lambda answer: put_data(
        (template.line({"query": answer.query} | match.as_dict()) for match in answer.matches), b"\n"
    )


SAMPLE = {"query": "a.jpg"} | Match(
    1, 0.5, Path("b.jpg"), 1, 1, 1, (), offline=False, relevance=0.5, false_matches=0.5, probability=0.5,
    tags=(Tag("dog", 0.5),), taken="", similar=(Path("c.jpg"),),
).as_dict()  # fmt: skip
"""The values of a match that a line of one's own can have."""


def _cells(answer: Answer, match: Match) -> list[Any]:
    """Return the cells of one row, in the order of `COLUMNS`; a list is written as JSON."""
    row = {"query": answer.query} | match.as_dict()
    for name, value in row.items():
        if isinstance(value, list | dict):
            row[name] = json.dumps(value)
    return [row.get(column, "") for column in COLUMNS]


def _csv_line(cells: Sequence[Any]) -> bytes:
    """Return a row in the form of RFC 4180, without the end of the line."""
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue().removesuffix("\r\n").encode("utf-8", "surrogateescape")
