"""The orders of results, results under others, and answers that come as they are found."""

import json
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from tests.commands import lines, run
from tests.fakes import picture, put


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    for number in range(12):
        exif = Image.Exif()
        if number:
            exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"20{30 - number}:01:01 00:00:00"
        data = picture((20 * number, 255 - 20 * number, 30), (40 + number, 30), format="JPEG", exif=exif.tobytes())
        put(home / f"photos/{'xyz'[number % 3]}{number:02}.jpg", data)
    put(home / "query.png", picture((0, 255, 30)))
    assert run("index", home / "photos", "-i", home / "index").returncode == 0
    return home


def shown(home: Path, command: str, *arguments: str) -> list[int]:
    """Numbers of the pictures, in the order in which they are shown."""
    asked = (home / "query.png",) if command == "query" else ()
    done = run(command, *asked, "-i", home / "index", "--paths", *arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    return [int(line[-6:-4]) for line in lines(done.stdout)]


def test_the_results_of_a_query_are_found_first_and_then_put_in_order(home: Path) -> None:
    best = shown(home, "query", "-k", "5")
    assert shown(home, "query", "-k", "5", "--sort", "rank") == best
    dated = sorted(number for number in best if number)
    assert shown(home, "query", "-k", "5", "--sort", "taken") == [*reversed(dated), *({0} & {*best})]
    assert shown(home, "query", "-k", "5", "--sort", "pixels") == sorted(best, reverse=True)
    assert shown(home, "query", "-k", "5", "--sort", "name") == sorted(best, key=lambda number: (number % 3, number))
    refused = run("query", home / "query.png", "-i", home / "index", "--sort", "similarity:a")
    assert (refused.returncode, lines(refused.stderr)) == (
        2, ["error: there is no order similarity:a", "hint: choose one of: rank, path, name, taken, pixels"],
    )  # fmt: skip


def test_images_are_listed_in_the_order_of_likeness(home: Path) -> None:
    order = shown(home, "list", "--sort", f"similarity:{home / 'query.png'}")
    ranked = shown(home, "query", "-k", "12", "--ranking", "none")
    assert order == ranked
    some = shown(home, "list", "--sort", f"similarity:{home / 'photos/x00.jpg'}", "--where", "name:x*")
    assert sorted(some) == [0, 3, 6, 9]
    assert some[0] == 0, "the picture itself comes first"


def test_results_that_look_the_same_stand_under_the_best(home: Path) -> None:
    done = run("query", home / "query.png", "-i", home / "index", "--group", "-k", "3")
    shown_ = lines(done.stdout)
    assert sum(" like " in line for line in shown_) > 0
    rows = [json.loads(line) for line in lines(
        run("query", home / "query.png", "-i", home / "index", "--group", "-k", "3", "--json").stdout
    )]  # fmt: skip
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert len({path for row in rows for path in (row["path"], *row.get("similar", []))}) > 3
    assert "taken" in rows[1]


def test_answers_to_many_queries_come_as_they_are_found(home: Path, tmp_path: Path) -> None:
    """One that cannot be read costs no other its answer."""
    (tmp_path / "list").write_text("\n".join([str(home / "query.png"), "missing.png"] * 300))
    done = run("query", "--files-from", tmp_path / "list", "-i", home / "index", "--json", "-k", "1")
    assert done.returncode == 2
    assert len(lines(done.stdout)) == 300
    assert sum(line.startswith("error") for line in lines(done.stderr)) == 300
    done = run("query", "--files-from", tmp_path / "list", "-i", home / "index", "--csv", "-k", "1")
    assert sum(line.startswith("query,") for line in lines(done.stdout)) == 1
