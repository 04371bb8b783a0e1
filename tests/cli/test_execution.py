"""Commands of `-x` and `-X`: each file name is one argument, whatever it has in it, and no shell reads it."""

import os
import sys
from pathlib import Path

import pytest

from retrieval import BadInput, Index
from retrieval.cli.execution import Execution
from tests.commands import called, lines, run
from tests.fakes import ColourEncoder, colour, picture, put

if sys.platform == "win32":
    pytest.skip("the commands are those of POSIX", allow_module_level=True)

NAMES = ("plain.tar.png", "-rf.png", "a b'c\"d.png", "new\nline.png", "$(touch pwned); {} {.}.png", "写真\udcff.png")
SHOW = f"{sys.executable} -c 'import sys, os; os.write(1, os.fsencode(chr(1).join(sys.argv[1:])) + bytes(1))'"
"""A command that writes its arguments, with \\1 between them and a NUL behind them."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos`, whose names are hostile, and `index_data`."""
    folder = tmp_path_factory.mktemp("executions")
    for number, name in enumerate(NAMES):
        put(folder / "photos" / name, picture(colour(number)))
    with Index.create(folder / "index_data", encoder=ColourEncoder()) as index:
        index.add(folder / "photos")
    return folder


def arguments(data: bytes) -> list[list[str]]:
    """The arguments of each run of `SHOW`."""
    return [os.fsdecode(one).split("\1") for one in data.split(b"\0")[:-1]]


def test_every_name_is_one_argument(home: Path) -> None:
    paths = run("list", "-0", cwd=home).stdout.split(b"\0")[:-1]
    told = run("list", "-x", SHOW, cwd=home)
    assert (told.returncode, told.stderr) == (0, b"")
    assert arguments(told.stdout) == [[os.fsdecode(path)] for path in paths]
    assert arguments(run("list", "-X", SHOW, cwd=home).stdout) == [[os.fsdecode(path) for path in paths]]
    assert not (home / "pwned").exists()


def test_placeholders_are_those_of_fd(home: Path) -> None:
    told = run("list", "-x", f"{SHOW} -{{}}- {{/}} {{//}} {{.}} {{/.}} '{{/}} {{/}}'", cwd=home)
    for name in NAMES:
        path = home / "photos" / name
        without = path.with_suffix("")
        row = [f"-{path}-", name, str(path.parent), str(without), without.name, f"{name} {name}"]
        assert row in arguments(told.stdout)
    both = arguments(run("list", "-X", f"{SHOW} {{/}} -- {{//}}", cwd=home).stdout)
    assert both[0][len(NAMES)] == "--"
    assert set(both[0][: len(NAMES)]) == set(NAMES)
    assert both[0][len(NAMES) + 1 :] == [os.fspath(home / "photos")] * len(NAMES)


def test_matches_of_a_query_in_order_and_each_file_once(home: Path) -> None:
    query = ("query", "photos/-rf.png", "photos/plain.tar.png", "-k", "3")
    paths = run(*query, "-0", cwd=home).stdout.split(b"\0")[:-1]
    told = run(*query, "-x", SHOW, cwd=home)
    assert arguments(told.stdout) == [[path] for path in dict.fromkeys(map(os.fsdecode, paths))]


def test_one_that_fails_is_told_by_the_exit_code_and_stops_no_other(home: Path) -> None:
    code = f'{sys.executable} -c \'import sys, os; os.write(1, b"x"); os.write(2, b"y"); sys.exit({{}})\''
    told = run("list", "-x", code.format('sys.argv[1].endswith("-rf.png")'), cwd=home)
    assert (told.returncode, told.stdout, told.stderr) == (1, b"x" * len(NAMES), b"y" * len(NAMES))
    assert run("query", "photos/-rf.png", "-X", "false", cwd=home).returncode == 1
    assert run("query", "photos/-rf.png", "-X", "true", cwd=home).returncode == 0
    assert run("query", "nowhere.png", "photos/-rf.png", "-X", "false", cwd=home).returncode == 2


def test_a_program_of_a_placeholder_that_cannot_run_is_told(home: Path) -> None:
    told = run("list", "--where", "name:-rf.png", "-x", "{}", cwd=home)
    assert told.returncode == 1
    assert lines(told.stderr) == [f"error: {home}/photos/-rf.png cannot be run: Permission denied"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("-x", "no-such-program {}"), "there is no program no-such-program"),
        (("-X", "no-such-program"), "there is no program no-such-program"),
        (("-x", "cp 'a"), "the command cp 'a cannot be read: no closing quotation"),
        (("-x", " "), "the command is empty"),
        (("-X", "tar -cf {}.tar"), "in --exec-batch, a placeholder is an argument of its own: {}.tar"),
        (("-x", "true", "-X", "true"), "only one of --exec and --exec-batch can be given"),
        (("-x", "true", "--json"), "only one of --json and --exec can be given"),
        (("-X", "true", "--paths"), "only one of --paths and --exec-batch can be given"),
        (("-X", "true", "-0", "--format", "x"), "only one of --print0, --format and --exec-batch can be given"),
    ],
)
def test_what_cannot_be_is_told_before_any_search(tmp_path: Path, given: tuple[str, ...], said: str) -> None:
    for command in (("query", "x.png"), ("list",)):
        told = called(*command, *given, cwd=tmp_path)  # where there is no index
        assert (told.returncode, told.stdout) == (2, b"")
        assert lines(told.stderr)[0] == f"error: {said}"


def test_too_many_paths_for_one_command_are_told(home: Path) -> None:
    many = [Path("/", "x" * 200, str(number)) for number in range(100_000)]
    with pytest.raises(BadInput, match="too many paths for one command"):
        Execution.read("true", batch=True).run(many)
