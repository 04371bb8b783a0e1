"""The program `retrieval`: its commands in groups, and the preparation of the process that runs one of them."""

import gc
import logging
import os
import sys
import warnings
from collections.abc import Sequence

import typer

from retrieval.cli import (
    backbones,
    classify,
    compact,
    evaluate,
    index,
    info,
    labels,
    query,
    remove,
    train,
    tune,
    verify,
)
from retrieval.cli.errors import guarded
from retrieval.cli.help import Command, Group
from retrieval.cli.options import Quiet, Verbose, Version
from retrieval.cli.streams import open_streams

GROUPS = {
    "Find": (index.index, query.query, classify.classify),
    "Look after": (info.info, verify.verify, remove.remove, compact.compact),
    "Measure": (evaluate.evaluate, tune.tune, labels.labels),
    "Networks": (backbones.backbones, train.train),
}
"""Title of a group -> its commands, in the order of `retrieval --help`."""

app = typer.Typer(
    name="retrieval",
    cls=Group,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    options_metavar="",
    subcommand_metavar="COMMAND [OPTIONS]",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for title, commands in GROUPS.items():
    for command in commands:
        app.command(cls=Command, rich_help_panel=title)(command)


@app.callback()
def _retrieval(version: Version = False, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Find similar images in your own folders; see also: retrieval COMMAND --help."""


def main() -> None:
    """Run the command line of this process and exit."""
    # Imports leave no garbage behind. Collecting garbage after them would take a tenth of the time of a short command.
    gc.set_threshold(200_000, 50, 50)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.raiseExceptions = False  # a note that cannot be written must not end in a traceback
    open_streams()
    warnings.simplefilter("ignore")  # hides the warnings of libraries; -v shows them again
    code = run(sys.argv[1:] or ["--help"])
    gc.freeze()  # at exit, Python would search all objects for cycles, which takes a tenth of a second
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line, write all of its output, and return the exit code."""
    program = typer.main.get_command(app)
    return guarded(lambda: program.main(arguments, prog_name="retrieval", standalone_mode=False), arguments)
