"""What was found, for people and for programs: a table, JSON lines, CSV, paths."""

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from retrieval.cli.output import put, put_data
from retrieval.types import Match, displayed

COLUMNS = ("query", *(item.name for item in fields(Match)))
"""Of a CSV, whatever was found: what is not known is empty."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The matches of one query."""

    query: str
    """As it was given."""
    matches: Sequence[Match]


def put_tables(answers: Sequence[Answer], *, named: bool = False) -> None:
    """Write a table of each answer, under the name of its query if they are to be `named`."""
    for number, answer in enumerate(answers):
        if named:
            if number:
                put("")
            put(displayed(answer.query))
        _put_table(answer.matches)


def _put_table(matches: Sequence[Match]) -> None:
    ranked = any(match.relevance is not None for match in matches)
    judged = any(match.probability is not None for match in matches)
    width = max((len(_tag(match)) for match in matches), default=0)
    if matches:
        tags = f"{'tag':<{width}}  " * bool(width)
        put("rank   score  " + "relevance  " * ranked + "likely  " * judged + f"{tags}path")
    likely = True
    for match in matches:
        if judged and likely and match.probability is None:
            likely = False
            put(f"{'':->6}{' below, the index cannot tell ':-<48}")
        columns = f"{match.rank:>4}  {match.score:>6.4f}  "
        columns += f"{'' if match.relevance is None else format(match.relevance, '.4f'):>9}  " * ranked
        columns += f"{'' if match.probability is None else format(match.probability, '.0%'):>6}  " * judged
        columns += f"{_tag(match):<{width}}  " * bool(width)
        put(f"{columns}{displayed(match.path)}{_mark(match)}")
        for copy in match.copies:
            put(f"{'':>{len(columns)}}also {displayed(copy)}{'' if match.offline else _missing(copy)}")


def _tag(match: Match) -> str:
    return displayed(match.tags[0].name) if match.tags else ""


def _mark(match: Match) -> str:
    """Return a remark on a picture that cannot be opened; a place that is offline is not asked, for that may hang."""
    if match.offline:
        return "  (offline)"
    return _missing(match.path)


def _missing(path: Path) -> str:
    return "" if os.path.lexists(path) else "  (not there now)"


def put_json(answers: Sequence[Answer]) -> None:
    """Write a JSON object a match."""
    for answer in answers:
        for match in answer.matches:
            put(json.dumps({"query": answer.query} | match.as_dict()))


def put_csv(answers: Sequence[Answer]) -> None:
    """Write a header, then a row a match."""
    put_data([_row(COLUMNS)], b"\r\n")
    put_data((_row(_cells(answer, match)) for answer in answers for match in answer.matches), b"\r\n")


def _cells(answer: Answer, match: Match) -> list[Any]:
    row = {"query": answer.query} | match.as_dict()
    row |= {name: json.dumps(value) for name, value in row.items() if isinstance(value, list | dict)}
    return [row.get(column, "") for column in COLUMNS]


def _row(cells: Sequence[Any]) -> bytes:
    """Return a row as RFC 4180 has it, without the end of its line."""
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue().removesuffix("\r\n").encode("utf-8", "surrogateescape")


def put_lines(answers: Sequence[Answer]) -> None:
    """Write the paths, raw, one a line."""
    put_data(_paths(answers), b"\n")


def put_nul(answers: Sequence[Answer]) -> None:
    """Write the paths, raw, a NUL after each."""
    put_data(_paths(answers), b"\0")


def _paths(answers: Sequence[Answer]) -> list[bytes]:
    return [os.fsencode(match.path) for answer in answers for match in answer.matches]
