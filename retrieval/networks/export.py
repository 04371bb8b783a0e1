"""Makes the two files of a converted network. Imports Keras and OpenVINO, so only the process that converts imports it.

    backbone and weights -building-> Keras graph -Keras' export-> OpenVINO model -layout-> without transposes
        -> weights rounded to float16, if the vectors stay the same -> structure and weights

Keras runs on its OpenVINO backend, or on TensorFlow.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from openvino import opset15 as operations

from retrieval.networks import building, layout
from retrieval.networks.catalogue import Backbone
from retrieval.networks.openvino import DEVICE, openvino
from retrieval.networks.parity import cosines_of, made_up
from retrieval.types import Pixels, Vectors

ROUNDED = 0.9998
"""Least cosine between the vectors of a network before and after its weights are rounded to float16. Where rounding
changes more, the weights stay as they are. On photographs, rounding changes up to twice as much as on the pictures of
`parity.made_up` (measured): so at least 0.9995 is left."""
KEPT = 4096
"""Most numbers of a constant that is never rounded. The numbers of a small depthwise kernel nearly cancel on flat
areas, and their rounding errors do not. With ImageNet's weights, the first such kernel of MobileNetV2 takes the cosine
of dark photographs to 0.9982 (measured). The small constants are at most 5 % of the bytes of a usual network."""
Files = tuple[bytes, bytes]
"""Structure and weights, as OpenVINO reads them."""
Network = Any
"""An OpenVINO model: OpenVINO has no types that mypy can read."""


@dataclass(frozen=True)
class Exported:
    """A converted network."""

    files: Files
    backbone: Backbone
    """The backbone, with the input size of the network."""
    digest: str
    """The digest of the weights, a part of the fingerprint."""
    parity: float | None
    """Least cosine between the vectors of `files` and `vectors`; None if no picture has a vector."""
    pictures: int
    """Number of pictures on which the parity was measured: those that have a vector."""
    vectors: Vectors
    """The vectors of all pictures of `parity.made_up`, (n, dim), by the network before its weights were rounded."""


def exported(backbone: Backbone, weights: str) -> Exported:
    """Convert a network; `weights` is what `downloads.located` gives. Raises what `building.build` raises."""
    built = building.build(backbone, weights)
    sample = made_up(built.backbone.input_size)
    network, expected = _sound(_as_keras_exports(built), sample, known=not backbone.is_model)
    count = len(cosines_of(expected, expected))
    rounded = network.clone()
    _round(rounded)
    files = _saved(rounded)
    # The files are read back, so that a file that was cut off is noticed.
    cosines = cosines_of(_vectors(openvino.Core().read_model(*files), sample), expected)
    parity = float(cosines.min(initial=1.0))
    if not count or parity < ROUNDED:
        files, parity = _saved(network), 1.0
    return Exported(files, built.backbone, built.digest, parity if count else None, count, expected)


def _sound(network: Network, sample: Pixels, *, known: bool) -> tuple[Network, Vectors]:
    """Return a network without transposes, and its vectors of the sample. If these differ, return it as it is.

    OpenVINO itself errs in some networks: 2026.4 does where a convolution of sequences, a ReLU and a product have
    transposes between them. The tests hold the `known` networks of the catalogue against TensorFlow. For another
    network whose two forms differ, nobody knows which one is right: `ValueError`.
    """
    plain = _vectors(network, sample)
    moved = network.clone()
    try:
        layout.without_transposes(moved)
        fast = _vectors(moved, sample)
    except (RuntimeError, ValueError):  # of OpenVINO or numpy, for a network that `layout` does not foresee
        return network, plain
    if cosines_of(fast, plain).min(initial=1.0) >= ROUNDED:
        return moved, fast
    if not known:
        raise ValueError("OpenVINO computes two equal forms of the network differently")
    return network, plain


def reference(backbone: Backbone, weights: str) -> Vectors:
    """Return the vectors of the pictures of `parity.made_up`, as Keras itself computes them."""
    built = building.build(backbone, weights)
    return np.asarray(built.graph.predict_on_batch(made_up(built.backbone.input_size)), dtype=np.float32)


def _as_keras_exports(built: building.Built) -> Network:
    """Return the graph as an OpenVINO model, as Keras exports it.

    It takes one picture at a time. For other batches, Keras' export would be wrong: it writes the batch of its sample,
    1, into the shapes of `Reshape`.
    """
    height, width = built.backbone.input_size
    picture = keras.InputSpec(shape=(1, height, width, 3), dtype="uint8")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "graph.xml")
        built.graph.export(str(path), format="openvino", input_signature=[picture], verbose=False)
        network = openvino.Core().read_model(path)
        network.reshape([1, height, width, 3])
        layout.simplify(network)
        return network.clone()  # whose weights are not read from the file


def _round(network: Network) -> None:
    """Round the large constants of a network to float16, in place. `openvino.save_model` would round all of them."""
    for node in network.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != openvino.Type.f32:
            continue
        numbers = np.asarray(node.data)
        if numbers.size > KEPT and np.abs(numbers).max() <= np.finfo(np.float16).max:
            rounded = operations.constant(numbers.astype(np.float16))
            node.output(0).replace(operations.convert(rounded, "f32").output(0))


def _saved(network: Network) -> Files:
    """Return the files of a network. Equal networks have equal files.

    So nodes are named by their place. Keras' names count everything that the process has built.
    """
    network.set_friendly_name("network")
    for number, node in enumerate(network.get_ordered_ops()):
        node.set_friendly_name(f"{node.get_type_name()}_{number}")
        for output in node.outputs():
            output.get_tensor().set_names(set())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "graph.xml")
        openvino.save_model(network, path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def _vectors(network: Network, sample: Pixels) -> Vectors:
    """Return the vectors of pictures in f32, (n, dim)."""
    request = openvino.Core().compile_model(network, DEVICE, {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    return np.stack([next(iter(request.infer({0: picture[None]}).values()))[0] for picture in sample])
