"""What takes long: duplicates, the map, an update. One of each kind runs at a time, in a thread, and can be watched."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from retrieval.errors import RetrievalError
from retrieval.serving.problems import Problem
from retrieval.types import displayed

log = logging.getLogger("retrieval")

EVERY = 0.25
"""Time between two looks at a job that is watched, in seconds."""
IDLE = 15.0
"""Time after which a watcher hears that the server is still there, in seconds."""
Step = Callable[[str, int, int], None]
"""Is told the name of a step, how much of it is done, and how much it is in all. Raises `Cancelled` to stop the job."""


class Cancelled(Exception):
    """Somebody has stopped the job."""


@dataclass
class Job:
    """A job, while it runs and afterwards."""

    number: int
    """Number of the job, from 1, by which decisions name its result."""
    state: str = "running"
    """`running`, `done`, `failed` or `cancelled`."""
    step: str = ""
    done: int = 0
    total: int = 0
    why: str = ""
    """Why it failed."""
    result: Any = None
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)

    def tell(self, step: str, done: int, total: int) -> None:
        """Note how far the job is."""
        self.step, self.done, self.total = step, done, total
        if self._stop.is_set():
            raise Cancelled

    def stop(self) -> None:
        """Ask the job to stop at its next step."""
        self._stop.set()

    def as_dict(self) -> dict[str, Any]:
        """Return how far the job is, as JSON can hold it."""
        names = ("number", "state", "step", "done", "total", "why")
        return {name: getattr(self, name) for name in names}


class Jobs:
    """The latest job of each kind."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._count = 0

    def start(self, kind: str, work: Callable[[Step], Any]) -> Job:
        """Start a job. Raises `Problem` while another one of the kind runs."""
        with self._lock:
            before = self._jobs.get(kind)
            if before is not None and before.state == "running":
                raise Problem(409, "this is being done already", hint="wait for it, or stop it")
            self._count += 1
            job = self._jobs[kind] = Job(self._count)
        threading.Thread(target=_run, args=(job, work), name=kind, daemon=True).start()
        return job

    def states(self) -> dict[str, dict[str, Any]]:
        """Return kind -> how far its latest job is."""
        return {kind: job.as_dict() for kind, job in self._jobs.items()}

    def latest(self, kind: str) -> Job:
        """Return the latest job of a kind; raise `Problem` if there was none."""
        job = self._jobs.get(kind)
        if job is None:
            raise Problem(404, "nobody has asked for this yet")
        return job

    def find(self, kind: str) -> Job | None:
        """Return the latest job of a kind, None if there was none."""
        return self._jobs.get(kind)

    def result(self, kind: str) -> Job:
        """Return the latest job of a kind, which is done; raise `Problem` if there is none."""
        job = self.latest(kind)
        if job.state != "done":
            raise Problem(409, job.why or "this is not done yet")
        return job

    def stop_all(self) -> None:
        """Ask all jobs to stop."""
        for job in self._jobs.values():
            job.stop()


def _run(job: Job, work: Callable[[Step], Any]) -> None:
    try:
        job.result = work(job.tell)
        job.state = "done"
    except Cancelled:
        job.state = "cancelled"
    except RetrievalError as error:
        job.why, job.state = displayed(f"{error} ({error.hint})" if error.hint else str(error)), "failed"
    except Exception as error:
        log.exception("a job failed", exc_info=error)
        job.why, job.state = "the server made a mistake; its log says more", "failed"


async def events(job: Job) -> AsyncIterator[str]:
    """Yield the progress of a job as server-sent events, until it has ended."""
    before, heard = None, time.monotonic()
    while True:
        state = job.as_dict()
        if state != before:
            yield f"data: {json.dumps(state)}\n\n"
            before, heard = state, time.monotonic()
        elif time.monotonic() - heard > IDLE:
            yield ": still there\n\n"
            heard = time.monotonic()
        if state["state"] != "running":
            return
        await asyncio.sleep(EVERY)  # a watcher takes no thread
