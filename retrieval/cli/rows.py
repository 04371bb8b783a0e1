"""Results that are records of images, one after another: how each form of them is written."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from retrieval.cli.execution import Execution
from retrieval.cli.filtering import filter_of, note_unread
from retrieval.cli.formats import Form, Format, flat, put_filled
from retrieval.cli.printing import note, put, put_data
from retrieval.cli.templates import Template

if TYPE_CHECKING:
    from retrieval.index import Index
    from retrieval.searching.filters import Filter


class Record(Protocol):
    """A result with the path of an image."""

    @property
    def path(self) -> Path:
        """The path of the image."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON can hold it."""
        ...


One = TypeVar("One", bound=Record)


def asked(index: "Index", where: Sequence[str] | None) -> "Filter | None":
    """Return the filter that the options `--where` make together; write a note if it may be wrong."""
    met = filter_of(where, None, None, None, None)
    if met is not None:
        note_unread(index.coverage())
    return met


def note_nothing(where: Sequence[str] | None) -> None:
    """Write why there is no result."""
    note("no image of the index meets the filter" if where else "the index is empty")


def put_rows(form: Form, records: Iterable[One], put_table: Callable[[Iterable[One]], None]) -> bool:
    """Write records in a form, or run a command on their paths; return False if a command failed.

    `put_table` writes them for people.
    """
    match form:
        case Format.PATHS | Format.PATHS0:
            put_data((os.fsencode(one.path) for one in records), b"\0" if form is Format.PATHS0 else b"\n")
        case Format.JSON:
            for one in records:
                put(json.dumps(one.as_dict()))
        case Format.CSV:
            put_data(csv_lines(one.as_dict() for one in records), b"\r\n")
        case Template():
            put_filled(form, (one.as_dict() for one in records))
        case Execution():
            return form.run(one.path for one in records)
        case _:
            put_table(records)
    return True


def csv_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield a line with the names of the columns, which are those of the first row, and a line for each row."""
    some = iter(rows)
    first = next(some, None)
    if first is not None:
        yield csv_line(first.keys())
        for row in chain([first], some):
            yield csv_line(flat(row).values())


def csv_line(cells: Iterable[Any]) -> bytes:
    """Return a row in the form of RFC 4180, without the end of the line."""
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue().removesuffix("\r\n").encode("utf-8", "surrogateescape")
