"""The formats of matches: a table for people; JSON lines, CSV and paths for programs."""

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, assert_never

from retrieval.cli.execution import Execution
from retrieval.cli.formats import Form, Format, flat, put_filled
from retrieval.cli.preview import Preview
from retrieval.cli.printing import put, put_data
from retrieval.cli.screen import Screen, cells
from retrieval.cli.templates import Template
from retrieval.types import Match, Tag, displayed

COLUMNS = ("query", *(item.name for item in fields(Match)))
"""Columns of a CSV. They are always the same; the cell of an unknown value is empty."""
EXAMPLE = {"query": "a"} | Match(
    1, 0.5, Path("a"), 1, 1, 1, (), relevance=0.5, false_matches=0.5, probability=0.5, tags=(Tag("a", 0.5),)
).as_dict()
"""A match as JSON can hold it, with all fields."""
BOUNDARY = f"{'':->6}{' the images below may be unrelated ':-<48}"
"""Line of a table between the likely matches and the other matches."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The matches of one query."""

    query: str
    """The query as the user wrote it."""
    matches: Sequence[Match]


def put_answers(answers: Sequence[Answer], form: Form, *, preview: Preview, named: bool = False) -> bool:
    """Write the matches of all answers, or run a command on them; return False if a command failed.

    If `named`, each table is written under the name of its query. Above each row stands its `preview`.
    """
    match form:
        case Format.TABLE:
            _put_tables(answers, preview, named=named)
        case Format.JSON:
            _put_json(answers)
        case Format.CSV:
            _put_csv(answers)
        case Format.PATHS:
            _put_paths(answers, b"\n")
        case Format.PATHS0:
            _put_paths(answers, b"\0")
        case Template():
            put_filled(form, (_row(answer, match) for answer in answers for match in answer.matches))
        case Execution():
            return form.run(match.path for answer in answers for match in answer.matches)
        case _:
            assert_never(form)
    return True


# -- for people ---------------------------------------------------------------------------------------------------


def _put_tables(answers: Sequence[Answer], preview: Preview, *, named: bool) -> None:
    screen = Screen.of_stdout()
    for number, answer in enumerate(answers):
        if named:
            if number > 0:
                put("")
            screen.put_text(displayed(answer.query))
        _put_table(answer.matches, screen, preview)


def _put_table(matches: Sequence[Match], screen: Screen, preview: Preview) -> None:
    """Write the matches as a table; a column is left out if no match has a value for it."""
    columns = _columns(matches)
    if matches:
        put("".join(f"{column.title}  " for column in columns) + "path")
    boundary_to_come = any(match.probability is not None for match in matches)
    for match in matches:
        if boundary_to_come and match.probability is None:
            boundary_to_come = False
            screen.put_text(BOUNDARY)
        row = "".join(f"{column.cell(match)}  " for column in columns)
        if not match.offline:
            preview.put(match.path, match.width, match.height)
        screen.put(row, match.path, _mark(match))
        for copy in match.copies:
            screen.put(f"{'':>{cells(row)}}also ", copy, "" if match.offline else _missing(copy))


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
    width = max((cells(_tag(match)) for match in matches), default=0)
    if width > 0:
        columns.append(_Column(_padded("tag", width), lambda match: _padded(_tag(match), width)))
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


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cells(text))


def _mark(match: Match) -> str:
    """Return a remark on a file that cannot be opened. An offline file is not looked at, because that may hang."""
    return "  (offline)" if match.offline else _missing(match.path)


def _missing(path: Path) -> str:
    return "" if os.path.lexists(path) else "  (not there now)"


# -- for programs -------------------------------------------------------------------------------------------------


def _row(answer: Answer, match: Match) -> dict[str, Any]:
    """Return a match as JSON can hold it."""
    return {"query": answer.query} | match.as_dict()


def _put_json(answers: Sequence[Answer]) -> None:
    """Write one JSON object per match."""
    for answer in answers:
        for match in answer.matches:
            put(json.dumps(_row(answer, match)))


def _put_csv(answers: Sequence[Answer]) -> None:
    """Write a header, then one row per match."""
    put_data([_csv_line(COLUMNS)], b"\r\n")
    rows = (_cells(answer, match) for answer in answers for match in answer.matches)
    put_data((_csv_line(row) for row in rows), b"\r\n")


def _cells(answer: Answer, match: Match) -> list[Any]:
    """Return the cells of one row, in the order of `COLUMNS`; a list is written as JSON."""
    row = flat(_row(answer, match))
    return [row.get(column, "") for column in COLUMNS]


def _csv_line(cells: Sequence[Any]) -> bytes:
    """Return a row in the form of RFC 4180, without the end of the line."""
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue().removesuffix("\r\n").encode("utf-8", "surrogateescape")


def _put_paths(answers: Sequence[Answer], end: bytes) -> None:
    """Write the paths as the bytes of the file system, each followed by `end`."""
    put_data([os.fsencode(match.path) for answer in answers for match in answer.matches], end)
