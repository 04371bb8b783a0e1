"""The command line: a command is one method call and its presentation, and what goes wrong goes through one funnel.

Results go to stdout and nothing else does. Exit codes: 0 done or found, 1 nothing found (`query`), damage (`verify`) or
skipped files (`index --strict`), 2 an error, 130 after Ctrl-C, 141 when the reader of stdout has gone.
"""

import gc
import logging
import os
import signal
import sys
import traceback
import warnings

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
from retrieval.cli.output import ReaderGoneError, complain, log
from retrieval.errors import RetrievalError

app = typer.Typer(
    name="retrieval",
    no_args_is_help=True,
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
    app.command()(command)


@app.callback()
def _retrieval(version: Version = False, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """Find similar images in your own folders."""


def main() -> None:
    """Run the command line and exit."""
    gc.set_threshold(200_000, 50, 50)  # imports make no garbage; to look for some costs a tenth of a short command
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for as long as the process lives
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    _hush_native_code()
    warnings.simplefilter("ignore")  # the libraries' own; -v brings them back
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("note: %(message)s"))
    log.addHandler(handler)
    log.propagate = False
    code = _run()
    gc.freeze()  # all goes with the process; to look through it for cycles first takes a tenth of a second
    sys.exit(code)


def _hush_native_code() -> None:
    """Keep stderr for Python: TensorFlow's C++ side reports its start-up there, whatever log level it is given."""
    own = os.dup(sys.stderr.fileno())
    sys.stderr = os.fdopen(own, "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _run() -> int:
    try:
        code = typer.main.get_command(app).main(prog_name="retrieval", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED  # as Typer makes of it
    except (ReaderGoneError, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit needs somewhere to go
        return 128 + signal.SIGPIPE
    except TyperException as error:
        return _fail(error, "see: retrieval --help", error.exit_code)
    except RetrievalError as error:
        return _fail(error, error.hint, error.exit_code)
    except Exception as error:  # noqa: BLE001 - nobody is shown a traceback who did not ask for one
        return _fail(error, f"this is a bug ({type(error).__name__}); -v shows where it happened", 2)
    if code == INTERRUPTED:
        complain("note", "interrupted; what was done is kept")
    return code if isinstance(code, int) else 0


def _fail(error: Exception, hint: str, code: int) -> int:
    if log.isEnabledFor(logging.DEBUG):
        traceback.print_exception(error)
    complain("error", str(error) or type(error).__name__)
    if hint:
        complain("hint", hint)
    return code
