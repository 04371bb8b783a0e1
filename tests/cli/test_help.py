"""The help of the program and of each command: short, whole, in groups, and with examples that work."""

import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
import typer

from retrieval.cli import app
from retrieval.cli.app import GROUPS
from retrieval.cli.help import OPTION_GROUPS
from retrieval.networks.catalogue import Backbone
from retrieval.training.recipe import LOSSES, SMALLEST_BATCH, SPLITS, Recipe
from tests.commands import called, lines

PROGRAM: Any = typer.main.get_command(app.program())
COMMANDS = list(PROGRAM.commands)
LINES, COLUMNS = 24, 80
"""A terminal that shows all commands at once; its last line is for the prompt."""


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))


def shown(*arguments: str) -> list[str]:
    result = called(*arguments, "--help")
    assert (result.returncode, result.stderr) == (0, b"")
    return lines(result.stdout)


def examples(command: str) -> list[list[str]]:
    """The examples in the help of a command, as a shell hands them over."""
    help_ = shown(command)
    start = help_.index("Examples:") + 1
    return [shlex.split(line) for line in help_[start : help_.index("", start)]]


def options(help_: list[str]) -> dict[str, list[str]]:
    """The long options in a help, by the group that they stand in."""
    found: dict[str, list[str]] = {}
    title = ""
    for line in help_:
        if line.rstrip(":") in OPTION_GROUPS:
            title = line.rstrip(":")
        elif title and (name := re.match(r"  (?:-\w, )?(--[\w-]+)", line)):
            found.setdefault(title, []).append(name[1])
    return found


def test_the_help_of_the_program_fits_a_screen() -> None:
    help_ = shown()
    assert len(help_) < LINES
    assert max(map(len, help_)) < COLUMNS


def test_the_help_describes_the_main_commands_and_names_the_others() -> None:
    help_ = shown()
    assert sorted(COMMANDS) == sorted(name for group in GROUPS.values() for name in group)
    (first, main), *others = GROUPS.items()
    begin = help_.index(f"{first}:") + 1
    for line, command in zip(help_[begin:], main, strict=False):
        name, summary = line.split(maxsplit=1)
        assert name == command
        assert summary == PROGRAM.commands[command].callback.__doc__.split("\n", maxsplit=1)[0]
        assert summary.endswith(".")
        assert "..." not in summary
    begin = help_.index("More commands:") + 1
    for line, (title, names) in zip(help_[begin:], others, strict=False):
        assert line.strip().startswith(title)
        assert line.strip().removeprefix(title).strip() == ", ".join(names)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_begins_with_two_examples_that_are_accepted(command: str) -> None:
    help_ = shown(command)
    assert help_[0].startswith(f"Usage: retrieval {command}")
    assert help_.index("Examples:") == 4, "after the usage and one line"
    found = examples(command)
    assert len(found) == 2
    for program, name, *arguments in found:
        assert (program, name) == ("retrieval", command)
        PROGRAM.commands[command].make_context(command, arguments, parent=typer.Context(PROGRAM))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_shown_once_in_a_group_with_a_sentence(command: str) -> None:
    help_ = shown(command)
    groups = options(help_)
    assert list(groups) == [title for title in OPTION_GROUPS if title in groups]
    names = [name for group in groups.values() for name in group]
    parameters = PROGRAM.commands[command].params
    assert sorted(names) == sorted([*(max(one.opts, key=len) for one in parameters if one.opts[0][0] == "-"), "--help"])
    assert groups["General"][-1] == "--help"
    assert max(map(len, help_)) < COLUMNS
    assert all(one.help.endswith(".") for one in parameters)


def test_a_narrow_terminal_cuts_nothing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = " ".join(shown())
    monkeypatch.setenv("COLUMNS", "50")
    narrow = " ".join(shown())
    assert narrow.split() == wide.split()


def test_the_help_of_a_training_knows_what_a_recipe_takes() -> None:
    """The command spells these out, so that the help of the program need not import what trains."""
    parameters = {parameter.name: parameter for parameter in PROGRAM.commands["train"].params}
    assert parameters["loss"].metavar.split("|") == list(LOSSES)
    assert parameters["split"].metavar.split("|") == list(SPLITS)
    assert parameters["batch"].min == SMALLEST_BATCH
    plain = Recipe(Backbone.choose("mini"), "x")
    for name in ("epochs", "batch", "held_out", "loss", "unfreeze", "seed"):
        assert f"{getattr(plain, name)} by default" in parameters[name].help


def test_a_command_loads_no_module_of_another_command() -> None:
    code = "import sys; from retrieval.cli import main; sys.argv = ['retrieval', 'info', '--help']\ntry: main()\n"
    code += "finally: print([name for name in sys.modules if name.startswith('retrieval.cli.train')], file=sys.stdout)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Usage: retrieval info" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
