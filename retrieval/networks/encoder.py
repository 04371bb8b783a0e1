"""SEAM: an encoder turns pixels into vectors. `keras` and `openvino` are implementations, loaded through `plugins`.

An encoder of the user's own is any object with the members of `Encoder`.
"""

from typing import Protocol

from retrieval.arguments import integer, word
from retrieval.errors import BadInput
from retrieval.types import Pixels, Vectors


class Encoder(Protocol):
    """One graph: uint8 pixels -> scaling of the family -> backbone -> pooling -> vectors of length 1.

    Every implementation passes the tests of `tests/contracts/encoder.py`.
    """

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input, in pixels."""
        ...

    @property
    def fingerprint(self) -> str:
        """A text that is equal for two encoders if, and only if, their vectors may be compared."""
        ...

    def images(self, batch: Pixels) -> Vectors:
        """Return one vector of length 1 for each of the n >= 1 pictures of `batch`, (n, dim), in their order.

        A vector does not depend on the other pictures, except for rounding. Where all features of a picture are zero,
        or are not numbers, its row does not have the length 1. The caller checks the length (see
        `embedding.vectors_of`). Any number of threads may call this method at once.
        """
        ...


MOST_DIM = 2**20
"""Largest length of a vector; Keras' networks give up to 4096 numbers."""
MOST_SIDE = 2**14
"""Largest side of an encoder's input, in pixels."""


def demand_encoder(encoder: Encoder) -> None:
    """Raise `BadInput` for an encoder of the caller's own that does not have the members of `Encoder`."""
    hint = "retrieval.networks.encoder.Encoder says which members an encoder has"
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
