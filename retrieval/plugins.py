"""Objects of modules that are slow to import, each under a name. `load` imports the module at the first request.

No other module of this package imports modules by name. A seam is a protocol with several implementations. Another
package can add an implementation: it registers a class as an entry point in the group "retrieval.SEAM", for example
"retrieval.vector_stores". The class is loaded when its name is first requested.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from retrieval import extras
from retrieval.errors import MissingLibrary

PLUGINS = {
    "runtime:keras": "retrieval.networks.keras:KerasEncoder",
    "keras:has_gpu": "retrieval.networks.keras:has_gpu",
    "runtime:openvino": "retrieval.networks.openvino:OpenVinoEncoder",
    "openvino:precisions": "retrieval.networks.openvino:precisions",
    "openvino:processor": "retrieval.networks.openvino:processor",
    "training:Learner": "retrieval.training.learner:Learner",
    "vector_stores:exact": "retrieval.vectors.oracle:ExactVectors",
    "vector_stores:faiss": "retrieval.vectors.indexed:StructuredVectors",
    "faiss:Structure": "retrieval.vectors.faiss:Structure",
    "faiss:check": "retrieval.vectors.faiss:check",
    "command:backbones": "retrieval.cli.backbones:backbones",
    "command:classify": "retrieval.cli.classify:classify",
    "command:cluster": "retrieval.cli.cluster:cluster",
    "command:compact": "retrieval.cli.compact:compact",
    "command:duplicates": "retrieval.cli.duplicates:duplicates",
    "command:evaluate": "retrieval.cli.evaluate:evaluate",
    "command:diff": "retrieval.cli.diff:diff",
    "command:has": "retrieval.cli.has:has",
    "command:index": "retrieval.cli.index:index",
    "command:info": "retrieval.cli.info:info",
    "command:journal": "retrieval.cli.journal:journal",
    "command:labels": "retrieval.cli.labels:labels",
    "command:query": "retrieval.cli.query:query",
    "command:list": "retrieval.cli.list:list_images",
    "command:map": "retrieval.cli.map:map_images",
    "command:outliers": "retrieval.cli.outliers:outliers",
    "command:serve": "retrieval.cli.serve:serve",
    "serving:serve": "retrieval.serving.run:serve",
    "command:remove": "retrieval.cli.remove:remove",
    "command:sample": "retrieval.cli.sample:sample",
    "command:train": "retrieval.cli.train:train",
    "command:tune": "retrieval.cli.tune:tune",
    "command:undo": "retrieval.cli.undo:undo",
    "command:watch": "retrieval.cli.watch:watch",
    "command:verify": "retrieval.cli.verify:verify",
    "api:Answers": "retrieval.types:Answers",
    "api:Blend": "retrieval.types:Blend",
    "api:Coverage": "retrieval.types:Coverage",
    "api:Decisions": "retrieval.storage.decisions:Decisions",
    "api:Encoder": "retrieval.networks.encoder:Encoder",
    "api:Failure": "retrieval.types:Failure",
    "api:FileEvent": "retrieval.types:FileEvent",
    "api:Filter": "retrieval.searching.filters:Filter",
    "api:Index": "retrieval.index:Index",
    "api:IndexedImage": "retrieval.types:IndexedImage",
    "api:Info": "retrieval.types:Info",
    "api:Match": "retrieval.types:Match",
    "api:Matches": "retrieval.searching.matches:Matches",
    "api:Measured": "retrieval.types:Measured",
    "api:Metadata": "retrieval.types:Metadata",
    "api:Neighbours": "retrieval.searching.neighbours:Neighbours",
    "api:NetworkOptions": "retrieval.networks.options:NetworkOptions",
    "api:Progress": "retrieval.types:Progress",
    "api:RankingInForce": "retrieval.types:RankingInForce",
    "api:Report": "retrieval.types:Report",
    "api:RootInfo": "retrieval.types:RootInfo",
    "api:SearchForm": "retrieval.types:SearchForm",
    "api:SearchOptions": "retrieval.searching.options:SearchOptions",
    "api:Tag": "retrieval.types:Tag",
    "api:Tagged": "retrieval.types:Tagged",
    "api:Timing": "retrieval.types:Timing",
    "api:Verification": "retrieval.storage.verify:Verification",
}
"""Name -> the module and the attribute in the module. The name of an implementation is "SEAM:NAME"."""

EXTRAS = {"retrieval.serving.run": ("the page", "web")}
"""Module that needs an extra -> the name of its task, and the extra."""
ON_TENSORFLOW = {"retrieval.networks.keras": "the runtime keras", "retrieval.training.learner": "training"}
"""Module that runs Keras on TensorFlow -> the name of its task. The extra `train` installs TensorFlow."""


def load(name: str) -> Any:  # noqa: ANN401 - the caller knows what the name stands for
    """Return the object that `PLUGINS` has under `name`; import its module first if necessary.

    Raises `KeyError` for an unknown name, `MissingLibrary` if the object needs TensorFlow and Keras cannot run on it
    here, and the errors of the import.
    """
    module, _, attribute = PLUGINS[name].partition(":")
    if module not in sys.modules:
        demand(name)
    return getattr(sys.modules.get(module) or _imported(module), attribute)


def demand(name: str) -> None:
    """Raise `MissingLibrary` if the object `name` needs TensorFlow, which is not installed. Nothing is imported."""
    module, _, _ = PLUGINS[name].partition(":")
    if module in ON_TENSORFLOW and not installed("tensorflow"):
        sentence = f"{ON_TENSORFLOW[module]} needs TensorFlow, which is not installed"
        raise MissingLibrary(sentence, hint=extras.hint("install it", "train"))


def implementation(seam: str, name: str) -> Any:  # noqa: ANN401 - the caller knows the seam
    """Return the implementation `name` of a seam, our own or another package's; `KeyError` for an unknown name.

    Our own implementation counts if another package registers the same name.
    """
    if f"{seam}:{name}" in PLUGINS:
        return load(f"{seam}:{name}")
    from importlib.metadata import entry_points

    for entry in entry_points(group=f"retrieval.{seam}", name=name):
        return entry.load()
    raise KeyError(name)


def implementations(seam: str) -> list[str]:
    """Return the names of all implementations of a seam, in alphabetical order."""
    from importlib.metadata import entry_points

    own = {name.removeprefix(f"{seam}:") for name in PLUGINS if name.startswith(f"{seam}:")}
    return sorted(own | entry_points(group=f"retrieval.{seam}").names)


class _Later(ModuleType):
    """A module that is imported when something of it is used.

    `importlib.util.LazyLoader` does not do that in Python 3.11: there, the `import` statement itself uses the module.
    """

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - anything of the module
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def put_off(module: str) -> None:
    """Let other code import a module without loading it. It is loaded when something of it is used."""
    if module not in sys.modules and installed(module.partition(".")[0]):
        sys.modules[module] = _Later(module)


def installed(module: str) -> bool:
    """Return whether a package of others is installed, without importing it."""
    try:
        spec = find_spec(module)
    except ValueError:  # a program has put an object without a specification in its place
        return False
    return spec is not None and spec.origin is not None  # a mere folder of that name has no origin


def _imported(module: str) -> ModuleType:
    if module in EXTRAS:
        task, extra = EXTRAS[module]
        try:
            return import_module(module)
        except ImportError as error:
            sentence = f"{task} needs libraries that are not installed ({extras.reason(error)})"
            raise MissingLibrary(sentence, hint=extras.hint("install them", extra)) from error
    if module not in ON_TENSORFLOW:
        return import_module(module)
    from retrieval.process.quiet import hushed

    with hushed():  # TensorFlow writes to stderr when it is imported
        _demand_tensorflow(ON_TENSORFLOW[module])
        return import_module(module)


def _demand_tensorflow(task: str) -> None:
    """Import TensorFlow and Keras. Raises `MissingLibrary` unless Keras runs on TensorFlow."""
    library, hint = "TensorFlow", "install it anew: pip install --force-reinstall tensorflow"
    try:
        import tensorflow  # noqa: F401, ICN001 - only to see whether it can be imported

        library, hint = "Keras on TensorFlow", "set KERAS_BACKEND=tensorflow before Keras is imported"
        import keras
    except Exception as error:
        reason = f"{task} needs {library}, which cannot be loaded ({extras.reason(error)})"
        raise MissingLibrary(reason, hint=hint) from error
    if keras.backend.backend() != "tensorflow":
        raise MissingLibrary(f"{task} needs {library}, but here Keras runs on {keras.backend.backend()}", hint=hint)
