"""Filters on the command line: `query --where` and `list`."""

import json
from pathlib import Path

import pytest

from tests.commands import lines, run
from tests.fakes import picture, put


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    for number in range(6):
        put(
            home / f"photos/{'new' if number > 3 else 'old'}/{number}.png",
            picture((40 * number, 90, 30), (40 + number, 30)),
        )
    put(home / "photos/old/line\nbreak.jpg", picture((9, 9, 9), (60, 20), format="JPEG"))
    assert run("index", home / "photos", "-i", home / "index").returncode == 0
    return home


def test_a_query_finds_only_what_meets_the_filter(home: Path) -> None:
    found = run("query", home / "photos/old/0.png", "-i", home / "index", "--where", "path:new", "--paths")
    assert sorted(lines(found.stdout)) == [f"{home}/photos/new/4.png", f"{home}/photos/new/5.png"]
    none = run("query", home / "photos/old/0.png", "-i", home / "index", "--where", "width:>1000")
    assert (none.returncode, none.stdout) == (1, b"")
    assert lines(none.stderr) == ["note: no image of the index meets the filter"]


def test_a_fault_is_shown_with_its_place_before_anything_is_done(home: Path) -> None:
    for command in (("query", home / "photos/old/0.png"), ("list",)):
        failed = run(*command, "-i", home / "index", "--where", "path:new mp:>many")
        assert (failed.returncode, failed.stdout) == (2, b"")
        assert lines(failed.stderr) == [
            "  path:new mp:>many",
            "               ^",
            "error: many is not a number",
            "hint: for example: 12, >12, 2..8, ..8; units: mp",
        ]


def test_list_shows_the_images_that_meet_a_filter(home: Path) -> None:
    def listed(*arguments: object) -> bytes:
        found = run("list", "-i", home / "index", *arguments)
        assert (found.returncode, found.stderr) == (0, b"")
        return found.stdout

    assert len(lines(listed())) == 7
    assert len(lines(listed(home / "photos/old"))) == 5
    assert lines(listed("--where", "name:4.png")) == [
        f"-                          44x30  PNG    {home}/photos/new/4.png"
    ]
    assert listed("--where", "format:jpg", "-0") == f"{home}/photos/old/line\nbreak.jpg\0".encode()
    assert lines(listed("--where", "format:jpg"))[0].endswith("photos/old/line\\nbreak.jpg")
    assert sorted(lines(listed("--where", "path:new", "--paths"))) == [f"{home}/photos/new/{n}.png" for n in (4, 5)]
    (row,) = (json.loads(line) for line in lines(listed("--where", "format:jpg", "--json")))
    assert (row["width"], row["height"], row["format"], row["taken"], row["offline"]) == (60, 20, "JPEG", None, False)
    assert row["path"] == f"{home}/photos/old/line\nbreak.jpg"
    assert [line.split(":")[0] for line in lines(listed("--keys"))][:3] == ["path", "folder", "root"]


def test_list_has_several_orders(home: Path) -> None:
    def listed(sort: str) -> list[str]:
        found = run("list", "-i", home / "index", "--sort", sort, "--where", "format:png", "--paths")
        return [line.rsplit("/", 1)[1][0] for line in lines(found.stdout)]

    assert listed("path") == ["4", "5", "0", "1", "2", "3"]
    assert listed("name") == ["0", "1", "2", "3", "4", "5"]
    assert listed("taken") == listed("path")
    assert listed("pixels") == ["5", "4", "3", "2", "1", "0"]
    failed = run("list", "-i", home / "index", "--sort", "beauty")
    assert lines(failed.stderr)[-2:] == [
        "error: there is no order beauty",
        "hint: choose one of: path, name, taken, pixels, similarity:IMAGE",
    ]


def test_info_shows_what_there_is_to_filter_by(home: Path) -> None:
    facts = run("info", "--facts", "-i", home / "index")
    assert lines(facts.stdout) == ["        6  format:png", "        1  format:jpeg", "        7  shape:landscape"]
    rows = [json.loads(line) for line in lines(run("info", "--facts", "--json", "-i", home / "index").stdout)]
    assert rows[0] == {"term": "format:png", "files": 6}
    assert run("info", "--facts", "--failures", "-i", home / "index").returncode == 2


def test_list_says_when_there_is_nothing(home: Path) -> None:
    none = run("list", "-i", home / "index", "--where", "name:nothing")
    assert (none.returncode, none.stdout) == (1, b"")
    assert lines(none.stderr) == ["note: no image of the index meets the filter"]
    failed = run("list", "-i", home / "index", "--json", "--paths")
    assert failed.returncode == 2
