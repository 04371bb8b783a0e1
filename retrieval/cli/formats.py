"""The forms of results that options ask for: a table, JSON, CSV, paths, lines of a template, or commands to run."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import Any

from retrieval.cli.execution import Execution
from retrieval.cli.printing import put_raw
from retrieval.cli.templates import Template
from retrieval.errors import BadInput


class Format(Enum):
    """How results are written."""

    TABLE = auto()
    JSON = auto()
    CSV = auto()
    PATHS = auto()
    """One path per line."""
    PATHS0 = auto()
    """A NUL character after each path."""


Form = Format | Template | Execution


def chosen(
    *,
    json_lines: bool,
    csv_rows: bool = False,
    paths: bool,
    nul: bool,
    template: str | None,
    each: str | None,
    batch: str | None,
    example: Mapping[str, Any],
    table: Sequence[str] = (),
) -> Form:
    """Return the form that the options of a command ask for.

    `example` is a result as JSON can hold it, with all fields and a value of the right type in each. `table` names
    the given options that only a table obeys. Raises `BadInput` if the options ask for several forms,
    and for a template or a command that cannot be used.
    """
    forms: dict[str, Form | None] = {
        "--json": Format.JSON if json_lines else None,
        "--csv": Format.CSV if csv_rows else None,
        "--paths": Format.PATHS if paths and not nul else None,
        "--print0": Format.PATHS0 if nul else None,
        "--format": None if template is None else Template.read(template, flat(example)),
        "--exec": None if each is None else Execution.read(each),
        "--exec-batch": None if batch is None else Execution.read(batch, batch=True),
    }
    given = {name: form for name, form in forms.items() if form is not None}
    if given and len(given) + len(table) > 1:
        *names, last = [*given, *table]
        raise BadInput(f"only one of {', '.join(names)} and {last} can be given")
    return next(iter(given.values()), Format.TABLE)


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of which each value is a text, a number or None; a list is written as JSON."""
    return {name: json.dumps(value) if isinstance(value, list | dict | tuple) else value for name, value in row.items()}


def put_filled(template: Template, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the template with the values of each row: as they are, and to a terminal with escapes for controls."""
    printable = sys.stdout.isatty()
    for row in rows:
        put_raw(template.filled(flat(row), printable=printable).encode("utf-8", "surrogateescape"))
