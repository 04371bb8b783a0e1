"""Options that several commands share."""

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from retrieval import __version__
from retrieval.cli.index_folder import NAME, VARIABLE
from retrieval.cli.output import log, put


def _verbose(value: bool) -> bool:
    if value:
        log.setLevel(logging.DEBUG)
        warnings.resetwarnings()
        os.dup2(sys.stderr.fileno(), 2)  # what native code has to say, too
    return value


def _quiet(value: bool) -> bool:
    if value:
        log.setLevel(logging.ERROR)
    return value


def _version(value: bool) -> None:
    if value:
        put(f"retrieval {__version__}")
        if log.isEnabledFor(logging.DEBUG):
            from importlib.metadata import version as version_of

            for name in ("keras", "tensorflow", "openvino", "faiss-cpu", "pillow", "sqlalchemy"):
                put(f"{name} {version_of(name)}")
        raise typer.Exit


Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", callback=_verbose, is_eager=True, help="Show tracebacks and libraries' warnings."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_quiet, help="No progress, report or notes.")]
Version = Annotated[
    bool, typer.Option("--version", callback=_version, help="Print the version; with -v, all versions.")
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--index", "-i", envvar=VARIABLE, metavar="DIR",
        help=f"Folder of the index; otherwise {NAME}, here or in a folder above.",
    ),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Backbone = Annotated[
    str | None,
    typer.Option("--backbone", "-b", metavar="NAME", help="auto, a name of `retrieval backbones`, or a MODEL.keras."),
]
Weights = Annotated[
    str | None, typer.Option("--weights", "-w", metavar="FILE|random", help="File of the backbone's weights.")
]
InputSize = Annotated[int | None, typer.Option(metavar="PIXELS", help="Side of the network's input.")]
Alpha = Annotated[float | None, typer.Option(metavar="FACTOR", help="Width of a MobileNet.")]
Minimalistic = Annotated[bool | None, typer.Option("--minimalistic", help="The plainer MobileNetV3.")]
Pooling = Annotated[str | None, typer.Option(metavar="NAME", help="avg, max or gem, of a new index or network.")]
Runtime = Annotated[str, typer.Option(metavar="NAME", help="openvino or keras; auto: keras on a GPU.")]
Precision = Annotated[str, typer.Option(metavar="NAME", help="f32, bf16 or f16; auto: the fastest that is as good.")]
Threads = Annotated[int, typer.Option(metavar="N", min=0, max=1024, help="How many; 0: one a core.")]
Timed = Annotated[bool, typer.Option("--timing", help="Say where the time went.")]
Ranking = Annotated[str, typer.Option(metavar="NAME", help="none or expansion; auto: what `retrieval tune` chose.")]
Classes = Annotated[Path | None, typer.Argument(metavar="[FOLDER]", help="Indexed pictures, in a subfolder a class.")]
GroundTruth = Annotated[
    str | None,
    typer.Option(metavar="FILE|holidays", help="A CSV of query,relevant; or FOLDER has the names of Holidays."),
]
Queries = Annotated[int, typer.Option(metavar="N", min=1, help="Ask at most so many, drawn at random.")]
