"""Work in threads that Ctrl-C does not wait for: many calls in order, or a single one.

A decoder in C cannot be stopped. So an interrupted caller leaves its threads behind, and their results are dropped. The
threads are daemons, because Python does not wait for daemons when it exits. It would wait for the threads of
`concurrent.futures`.
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
"""Time that threads have to finish their work when the caller is interrupted, in seconds. Most need 0.1 seconds."""


def in_order(
    read: Callable[[Item], Result], files: Iterable[Item], threads: int, ahead: int
) -> Generator[Result, None, None]:
    """Yield `read(file)` for each file, in the order of the files.

    `threads` threads read. At most `ahead` files are being read, or wait until the caller takes their results.
    """
    source, crew = iter(files), _Crew(threads)
    try:
        waiting = deque(crew.begin(partial(read, file)) for file in itertools.islice(source, ahead))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(crew.begin(partial(read, file)) for file in itertools.islice(source, 1))
    finally:
        crew.leave()


def aside(work: Callable[[], Result]) -> Result:
    """Return `work()`. In the main thread, another thread does the work, so that Ctrl-C takes effect at once."""
    if threading.current_thread() is not threading.main_thread():
        return work()
    crew = _Crew(1)
    try:
        result: Result = crew.begin(work).result()
        return result
    finally:
        crew.leave()


class _Crew:
    """Threads that work on jobs from one queue."""

    def __init__(self, count: int) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, name=f"decode-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def begin(self, work: Callable[[], Result]) -> "Future[Result]":
        """Put `work` into the queue, and return the future of its result."""
        future: Future[Result] = Future()
        self._jobs.put((future, work))
        return future

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None and not self._over.is_set():
            future, work = job
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised again when the caller asks for the result
                future.set_exception(error)
            del job, future, work  # so that pixels do not stay in memory until the next file

    def leave(self) -> None:
        """Begin no more work, and wait up to `PATIENCE` seconds for the work under way."""
        self._over.set()
        until = time.monotonic() + PATIENCE
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
