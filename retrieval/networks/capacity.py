"""The memory that a network may take. One that needs more is refused in a sentence, before a runtime crashes on it."""

from retrieval.errors import BadInput
from retrieval.process import memory as budget

PER_PIXEL = 480
"""Memory that a network takes, in bytes per pixel of its input, about: 12 GB for one picture of 5000x5000
(measured)."""
UNCHECKED = 1024 * 1024
"""Most pixels of an input that is not checked, because any machine has the memory. Keras' networks have 600x600 at
most."""
SHARE = 4
"""A network may take one part in so many of the memory. With half of 25 GB, 5000x5000 pixels ran for over 10
minutes."""
GB = 1e9


def demand_size(size: tuple[int, int]) -> None:
    """Raise `BadInput` for an input size (height, width) with which a network takes too much memory."""
    height, width = size
    if height * width > UNCHECKED:
        needed = height * width * PER_PIXEL
        demand(f"an input size of {height}x{width} pixels", needed, "give a smaller --input-size")


def demand(what: str, needed: float, hint: str) -> None:
    """Raise `BadInput` if `what` takes more than a quarter of the memory; `needed` is in bytes.

    The rest is for the pixels, the vectors and other programs.
    """
    memory = budget.memory()
    if needed > memory // SHARE:
        raise BadInput(
            f"{what} would take about {needed / GB:,.1f} GB of memory, but this machine has {memory / GB:,.1f} GB, of "
            "which a quarter is for the network",
            hint=hint,
        )
