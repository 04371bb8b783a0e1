"""The options of a network that callers of the library give, and the one place that checks them.

    Index.create(**network), Index.open(**network), Classifier(**network)
        -> RequestedNetwork.of -> `weights.choose`: a backbone and its weights
                               -> `loading.load`: an encoder, run as `execution` says

`Backbone.choose` checks the values that depend on the backbone.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from retrieval.arguments import text_path
from retrieval.networks.catalogue import AUTO
from retrieval.networks.execution import Execution


class BackboneOptions(TypedDict, total=False):
    """Options that change the vectors of a named backbone. None stands for the default of the backbone."""

    input_size: int | None
    """Side of the network's input, in pixels."""
    alpha: float | None
    """Width of a MobileNet, as a factor of its usual number of channels."""
    minimalistic: bool | None
    """Whether a MobileNetV3 does without its advanced units."""
    pooling: str | None
    """"avg", "max" or "gem": how a map of features becomes a vector (see `Backbone.pooled`)."""


class NetworkOptions(BackboneOptions, total=False):
    """All options of a network that a caller may give. A missing option stands for its default."""

    backbone: str | None
    """A name of `retrieval backbones`, the path of a `.keras` file, or "auto" (also None): see `weights.choose`."""
    weights: str | os.PathLike[str] | None
    """A file of weights, "random", "imagenet", or None for the places that `weights.all_weights` lists."""
    runtime: str
    """One of `execution.RUNTIMES`."""
    precision: str
    """One of `execution.PRECISIONS`."""
    threads: int
    """Number of threads that decode, and of threads that encode; 0 stands for one per core."""


BACKBONE_OPTIONS = tuple(BackboneOptions.__annotations__)
"""Names of the options that change the vectors of a named backbone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedNetwork:
    """The options of a network after they were checked, with defaults for the options that were not given."""

    backbone: str = AUTO
    """A name, the path of a `.keras` file, or `AUTO` in small or large letters."""
    weights: str | None = None
    """A path, `catalogue.RANDOM`, `catalogue.IMAGENET`, or None, as the caller gave it."""
    options: BackboneOptions = field(default_factory=BackboneOptions)
    """The options that were given and are not None. `Backbone.choose` checks their values."""
    execution: Execution = field(default_factory=Execution)

    @classmethod
    def of(cls, given: NetworkOptions) -> "RequestedNetwork":
        """Return `given`, checked; `BadInput` for a wrong value, `TypeError` for an option that does not exist.

        The values of `BackboneOptions` are checked by `Backbone.choose`, which knows what each family accepts.
        """
        if unknown := sorted(given.keys() - NetworkOptions.__annotations__.keys()):
            raise TypeError(f"there is no option of a network named {unknown[0]!r}")
        options: Mapping[str, Any] = given
        backbone, weights = options.get("backbone"), options.get("weights")
        defaults = Execution()
        return cls(
            backbone=AUTO if backbone is None else text_path(backbone, "the backbone"),
            weights=None if weights is None else text_path(weights, "the path of the weights"),
            options=_backbone_options(options),
            execution=Execution.of(
                options.get("runtime", defaults.runtime),
                options.get("precision", defaults.precision),
                options.get("threads", defaults.threads),
            ),
        )


def _backbone_options(given: Mapping[str, Any]) -> BackboneOptions:
    """Return those of `BACKBONE_OPTIONS` that were given and are not None."""
    found: Any = {name: given[name] for name in BACKBONE_OPTIONS if given.get(name) is not None}
    options: BackboneOptions = found
    return options
