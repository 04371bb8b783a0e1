"""Write the int8 form of `mini` into the package, beside its converted network.

The ranges of the numbers inside the network are measured on pictures of a tar of JPEGs. It needs the extra `int8`.
"""

import argparse
import itertools
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from retrieval.networks import graph as graphs
from retrieval.networks.catalogue import MINI, Backbone
from retrieval.networks.execution import Execution
from retrieval.networks.graph import Files
from retrieval.networks.openvino import OpenVinoEncoder
from retrieval.networks.quantise import int8_form, pictures
from retrieval.networks.weights import SHIPPED
from retrieval.pictures import given
from retrieval.types import Pixels

FACTS = ("backbone", "digest", "files", "parity", "pictures")


def main() -> None:
    """Quantise the network, and write its two files and its facts."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("RETRIEVAL_SHARED", "../shared"), "data", "images", "unlabelled144.tar")
    arguments.add_argument("--pictures", type=Path, default=data, help="a tar of JPEGs")
    tar: Path = arguments.parse_args().pictures
    backbone = Backbone.choose(MINI)
    shipped = graphs.shipped(backbone, str(SHIPPED))
    if shipped is None:
        arguments.error("convert mini first: scripts/convert_mini")
    facts = shipped.facts

    def run(files: Files) -> OpenVinoEncoder:
        return OpenVinoEncoder(
            files, backbone.input_size, facts["dim"], facts["fingerprint"], Execution("openvino", "f32")
        )

    form = int8_form(shipped, np.concatenate([*pixels(tar, backbone.input_size)]), run)
    for suffix, content in zip(graphs.SUFFIXES, form.files, strict=True):
        graphs.INT8_FORM.with_suffix(suffix).write_bytes(content)
    graphs.INT8_FORM.write_text(json.dumps({name: form.facts[name] for name in FACTS}, indent=1) + "\n")
    print(f"the mean cosine to f32 on {form.facts['pictures']} pictures is {form.facts['parity']:.4f}")


def pixels(tar: Path, size: tuple[int, int]) -> Iterator[Pixels]:
    """Yield the first pictures of a tar by their names, each (1, *size, 3)."""
    with tarfile.open(tar) as opened:
        members = sorted((one for one in opened if one.name.endswith(".jpg")), key=lambda one: one.name)
        for member in itertools.islice(members, pictures(size)):
            file = opened.extractfile(member)
            if file is not None:
                yield given.pixels(file.read(), size)


if __name__ == "__main__":
    main()
