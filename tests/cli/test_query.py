"""Queries in numbers: those that are named, those of a list, and what cannot be read among them; and what is marked."""

import csv
import io
import json
import os
import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from retrieval import Index, Match
from tests.commands import called as run
from tests.commands import lines
from tests.fakes import ColourEncoder, colour, picture, put


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos`, six coloured pictures and a torn one, `index_data`, made by a fake encoder."""
    folder = tmp_path_factory.mktemp("queries")
    for number in range(6):
        put(folder / "photos" / f"{number}.png", picture(colour(number)))
    put(folder / "photos" / "torn.png", picture((1, 1, 1))[:40])
    with Index.create(folder / "index_data", encoder=ColourEncoder()) as index:
        index.add(folder / "photos")
    return folder


def test_each_query_is_answered_in_order(home: Path) -> None:
    names = ["photos/3.png", "photos/1.png", "photos/5.png"]
    each = [lines(run("query", name, "-k", "2", cwd=home).stdout) for name in names]
    together = run("query", *names, "-k", "2", cwd=home)
    assert together.returncode == 0
    tables = together.stdout.decode().split("\n\n")
    assert [table.strip().split("\n") for table in tables] == [
        [name, *rows] for name, rows in zip(names, each, strict=True)
    ]
    rows = [json.loads(line) for line in lines(run("query", *names, "-k", "2", "--json", cwd=home).stdout)]
    assert [row["query"] for row in rows] == [name for name in names for _ in range(2)]
    paths = run("query", *names, "-k", "2", "-0", cwd=home).stdout
    assert paths.split(b"\0")[:-1] == [os.fsencode(row["path"]) for row in rows]


def test_an_answer_is_named_also_where_the_other_queries_have_none(home: Path) -> None:
    found = run("query", "nowhere.png", "photos/3.png", "-k", "2", cwd=home)
    assert found.returncode == 2
    alone = lines(run("query", "photos/3.png", "-k", "2", cwd=home).stdout)
    assert lines(found.stdout) == ["photos/3.png", *alone]


def test_a_copy_that_is_not_there_now_is_marked(tmp_path: Path) -> None:
    for name in ("1.png", "sub/copy.png", "sub/gone.png"):
        put(tmp_path / "photos" / name, picture(colour(1)))
    with Index.create(tmp_path / "index_data", encoder=ColourEncoder()) as index:
        index.add(tmp_path / "photos")
    (tmp_path / "photos" / "sub" / "gone.png").unlink()
    table = lines(run("query", "-", stdin=picture(colour(1)), cwd=tmp_path).stdout)
    assert [row.endswith("  (not there now)") for row in table[1:]] == [False, False, True]
    assert "gone.png" in table[3]


def test_one_query_has_its_name_in_json_and_csv_too(home: Path) -> None:
    query = ("query", "photos/3.png", "-k", "2")
    assert [json.loads(line)["query"] for line in lines(run(*query, "--json", cwd=home).stdout)] == ["photos/3.png"] * 2
    table = csv.DictReader(io.StringIO(run(*query, "--csv", cwd=home).stdout.decode(), newline=""))
    assert [row["query"] for row in table] == ["photos/3.png"] * 2


@pytest.mark.parametrize("options", [(), ("--ranking", "expansion"), ("-k", "1"), ("--min-score", "1")])
def test_the_columns_of_a_csv_are_always_the_same(home: Path, options: tuple[str, ...]) -> None:
    header = lines(run("query", "photos/3.png", "--csv", *options, cwd=home).stdout)[0]
    assert header.split(",") == ["query", *(item.name for item in fields(Match))]


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (b"photos/3.png\nphotos/1.png\n", ()),
        (b"photos/3.png\r\n\r\nphotos/1.png", ()),
        (b"photos/3.png\0photos/1.png\0", ("--from0",)),
    ],
)
def test_a_list_names_queries(home: Path, tmp_path: Path, data: bytes, options: tuple[str, ...]) -> None:
    named = run("query", "photos/0.png", "photos/3.png", "photos/1.png", "--json", cwd=home)
    put(tmp_path / "list", data)
    for source in ("-", os.fspath(tmp_path / "list")):
        told = run("query", "photos/0.png", "--files-from", source, *options, "--json", stdin=data, cwd=home)
        assert (told.returncode, told.stdout) == (0, named.stdout)


def test_a_list_holds_any_name(home: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/odd\n\xff.png"
    put(name, picture(colour(2)))
    told = run("query", "--files-from", "-", "--from0", "--paths", "-k", "1", stdin=name + b"\0", cwd=home)
    assert lines(told.stdout) == [f"{home}/photos/2.png"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "sentence"),
    [
        (("--files-from", "-"), b"", "standard input lists no images"),
        (("--files-from", "photos"), b"", "photos cannot be read: is a directory"),
        (("--files-from", "gone"), b"", "gone cannot be read: no such file or directory"),
        (("--files-from", "-"), b"photos/3.png\0", "standard input contains NUL characters"),
        (("-", "--files-from", "-"), b"", "standard input can be used only once"),
        (("photos/3.png", "--from0"), b"", "--from0 needs --files-from"),
    ],
)
def test_a_list_that_is_none_is_told(home: Path, arguments: tuple[str, ...], stdin: bytes, sentence: str) -> None:
    told = run("query", *arguments, stdin=stdin, cwd=home)
    assert (told.returncode, told.stdout) == (2, b"")
    assert lines(told.stderr)[0] == f"error: {sentence}"


def test_what_cannot_be_read_is_named_and_the_others_are_answered(home: Path) -> None:
    alone = run("query", "photos/3.png", "--json", cwd=home)
    told = run("query", "photos/torn.png", "photos/3.png", "gone/gone.png", "photos", "--json", cwd=home)
    assert (told.returncode, told.stdout) == (2, alone.stdout)
    complaints = [line for line in lines(told.stderr) if line.startswith("error: ")]
    assert [complaint.split()[1] for complaint in complaints] == ["photos/torn.png", "gone/gone.png", "photos"]


@pytest.mark.parametrize(
    ("asked", "sentence", "hint"),
    [
        ("photos", "photos is a folder", "retrieval index photos"),
        ("https://example.org/1.jpg", "https://example.org/1.jpg is a URL, not a file", "curl"),
        ("dog", "there is no file dog", "--tag 'dog'"),
        ("golden retriever", "there is no file golden retriever", "--tag 'golden retriever'"),
        ("-", "standard input is empty", "retrieval query - < IMAGE"),
    ],
)
def test_what_is_no_picture_gets_the_sentence_that_helps(home: Path, asked: str, sentence: str, hint: str) -> None:
    told = run("query", asked, cwd=home)
    assert (told.returncode, told.stdout) == (2, b"")
    complaint, advice = lines(told.stderr)
    assert complaint == f"error: {sentence}"
    assert hint in advice


def test_the_exit_code_is_1_where_nothing_is_found_and_0_where_something_is(home: Path) -> None:
    nothing = run("query", "photos/3.png", "photos/1.png", "--min-score", "1", cwd=home)
    assert (nothing.returncode, lines(nothing.stderr)[-1]) == (1, "note: nothing found")
    put(home / "copy of 3.png", picture(colour(3)))
    some = run("query", "copy of 3.png", "photos/1.png", "--min-score", "0.99999", "--json", cwd=home)
    assert some.returncode == 0
    assert {json.loads(line)["query"] for line in lines(some.stdout)} == {"copy of 3.png"}
    assert "note: photos/1.png: nothing found" in lines(some.stderr)


def test_a_picture_that_cannot_be_opened_is_marked(tmp_path: Path) -> None:
    for number in range(6):
        put(tmp_path / "photos" / f"{number}.png", picture(colour(number)))
    with Index.create(tmp_path / "index_data", encoder=ColourEncoder()) as index:
        index.add(tmp_path / "photos")
    os.remove(tmp_path / "photos" / "1.png")
    rows = lines(run("query", "photos/3.png", cwd=tmp_path).stdout)
    assert [row.endswith("1.png  (not there now)") for row in rows] == ["/1.png" in row for row in rows]
    shutil.move(tmp_path / "photos", tmp_path / "away")
    run("index", cwd=tmp_path)
    rows = lines(run("query", "away/3.png", cwd=tmp_path).stdout)[1:]
    assert all(row.endswith("  (offline)") for row in rows if "---" not in row)
    found = [json.loads(line) for line in lines(run("query", "away/3.png", "--json", cwd=tmp_path).stdout)]
    assert {row["offline"] for row in found} == {True}


def test_a_run_that_goes_on_is_said(home: Path) -> None:
    with Index.open(home / "index_data", encoder=ColourEncoder()) as index, index._store.writing():
        told = run("query", "photos/3.png", cwd=home)
    assert any(line.startswith("note: an update is running: 6 images so far") for line in lines(told.stderr))
