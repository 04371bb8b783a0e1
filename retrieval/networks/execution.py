"""How a backbone is run: by which runtime, in which precision, on how many threads."""

import os
from dataclasses import dataclass

from retrieval import extras
from retrieval.arguments import integer, word
from retrieval.errors import BadInput

AUTO = "auto"
"""In place of a runtime or a precision: the one that `Execution` describes."""
RUNTIMES = (AUTO, "openvino", "keras")
INT8 = "int8"
"""The precision of whole numbers of 8 bits. It needs the int8 form of a network: `quantise.int8_form`."""
PRECISIONS = (AUTO, "f32", "bf16", "f16", INT8)
ON_KERAS = f"{extras.hint('run it on Keras', 'train')}, and --runtime keras"
"""Hint for a network that OpenVINO cannot run."""
MOST_THREADS = 4096
"""Largest number of threads, more than any machine has cores."""


@dataclass(frozen=True, slots=True)
class Execution:
    """How a backbone is run. It changes the speed, and vectors by rounding only, so it is not in the fingerprint."""

    runtime: str = AUTO
    """One of `RUNTIMES`. `AUTO` is Keras for many pictures on a GPU, else OpenVINO."""
    precision: str = AUTO
    """One of `PRECISIONS`, for OpenVINO only. `AUTO` is the fastest one on this processor that loses no quality."""
    threads: int = 0
    """Number of threads that decode, and of threads that encode; 0 stands for one per core."""

    @classmethod
    def of(cls, runtime: str, precision: str, threads: int) -> "Execution":
        """Return these settings, checked; `BadInput` for a wrong value."""
        threads = integer(threads, "threads", 0, MOST_THREADS)
        for name, given, known in (("runtime", runtime, RUNTIMES), ("precision", precision, PRECISIONS)):
            if word(given, name) not in known:
                raise BadInput(f"there is no {name} {given!r}", hint=f"choose one of: {', '.join(known)}")
        if runtime == "keras" and precision != AUTO:
            raise BadInput("a precision can be chosen for OpenVINO only", hint="leave out --runtime or --precision")
        return cls(runtime, precision, threads)

    @property
    def workers(self) -> int:
        """The number of threads; the number of cores if `threads` is 0."""
        return self.threads or cores()


def cores() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1
