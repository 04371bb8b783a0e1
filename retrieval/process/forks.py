"""What a forked child must not share with its parent: threads, locks and open databases.

Only the thread that forked goes on in the child. A pool of threads waits there for ever, and a lock that another thread
held is never released. So an object that keeps such things registers methods here, which are called at each fork.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

from retrieval.errors import RetrievalError

Call = Callable[[], None]
SPAWN = "start new processes instead of forked ones: multiprocessing.get_context('spawn')"
"""Hint for what cannot work in a forked process."""

_before: list[WeakMethod[Call]] = []
_after: list[WeakMethod[Call]] = []
_tensorflow_stayed: list[bool] = []
"""Not empty in a process that was forked from one in which TensorFlow ran."""


def before(call: Call) -> None:
    """Call a method of an object in the parent before each fork, as long as the object lives."""
    _keep(_before, call)


def in_child(call: Call) -> None:
    """Call a method of an object in each forked child, as long as the object lives."""
    _keep(_after, call)


def leave(*things: object) -> None:
    """Make sure that `things` are never cleaned up in this process, because what they hold belongs to the parent."""
    for thing in things:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def demand_tensorflow() -> None:
    """Raise `RetrievalError` in a forked child in which TensorFlow would wait for ever."""
    if _tensorflow_stayed:
        sentence = "TensorFlow cannot run in a forked process whose parent has used it: it would wait for ever"
        raise RetrievalError(sentence, hint=SPAWN)


def _keep(calls: list[WeakMethod[Call]], call: Call) -> None:
    calls[:] = [kept for kept in calls if kept() is not None]  # without those of objects that are gone
    calls.append(WeakMethod(call))


def _run(calls: list[WeakMethod[Call]]) -> None:
    for kept in calls.copy():
        call = kept()
        if call is not None:
            call()


def _begin() -> None:
    """Begin the life of a forked child."""
    context: Any = sys.modules.get("tensorflow.python.eager.context")
    used = context.context_safe() if context is not None else None
    if getattr(used, "_initialized", used is not None):  # TensorFlow has no threads before it is used
        _tensorflow_stayed.append(True)
    _run(_after)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lambda: _run(_before), after_in_child=_begin)
