"""What a network may ask of this machine's memory: refused in a sentence before a runtime is asked and crashes."""

from retrieval.errors import BadInput
from retrieval.process import memory as budget

PER_PIXEL = 480
"""Bytes of memory that a network takes per pixel of its input, about: 12 GB for one picture of 5000x5000 (measured)."""
UNASKED = 1024 * 1024
"""Pixels of an input that any machine has room for, so that it is not asked; networks have 600x600 at most."""
SHARE = 4
"""One part in so many of the memory is for a network: at half of 25 GB, 5000x5000 pixels ran for over ten minutes."""
GB = 1e9


def demand_size(size: tuple[int, int]) -> None:
    """Refuse an input size (height, width) for which a network takes more than a quarter of the memory; `BadInput`."""
    height, width = size
    if height * width > UNASKED:
        demand(f"a picture of {height}x{width} pixels", height * width * PER_PIXEL, "take a smaller --input-size")


def demand(what: str, needed: float, hint: str) -> None:
    """Refuse what takes more than a quarter of the memory, in bytes: the machine has more to do; `BadInput`."""
    memory = budget.memory()
    if needed > memory // SHARE:
        has = f"this machine has {memory / GB:,.1f} GB"
        raise BadInput(f"{what} would take about {needed / GB:,.1f} GB of memory; {has}", hint=hint)
