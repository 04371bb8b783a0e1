"""`retrieval backbones`: the networks to choose from."""

import json

from retrieval.cli.options import Json, Quiet, Verbose
from retrieval.cli.output import note, put
from retrieval.networks.catalogue import ARCHITECTURES
from retrieval.networks.weights import at_hand


def backbones(json_lines: Json = False, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """List the networks to choose from: every model of keras.applications, and our own."""
    if json_lines:
        for row in ARCHITECTURES.values():
            put(json.dumps(row.as_dict()))
        return
    put("name                 input   dim  parameters   top-1  weights")
    for row in ARCHITECTURES.values():
        top1 = "      -" if row.top1 is None else f"{row.top1:5.1f} %"
        size = f"{row.parameters / 1e6:8.1f} M  {top1}  {row.bytes / 1e6:4.0f} MB"
        put(f"{row.name:<20}{row.size:>6}{row.dim:>6}  {size}")
    note(f"for a new index, auto is {at_hand()[0]} on this machine")
