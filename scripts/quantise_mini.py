"""Write the int8 form of `mini` into the package, beside its converted network. It needs NNCF: pip install nncf.

The ranges of the numbers inside the network are measured on pictures of a tar of JPEGs. The weights take 7 bits,
because the products of 8 bits overflow on processors without VNNI. What comes after the last product stays in float32:
with a length of 8 bits, vectors are far from the length 1.
"""

import argparse
import hashlib
import json
import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any

os.environ["NNCF_CI"] = "1"  # it would report its use to its makers

import nncf
import openvino
import openvino.passes

from retrieval.networks import graph as graphs
from retrieval.networks.catalogue import MINI, Backbone
from retrieval.networks.weights import SHIPPED
from retrieval.pictures import given

PICTURES = 300
"""Number of pictures on which ranges are measured: the default of NNCF."""
PRODUCTS = {"Convolution", "GroupConvolution", "MatMul"}


def main() -> None:
    """Quantise the network, and write its two files and their digests."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("RETRIEVAL_SHARED", "../shared"), "data", "images", "unlabelled144.tar")
    arguments.add_argument("--pictures", type=Path, default=data, help="a tar of JPEGs")
    backbone = Backbone.choose(MINI)
    shipped = graphs.shipped(backbone, str(SHIPPED))
    if shipped is None:
        arguments.error("convert mini first: scripts/convert_mini")
    files = quantised(shipped.files, pixels(arguments.parse_args().pictures, backbone.input_size))
    for suffix, content in zip(graphs.SUFFIXES, files, strict=True):
        graphs.INT8_FORM.with_suffix(suffix).write_bytes(content)
    facts = {name: shipped.facts[name] for name in ("backbone", "digest")}
    facts["files"] = [hashlib.sha256(content).hexdigest() for content in files]
    graphs.INT8_FORM.write_text(json.dumps(facts, indent=1) + "\n")


def pixels(tar: Path, size: tuple[int, int]) -> list[Any]:
    """Return the first pictures of a tar by their names, each (1, *size, 3)."""
    with tarfile.open(tar) as opened:
        members = sorted((one for one in opened if one.name.endswith(".jpg")), key=lambda one: one.name)[:PICTURES]
        found = [opened.extractfile(one) for one in members]
        return [given.pixels(file.read(), size) for file in found if file is not None]


def quantised(files: tuple[bytes, bytes], sample: list[Any]) -> tuple[bytes, bytes]:
    """Return the two files of the int8 form of a network, whose two files are given."""
    network = openvino.Core().read_model(*files)
    manager = openvino.passes.Manager()
    manager.register_pass(openvino.passes.ConstantFolding())
    manager.run_passes(network)
    nodes = network.get_ordered_ops()
    last = max(place for place, node in enumerate(nodes) if node.get_type_name() in PRODUCTS)
    tail = [
        node.get_friendly_name() for node in nodes[last + 1 :] if node.get_type_name() not in {"Constant", "Result"}
    ]
    made = nncf.quantize(
        network,
        nncf.Dataset(sample),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        subset_size=len(sample),
        fast_bias_correction=False,
        ignored_scope=nncf.IgnoredScope(names=tail),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.quantization.advanced_parameters.OverflowFix.ENABLE
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "graph.xml")
        openvino.save_model(made, path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


if __name__ == "__main__":
    main()
