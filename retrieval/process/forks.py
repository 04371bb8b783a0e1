"""Threads, locks and open databases, which a forked child must not share with its parent.

Only the thread that forked goes on in the child. There, a pool of threads does no work, and a lock that another thread
held is never released. So an object with a pool, a lock or a database registers methods here, which are called at each
fork.
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
"""Hint of the errors about code that cannot work in a forked process."""

_before: list[WeakMethod[Call]] = []
_after: list[WeakMethod[Call]] = []
_parent_used_tensorflow = False
"""Whether this process was forked from a process that had used TensorFlow."""


def before(call: Call) -> None:
    """Register a method of an object: it is called in the parent before each fork, as long as the object lives."""
    _keep(_before, call)


def in_child(call: Call) -> None:
    """Register a method of an object: it is called in each forked child, as long as the object lives."""
    _keep(_after, call)


def leave(*things: object) -> None:
    """Make sure that `things` are never cleaned up in this process.

    The threads, locks and open databases that they hold belong to the parent.
    """
    for thing in things:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def demand_tensorflow() -> None:
    """Raise `RetrievalError` in a forked child in which TensorFlow would wait for ever."""
    if _parent_used_tensorflow:
        sentence = "TensorFlow cannot run in a forked process whose parent has used it: it would wait for ever"
        raise RetrievalError(sentence, hint=SPAWN)


def _keep(calls: list[WeakMethod[Call]], call: Call) -> None:
    calls[:] = [kept for kept in calls if kept() is not None]  # drop the methods of objects that are gone
    calls.append(WeakMethod(call))


def _run(calls: list[WeakMethod[Call]]) -> None:
    for kept in calls.copy():
        call = kept()
        if call is not None:
            call()


def _begin() -> None:
    """Prepare a forked child: note whether the parent used TensorFlow, and call the registered methods."""
    global _parent_used_tensorflow  # noqa: PLW0603 - a fact about the whole process
    module: Any = sys.modules.get("tensorflow.python.eager.context")
    context = module.context_safe() if module is not None else None
    if context is not None and getattr(context, "_initialized", True):  # TensorFlow has no threads before it is used
        _parent_used_tensorflow = True
    _run(_after)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lambda: _run(_before), after_in_child=_begin)
