"""`retrieval backbones`: the networks to choose from."""

import json

from retrieval.cli.options import Json, Quiet, Verbose
from retrieval.cli.printing import note, put


def backbones(json_lines: Json = False, verbose: Verbose = False, quiet: Quiet = False) -> None:
    """List the networks to choose from.

        retrieval backbones
        retrieval backbones --json

    The list has every model of keras.applications, and mini, which comes with this program. Columns: side of the input
    in pixels, length of the vectors, number of parameters, top-1 accuracy on ImageNet, size of the weights.
    """
    from retrieval.networks.catalogue import ARCHITECTURES
    from retrieval.networks.weights import at_hand

    if json_lines:
        for architecture in ARCHITECTURES.values():
            put(json.dumps(architecture.as_dict()))
        return
    put("name                 input   dim  parameters   top-1  weights")
    for architecture in ARCHITECTURES.values():
        top1 = "      -" if architecture.top1 is None else f"{architecture.top1:5.1f} %"
        sizes = f"{architecture.size:>6}{architecture.dim:>6}  {architecture.parameters / 1e6:8.1f} M"
        put(f"{architecture.name:<20}{sizes}  {top1}  {architecture.bytes / 1e6:4.0f} MB")
    note(f"for a new index, auto is {at_hand()[0]} on this machine")
