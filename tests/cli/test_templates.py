"""Lines of `--format`: the fields and formats of Python, and one clear error before any search."""

import contextlib
import json
import os
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import BadInput, Index
from retrieval.cli import list as listing
from retrieval.cli import results
from retrieval.cli.templates import Template
from tests.commands import called, lines
from tests.fakes import ColourEncoder, colour, picture, put

EXAMPLE = {"path": "a", "score": 0.5, "rank": 1}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos`, one of whose names is not UTF-8 and has an escape, and `index_data`."""
    folder = tmp_path_factory.mktemp("templates")
    for number in range(3):
        put(folder / "photos" / f"{number}.png", picture(colour(number)))
    put(folder / "photos" / os.fsdecode(b"\xff\x1b.png"), picture(colour(3)))
    with Index.create(folder / "index_data", encoder=ColourEncoder()) as index:
        index.add(folder / "photos")
    return folder


def test_each_match_is_a_line_with_the_values_of_json(home: Path) -> None:
    query = ("query", "photos/1.png", "-k", "2")
    rows = [json.loads(line) for line in lines(called(*query, "--json", cwd=home).stdout)]
    told = called(*query, "--format", r"{rank:02}\t{score:.3f} {{{id}}} {query}", cwd=home)
    assert told.returncode == 0
    expected = [f"{row['rank']:02}\t{row['score']:.3f} {{{row['id']}}} photos/1.png" for row in rows]
    assert lines(told.stdout) == expected


def test_paths_come_out_as_their_bytes(home: Path) -> None:
    assert called("list", "--format", "{path}", cwd=home).stdout == called("list", "--paths", cwd=home).stdout
    assert called("list", "--format", r"{path}\0", cwd=home).stdout == called("list", "-0", cwd=home).stdout
    assert b"\xff\x1b.png" in called("list", "--format", "{path}", cwd=home).stdout


def test_unknown_values_are_empty_and_lists_are_json(home: Path) -> None:
    told = called("list", "--format", "{taken:>9}|{keywords}|{format}", cwd=home)
    assert lines(told.stdout) == ["|[]|PNG"] * 4


@pytest.mark.parametrize(
    ("template", "said", "hint"),
    [
        ("{nothing}", "the template has an unknown field {nothing}", "the fields are: query, rank, score, path, id, "),
        ("{path.__class__}", "the template has an unknown field {path.__class__}", "the fields are: "),
        ("{path[0]}", "the template has an unknown field {path[0]}", "the fields are: "),
        ("{0}", "the template has an unknown field {0}", "the fields are: "),
        ("{}", "the template has an unknown field {}", "the fields are: "),
        ("{path!r}", "the field path cannot be read", "only a name and a format"),
        ("{score:{rank}}", "the field score cannot be read", "only a name and a format"),
        ("{path:.3f}", "the field path is a text and cannot have the format .3f", "for example {score:.3f}"),
        ("{score:x}", "the field score is a number and cannot have the format x", "for example {score:.3f}"),
        ("{score:.99999999999999999999}", "the field score is a number", "for example {score:.3f}"),
        ("{path", "the template {path cannot be read", "a brace that is no field is written twice"),
        ("path}", "the template path} cannot be read", "a brace that is no field is written twice"),
    ],
)
def test_a_bad_template_is_one_error_before_any_search(tmp_path: Path, template: str, said: str, hint: str) -> None:
    told = called("query", "nothing.png", "--format", template, cwd=tmp_path)  # where there is no index
    assert (told.returncode, told.stdout) == (2, b"")
    error, advice = lines(told.stderr)
    assert error.startswith(f"error: {said}")
    assert advice.startswith(f"hint: {hint}")


@pytest.mark.parametrize("example", [results.EXAMPLE, listing.EXAMPLE])
def test_an_example_has_a_value_in_every_field(example: dict[str, Any]) -> None:
    assert None not in example.values()


def test_the_examples_have_all_fields_of_json(home: Path) -> None:
    assert set(results.EXAMPLE) == set(results.COLUMNS)
    row = json.loads(lines(called("list", "--json", cwd=home).stdout)[0])
    assert list(listing.EXAMPLE) == list(row)


@given(st.text(string.printable.replace("{", "").replace("}", "").replace("\\", "")).filter(bool))
def test_text_without_braces_and_backslashes_stands_for_itself(text: str) -> None:
    filled = Template.read(text, EXAMPLE).filled(EXAMPLE)
    assert filled == (text if text.endswith("\n") else f"{text}\n")


@given(st.text())
def test_any_template_is_filled_or_is_bad_input(text: str) -> None:
    with contextlib.suppress(BadInput):
        assert Template.read(text, EXAMPLE).filled(EXAMPLE)


@given(st.text())
def test_values_cannot_control_a_terminal(value: str) -> None:
    row = EXAMPLE | {"path": value.encode("utf-8", "replace").decode()}
    assert Template.read("{path}", EXAMPLE).filled(row, printable=True).rstrip("\n").isprintable()
    assert Template.read("{rank:c}", EXAMPLE).filled(row | {"rank": 27}, printable=True) == "\\x1b\n"
