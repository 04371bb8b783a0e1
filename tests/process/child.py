"""A module that tests run in a process of its own: it does what the question says."""

import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from retrieval.errors import BadInput
from retrieval.process import children
from retrieval.process.children import Facts, Message


def respond(question: Facts, files: Sequence[bytes]) -> Message:
    """Do what `question["do"]` says."""
    match question["do"]:
        case "echo":
            return question, files
        case "print":
            sys.stdout.write("printed by a library\n")
            sys.stdout.flush()
            os.write(1, b"written by native code\n")
            return {}, ()
        case "refuse":
            raise BadInput("this cannot be used", hint="use another one")
        case "fail":
            raise ZeroDivisionError("a problem\nof two lines")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(3)
        case "leave a file":
            path = Path(tempfile.mkdtemp(), "left")
            path.write_bytes(b"1")
            return {"path": str(path)}, ()
        case "surroundings":
            return {"value": os.environ.get("A_SETTING"), "modules": sorted(sys.modules)}, ()
    return {}, ()


if __name__ == "__main__":
    children.answer(respond)
