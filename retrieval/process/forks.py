"""What a process that was forked must not share with its parent: threads, locks and open databases stay behind.

Of a forked process only the thread that forked goes on in the child; pools of threads wait there for ever, and a lock
that another thread held is never given back. So whoever keeps such things says here what to do about them.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

from retrieval.errors import RetrievalError

Call = Callable[[], None]
SPAWN = "start processes afresh: multiprocessing.get_context('spawn')"

_before: list[WeakMethod[Call]] = []
_after: list[WeakMethod[Call]] = []
_tensorflow_stayed: list[bool] = []
"""Not empty where TensorFlow ran in the process that this one was forked from."""


def before(call: Call) -> None:
    """Call a method of an object, as long as that lives, in the parent before each fork."""
    _keep(_before, call)


def in_child(call: Call) -> None:
    """Call a method of an object, as long as that lives, in each child that is forked."""
    _keep(_after, call)


def leave(*things: object) -> None:
    """Let `things` never be cleaned up in this process: what they hold is the parent's."""
    for thing in things:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def demand_tensorflow() -> None:
    """Raise `RetrievalError` in a child in which TensorFlow would wait for ever."""
    if _tensorflow_stayed:
        sentence = "TensorFlow cannot run in a forked process whose parent has used it: it would wait for ever"
        raise RetrievalError(sentence, hint=SPAWN)


def _keep(calls: list[WeakMethod[Call]], call: Call) -> None:
    calls[:] = [one for one in calls if one() is not None]
    calls.append(WeakMethod(call))


def _run(calls: list[WeakMethod[Call]]) -> None:
    for one in calls.copy():
        call = one()
        if call is not None:
            call()


def _begin() -> None:
    context: Any = sys.modules.get("tensorflow.python.eager.context")  # imported, it has no threads yet
    used = context.context_safe() if context is not None else None
    if getattr(used, "_initialized", used is not None):
        _tensorflow_stayed.append(True)
    _run(_after)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lambda: _run(_before), after_in_child=_begin)
