"""The memory that a network may take. A network that needs more is refused with an error, before a runtime crashes."""

from retrieval.errors import BadInput
from retrieval.process import memory

PER_PIXEL = 480
"""Memory that a network takes, about, in bytes per pixel of its input. One picture of 5000x5000 pixels took 12 GB
(measured)."""
UNCHECKED = 1024 * 1024
"""Most pixels of an input that is not checked, because any machine has memory for it. The networks of Keras have at
most 600x600."""
SHARE = 4
"""The memory of this machine divided by the memory that a network may take. When half of 25 GB was allowed, 5000x5000
pixels ran for over 10 minutes."""
GB = 1e9


def demand_size(size: tuple[int, int]) -> None:
    """Raise `BadInput` for an input size (height, width) with which a network takes too much memory."""
    height, width = size
    if height * width > UNCHECKED:
        needed = height * width * PER_PIXEL
        demand(f"an input size of {height}x{width} pixels", needed, "give a smaller --input-size")


def demand(what: str, needed: float, hint: str) -> None:
    """Raise `BadInput` if `needed` bytes are more than a quarter of the memory; `what` names what needs them.

    The other three quarters are for the pixels, the vectors and other programs.
    """
    available = memory.memory()
    if needed > available // SHARE:
        raise BadInput(
            f"{what} would take about {needed / GB:,.1f} GB of memory, but this machine has {available / GB:,.1f} GB, "
            "of which a quarter is for the network",
            hint=hint,
        )
