"""SEAM: what runs a backbone. Siblings are the implementations, loaded by name through `plugins`.

`mini` is none: it is a network that `keras` builds.
"""

import os
from dataclasses import dataclass
from typing import Protocol

from retrieval.errors import BadInput
from retrieval.types import Pixels, Vectors


class Encoder(Protocol):
    """One graph: uint8 pixels -> the family's own scaling -> backbone -> pooling -> rows of length 1.

    An implementation passes `tests/contracts/encoder.py`.
    """

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pixels it wants."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal if, and only if, vectors may be compared."""
        ...

    def images(self, batch: Pixels) -> Vectors:
        """Return one row of length 1 for each of the n >= 1 pictures of `batch`, in their order.

        A row does not depend on the others, but for rounding. A picture for which the network answers nothing but
        zeros, or no number at all, has a row that is not of length 1; the caller tells it apart.
        """
        ...


AUTO = "auto"
RUNTIMES = (AUTO, "openvino", "keras")
PRECISIONS = (AUTO, "f32", "bf16", "f16")


@dataclass(frozen=True, slots=True)
class Execution:
    """How a backbone is run. It changes the speed, and vectors by no more than rounding: no part of a fingerprint."""

    runtime: str = AUTO
    """One of `RUNTIMES`: by itself Keras where there is a GPU, else OpenVINO."""
    precision: str = AUTO
    """One of `PRECISIONS`, of the compiled runtime: by itself what is fastest here and as good."""
    threads: int = 0
    """Threads that decode and that encode; 0 stands for one a core."""

    @classmethod
    def of(cls, runtime: str, precision: str, threads: int) -> "Execution":
        """Return these settings; `BadInput` for what is none."""
        for name, given, known in (("runtime", runtime, RUNTIMES), ("precision", precision, PRECISIONS)):
            if given not in known:
                raise BadInput(f"there is no {name} {given!r}", hint=f"there are: {', '.join(known)}")
        if threads < 0:
            raise BadInput(f"threads must not be negative, as {threads} is")
        if runtime == "keras" and precision != AUTO:
            raise BadInput("a precision can be chosen for OpenVINO only", hint="leave out --runtime or --precision")
        return cls(runtime, precision, threads)

    @property
    def workers(self) -> int:
        """Threads, counted."""
        return self.threads or cores()


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1
