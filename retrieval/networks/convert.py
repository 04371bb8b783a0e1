"""Converts a network for OpenVINO, in a process of its own.

    converted -> `export` in a new process, with Keras on its OpenVINO backend -> Graph

So a program that uses Keras itself is not disturbed, no TensorFlow is needed, and the memory goes back to the system.
"""

import logging
import os
import tempfile
from collections.abc import Sequence

from retrieval import extras, plugins
from retrieval.errors import BadWeights
from retrieval.networks.catalogue import Backbone
from retrieval.networks.graph import Graph
from retrieval.networks.parity import PARITY, cosines_of
from retrieval.process import children
from retrieval.process.children import ChildDied, ChildFailed, Facts, Message
from retrieval.types import Vectors

UNWANTED = ("openvino_telemetry", "matplotlib", "sklearn")
"""Modules that Keras, OpenVINO and NNCF must not import in a process of ours. By the first, OpenVINO's converter, which
Keras imports, reports each import to its makers (openvino/tools/ovc/__init__.py), and so does NNCF
(nncf/telemetry/wrapper.py). The other two take longer than Keras itself, which imports them where they are installed,
and are not used."""
NOT_COMPARED = "the vectors of your model were not compared with those of Keras on TensorFlow (%s)"
"""The note about a user's own model that only OpenVINO has run."""
log = logging.getLogger("retrieval")


def converted(backbone: Backbone, weights: str, rule: int) -> Graph:
    """Convert `backbone` with `weights`, as `downloads.located` gives them, for pictures of a decode rule.

    A user's own model may have layers that Keras runs differently on OpenVINO, or not at all. So its vectors are
    compared with those of TensorFlow, where that is installed. If they differ, the model is converted with TensorFlow.

    Raises `BadWeights` for a file that does not fit, `BadInput` for options with which Keras cannot build the network,
    `ChildFailed` where the conversion fails, and `ChildDied` where it was ended.
    """
    if not backbone.is_model:
        return _exported(backbone, weights, rule, "openvino")[0]
    has_tensorflow = plugins.installed("tensorflow")
    try:
        graph, vectors = _exported(backbone, weights, rule, "openvino")
    except (BadWeights, ChildFailed) as error:
        if isinstance(error, ChildDied) or not has_tensorflow:
            raise
        return _exported(backbone, weights, rule, "tensorflow")[0]
    if not has_tensorflow:
        log.warning(NOT_COMPARED, extras.hint("compare them", "train"))
        return graph
    try:
        expected = _on_tensorflow(backbone, weights, *vectors.shape)
    except (BadWeights, ChildFailed) as error:  # TensorFlow may be broken
        log.warning(NOT_COMPARED, error)
        return graph
    agrees = cosines_of(vectors, expected).min(initial=1.0) >= PARITY
    return graph if agrees else _exported(backbone, weights, rule, "tensorflow")[0]


def _exported(backbone: Backbone, weights: str, rule: int, backend: str) -> tuple[Graph, Vectors]:
    """Convert a network with a backend of Keras. Returns it, and its vectors of the pictures of `parity.made_up`."""
    facts, (structure, numbers, vectors) = _ask("export", backbone, weights, backend)
    graph = Graph.made((structure, numbers), rule=rule, **facts)
    return graph, _array(vectors, -1, graph.facts["dim"])


def _on_tensorflow(backbone: Backbone, weights: str, count: int, dim: int) -> Vectors:
    """Return the vectors of the pictures of `parity.made_up` by Keras on TensorFlow."""
    _, (vectors,) = _ask("embed", backbone, weights, "tensorflow")
    return _array(vectors, count, dim)


def _ask(task: str, backbone: Backbone, weights: str, backend: str) -> Message:
    question = {"task": task, "backbone": backbone.as_json(), "weights": weights}
    # Conversion needs no GPU, and TensorFlow would take the memory of all of them.
    return children.ask(__name__, question, environment={"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""})


def _array(data: bytes, count: int, dim: int) -> Vectors:
    import numpy as np

    return np.frombuffer(data, np.float32).reshape(count, dim)


def _respond(question: Facts, _: Sequence[bytes]) -> Message:
    """Do the task of a question, in the process that was started for it."""
    from retrieval.process.quiet import hushed

    os.environ["KERAS_HOME"] = tempfile.mkdtemp()  # the user's settings of Keras are not for this process
    # Keras' OpenVINO backend imports it for sounds (keras/src/backend/openvino/math.py). It takes half a second.
    plugins.put_off("scipy.signal")
    with hushed():
        from retrieval.networks import export

        backbone, weights = Backbone.from_json(question["backbone"]), question["weights"]
        if question["task"] == "embed":
            return {}, (export.reference(backbone, weights).tobytes(),)
        made = export.exported(backbone, weights)
    facts = {
        "backbone": made.backbone.as_json(),
        "digest": made.digest,
        "dim": made.vectors.shape[1],
        "parity": made.parity,
        "pictures": made.pictures,
    }
    return facts, (*made.files, made.vectors.tobytes())


if __name__ == "__main__":
    children.answer(_respond, without=UNWANTED)
