"""Runs a module of this package in a process of its own, which has its own settings and gives its memory back.

    ask(MODULE, question) -> `python -m MODULE` -> answer(function) -> the function's answer, or its error, raised again

A question and an answer are each facts, as JSON holds them, and the bytes of any number of files. They travel through
pipes: first one line of JSON, then the bytes. The standard output of the child is for its answer alone, so what its
libraries print goes to stderr.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from retrieval import errors
from retrieval.errors import RetrievalError

Facts = dict[str, Any]
"""Values that JSON holds."""
Message = tuple[Facts, Sequence[bytes]]
"""Facts, and the bytes of files."""


class ChildFailed(RuntimeError):
    """A child process ended without an answer; the message is the reason, on one line."""


def ask(
    module: str, facts: Facts, files: Sequence[bytes] = (), *, environment: Mapping[str, str] | None = None
) -> Message:
    """Run `module` in a process of its own with these facts and files, and return its answer.

    `environment` is added to the environment of this process. Files that the child leaves in the folder for temporary
    files are deleted. Raises the `RetrievalError` that the child raised, and `ChildFailed` if it ended in another way.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="retrieval-", ignore_cleanup_errors=True) as folder:
            places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder)
            surroundings = {**os.environ, **(environment or {}), **places, "PYTHONPATH": _search_path()}
            # -P: a file in the current folder must not take the place of a module.
            command = [sys.executable or "", "-P", "-m", module]
            done = subprocess.run(  # noqa: S603 - this Python, and a module of this package
                command, input=_packed(facts, files), stdout=subprocess.PIPE, check=False, env=surroundings
            )
    except OSError as error:
        raise ChildFailed(f"another process cannot be started: {error.strerror or error}") from error
    try:
        answer, parts = _unpacked(done.stdout)
    except ValueError:
        raise ChildFailed(_end_of(done.returncode)) from None
    _raise_error_of(answer)
    return answer, parts


def answer(function: Callable[[Facts, Sequence[bytes]], Message]) -> None:
    """Answer the question that comes through the standard input; a child process calls this once."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches both processes, and the parent says what happened
    warnings.simplefilter("ignore")  # of libraries, about themselves
    # OpenVINO's converter, which Keras imports, reports each import to its makers (openvino/tools/ovc/__init__.py).
    # Keras imports the other two where they are installed. They take longer than Keras itself, and are not used here.
    for unwanted in ("openvino_telemetry", "matplotlib", "sklearn"):
        sys.modules[unwanted] = None  # type: ignore[assignment]
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as output:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        output.write(_packed(*_answered(function, sys.stdin.buffer)))


def _answered(function: Callable[[Facts, Sequence[bytes]], Message], source: BinaryIO) -> Message:
    """Return the answer of the function, or a description of the error that it raised."""
    try:
        return function(*_unpacked(source.read()))
    except RetrievalError as error:
        return {"error": type(error).__name__, "message": str(error), "hint": error.hint, "note": _note()}, ()
    except Exception as error:  # noqa: BLE001 - the parent raises it again
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        return {"error": ChildFailed.__name__, "message": reason, "note": _note()}, ()


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


def _search_path() -> str:
    """Return the places from which this process imports modules, for `PYTHONPATH`."""
    return os.pathsep.join(os.path.abspath(place) for place in sys.path)


def _end_of(code: int) -> str:
    if code < 0:
        return f"the process that did it was ended by the signal {signal.Signals(-code).name}"
    return f"the process that did it ended without an answer (exit code {code})"


def _packed(facts: Facts, files: Sequence[bytes]) -> bytes:
    line = json.dumps({"facts": facts, "sizes": list(map(len, files))}).encode()
    return b"\n".join([line, b"".join(files)])


def _unpacked(message: bytes) -> Message:
    """Return the facts and the files of a message; `ValueError` for a message that was cut off."""
    line, end, data = message.partition(b"\n")
    described = json.loads(line)
    files, start = [], 0
    for size in described["sizes"]:
        files.append(data[start : start + size])
        start += size
    if not end or start != len(data):
        raise ValueError("the message was cut off")
    return described["facts"], files
