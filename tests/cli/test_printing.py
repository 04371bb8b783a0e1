"""What leaves the program: nothing that a terminal would obey, few notes, and the errors of stdout itself."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from retrieval import Index
from retrieval.cli import train
from retrieval.cli.report import MOST_REASONS, put_report
from retrieval.types import Report
from tests.commands import COMMAND, called, lines, run
from tests.conftest import PROJECT
from tests.fakes import ColourEncoder, colour, picture, put

HOSTILE = "\x1b[31m[red]\u202e\x07\x9b2J\r"
"""A colour, markup of rich's, an override of the direction, a bell, another escape, and a return."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with `index_data` of `photos`, in subfolders whose names and whose files' names are hostile."""
    for number in range(6):
        put(tmp_path / "photos" / f"{HOSTILE}{number % 2}" / f"{number}{HOSTILE}.png", picture(colour(number)))
    put(tmp_path / "photos" / f"torn{HOSTILE}.png", picture((1, 1, 1))[:40])
    with Index.create(tmp_path / "index_data", encoder=ColourEncoder()) as index:
        index.add(tmp_path / "photos")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("index",),
        ("info",),
        ("info", "--failures"),
        ("info", "--failures", "--json"),
        ("query", f"photos/{HOSTILE}0/0{HOSTILE}.png"),
        ("query", f"photos/{HOSTILE}0/0{HOSTILE}.png", f"photos/{HOSTILE}1/1{HOSTILE}.png", "--json"),
        ("query", HOSTILE),
        ("query", "--tag", HOSTILE),
        ("labels", "photos"),
        ("labels", HOSTILE),
        ("classify", "--labels", "photos", f"photos/{HOSTILE}0/0{HOSTILE}.png"),
        ("evaluate", "photos"),
        ("remove", HOSTILE),
        ("verify", "-v", "--index", HOSTILE),
        ("index", f"photos/{HOSTILE}0", f"photos/{HOSTILE}1"),
        ("index", "photos", "--backbone", HOSTILE),
        ("train", "photos", "--out", HOSTILE),
        ("train", "photos", "--out", "x.keras", "--loss", HOSTILE),
        (HOSTILE,),
        ("info", f"--{HOSTILE}"),
        ("query", "x", "-k", HOSTILE),
    ],
)
def test_no_name_reaches_a_terminal_as_it_is(home: Path, arguments: tuple[str, ...]) -> None:
    told = called(*arguments, cwd=home)
    text = (told.stdout + told.stderr).decode()
    assert text
    assert all(character.isprintable() for line in text.split("\n") for character in line)
    assert "Traceback" not in text or "-v" in arguments


def test_data_is_raw_in_a_pipe_and_printable_on_a_terminal(home: Path) -> None:
    query = ("query", f"photos/{HOSTILE}0/0{HOSTILE}.png", "-q")
    for form in ("--paths", "-0", "--csv"):
        assert os.fsencode(HOSTILE) in called(*query, form, cwd=home).stdout
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *query, "--paths"], cwd=home, stdout=theirs, env=os.environ | {"PYTHONPATH": os.getcwd()}
    ):
        os.close(theirs)
        seen = b""
        while True:
            try:
                seen += os.read(ours, 4096)
            except OSError:
                break
    os.close(ours)
    assert seen.count(b"\r\n") == 5
    assert rb"\x1b[31m[red]\u202e" in seen
    assert b"\x1b" not in seen


@pytest.mark.parametrize(
    "arguments",
    [
        ("query", "photos/1.png"),
        ("query", "photos/1.png", "--json"),
        ("query", "photos/1.png", "--csv"),
        ("query", "photos/1.png", "-0"),
        ("index",),
        ("info", "--json"),
        ("backbones",),
        ("--help",),
        ("--version",),
    ],
)
def test_a_full_disk_behind_stdout_is_told_and_harms_nothing(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("the system has no /dev/full")
    for number in range(3):
        put(tmp_path / "photos" / f"{number}.png", picture(colour(number)))
    with Index.create(tmp_path / "index_data", encoder=ColourEncoder()) as index:
        index.add(tmp_path / "photos")
    with open("/dev/full", "wb") as full:
        told = run(*arguments, cwd=tmp_path, stdout=full.fileno())
    assert told.returncode == 2
    said = [line for line in lines(told.stderr) if not line.startswith("note: ")]
    assert said == [
        "error: standard output cannot be written: No space left on device",
        "hint: send the output to another place",
    ]
    with Index.open(tmp_path / "index_data", encoder=ColourEncoder()) as index:
        assert index.verify().whole


def test_a_full_disk_behind_stderr_changes_no_result(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("the system has no /dev/full")
    with open("/dev/full", "wb") as full:
        told = subprocess.run([*COMMAND, "backbones"], stdout=subprocess.PIPE, stderr=full, check=False)
    assert (told.returncode, len(lines(told.stdout))) == (0, 42)


class TestReports:
    def test_old_failures_are_one_line_and_new_ones_have_their_reasons(self, home: Path) -> None:
        again = called("index", cwd=home)
        assert lines(again.stderr) == [
            "note: 1 file still unreadable since an earlier run; to list unreadable files: retrieval info --failures"
        ]
        put(home / "photos" / "new.jpg", b"words")
        news = called("index", cwd=home)
        assert lines(news.stderr) == [
            "note: 1 file unreadable: not a picture in a known format",
            "note: 1 file still unreadable since an earlier run; to list unreadable files: retrieval info --failures",
        ]
        assert lines(news.stdout) == ["6 unchanged, 2 unreadable"]

    def test_many_reasons_are_capped(self, caplog: pytest.LogCaptureFixture) -> None:
        put_report(Report(unreadable=20, reasons={f"reason {number}": 2 for number in range(10)}), "photos")
        assert len(caplog.messages) == MOST_REASONS + 2
        assert all(message.startswith("photos: ") for message in caplog.messages)

    def test_what_was_used_though_it_is_not_whole_is_said(self, caplog: pytest.LogCaptureFixture) -> None:
        put_report(Report(added=3, notes={"its end is missing": 2}))
        assert caplog.messages == ["2 incomplete images used anyway: its end is missing"]

    @pytest.mark.parametrize("command", [("labels",), ("classify", "photos/1.png", "--labels")])
    def test_notes_about_a_table_are_capped(self, home: Path, command: tuple[str, ...]) -> None:
        put(home / "photos" / "1.png", picture(colour(1)))
        rows = [
            (f"photos/{HOSTILE}{number % 2}/{number}{HOSTILE}.png", "odd" if number % 2 else "even")
            for number in range(6)
        ]
        rows += [(f"gone{number}.png", "x") for number in range(9)]
        text = io.StringIO(newline="")
        csv.writer(text).writerows([("path", "label"), *rows])
        put(home / "labels.csv", text.getvalue().encode())
        told = called(*command, "labels.csv", cwd=home)
        assert told.returncode == 0, told.stderr
        notes = [line for line in lines(told.stderr) if "gone" in line or line.startswith("note: and ")]
        assert len(notes) == 6
        assert notes[-1] == "note: and 4 more"


def test_info_says_what_its_numbers_count(home: Path) -> None:
    called("remove", f"photos/{HOSTILE}0/0{HOSTILE}.png", cwd=home)
    text = lines(called("info", cwd=home).stdout)
    facts = dict(line.split(maxsplit=1) for line in text)
    assert facts["images"] == "5"
    assert facts["network"].endswith("a vector has 13 numbers")
    assert facts["vectors"] == "6, some of them of removed images; to free their space: retrieval compact"
    assert facts["unreadable"] == "1 file; to list them: retrieval info --failures"
    found = json.loads(called("info", "--json", cwd=home).stdout)
    assert (found["images"], found["vectors"], found["dim"]) == (5, 6, 13)


def gone() -> int:
    """Return a descriptor to write to of which the reader has gone."""
    read, write = os.pipe()
    os.close(read)
    return write


def test_the_demonstration_ends_quietly_where_nobody_reads_on(tmp_path: Path) -> None:
    put(tmp_path / "bin" / "retrieval", b"#!/bin/sh\n")
    (tmp_path / "bin" / "retrieval").chmod(0o755)
    paths = os.pathsep.join([os.fspath(tmp_path / "bin"), os.environ["PATH"]])
    command = [sys.executable, PROJECT / "scripts" / "demo.py"]
    environment = os.environ | {"PATH": paths}
    told = subprocess.run(command, cwd=tmp_path, stdout=gone(), stderr=subprocess.PIPE, env=environment, check=False)
    assert told.stderr == b""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("index",),
            "interrupted; the work so far is kept (the index has 6 images); run the same command again to continue",
        ),
        (("query", "photos/new.png"), "interrupted"),
        (("labels", "photos"), "interrupted"),
    ],
)
def test_ctrl_c_says_what_was_kept_and_how_to_go_on(
    home: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    def pressed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    put(home / "photos" / "new.png", picture(colour(9)))
    for name in ("add", "answers", "images"):
        monkeypatch.setattr(Index, name, pressed)
    told = called(*arguments, cwd=home)
    assert (told.returncode, told.stdout) == (130, b"")
    assert lines(told.stderr) == [f"note: {said}"]


@pytest.mark.parametrize(("epoch", "fresh"), [(0, False), (0, True), (3, False)])
def test_what_a_training_kept_is_explained(epoch: int, fresh: bool) -> None:
    found = SimpleNamespace(best_epoch=epoch, epochs=8)
    said = train._kept(found, fresh=fresh)
    assert said.startswith(f"epoch {epoch} of 8 is kept")
    assert ("training begins with: no later epoch was surely better" in said) == (epoch == 0)
    assert ("whitening head" in said) == (epoch == 0 and not fresh)
