"""Quantises a converted network, so that it computes its products in whole numbers of 8 bits.

    int8_form(graph, pixels) -> NNCF in a process of its own -> vectors compared on pictures held out -> Graph

NNCF measures the ranges of the numbers inside the network on pictures. The extra `int8` installs it.
"""

import logging
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from retrieval import extras, plugins
from retrieval.errors import MissingLibrary
from retrieval.networks.convert import UNWANTED
from retrieval.networks.encoder import Encoder
from retrieval.networks.graph import Files, Graph
from retrieval.networks.parity import cosines_of
from retrieval.process import children
from retrieval.process.children import Facts, Message
from retrieval.types import Pixels

PICTURES = 400
"""Most pictures that are used. On three quarters, ranges are measured: on 300, the default of NNCF."""
FEWEST = 32
"""Fewest pictures from which a network is quantised. Ranges of fewer pictures are not those of the next ones."""
HELD_OUT = 4
"""One picture of so many is held out: on it, the vectors in int8 are compared with those in f32."""
MOST_BYTES = 2**28
"""Most bytes of pixels that are used."""
PRODUCTS = {"Convolution", "GroupConvolution", "MatMul"}
"""Types of the nodes with weights."""


def demand() -> None:
    """Raise `MissingLibrary` if NNCF is not installed."""
    if not plugins.installed("nncf"):
        sentence = "int8 needs NNCF, which is not installed"
        raise MissingLibrary(sentence, hint=extras.hint("install it", "int8"))


def pictures(size: tuple[int, int]) -> int:
    """Return from how many pictures of `size` (height, width) a network is quantised."""
    height, width = size
    return max(FEWEST, min(PICTURES, MOST_BYTES // (3 * height * width)))


def int8_form(graph: Graph, pixels: Pixels, run: Callable[[Files], Encoder]) -> Graph:
    """Return the int8 form of a network, made from pictures of its size, (n, height, width, 3) with n >= `FEWEST`.

    Its fact `parity` is the mean cosine of its vectors to those of the network in f32, on the pictures held out. `run`
    returns the encoder that runs two files in f32. Raises `MissingLibrary` and `children.ChildFailed`.
    """
    files = quantised(graph.files, pixels[[place for place in range(len(pixels)) if place % HELD_OUT]])
    held_out = pixels[::HELD_OUT]
    cosines = cosines_of(run(files).images(held_out), run(graph.files).images(held_out))
    return graph.with_files(files, parity=float(cosines.mean()) if len(cosines) else None, pictures=len(cosines))


def quantised(files: Files, pixels: Pixels) -> Files:
    """Return the two files of the int8 form of a network, whose two files are given.

    `pixels`, (n, height, width, 3), are the pictures on which ranges are measured. Raises `MissingLibrary` and
    `children.ChildFailed`.
    """
    demand()
    facts = {"shape": pixels.shape}
    _, (structure, numbers) = children.ask(__name__, facts, (*files, pixels.tobytes()))
    return structure, numbers


def _respond(question: Facts, files: Sequence[bytes]) -> Message:
    """Quantise the network of a question, in the process that was started for it."""
    import numpy as np

    from retrieval.process.quiet import hushed

    structure, numbers, pixels = files
    with hushed(), redirect_stdout(StringIO()):  # NNCF prints bars
        return {}, _quantised((structure, numbers), np.frombuffer(pixels, np.uint8).reshape(question["shape"]))


def _quantised(files: Files, pixels: Pixels) -> Files:
    """Quantise a network.

    The weights take 7 bits, because the products of 8 bits overflow on processors without VNNI. What comes after the
    last product stays in float32: with a length of 8 bits, vectors are far from the length 1.
    """
    import nncf
    import openvino
    from nncf.quantization.advanced_parameters import OverflowFix
    from openvino._offline_transformations import apply_moc_transformations

    nncf.set_log_level(logging.ERROR)
    network = openvino.Core().read_model(*files)
    # It moves the scales of batch normalisation into the weights before them. Else NNCF finds no biases to correct.
    apply_moc_transformations(network, cf=True)
    made = nncf.quantize(
        network,
        nncf.Dataset([picture[None] for picture in pixels]),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        subset_size=len(pixels),
        fast_bias_correction=False,
        ignored_scope=nncf.IgnoredScope(names=_after_last_product(network)),
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "graph.xml")
        openvino.save_model(made, path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def _after_last_product(network: Any) -> list[str]:  # noqa: ANN401 - OpenVINO has no types
    """Return the names of the nodes after the last product."""
    nodes = network.get_ordered_ops()
    last = max((place for place, node in enumerate(nodes) if node.get_type_name() in PRODUCTS), default=-1)
    tail = [node for node in nodes[last + 1 :] if node.get_type_name() not in {"Constant", "Result"}]
    return [node.get_friendly_name() for node in tail]


if __name__ == "__main__":
    children.answer(_respond, without=UNWANTED)
