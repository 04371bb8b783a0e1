"""Runs a module of this package in a process of its own, which has its own settings and gives its memory back.

    ask(MODULE, question) -> the module's answer(function) -> the function's answer, or its error, raised again

A question and an answer are each facts, as JSON holds them, and the bytes of any number of files. They travel through
pipes: first one line of JSON, then the bytes. The standard output of the child is for its answer alone, so what its
libraries print goes to stderr. The standard input stays open until the answer has come: when it ends, the caller is
gone, and the child ends too.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from retrieval import errors
from retrieval.errors import RetrievalError, one_line

Facts = dict[str, Any]
"""Values that JSON holds."""
Message = tuple[Facts, Sequence[bytes]]
"""Facts, and the bytes of files."""
PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""The place from which this package was imported."""
START = """
import json, runpy, sys
sys.path[:] = json.loads(sys.argv[1])
runpy.run_module(sys.argv[2], run_name="__main__", alter_sys=True)
"""
"""The program of a child. The search path comes as JSON: in PYTHONPATH, a place could not have a colon."""


class ChildFailed(RuntimeError):
    """A child process has no answer; the message is the reason, on one line."""


class ChildDied(ChildFailed):
    """A child process could not be started, or was ended before it had an answer. The next one may succeed."""


def ask(
    module: str, facts: Facts, files: Sequence[bytes] = (), *, environment: Mapping[str, str] | None = None
) -> Message:
    """Run `module` in a process of its own with these facts and files, and return its answer.

    `environment` is added to the environment of this process. Files that the child leaves in the folder for temporary
    files are deleted. Raises the `RetrievalError` that the child raised, `ChildFailed` for another error of the child,
    and `ChildDied` where the child does not live to answer.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="retrieval-", ignore_cleanup_errors=True) as folder:
            places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder)
            answer, parts = _conversation(
                module, _packed(facts, files), {**os.environ, **(environment or {}), **places}
            )
    except OSError as error:
        raise ChildDied(f"another process cannot be started: {error.strerror or error}") from error
    _raise_error_of(answer)
    return answer, parts


def _conversation(module: str, question: Sequence[bytes], environment: Mapping[str, str]) -> Message:
    """Start a child, send it the question, and return its answer."""
    with subprocess.Popen(  # noqa: S603 - this Python, and a module of this package
        [sys.executable or "", "-P", "-c", START, json.dumps(_search_path()), module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=_stderr(),
        env=environment,
        process_group=0,  # Ctrl-C reaches the caller alone
    ) as child:
        try:
            assert child.stdin is not None  # noqa: S101 - both are pipes
            assert child.stdout is not None  # noqa: S101
            with suppress(BrokenPipeError):  # the child has died, and its exit code says how
                for part in question:
                    child.stdin.write(part)
                child.stdin.flush()
            return _unpacked(child.stdout)
        except ValueError:
            child.kill()  # in case that it lives, but does not speak this language
            raise ChildDied(_end_of(child.wait())) from None
        except BaseException:  # Ctrl-C among them
            child.kill()
            raise


def answer(function: Callable[[Facts, Sequence[bytes]], Message], *, without: Collection[str] = ()) -> None:
    """Answer the question that comes through the standard input; a child process calls this once.

    Libraries cannot import the modules `without`.
    """
    warnings.simplefilter("ignore")  # of libraries, about themselves
    for unwanted in without:
        sys.modules[unwanted] = None  # type: ignore[assignment]
    with suppress(BrokenPipeError), os.fdopen(os.dup(sys.stdout.fileno()), "wb") as output:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        for part in _packed(*_answered(function, sys.stdin.buffer)):
            output.write(part)


def _answered(function: Callable[[Facts, Sequence[bytes]], Message], source: IO[bytes]) -> Message:
    """Return the answer of the function, or a description of the error that it raised."""
    try:
        question = _unpacked(source)
        threading.Thread(target=_end_with_caller, args=(source,), daemon=True).start()
        return function(*question)
    except RetrievalError as error:
        return {"error": type(error).__name__, "message": str(error), "hint": error.hint, "note": _note()}, ()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the caller raises it again
        return {"error": ChildFailed.__name__, "message": one_line(error), "note": _note()}, ()


def _end_with_caller(source: IO[bytes]) -> None:
    """End this process when its standard input ends."""
    while os.read(source.fileno(), 1):  # not through `source`, whose lock Python needs at its end
        pass
    os._exit(1)


def _note() -> str:
    return f"in a process of its own:\n{traceback.format_exc()}"


def _raise_error_of(facts: Facts) -> None:
    """Raise the error that an answer describes, if it describes one. The traceback of the child is a note of it."""
    name = facts.get("error")
    if name is None:
        return
    error: Exception = ChildFailed(facts["message"])
    if name != ChildFailed.__name__:
        error = getattr(errors, name)(facts["message"], hint=facts["hint"])
    error.add_note(facts["note"])
    raise error


def _search_path() -> list[str]:
    """Return the places from which a child imports modules: those of this process, without the current folder.

    A file there, beside somebody's pictures, must not take the place of a library.
    """
    here = os.path.realpath(os.curdir) if os.path.isdir(os.curdir) else ""
    places = [os.path.abspath(place) for place in sys.path if place and os.path.realpath(place) != here]
    return places if PACKAGE in places else [*places, PACKAGE]


def _stderr() -> int:
    """Return where a child writes what is not its answer: the stderr of Python code here, if it is a file."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # closed, or an object of the caller's own
        return subprocess.DEVNULL


def _end_of(code: int) -> str:
    if code < 0:
        name = next((known.name for known in signal.Signals if known == -code), -code)
        return f"the process that did it was ended by the signal {name}"
    return f"the process that did it ended without an answer (exit code {code})"


def _packed(facts: Facts, files: Sequence[bytes]) -> list[bytes]:
    line = json.dumps({"facts": facts, "sizes": list(map(len, files))}).encode()
    return [line + b"\n", *files]


def _unpacked(source: IO[bytes]) -> Message:
    """Read the facts and the files of a message; `ValueError` for a message that was cut off."""
    line = source.readline()
    if not line.endswith(b"\n"):
        raise ValueError("the message was cut off")
    described = json.loads(line)
    files = [source.read(size) for size in described["sizes"]]
    if list(map(len, files)) != described["sizes"]:
        raise ValueError("the message was cut off")
    return described["facts"], files
