"""The model of an index: what made its vectors, and the encoder that makes more of them, loaded when it is needed."""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from retrieval import metadata, plugins
from retrieval.backbones import DEFAULT, RANDOM, Backbone, locate_weights
from retrieval.database import disk_errors
from retrieval.errors import BadInput, ModelMismatch, RetrievalError
from retrieval.runtimes import AUTO, Encoder, Execution
from retrieval.store import GRACE, Store

if TYPE_CHECKING:
    from retrieval.compiled import Graph

OWN_ENCODER = '{"name": "own"}'
"""What an index keeps in place of a backbone where its creator handed in an encoder."""
GPUS = ("/dev/nvidia0", "/dev/kfd")
"""Where Linux shows a GPU of NVIDIA's or AMD's; whether TensorFlow can use it, it says itself."""
DEFAULTS = Execution()
_HINT = "vectors of two models cannot be compared: use the index's own, or make another index with --index DIR"

log = logging.getLogger("retrieval")


class Model:
    """The encoder of an index, as its row of the table `encoders` describes it."""

    def __init__(
        self,
        row: Mapping[str, Any],
        graph: "Callable[[], Graph | None]" = lambda: None,
        *,
        encoder: Encoder | None = None,
        weights: str | None = None,
        execution: Execution = DEFAULTS,
    ) -> None:
        """Take the row; `encoder`, or else `weights`, where the caller has given some; `ModelMismatch`.

        `graph` reads the index's own copy of the compiled network.
        """
        self.row = dict(row)
        self._graph, self._execution = graph, execution
        self.size: tuple[int, int] = (row["height"], row["width"])
        self._given = weights
        self._loading = threading.Lock()
        self._encoder = None if encoder is None else self._checked(encoder, "the encoder that was given")

    @property
    def backbone(self) -> Backbone | None:
        """The backbone and its options; None where the index was made with an encoder of its creator's own."""
        return None if self.row["backbone"] == OWN_ENCODER else Backbone.from_json(self.row["backbone"])

    def __str__(self) -> str:
        """Name what made the vectors, for a person."""
        return str(self.backbone or "an encoder of its creator's own")

    def demand(self, name: str | None, options: Mapping[str, Any]) -> None:
        """Refuse another backbone than the index's, or other options; None stands for whatever the index has."""
        given = {key: value for key, value in options.items() if value is not None}
        if name is None and not given:
            return
        mine = self.backbone
        wanted = Backbone.choose(name or (mine.name if mine is not None else DEFAULT), **given)
        if mine is not None and wanted.name == mine.name:
            if wanted.is_model and name is not None:
                self._given = name  # its size and numbers are told by its fingerprint, when it is loaded
                return
            unsaid = {"input_size", "alpha", "minimalistic"} - given.keys()
            wanted = replace(wanted, **{key: getattr(mine, key) for key in unsaid})
        if wanted != mine:
            raise ModelMismatch(f"the index was made with {self}, not with {wanted}", hint=_HINT)

    def ready(self) -> None:
        """Look at weights that were given expressly before anything is done with the index; `ModelMismatch`."""
        if self._given is not None:
            self.encoder()

    def encoder(self, *, many: bool = False) -> Encoder:
        """Return the encoder, loading it at the first call: for `many` pictures, or for a few.

        `ModelMismatch` where its weights are not the index's.
        """
        with self._loading:
            if self._encoder is None:
                self._encoder = self._loaded(many=many)
            return self._encoder

    def _loaded(self, *, many: bool) -> Encoder:
        from retrieval.compiled import CompiledEncoder

        backbone = self.backbone
        if backbone is None:
            raise BadInput(f"the index was made with {self}", hint="hand it in: Index.open(..., encoder=...)")
        on_keras = runs_on_keras(self._execution, many=many)
        graph = None if on_keras or self._given is not None else self._graph()
        if graph is not None and graph.facts["fingerprint"] == self.row["fingerprint"]:
            return CompiledEncoder(graph, self._execution, lambda: self._reference(backbone))
        weights = self._weights(backbone)
        encoder = load(backbone, weights, self._execution, on_keras=on_keras)
        self.row["weights"] = os.fsencode(weights)
        return self._checked(encoder, f"{backbone} with the weights {weights}")

    def _weights(self, backbone: Backbone) -> str:
        return locate_weights(backbone, self._given, os.fsdecode(self.row["weights"]))

    def _reference(self, backbone: Backbone) -> Encoder:
        return self._checked(plugins.load("runtime:keras")(backbone, self._weights(backbone)), str(backbone))

    @property
    def graph(self) -> "Graph | None":
        """The compiled network that is loaded, once it has been measured; None where there is none."""
        if self._encoder is None:
            return None
        from retrieval.compiled import CompiledEncoder

        graph = self._encoder.graph if isinstance(self._encoder, CompiledEncoder) else None
        return None if graph is None or graph.facts["parity"] is None else graph

    def _checked(self, encoder: Encoder, name: str) -> Encoder:
        mine, other = self.row["fingerprint"], encoder.fingerprint
        if mine != other:
            sentence = f"the index was made with {self}, fingerprint {mine[:12]}; {name} has fingerprint {other[:12]}"
            raise ModelMismatch(sentence, hint=_HINT)
        return encoder


def load(backbone: Backbone, weights: str, execution: Execution = DEFAULTS, *, on_keras: bool | None = None) -> Any:  # noqa: ANN401 - encoders that must not be imported here
    """Return the encoder of `backbone` with `weights`, as `locate_weights` gives them."""
    if weights == RANDOM:
        log.warning("the weights are random: good for trying things out, useless for finding similar pictures")

    @cache
    def reference() -> Any:  # noqa: ANN401 - likewise
        return plugins.load("runtime:keras")(backbone, weights)

    from retrieval import compiled  # with numpy, as everything that is compiled

    if runs_on_keras(execution, many=False) if on_keras is None else on_keras:
        return reference()
    name = compiled.key(backbone, weights)
    graph = compiled.cached(name)
    if graph is None:
        try:
            graph = compiled.convert(reference())
        except RetrievalError:
            raise
        except Exception as error:  # noqa: BLE001 - an own model may hold what TensorFlow or OpenVINO cannot express
            log.warning(
                "the network cannot be compiled and runs on Keras, more slowly (%s)", " ".join(str(error).split())[:200]
            )
            return reference()
        compiled.remember(compiled.key(backbone, weights), graph)
    return compiled.CompiledEncoder(graph, execution, reference, partial(compiled.remember, name))


def runs_on_keras(execution: Execution, *, many: bool) -> bool:
    """Tell whether Keras is to run the network: by request, for many pictures on a GPU, or for want of OpenVINO."""
    if execution.runtime == "keras":
        return True
    if execution.runtime == AUTO and many and any(os.path.exists(device) for device in GPUS):
        return True
    try:
        plugins.load("runtime:openvino")
    except ImportError:
        if execution.runtime != AUTO:
            raise BadInput("OpenVINO is not installed", hint="pip install openvino") from None
        log.warning("OpenVINO is not installed; the network runs on Keras, more slowly")
        return True
    return False


def stored_facts(store: Store) -> dict[str, Any] | None:
    """Return the facts of the index's own copy of its compiled network, None where it has none."""
    from retrieval.compiled import GRAPH

    with store.connection() as connection:
        facts: dict[str, Any] | None = metadata.setting(connection, GRAPH)
    return facts


def stored_graph(store: Store) -> "Graph | None":
    """Read the index's own copy of its compiled network; None where it has none that is whole."""
    from retrieval.compiled import ENCODER, Graph

    facts = stored_facts(store)
    return None if facts is None else Graph.read(store.folder / ENCODER, facts)


def store_graph(store: Store, graph: "Graph") -> None:
    """Keep a copy of `graph` in the index, if it has not got it; within `store.writing()`."""
    from retrieval.compiled import ENCODER, GRAPH, paths
    from retrieval.vectors.exact import sweep

    known = stored_graph(store)
    if known is None or known.facts != graph.facts:
        with disk_errors():
            graph.write(store.folder / ENCODER)
        store.edit(metadata.put_setting, GRAPH, graph.facts)
        with disk_errors():
            names = {path.name for path in paths(store.folder / ENCODER, graph.facts)}
            sweep(store.folder / ENCODER, names, GRACE)


def described(encoder: Encoder, backbone: Backbone | None, weights: str) -> dict[str, Any]:
    """Return the row of the table `encoders` for a new index; no backbone stands for an encoder of the caller's own."""
    return {
        "fingerprint": encoder.fingerprint,
        "backbone": OWN_ENCODER if backbone is None else backbone.as_json(),
        "weights": os.fsencode(weights),
        "dim": encoder.dim,
        "height": encoder.size[0],
        "width": encoder.size[1],
    }
