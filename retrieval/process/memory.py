"""The memory that pixels may take: one budget for all threads of the process, in which large pictures wait for room."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from retrieval.errors import UnreadableImage

SHARE = 4
"""One part in so many of the memory is for pixels; the network, the vectors and other programs need the rest."""

UNKNOWN = 4 << 30
"""Bytes of memory that are supposed where the system does not tell (Windows)."""

CGROUPS = Path("/sys/fs/cgroup")
TOO_LARGE = "it needs more memory than this machine has for pictures"


class Budget:
    """A number of bytes that threads share."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def room(self, amount: int) -> Iterator[None]:
        """Take `amount` bytes, as soon as they are free, until the end; `UnreadableImage` for more than there are."""
        if amount > self.total:
            raise UnreadableImage(TOO_LARGE)
        with self._changed:
            self._changed.wait_for(lambda: self._taken + amount <= self.total)
            self._taken += amount
        try:
            yield
        finally:
            with self._changed:
                self._taken -= amount
                self._changed.notify_all()


@cache
def shared() -> Budget:
    """Return the budget of this process."""
    return Budget(memory() // SHARE)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=shared.cache_clear)  # what threads of the parent hold, nobody gives back here


def memory() -> int:
    """Return how many bytes this process may use: the machine's, or less where a limit is set."""
    found = [UNKNOWN]
    with suppress(AttributeError, OSError, ValueError):
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        found += [soft] * (soft != resource.RLIM_INFINITY)
    return min([*found, *_limits_of_groups()])


def _limits_of_groups() -> Iterator[int]:
    """Yield the limits of the control groups that Linux counts this process in (containers, systemd); both versions.

    https://docs.kernel.org/admin-guide/cgroup-v2.html, `memory.max`: a number or "max", in each group above too.
    """
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers not in {"", "memory"}:
                continue
            top, name = (CGROUPS / "memory", "memory.limit_in_bytes") if controllers else (CGROUPS, "memory.max")
            group = top / path.lstrip("/")
            for folder in (group, *group.parents):
                with suppress(OSError, ValueError):
                    yield int((folder / name).read_text())
                if folder == top:
                    break
