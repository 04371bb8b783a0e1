"""Files of results: CSV, JSON or Parquet, by the suffix of their name; written whole or not at all."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from retrieval import extras
from retrieval.cli.rows import csv_lines
from retrieval.disk.files import replacing
from retrieval.errors import BadInput, MissingLibrary, StorageError, reason_of
from retrieval.types import displayed

Rows = Sequence[Mapping[str, Any]]


def demand_kind(place: Path) -> None:
    """Raise `BadInput` for a name whose suffix names no kind of table, and `MissingLibrary` if pyarrow is missing."""
    if place.suffix.lower() not in _WRITERS:
        sentence = f"{displayed(place)} does not say what kind of table it is"
        raise BadInput(sentence, hint=f"end its name in one of: {', '.join(_WRITERS)}")
    if place.suffix.lower() == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401 - only to see whether it can be imported
        except ImportError as error:
            sentence = f"Parquet needs pyarrow, which cannot be loaded ({extras.reason(error)})"
            raise MissingLibrary(sentence, hint="install it: pip install pyarrow; or write .csv or .json") from error


def write(place: Path, rows: Rows) -> None:
    """Write rows with equal keys to a file; an older file is replaced at the end. Raises what `demand_kind` raises.

    Raises `StorageError` if the file cannot be written.
    """
    demand_kind(place)
    try:
        with replacing(place, durable=False) as file:
            _WRITERS[place.suffix.lower()](file, rows)
    except OSError as error:
        sentence = f"{displayed(place)} cannot be written: {reason_of(error)}"
        raise StorageError(sentence, hint="give another place, or make its folder first") from error


def _write_csv(file: BinaryIO, rows: Rows) -> None:
    file.writelines(line + b"\r\n" for line in csv_lines(rows))


def _write_json(file: BinaryIO, rows: Rows) -> None:
    """Write one array, with a row per line."""
    lines = (json.dumps(row).encode() for row in rows)
    file.writelines((b",\n" if number else b"[\n") + line for number, line in enumerate(lines))
    file.write(b"\n]\n" if rows else b"[]\n")


def _write_parquet(file: BinaryIO, rows: Rows) -> None:
    r"""Write a table. Parquet holds valid UTF-8 only: bytes of a path that are not UTF-8 are escaped, as in `\xff`."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        name: [displayed(row[name]) if name == "path" and not _is_utf8(row[name]) else row[name] for row in rows]
        for name in (rows[0] if rows else ())
    }
    parquet.write_table(pa.table(columns), file)


def _is_utf8(text: str) -> bool:
    return not any(0xDC80 <= ord(character) <= 0xDCFF for character in text)  # noqa: PLR2004 - see `types.displayed`


_WRITERS = {".csv": _write_csv, ".json": _write_json, ".parquet": _write_parquet}
"""Suffix of a name -> what writes the rows."""
