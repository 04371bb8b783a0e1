"""The command line: a command is one method call and its presentation, and what goes wrong goes through one funnel.

Results go to stdout and nothing else does. Exit codes: 0 done or found, 1 nothing found (`query`), damage (`verify`) or
skipped files (`index --strict`), 2 an error, 130 after Ctrl-C, 141 when the reader of stdout has gone.
"""

import gc
import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

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
from retrieval.cli.options import Quiet, Verbose, Version
from retrieval.cli.output import (
    InterruptedRunError,
    ReaderGoneError,
    abandon_stdout,
    complain,
    log,
    open_streams,
    show_traceback,
)
from retrieval.cli.usage import Command, explained
from retrieval.errors import RetrievalError, StorageError

app = typer.Typer(
    name="retrieval",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
INTERRUPTED = 128 + signal.SIGINT
for command in (
    index.index,
    query.query,
    evaluate.evaluate,
    tune.tune,
    classify.classify,
    labels.labels,
    train.train,
    backbones.backbones,
    info.info,
    verify.verify,
    remove.remove,
    compact.compact,
):
    app.command(cls=Command)(command)


@app.callback()
def _retrieval(version: Version = False, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Find similar images in your own folders."""


def main() -> None:
    """Run the command line and exit."""
    gc.set_threshold(200_000, 50, 50)  # imports make no garbage; to look for some costs a tenth of a short command
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.raiseExceptions = False  # a note that cannot be written is no reason for a traceback
    open_streams()
    warnings.simplefilter("ignore")  # the libraries' own; -v brings them back
    code = _run(sys.argv[1:] or ["--help"])
    gc.freeze()  # all goes with the process; to look through it for cycles first takes a tenth of a second
    sys.exit(code)


def _run(arguments: Sequence[str]) -> int:
    """Run one command line to the end of its output; return the exit code."""
    try:
        code = typer.main.get_command(app).main(arguments, prog_name="retrieval", standalone_mode=False)
        sys.stdout.flush()
    except ReaderGoneError:
        abandon_stdout()
        return 128 + signal.SIGPIPE
    except InterruptedRunError as error:
        complain("note", f"interrupted; {error}")
        code = INTERRUPTED
    except TyperException as error:
        return _fail(error, *explained(error, arguments), error.exit_code)
    except RetrievalError as error:
        return _fail(error, str(error), error.hint, error.exit_code)
    except Exception as error:  # noqa: BLE001 - nobody is shown a traceback who did not ask for one
        hint = f"this is a bug ({type(error).__name__}); -v shows where it happened"
        return _fail(error, str(error), hint, 2)
    else:
        if code == INTERRUPTED:  # as Typer makes of it
            complain("note", "interrupted")
    return code if isinstance(code, int) else 0


def _fail(error: Exception, sentence: str, hint: str, code: int) -> int:
    """Tell what went wrong, after all results that there are."""
    try:
        sys.stdout.flush()
    except (ReaderGoneError, StorageError):
        abandon_stdout()
    if log.isEnabledFor(logging.DEBUG):
        show_traceback(error)
    complain("error", sentence or type(error).__name__)
    if hint:
        complain("hint", hint)
    return code
