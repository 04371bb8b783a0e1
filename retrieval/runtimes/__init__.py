"""SEAM: what runs a backbone. Siblings are the implementations, loaded by name through `plugins`."""

from typing import Protocol

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
