"""The classes of ImageNet: what a picture shows, as the head of a network says that was trained to tell them."""

import os
from typing import TYPE_CHECKING, Any

from retrieval import plugins
from retrieval.arguments import integer, text_path
from retrieval.errors import BadInput
from retrieval.networks import loading
from retrieval.networks.catalogue import AUTO
from retrieval.networks.encoder import Execution
from retrieval.networks.weights import choose_classifier, class_names, class_table
from retrieval.types import Scored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

BEST = 5
"""Classes that are told, as benchmarks of ImageNet count them."""


class Classifier:
    """A backbone with its own head, compiled as all are."""

    def __init__(
        self,
        backbone: str = AUTO,
        weights: str | os.PathLike[str] | None = None,
        *,
        input_size: int | None = None,
        alpha: float | None = None,
        minimalistic: bool | None = None,
        runtime: str = AUTO,
        precision: str = AUTO,
        threads: int = 0,
    ) -> None:
        """Load it; the options are those of `Index.create`.

        "auto" is what is on this machine with a head. Raises `BadInput`, `UnknownBackbone`, `WeightsNotFound`, which a
        missing table of classes is too, and `BadWeights` for a file without a head.
        """
        options: dict[str, Any] = {"input_size": input_size, "alpha": alpha, "minimalistic": minimalistic}
        given = None if weights is None else text_path(weights, "the path of the weights")
        self.backbone, where = choose_classifier(backbone, given, **options)
        self._encoder = loading.load(self.backbone, where, Execution.of(runtime, precision, threads))
        table = class_table(where) or plugins.load("keras:class_table")()
        self._names = class_names(table)
        if len(self._names) != self._encoder.dim:
            raise BadInput(f"{table} has {len(self._names)} classes, the network {self._encoder.dim}")

    def classify(
        self, picture: "str | bytes | os.PathLike[str] | Image.Image | NDArray[np.uint8]", k: int = BEST
    ) -> tuple[Scored, ...]:
        """Return the `k` likeliest classes of a path, bytes, a PIL image or an RGB array, best first.

        Their scores are the probabilities that the head gives, 0 to 1, adding up to 1 over all classes. Raises
        `UnreadableImage`, and `BadInput` for a `k` below 1.
        """
        from retrieval.searching import query  # with numpy and Pillow

        k = integer(k, "k", 1)
        roots = self._encoder.images(query.pixels(picture, self._encoder.size))[0]
        chances = (roots * roots).tolist()  # as `catalogue.TOP` says
        best = sorted(range(len(chances)), key=lambda at: (-chances[at], at))[:k]
        return tuple(Scored(self._names[at], chances[at]) for at in best)
