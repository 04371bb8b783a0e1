"""How `query` and `list` write results: lines of one's own, commands, and a table that fits the terminal."""

import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from retrieval.cli.paths import Paths, shortened
from retrieval.cli.results import SAMPLE
from retrieval.cli.templates import Template
from retrieval.errors import BadInput
from tests.commands import lines, run
from tests.fakes import picture, put

NAMES = ["a b.png", "line\nbreak.png", '"quoted".png', "$(touch pwned).png", "ünï.png", ";x'.png"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    for number, name in enumerate(NAMES):
        put(home / "photos" / name, picture((40 * number, 90, 30)))
    put(home / "query.png", picture((5, 90, 30)))
    assert run("index", home / "photos", "-i", home / "index").returncode == 0
    return home


def found(home: Path, command: str, *arguments: object) -> "tuple[int, bytes, list[str]]":
    given_ = (home / "query.png",) if command == "query" else ()
    done = run(command, *given_, "-i", home / "index", *arguments)
    return done.returncode, done.stdout, lines(done.stderr)


# -- lines of one's own -------------------------------------------------------------------------------------------


def test_a_line_of_one_s_own(home: Path) -> None:
    code, out, _ = found(home, "query", "--format", r"{rank}\t{score:.2f}\t{path}\0", "-k", "2")
    assert code == 0
    rows = [line.split(b"\t") for line in out.split(b"\0\n")[:-1]]
    assert [row[0] for row in rows] == [b"1", b"2"]
    assert all(os.path.exists(row[2]) for row in rows), "paths are written as they are"
    code, out, _ = found(home, "list", "--format", "{width}x{height} {taken}{format}", "--where", "name:a*")
    assert (code, out) == (0, b"32x24 PNG\n")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{likeness}", "a format has no value likeness"),
        ("{path.parent}", "a format has no value path.parent"),
        ("{path[0]}", "a format has no value path[0]"),
        ("{0}", "a format has no value 0"),
        ("{}", "a format has no value {}"),
        ("{path", "the format cannot be read: expected '}' before end of string"),
        ("{path:.3f}", "the value path cannot have the format .3f"),
        ("{score:%}%Q", None),
    ],
)
def test_a_faulty_line_is_refused_before_the_search(home: Path, text: str, sentence: str | None) -> None:
    code, out, remarks = found(home, "query", "--format", text)
    if sentence is None:
        assert code == 0
    else:
        assert (code, out, remarks[0]) == (2, b"", f"error: {sentence}")


@given(st.text(max_size=20))
def test_any_text_is_a_line_or_refused(text: str) -> None:
    try:
        template = Template.parse(text, SAMPLE)
    except BadInput:
        return
    assert isinstance(template.line(SAMPLE), bytes)


def test_only_one_form_at_a_time(home: Path) -> None:
    assert found(home, "query", "--json", "--format", "{path}")[2] == [
        "error: only one of --json and --format can be given"
    ]
    assert found(home, "list", "--paths", "-x", "echo", "-X", "echo")[2] == [
        "error: only one of --paths or -0, -x and -X can be given"
    ]


# -- commands -----------------------------------------------------------------------------------------------------

ECHO = f"{sys.executable} -c 'import json, sys; print(json.dumps(sys.argv[1:]))'"
"""A command that prints its arguments."""


@pytest.mark.parametrize("command", ["query", "list"])
def test_a_path_is_one_argument_whatever_its_name_is(home: Path, command: str) -> None:
    code, out, _ = found(home, command, "-x", f"{ECHO} before {{}} {{/}}-{{//}}-{{.}}-{{/.}}")
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row[1] for row in rows} == {str(home / "photos" / name) for name in NAMES}
    for before, path, parts in rows:
        own = Path(path)
        assert (before, parts) == ("before", f"{own.name}-{own.parent}-{own.with_suffix('')}-{own.stem}")
    assert not (home / "pwned").exists()
    assert not Path("pwned").exists()
    code, out, _ = found(home, command, "-X", ECHO)
    assert sorted(json.loads(out)) == sorted(str(home / "photos" / name) for name in NAMES)


def test_a_command_that_fails_is_told_by_the_exit_code_and_stops_no_other(home: Path) -> None:
    code = "import os, sys; print(sys.argv[1]); sys.exit(os.path.basename(sys.argv[1]).startswith(chr(97)))"
    done, out, _ = found(home, "list", "-x", f'{sys.executable} -c "{code}"', "--where", "name:a*|ü*")
    assert (done, len(out.splitlines())) == (1, 2)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("-x", "no-such-program {}"), "there is no program no-such-program"),
        (("-x", "echo 'a"), "a quote in the command is not closed"),
        (("-X", "echo a{}"), "with -X, {} must be a word of its own"),
    ],
)
def test_an_impossible_command_is_refused_before_the_search(
    home: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    code, out, remarks = found(home, "query", *arguments)
    assert (code, out, remarks[0]) == (2, b"", f"error: {sentence}")


# -- the table ----------------------------------------------------------------------------------------------------


@given(st.text(max_size=60).filter(str.isprintable), st.integers(12, 50))
def test_a_shortened_text_fits_and_keeps_both_ends(text: str, width: int) -> None:
    short = shortened(text, width)
    assert cell_len(short) <= max(width, 0) or short == text
    if short != text:
        head, _, tail = short.partition("…")
        assert text.startswith(head)
        assert text.endswith(tail)
        assert cell_len(short) >= width - 3


def test_paths_on_a_terminal_start_at_the_working_folder() -> None:
    paths = Paths(40, Path("/home/me"), linked=False)
    assert paths.shown(Path("/home/me/photos/a.jpg"), 10) == "photos/a.jpg"
    assert paths.shown(Path("/elsewhere/a.jpg"), 10, "  (offline)") == "/elsewhere/a.jpg  (offline)"
    long = paths.shown(Path("/home/me/photos/" + "x" * 90 + ".jpg"), 10)
    assert (len(long), long[:7], long[-4:]) == (30, "photos/", ".jpg")
    linked = Paths(40, Path("/home/me"), linked=True).shown(Path("/home/me/a b\x1b.jpg"))
    assert linked.endswith("/home/me/a%20b%1B.jpg\x1b\\a b\\x1b.jpg\x1b]8;;\x1b\\")


def test_a_table_on_a_terminal_fits_it(home: Path) -> None:
    ours, theirs = os.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 50, 0, 0))
    done = run("query", home / "query.png", "-i", home / "index", "-q", stdout=theirs, TERM="dumb", COLUMNS="")
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        written += part
    os.close(ours)
    assert done.returncode == 0
    shown = written.decode().replace("\r\n", "\n").splitlines()
    assert len(shown) == len(NAMES) + 1
    assert max(map(cell_len, shown)) <= 50, shown
    assert not any("\x1b" in line for line in shown)


def test_answers_to_many_queries_come_as_they_are_found(home: Path, tmp_path: Path) -> None:
    """One that cannot be read costs no other its answer."""
    names = [str(home / "query.png"), "missing.png"] * 300
    (tmp_path / "list").write_text("\n".join(names))
    done = run("query", "--files-from", tmp_path / "list", "-i", home / "index", "--json", "-k", "1")
    assert done.returncode == 2
    assert len(lines(done.stdout)) == 300
    assert sum(line.startswith("error") for line in lines(done.stderr)) == 300
    done = run("query", "--files-from", tmp_path / "list", "-i", home / "index", "--csv", "-k", "1")
    assert sum(line.startswith("query,") for line in lines(done.stdout)) == 1
