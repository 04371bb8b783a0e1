"""SEAM: what runs a backbone. Siblings are the implementations, loaded by name through `plugins`.

`mini` is none: it is a network that `keras` builds.
"""

import os
from dataclasses import dataclass
from typing import Protocol

from retrieval.arguments import integer, word
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
MOST_THREADS = 4096
"""More than any machine has cores."""
MOST_DIM = 2**20
"""Most numbers of a vector: Keras' networks give up to 4096."""
MOST_SIDE = 2**14
"""Most pixels of a side of what an encoder sees."""


def demand_encoder(encoder: Encoder) -> None:
    """Raise `BadInput` for an encoder of the caller's own that is not what `Encoder` says."""
    hint = "retrieval.networks.encoder.Encoder says what an encoder has"
    for name in ("dim", "size", "fingerprint", "images"):
        if not hasattr(encoder, name):
            raise BadInput(f"the encoder has no {name}", hint=hint)
    integer(encoder.dim, "the encoder's dim", 1, MOST_DIM)
    word(encoder.fingerprint, "the encoder's fingerprint")
    if not isinstance(encoder.size, tuple | list) or len(encoder.size) != 2:  # noqa: PLR2004 - height, width
        raise BadInput(f"the encoder's size must be (height, width), not {str(encoder.size)[:60]}", hint=hint)
    for side in encoder.size:
        integer(side, "each side of the encoder's size", 1, MOST_SIDE)
    if not callable(encoder.images):
        raise BadInput("the encoder's images must be a method", hint=hint)


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
        threads = integer(threads, "threads", 0, MOST_THREADS)
        for name, given, known in (("runtime", runtime, RUNTIMES), ("precision", precision, PRECISIONS)):
            if word(given, name) not in known:
                raise BadInput(f"there is no {name} {given!r}", hint=f"there are: {', '.join(known)}")
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
