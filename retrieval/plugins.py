"""Name -> object on demand: the only place that imports by name. What is slow to import waits for its first use."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

PLUGINS = {
    "runtime:keras": "retrieval.networks.keras:KerasEncoder",
    "keras:class_table": "retrieval.networks.keras:class_table",
    "keras:has_gpu": "retrieval.networks.keras:has_gpu",
    "runtime:openvino": "retrieval.networks.openvino:OpenVinoEncoder",
    "openvino:converted": "retrieval.networks.openvino:converted",
    "openvino:precisions": "retrieval.networks.openvino:precisions",
    "openvino:processor": "retrieval.networks.openvino:processor",
    "training:Learner": "retrieval.training.learner:Learner",
    "vectors:exact": "retrieval.vectors.segment:ExactVectors",
    "vectors:structures": "retrieval.vectors.indexed:StructuredVectors",
    "vectors:faiss": "retrieval.vectors.faiss:Structure",
    "vectors:check": "retrieval.vectors.faiss:check",
    "api:Index": "retrieval.index:Index",
    "api:Match": "retrieval.types:Match",
    "api:Report": "retrieval.types:Report",
}

TALKATIVE = frozenset({"retrieval.networks.keras", "retrieval.training.learner"})
"""Modules that import TensorFlow."""


def load(name: str) -> Any:  # noqa: ANN401 - what a name stands for is its caller's knowledge
    """Return the object registered as `name`, importing its module if need be; `KeyError` for a name that is not."""
    module, _, attribute = PLUGINS[name].partition(":")
    return getattr(sys.modules.get(module) or _imported(module), attribute)


def _imported(module: str) -> ModuleType:
    if module not in TALKATIVE:
        return import_module(module)
    from retrieval.process.quiet import hushed

    with hushed():
        return import_module(module)
