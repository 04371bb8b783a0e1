"""The classes of ImageNet: a network that was trained to tell them apart says which of them a picture shows."""

from typing import TYPE_CHECKING, Unpack

from retrieval.arguments import integer
from retrieval.errors import BadInput
from retrieval.networks import downloads, loading
from retrieval.networks.options import NetworkOptions, RequestedNetwork
from retrieval.networks.weights import choose_classifier, class_names, class_table
from retrieval.types import Scored

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

BEST = 5
"""Number of classes that `Classifier.classify` returns by default: benchmarks of ImageNet count the best five."""


class Classifier:
    """A backbone with its own classifier on top. It tells the 1,000 classes of ImageNet apart."""

    def __init__(self, **network: Unpack[NetworkOptions]) -> None:
        """Load the network; the options are those of `Index.create`, without `pooling`.

        The backbone "auto" is the best one on this machine whose weights have a classifier. Raises `BadInput`,
        `UnknownBackbone`, `WeightsNotFound` (also where the table of class names is missing), and `BadWeights` for a
        file without a classifier.
        """
        requested = RequestedNetwork.of(network)
        if "pooling" in requested.options:
            raise BadInput("a classifier has no pooling to choose", hint="leave out the pooling")
        self.backbone, where = choose_classifier(requested.backbone, requested.weights, **requested.options)
        self._encoder = loading.load(self.backbone, where, requested.execution)
        table = class_table(where) or downloads.fetched_table()
        self._names = class_names(table)
        if len(self._names) != self._encoder.dim:
            raise BadInput(f"{table} has {len(self._names)} classes, but the network has {self._encoder.dim}")

    def classify(
        self, picture: "str | bytes | os.PathLike[str] | Image.Image | NDArray[np.uint8]", k: int = BEST
    ) -> tuple[Scored, ...]:
        """Return the `k` most probable classes of a path, bytes, a PIL image or an RGB array, best first.

        The scores are the probabilities that the network gives, 0 to 1. The scores of all classes add up to 1. Classes
        with equal scores stand in the order of their numbers. Raises `UnreadableImage`, and `BadInput` if `k` is below
        1.
        """
        from retrieval.pictures import given  # with numpy and Pillow

        k = integer(k, "k", 1)
        roots = self._encoder.images(given.pixels(picture, self._encoder.size))[0]
        probabilities = (roots * roots).tolist()  # the network gives square roots: see `catalogue.TOP`
        best = sorted(range(len(probabilities)), key=lambda number: (-probabilities[number], number))[:k]
        return tuple(Scored(self._names[number], probabilities[number]) for number in best)
