"""Options that several commands share."""

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from retrieval import __version__
from retrieval.cli.find_index import NAME, VARIABLE
from retrieval.cli.help import GENERAL, HOW_COMPUTED, HOW_MANY, HOW_SHOWN, WHAT
from retrieval.cli.printing import log, put

LIBRARIES = ("keras", "openvino", "faiss-cpu", "pillow", "sqlalchemy", "tensorflow")
"""Libraries whose versions `retrieval -v --version` prints. The last one is an extra."""


def _verbose(value: bool) -> bool:
    if value:
        log.setLevel(logging.DEBUG)
        warnings.resetwarnings()
        os.dup2(sys.stderr.fileno(), 2)  # shows the messages of native code as well
    return value


def _quiet(value: bool) -> bool:
    if value:
        log.setLevel(logging.ERROR)
    return value


def _version(value: bool) -> None:
    if value:
        put(f"retrieval {__version__}")
        if log.isEnabledFor(logging.DEBUG):
            from importlib.metadata import PackageNotFoundError
            from importlib.metadata import version as version_of

            for name in LIBRARIES:
                try:
                    put(f"{name} {version_of(name)}")
                except PackageNotFoundError:
                    put(f"{name} is not installed")
        raise typer.Exit


Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", callback=_verbose, is_eager=True, rich_help_panel=GENERAL,
        help="Show tracebacks, and the warnings of libraries.",
    ),
]  # fmt: skip
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", callback=_quiet, rich_help_panel=GENERAL, help="Show no progress, no report and no notes."
    ),
]
Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_version, rich_help_panel=GENERAL,
        help="Show the version; with -v, also those of libraries.",
    ),
]  # fmt: skip
Folder = Annotated[
    Path | None,
    typer.Option(
        "--index", "-i", envvar=VARIABLE, metavar="DIR", rich_help_panel=GENERAL,
        help=f"Folder of the index. Without it: the variable {VARIABLE}, or {NAME} here or in a folder above.",
    ),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", rich_help_panel=HOW_SHOWN, help="Print JSON, one object per line.")]
Paths = Annotated[
    bool, typer.Option("--paths", rich_help_panel=HOW_SHOWN, help="Print only paths, unchanged, one per line.")
]
Nul = Annotated[
    bool, typer.Option("--print0", "-0", rich_help_panel=HOW_SHOWN, help="Print only paths, a NUL after each.")
]
Line = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="TEMPLATE", rich_help_panel=HOW_SHOWN,
        help="Print a line for each result, such as '{path}\\t{width:>5}'. The fields are the keys of --json.",
    ),
]  # fmt: skip
Each = Annotated[
    str | None,
    typer.Option(
        "--exec", "-x", metavar="COMMAND", rich_help_panel=HOW_SHOWN,
        help="Run a command for each result, such as 'cp {} best/': {} is the path, {/} its name, {//} its folder, {.} "
        "the path without suffix, {/.} the name without suffix.",
    ),
]  # fmt: skip
Batch = Annotated[
    str | None,
    typer.Option(
        "--exec-batch", "-X", metavar="COMMAND", rich_help_panel=HOW_SHOWN,
        help="Run one command with the paths of all results, such as 'ls -l'.",
    ),
]  # fmt: skip
Pictures = Annotated[
    str | None,
    typer.Option(
        "--preview", metavar="[NAME]", rich_help_panel=HOW_SHOWN,
        help="Show the pictures above their rows, by kitty, iterm, sixel, blocks or none. Without NAME: by the best of "
        "these that the terminal knows.",
    ),
]  # fmt: skip
Timed = Annotated[
    bool, typer.Option("--timing", rich_help_panel=HOW_SHOWN, help="Show how many seconds each step took.")
]
Backbone = Annotated[
    str | None,
    typer.Option(
        "--backbone", "-b", metavar="NAME", rich_help_panel=HOW_COMPUTED,
        help="Network: a name from `retrieval backbones`, a file MODEL.keras, or auto.",
    ),
]  # fmt: skip
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights", "-w", metavar="FILE|random", rich_help_panel=HOW_COMPUTED,
        help="File with the weights of the network, or random for random weights.",
    ),
]  # fmt: skip
InputSize = Annotated[
    int | None,
    typer.Option(metavar="PIXELS", rich_help_panel=HOW_COMPUTED, help="Width and height of the input, in pixels."),
]
Alpha = Annotated[
    float | None,
    typer.Option(metavar="FACTOR", rich_help_panel=HOW_COMPUTED, help="Width factor of a MobileNet, for example 0.5."),
]
Minimalistic = Annotated[
    bool | None,
    typer.Option("--minimalistic", rich_help_panel=HOW_COMPUTED, help="Use the minimalistic variant of MobileNetV3."),
]
Pooling = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", rich_help_panel=HOW_COMPUTED,
        help="Pooling of new vectors: avg, max or gem.",
    ),
]  # fmt: skip
Runtime = Annotated[
    str,
    typer.Option(
        metavar="NAME", rich_help_panel=HOW_COMPUTED,
        help="What runs the network: openvino, keras, or auto (keras if there is a GPU).",
    ),
]  # fmt: skip
Precision = Annotated[
    str,
    typer.Option(
        metavar="NAME", rich_help_panel=HOW_COMPUTED,
        help="Precision: f32, bf16, f16, int8, or auto (the fastest that is accurate enough).",
    ),
]  # fmt: skip
Threads = Annotated[
    int,
    typer.Option(
        metavar="N", min=0, max=1024, rich_help_panel=HOW_COMPUTED,
        help="Number of threads; 0 means one per core.",
    ),
]  # fmt: skip
Ranking = Annotated[
    str,
    typer.Option(
        metavar="NAME", rich_help_panel=HOW_COMPUTED,
        help="Order of results: none (by score), mixed (3 by score, then by shared neighbours), expansion, or auto: "
        "the choice of `retrieval tune`, or else mixed from 100 images on.",
    ),
]  # fmt: skip
Classes = Annotated[
    Path | None,
    typer.Argument(metavar="[FOLDER]", help="Folder of indexed images with one subfolder per class."),
]
GroundTruth = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|holidays", rich_help_panel=WHAT,
        help="CSV file with the columns query,relevant; or holidays, if FOLDER holds the INRIA Holidays images.",
    ),
]  # fmt: skip
Queries = Annotated[
    int,
    typer.Option(
        metavar="N", min=1, rich_help_panel=HOW_MANY, help="Largest number of queries; they are drawn at random."
    ),
]
Neighbours = Annotated[
    int,
    typer.Option(metavar="N", min=1, rich_help_panel=HOW_COMPUTED, help="Number of labelled neighbours that vote."),
]
