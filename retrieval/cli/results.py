"""The formats of matches: a table for people; JSON lines, CSV and paths for programs."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any, assert_never

from retrieval.cli.execution import Execution
from retrieval.cli.formats import Form, Format, flat, put_filled
from retrieval.cli.preview import Preview
from retrieval.cli.printing import put, put_data
from retrieval.cli.rows import csv_line
from retrieval.cli.screen import Screen, cells
from retrieval.cli.templates import Template
from retrieval.types import Match, Tag, displayed

COLUMNS = ("query", *(item.name for item in fields(Match)))
"""Columns of a CSV. They are always the same; the cell of an unknown value is empty."""
EXAMPLE = {"query": "a"} | Match(
    1, 0.5, Path("a"), 1, 1, 1, (), relevance=0.5, false_matches=0.5, probability=0.5, tags=(Tag("a", 0.5),),
    taken="2026", similar=(Path("b"),),
).as_dict()  # fmt: skip
"""A match as JSON can hold it, with all fields."""
BOUNDARY = f"{'':->6}{' the images below may be unrelated ':-<48}"
"""Line of a table between the likely matches and the other matches."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The matches of one query."""

    query: str
    """The query as the user wrote it."""
    matches: Sequence[Match]


@dataclass
class Writer:
    """Writes the matches of queries as they come, or runs a command on all of them at the end."""

    form: Form
    preview: Preview
    """The pictures above the rows of a table."""
    named: bool
    """Whether each table is written under the name of its query."""
    screen: Screen = field(default_factory=Screen.of_stdout)
    _found: list[Path] = field(default_factory=list)
    _is_first: bool = True

    def put(self, answer: Answer) -> None:
        """Write the matches of a query."""
        rows = ({"query": answer.query} | match.as_dict() for match in answer.matches)
        match self.form:
            case Format.TABLE:
                self._put_table(answer)
            case Format.JSON:
                for row in rows:
                    put(json.dumps(row))
            case Format.CSV:
                header = [csv_line(COLUMNS)] if self._is_first else []
                put_data(chain(header, map(_cells, rows)), b"\r\n")
            case Format.PATHS | Format.PATHS0:
                end = b"\n" if self.form is Format.PATHS else b"\0"
                put_data([os.fsencode(match.path) for match in answer.matches], end)
            case Template():
                put_filled(self.form, rows)
            case Execution():
                self._found += [match.path for match in answer.matches]
            case _:
                assert_never(self.form)
        self._is_first = False

    def end(self) -> bool:
        """Finish, and return whether all commands succeeded."""
        return not isinstance(self.form, Execution) or self.form.run(self._found)

    def _put_table(self, answer: Answer) -> None:
        if self.named:
            if not self._is_first:
                put("")
            self.screen.put_text(displayed(answer.query))
        _put_table(answer.matches, self.screen, self.preview)


# -- for people ---------------------------------------------------------------------------------------------------


def _put_table(matches: Sequence[Match], screen: Screen, preview: Preview) -> None:
    """Write the matches as a table; a column is left out if no match has a value for it."""
    columns = _columns(matches)
    if matches:
        put("".join(f"{column.title}  " for column in columns) + "path")
    are_likely = [match.probability is not None for match in matches]
    boundary_to_come = any(are_likely) and are_likely == sorted(are_likely, reverse=True)
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
        for other in match.similar:
            screen.put(f"{'':>{cells(row)}}like ", other, _missing(other))


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


def _cells(row: dict[str, Any]) -> bytes:
    """Return a match as a row of CSV, with the cells in the order of `COLUMNS`; a list is written as JSON."""
    values = flat(row)
    return csv_line([values.get(column, "") for column in COLUMNS])
