"""The one place that handles the errors of commands: each becomes a sentence, a hint and an exit code."""

import logging
import signal
import sys
from collections.abc import Callable, Sequence

from typer.exceptions import TyperException

from retrieval.cli.printing import complain, log, show_place, show_traceback
from retrieval.cli.streams import ReaderGoneError, abandon_stdout
from retrieval.cli.usage_errors import explained
from retrieval.errors import BadFilter, RetrievalError, StorageError

INTERRUPTED = 128 + signal.SIGINT
"""Exit code after Ctrl-C, the same as in shells."""
READER_GONE = 128 + signal.SIGPIPE
"""Exit code when the program that read stdout has ended."""


class InterruptedRunError(Exception):
    """Ctrl-C was pressed during a long command. The message says what is kept and how to continue."""


def guarded(command: Callable[[], object], arguments: Sequence[str]) -> int:
    """Run `command`, which was called with `arguments`, and return the exit code.

    An error is written to stderr as `error: …` and `hint: …`; with -v, its traceback comes before them.
    """
    try:
        code = command()
        sys.stdout.flush()
    except ReaderGoneError:
        abandon_stdout()
        return READER_GONE
    except InterruptedRunError as error:
        complain("note", f"interrupted; {error}")
        return INTERRUPTED
    except TyperException as error:
        sentence, hint = explained(error, arguments)
        return _fail(error, sentence, hint, error.exit_code)
    except RetrievalError as error:
        return _fail(error, str(error), error.hint, error.exit_code)
    except Exception as error:  # noqa: BLE001 - a traceback is shown only with -v
        hint = f"this is a bug in retrieval ({type(error).__name__}); add -v to see where it happened"
        return _fail(error, str(error), hint, 2)
    if code == INTERRUPTED:  # Typer turns Ctrl-C into this exit code
        complain("note", "interrupted")
    return code if isinstance(code, int) else 0


def _fail(error: Exception, sentence: str, hint: str, code: int) -> int:
    """Write the results so far, then what went wrong, and return `code`."""
    try:
        sys.stdout.flush()
    except (ReaderGoneError, StorageError):
        abandon_stdout()
    if isinstance(error, BadFilter):
        show_place(error.filter, error.at)
    complain_of(error, sentence, hint)
    return code


def complain_of(error: Exception, sentence: str, hint: str) -> None:
    """Write the sentence and the hint of an error to stderr; with -v, its traceback before them."""
    if log.isEnabledFor(logging.DEBUG):
        show_traceback(error)
    complain("error", sentence or type(error).__name__)
    if hint:
        complain("hint", hint)
