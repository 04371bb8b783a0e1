"""Work in threads that Ctrl-C does not wait for: many pieces in order, or a single one.

A decoder in C cannot be stopped. So an interrupted caller leaves its threads behind: they are daemons, for which Python
does not wait at exit, as it does for those of `concurrent.futures`. What they still find is thrown away.
"""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
PATIENCE = 0.2
"""Seconds that threads have to end what they are at when their caller is interrupted; most pictures take a tenth."""


def in_order(
    read: Callable[[Item], Result], files: Iterable[Item], threads: int, ahead: int
) -> Generator[Result, None, None]:
    """Yield `read(file)` for each file in order; `threads` read, and at most `ahead` files are under way."""
    source, crew = iter(files), _Crew(threads)
    try:
        waiting = deque(crew.begin(partial(read, file)) for file in itertools.islice(source, ahead))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(crew.begin(partial(read, file)) for file in itertools.islice(source, 1))
    finally:
        crew.leave()


def aside(work: Callable[[], Result]) -> Result:
    """Return what `work` returns. The main thread has it done in another, for else it hears Ctrl-C only afterwards."""
    if threading.current_thread() is not threading.main_thread():
        return work()
    crew = _Crew(1)
    try:
        found: Result = crew.begin(work).result()
        return found
    finally:
        crew.leave()


class _Crew:
    def __init__(self, count: int) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work, name=f"decode-{at}", daemon=True) for at in range(count)]
        for thread in self._threads:
            thread.start()

    def begin(self, work: Callable[[], Result]) -> "Future[Result]":
        future: Future[Result] = Future()
        self._jobs.put((future, work))
        return future

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None and not self._over.is_set():
            future, work = job
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - whoever asks for the result meets it
                future.set_exception(error)
            del job, future, work  # so that pixels are not held until the next file

    def leave(self) -> None:
        """Begin nothing more, and wait a little for what is being done."""
        self._over.set()
        until = time.monotonic() + PATIENCE
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
