"""`retrieval backbones`: the networks to choose from."""

import json

from retrieval.backbones import ARCHITECTURES, DEFAULT
from retrieval.cli.options import Json, Quiet, Verbose
from retrieval.cli.output import put


def backbones(json_lines: Json = False, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """List the networks to choose from: every model of keras.applications."""
    if json_lines:
        for row in ARCHITECTURES.values():
            put(json.dumps(row.as_dict()))
        return
    put("name                 input   dim  parameters   top-1  weights")
    for row in ARCHITECTURES.values():
        size = f"{row.parameters / 1e6:8.1f} M  {row.top1:5.1f} %  {row.bytes / 1e6:4.0f} MB"
        mark = "  (default)" if row.name == DEFAULT else ""
        put(f"{row.name:<20}{row.size:>6}{row.dim:>6}  {size}{mark}")
