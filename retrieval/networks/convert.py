"""Converts a network for OpenVINO, in a process of its own.

    converted -> `export` in a new process, with Keras on its OpenVINO backend -> Graph

So a program that uses Keras itself is not disturbed, no TensorFlow is needed, and the memory goes back to the system.
"""

from collections.abc import Sequence

from retrieval import plugins
from retrieval.errors import BadWeights
from retrieval.networks.catalogue import Backbone
from retrieval.networks.graph import Graph
from retrieval.networks.parity import PARITY, cosines_of
from retrieval.process import children
from retrieval.process.children import ChildFailed, Facts, Message
from retrieval.types import Vectors


def converted(backbone: Backbone, weights: str, rule: int) -> Graph:
    """Convert `backbone` with `weights`, as `weights.locate_weights` gives them, for pictures of a decode rule.

    A user's own model may have layers that Keras runs differently on its OpenVINO backend, or not at all. So it is also
    converted with TensorFlow, where that is installed, and that graph is used if the vectors differ.

    Raises `BadWeights` for a file that does not fit, `WeightsNotFound` where a download fails, `BadInput` for options
    with which Keras cannot build the network, and `ChildFailed` where the conversion fails.
    """
    if not (backbone.is_model and plugins.installed("tensorflow")):
        return _converted(backbone, weights, rule, "openvino")[0]
    try:
        graph, vectors = _converted(backbone, weights, rule, "openvino")
    except (BadWeights, ChildFailed):
        return _converted(backbone, weights, rule, "tensorflow")[0]
    try:
        other, expected = _converted(backbone, weights, rule, "tensorflow")
    except (BadWeights, ChildFailed):
        return graph
    agrees = cosines_of(vectors, expected).min(initial=1.0) >= PARITY
    return graph if agrees else other


def _converted(backbone: Backbone, weights: str, rule: int, backend: str) -> tuple[Graph, Vectors]:
    """Convert a network with a backend of Keras. Returns it, and its vectors of the pictures of `parity.made_up`."""
    import numpy as np

    question = {"backbone": backbone.as_json(), "weights": weights}
    # Conversion needs no GPU, and TensorFlow would take the memory of all of them.
    environment = {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""}
    facts, (structure, numbers, vectors) = children.ask(__name__, question, environment=environment)
    graph = Graph.made((structure, numbers), rule=rule, **facts)
    return graph, np.frombuffer(vectors, np.float32).reshape(-1, graph.facts["dim"])


def _export(question: Facts, _: Sequence[bytes]) -> Message:
    """Convert the network of a question, in the process that was started for it."""
    from retrieval.process.quiet import hushed

    # Keras' OpenVINO backend imports it for sounds (keras/src/backend/openvino/math.py). It takes half a second.
    plugins.put_off("scipy.signal")
    with hushed():
        from retrieval.networks import export

        made = export.exported(Backbone.from_json(question["backbone"]), question["weights"])
    facts = {
        "backbone": made.backbone.as_json(),
        "digest": made.digest,
        "dim": made.vectors.shape[1],
        "parity": made.parity,
        "pictures": made.pictures,
    }
    return facts, (*made.files, made.vectors.tobytes())


if __name__ == "__main__":
    children.answer(_export)
