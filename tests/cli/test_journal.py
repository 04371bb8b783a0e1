"""`journal`: what was done with files, the earliest first."""

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retrieval.organising import steps
from tests.cli.conftest import HOSTILE
from tests.commands import called, lines
from tests.organising.library import state_of

SAME = ("duplicates", "--relation", "same_bytes")


def facts(home: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines(called("journal", "--json", cwd=home).stdout)]


def test_at_first_nothing_was_done(copies: Path) -> None:
    for form in ([], ["--json"]):
        told = called("journal", *form, cwd=copies)
        assert (told.returncode, told.stdout) == (1, b"")
        assert lines(told.stderr) == ["note: nothing was done with files"]


def test_each_act_and_its_undo_has_a_line(copies: Path) -> None:
    assert called(*SAME, "--trash", "--yes", cwd=copies).returncode == 0
    assert called("undo", cwd=copies).returncode == 0
    told = called("journal", cwd=copies)
    assert told.returncode == 0
    found = lines(told.stdout)
    assert len(found) == 6, "a name with a line break makes no second line"
    form = r" *(\d+)  \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d  (trash|undo) +  (\S.*?)(  \(undone\))?"
    columns = [re.fullmatch(form, line) for line in found]
    assert [match and (match[1], match[2], bool(match[4])) for match in columns] == [
        *[("1", "trash", True)] * 3,
        *[("2", "undo", False)] * 3,
    ]
    paths = [match[3] for match in columns if match]
    assert paths[:3] == paths[:2:-1], "an undo names the same files, in the reverse order"
    assert os.fspath(copies / "photos/sub/copy.png") in paths
    assert "\x1b" not in told.stdout.decode()


def test_json_tells_all_of_it(copies: Path) -> None:
    assert called(*SAME, "--move-to", "away", "--yes", cwd=copies).returncode == 0
    rows = facts(copies)
    names = ["run", "number", "time", "kind", "path", "place", "kept", "undoes", "state"]
    assert all(list(row) == names for row in rows)
    assert [(row["run"], row["number"], row["kind"], row["undoes"], row["state"]) for row in rows] == [
        (1, number, "move", None, "done") for number in (1, 2, 3)
    ]
    photos = os.fsencode(copies / "photos")
    assert {os.fsencode(str(row["path"])) for row in rows} == {
        os.path.join(photos, name) for name in (b"copy.png", HOSTILE, b"sub/copy.png")
    }
    for row in rows:
        assert os.path.isfile(os.fsencode(str(row["place"])))
        assert os.path.dirname(str(row["place"])) == os.fspath(copies / "away")
        assert os.path.isfile(str(row["kept"]))
        assert datetime.fromisoformat(str(row["time"])).tzinfo == UTC
    assert len({row["place"] for row in rows}) == 3, "two files of one name get places of their own"
    assert called("undo", cwd=copies).returncode == 0
    again = facts(copies)
    assert [row["state"] for row in again] == ["undone"] * 3 + ["done"] * 3
    assert [row["undoes"] for row in again] == [None] * 3 + [3, 2, 1]


def test_links_and_their_undo_are_named(copies: Path) -> None:
    assert called(*SAME, "--hardlink", "--yes", cwd=copies).returncode == 0
    assert called("undo", cwd=copies).returncode == 0
    assert [row["kind"] for row in facts(copies)] == ["hardlink"] * 3 + ["separate"] * 3
    assert called("journal", cwd=copies).stdout.count(b"  undo ") == 3


def test_what_was_interrupted_is_told_and_undone(copies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state_of(copies / "photos")
    perform, taken = steps.perform, []

    def pressed(step: steps.Step) -> None:
        if taken:
            raise KeyboardInterrupt
        taken.append(step)
        perform(step)

    with monkeypatch.context() as patch:
        patch.setattr(steps, "perform", pressed)
        told = called(*SAME, "--trash", "--yes", cwd=copies)
    assert told.returncode == 130
    assert b"note: interrupted; what was done is in the journal; to undo it: retrieval undo" in told.stderr
    assert [row["state"] for row in facts(copies)] == [
        "done",
        "not known: the process was killed; the next run finds out",
    ]
    assert called("undo", cwd=copies).stdout == b"1 file as before\n"
    assert state_of(copies / "photos") == before
    assert [row["state"] for row in facts(copies)] == ["undone", "not done: the process was killed", "done"]
