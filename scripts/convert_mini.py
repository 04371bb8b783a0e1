"""Write the converted network of `mini` into the package, beside its weights."""

import json

from retrieval.networks.catalogue import MINI, Backbone
from retrieval.networks.convert import converted
from retrieval.networks.graph import SUFFIXES
from retrieval.networks.weights import SHIPPED
from retrieval.types import DECODE_RULE

FACTS = ("backbone", "digest", "dim", "files", "parity", "pictures", "precisions")
"""The facts that are written. The fingerprint follows from them and the decode rule."""


def main() -> None:
    """Convert the network, and write its two files and its facts."""
    graph = converted(Backbone.choose(MINI), str(SHIPPED), DECODE_RULE)
    for suffix, data in zip(SUFFIXES, graph.files, strict=True):
        SHIPPED.with_suffix(suffix).write_bytes(data)
    facts = {name: graph.facts[name] for name in FACTS}
    SHIPPED.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    print(f"wrote {', '.join(SHIPPED.with_suffix(suffix).name for suffix in (*SUFFIXES, '.json'))}")


if __name__ == "__main__":
    main()
