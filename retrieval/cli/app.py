"""The program `retrieval`: its commands in groups, and the preparation of the process that runs one of them."""

import gc
import logging
import os
import sys
import warnings
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from retrieval import plugins
from retrieval.cli.errors import guarded
from retrieval.cli.help import Command, Group
from retrieval.cli.options import Quiet, Verbose, Version
from retrieval.cli.streams import open_streams

GROUPS = {
    "Commands": ("index", "query", "duplicates"),
    "Find": ("list", "classify", "has", "diff"),
    "Overview": ("cluster", "outliers", "sample", "map"),
    "Clean up": ("undo", "journal"),
    "Look after": ("serve", "watch", "info", "verify", "remove", "compact"),
    "Measure": ("evaluate", "tune", "labels"),
    "Networks": ("backbones", "train"),
}
"""Title of a group -> its commands, in the order of `retrieval --help`. Each is a function in a module of its name.
The help describes the commands of the first group, and names the others."""
COMMANDS = tuple(name for names in GROUPS.values() for name in names)


def program(wanted: Sequence[str] = COMMANDS) -> typer.Typer:
    """Return the program with the `wanted` commands, whose modules are imported.

    A command line needs one command: to import the others would take a tenth of the time of a short one.
    """
    made = typer.Typer(
        name="retrieval",
        cls=Group,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        options_metavar="",
        subcommand_metavar="COMMAND [OPTIONS]",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_retrieval)
    for title, names in GROUPS.items():
        for name in names:
            if name in wanted:
                made.command(name, cls=Command, rich_help_panel=title)(plugins.load(f"command:{name}"))
    return made


def _retrieval(version: Version = False, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Find similar images in your own folders; see also: retrieval COMMAND --help."""


def main() -> None:
    """Run the command line of this process and exit."""
    # Imports leave no garbage behind. Collecting garbage after them would take a tenth of the time of a short command.
    gc.set_threshold(200_000, 50, 50)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever Keras does for other programs of the user
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.raiseExceptions = False  # a note that cannot be written must not end in a traceback
    open_streams()
    warnings.simplefilter("ignore")  # hides the warnings of libraries; -v shows them again
    code = run(sys.argv[1:] or ["--help"])
    gc.freeze()  # at exit, Python would search all objects for cycles, which takes a tenth of a second
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line, write all of its output, and return the exit code."""
    return guarded(lambda: _called(arguments), arguments)


def _called(arguments: Sequence[str]) -> object:
    name = next((argument for argument in arguments if not argument.startswith("-")), "")
    if name in COMMANDS:
        try:
            return _main(program([name]), arguments)
        except TyperException:
            pass  # the whole program explains it better: it knows the options of the other commands
    return _main(program(), arguments)


def _main(made: typer.Typer, arguments: Sequence[str]) -> object:
    return typer.main.get_command(made).main(arguments, prog_name="retrieval", standalone_mode=False)
