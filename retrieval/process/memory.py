"""The memory that this process may use, and the part of it for pixels, in which large pictures wait for room.

All threads of the process share one budget for pixels.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from retrieval.errors import UnreadableImage

SHARE = 4
"""One part in so many of the memory is for pixels; the network, the vectors and other programs need the rest."""

CGROUPS = Path("/sys/fs/cgroup")
"""Where Linux shows the control groups, which limit the memory of containers and of services."""
TOO_LARGE = "it needs more memory than this machine has for pictures"


class Budget:
    """A number of bytes that threads share."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def room(self, amount: int) -> Iterator[None]:
        """Take `amount` bytes during the block, having waited until they are free.

        Raises `UnreadableImage` if the budget is smaller than `amount`.
        """
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
    """Return the budget for pixels of this process."""
    return Budget(memory() // SHARE)


if hasattr(os, "register_at_fork"):
    # A child gets a budget of its own: what threads of the parent took is never given back in the child.
    os.register_at_fork(after_in_child=shared.cache_clear)


def memory() -> int:
    """Return the memory that this process may use, in bytes: that of the machine, or less where a limit is set."""
    limits = [_of_the_machine(), *_limits_of_groups()]
    with suppress(ImportError):  # Windows has no such limits
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    return min(limits)


def _of_the_machine() -> int:
    """Return the memory of the machine, in bytes."""
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    import psutil  # Windows. Its import takes 24 ms, for which no query should wait where the system itself can tell

    return int(psutil.virtual_memory().total)


def _limits_of_groups() -> Iterator[int]:
    """Yield the memory limits of the control groups of this process, in bytes: of its own group and of each one above.

    The groups are those of Linux, of version 1 or 2; psutil does not read them. The file `memory.max` holds a number or
    the word "max": https://docs.kernel.org/admin-guide/cgroup-v2.html.
    """
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":  # version 2
                top, name = CGROUPS, "memory.max"
            elif controllers == "memory":  # version 1
                top, name = CGROUPS / "memory", "memory.limit_in_bytes"
            else:
                continue
            group = top / path.lstrip("/")
            for folder in (group, *group.parents):
                with suppress(OSError, ValueError):
                    yield int((folder / name).read_text())
                if folder == top:
                    break
