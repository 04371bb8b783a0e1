"""The memory that this process may use, and the budget for pixels, which is a part of this memory.

All threads of the process share the budget. A large picture waits until the budget has room for its pixels.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from retrieval.errors import UnreadableImage

SHARE = 4
"""The memory divided by the budget for pixels. The network, the vectors and other programs need the other parts."""

CGROUPS = Path("/sys/fs/cgroup")
"""Folder in which Linux shows the control groups, which limit the memory of containers and of services."""
TOO_LARGE = "it needs more memory than this machine has for pictures"


class Budget:
    """A number of bytes that threads share: each thread takes some of them for a while."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def room(self, amount: int) -> Iterator[None]:
        """Wait until `amount` bytes are free, and take them during the block.

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
    # A child gets a budget of its own: bytes that threads of the parent have taken are never given back in the child.
    os.register_at_fork(after_in_child=shared.cache_clear)


def memory() -> int:
    """Return the memory that this process may use, in bytes: the memory of the machine, or a lower limit."""
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
    import psutil  # only on Windows: the import takes 24 ms, and on other systems no query has to wait for it

    return int(psutil.virtual_memory().total)


def _limits_of_groups() -> Iterator[int]:
    """Yield the memory limits, in bytes, of the control group of this process and of each group above it.

    Only Linux has these groups, in version 1 or 2. psutil does not read them. The file `memory.max` holds a number or
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
