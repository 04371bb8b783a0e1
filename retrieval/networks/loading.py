"""The model of an index: what made its vectors, and the encoder that makes more of them, loaded when it is needed."""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from retrieval import plugins
from retrieval.arguments import text_path
from retrieval.errors import BadInput, BadWeights, ModelMismatch, RetrievalError
from retrieval.networks import capacity, catalogue
from retrieval.networks.catalogue import DEFAULT, MINI, RANDOM, Backbone
from retrieval.networks.encoder import AUTO, Encoder, Execution
from retrieval.networks.weights import all_weights
from retrieval.process import forks
from retrieval.types import DECODE_RULE

if TYPE_CHECKING:
    from retrieval.networks.compiled import Graph

OWN_ENCODER = '{"name": "own"}'
"""What an index keeps in place of a backbone where its creator handed in an encoder."""
GPU = "/dev/nvidia0"
"""Where Linux shows a GPU of NVIDIA's. Whether TensorFlow can use it, it tells itself; to ask takes its import."""
GRAPH = "graph"
"""Name of the artefact of an index that is its compiled network."""
DEFAULTS = Execution()
_HINT = "vectors of two models cannot be compared: use the index's own, or make another index with --index DIR"
FIRST_RULE = 2
"""The oldest decode rule that is still known."""
_OLDER_RULE = (
    "the index goes on with decode rule %s, by which its pictures were read: colour profiles are ignored, for example; "
    "to have the newer rule, index the pictures into another folder with --index DIR"
)
_OTHER_VERSION = "mini is another in this version of retrieval: make another index with --index DIR, or go back"

log = logging.getLogger("retrieval")


class Model:
    """The encoder of an index, as its row of the table `encoders` describes it."""

    def __init__(
        self,
        row: Mapping[str, Any],
        graph: "Callable[[], Graph | None]" = lambda: None,
        *,
        encoder: Encoder | None = None,
        loaded: Encoder | None = None,
        weights: str | None = None,
        execution: Execution = DEFAULTS,
    ) -> None:
        """Take the row; `encoder`, or else `weights`, where the caller has given some; `ModelMismatch`.

        `graph` reads the index's own copy of the compiled network; `loaded` is what `load` gave for a few pictures.
        """
        self.row = dict(row)
        self._graph, self._execution = graph, execution
        self.size: tuple[int, int] = (row["height"], row["width"])
        capacity.demand_size(self.size)
        self._given = weights
        self._after_fork()
        forks.in_child(self._after_fork)
        self._said = False
        self._own = None if encoder is None else self._checked(encoder, "the encoder that was given")
        self._encoders = {} if loaded is None else {runs_on_keras(execution, many=False): loaded}

    def _after_fork(self) -> None:
        self._loading = threading.Lock()

    @property
    def backbone(self) -> Backbone | None:
        """The backbone and its options; None where the index was made with an encoder of its creator's own."""
        return None if self.row["backbone"] == OWN_ENCODER else Backbone.from_json(self.row["backbone"])

    @property
    def rule(self) -> int:
        """The decode rule that the index was made with: all its pictures, and its queries, are read by it."""
        return int(self.row["rule"])

    def __str__(self) -> str:
        """Name what made the vectors, for a person."""
        return str(self.backbone or "an encoder of its creator's own")

    def demand(self, name: str | None, options: Mapping[str, Any]) -> None:
        """Refuse another backbone than the index's, or other options; None and "auto" stand for what the index has."""
        name = None if name is None else text_path(name, "the backbone")
        name = None if name is not None and name.lower() == catalogue.AUTO else name
        given = {key: value for key, value in options.items() if value is not None}
        if name is None and not given:
            return
        mine = self.backbone
        wanted = Backbone.choose(name or (mine.name if mine is not None else DEFAULT), **given)
        if mine is not None and wanted.name == mine.name:
            if wanted.is_model and name is not None:
                self._given = name  # its size and numbers are told by its fingerprint, when it is loaded
                return
            unsaid = {"input_size", "alpha", "minimalistic", "pooling"} - given.keys()
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
        self._demand_rule(self.rule)
        if many and self.rule < DECODE_RULE and not self._said:
            self._said = True
            log.warning(_OLDER_RULE, self.rule)
        if self._own is not None:
            return self._own
        with self._loading:
            on_keras = runs_on_keras(self._execution, many=many)
            if on_keras not in self._encoders:
                self._encoders[on_keras] = self._loaded(on_keras=on_keras)
            return self._encoders[on_keras]

    def _loaded(self, *, on_keras: bool) -> Encoder:
        from retrieval.networks.compiled import CompiledEncoder

        backbone = self.backbone
        if backbone is None:
            raise BadInput(f"the index was made with {self}", hint="hand it in: Index.open(..., encoder=...)")
        graph = None if on_keras or self._given is not None else self._graph()
        if graph is not None and graph.facts["fingerprint"] == self.row["fingerprint"]:
            self._demand_rule(graph.facts["rule"])
            return CompiledEncoder(graph, self._execution, lambda: self._reference(backbone))
        return self._first(backbone, partial(load, execution=self._execution, on_keras=on_keras, rule=self.rule))

    def _first(self, backbone: Backbone, made: Callable[[Backbone, str], Any]) -> Encoder:
        """Return what is `made` of the first weights that prove to be the index's, and remember where they are.

        `ModelMismatch` or `BadWeights` where there are none, which says what was found instead.
        """
        wrong: list[RetrievalError] = []
        for weights in all_weights(backbone, self._given, os.fsdecode(self.row["weights"])):
            try:
                encoder = made(backbone, weights)
                fingerprint = encoder.backbone.fingerprint
                for rule in range(1, FIRST_RULE):
                    if fingerprint(encoder.digest, rule) == self.row["fingerprint"]:
                        self._demand_rule(rule)
                checked = self._checked(encoder, f"{backbone} with the weights {weights}")
            except (BadWeights, ModelMismatch) as error:
                wrong.append(error)
                continue
            self.row["weights"] = os.fsencode(weights)
            for passed_over in wrong:
                log.warning("%s; the right weights are %s", passed_over, weights)
            return checked
        if len(wrong) == 1:
            raise wrong[0]
        raise ModelMismatch("; ".join(map(str, wrong)), hint=f"give the right file with --weights FILE; {_HINT}")

    @staticmethod
    def _demand_rule(rule: int) -> None:
        if not FIRST_RULE <= rule <= DECODE_RULE:
            raise ModelMismatch(
                f"the index was made by a version of retrieval that decodes pictures differently (rule {rule}; this "
                f"version knows {FIRST_RULE} to {DECODE_RULE})",
                hint="make another index with --index DIR, or use that version",
            )

    def _reference(self, backbone: Backbone) -> Encoder:
        return self._first(backbone, partial(plugins.load("runtime:keras"), accelerated=False, rule=self.rule))

    @property
    def graph(self) -> "Graph | None":
        """The compiled network that is loaded, once it has proved true to the original; None where there is none."""
        encoder = self._encoders.get(False)
        if encoder is None:
            return None
        from retrieval.networks.compiled import PARITY, CompiledEncoder

        graph = encoder.graph if isinstance(encoder, CompiledEncoder) else None
        return None if graph is None or (graph.facts["parity"] or 0) < PARITY else graph

    def _checked(self, encoder: Encoder, name: str) -> Encoder:
        mine, other = self.row["fingerprint"], encoder.fingerprint
        if mine != other:
            sentence = f"the index was made with {self}, fingerprint {mine[:12]}; {name} has fingerprint {other[:12]}"
            shipped = self.backbone is not None and self.backbone.name == MINI and self._given is None
            raise ModelMismatch(sentence, hint=_OTHER_VERSION if shipped else _HINT)
        return encoder


def load(
    backbone: Backbone,
    weights: str,
    execution: Execution = DEFAULTS,
    *,
    on_keras: bool | None = None,
    rule: int = DECODE_RULE,
) -> Any:  # noqa: ANN401 - encoders that must not be imported here
    """Return the encoder of `backbone` with `weights`, as `weights.locate_weights` gives them.

    `rule` is the decode rule of the pictures that it will see.
    """
    if weights == RANDOM:
        log.warning("the weights are random: good for trying things out, useless for finding similar pictures")
    if runs_on_keras(execution, many=False) if on_keras is None else on_keras:
        return plugins.load("runtime:keras")(backbone, weights, rule=rule)
    from retrieval.networks import compiled  # with numpy, as everything that is compiled

    @cache
    def reference() -> Any:  # noqa: ANN401 - likewise
        return plugins.load("runtime:keras")(backbone, weights, accelerated=False, rule=rule)

    graph = compiled.cached(compiled.key(backbone, weights, rule))
    if graph is None:
        try:
            graph = compiled.convert(reference())
        except RetrievalError:
            raise
        except Exception as error:  # noqa: BLE001 - an own model may hold what TensorFlow or OpenVINO cannot express
            sentence = " ".join(str(error).split())[:200]
            log.warning("the network cannot be compiled and runs on Keras, more slowly (%s)", sentence)
            return reference()
        compiled.remember(compiled.key(backbone, weights, rule), graph)
    name = compiled.key(backbone, weights, rule)  # Keras may have downloaded them meanwhile
    return compiled.CompiledEncoder(graph, execution, reference, partial(compiled.remember, name))


@cache  # and so it is said once
def runs_on_keras(execution: Execution, *, many: bool) -> bool:
    """Tell whether Keras is to run the network: by request, for many pictures on a GPU, or for want of OpenVINO."""
    if execution.runtime == "keras":
        return True
    if execution.runtime == AUTO and many and os.path.exists(GPU) and plugins.load("keras:has_gpu")():
        return True
    try:
        plugins.load("runtime:openvino")
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        sentence = "OpenVINO is not installed" if missing else f"OpenVINO cannot be loaded ({error})"
        if execution.runtime != AUTO:
            raise BadInput(sentence, hint="pip install openvino") from None
        log.warning("%s; the network runs on Keras, more slowly", sentence)
        return True
    return False


def described(encoder: Encoder, backbone: Backbone | None, weights: str) -> dict[str, Any]:
    """Return the row of the table `encoders` for a new index; no backbone stands for an encoder of the caller's own.

    `BadInput` for an encoder that takes pictures which are too large for the memory.
    """
    capacity.demand_size(encoder.size)
    return {
        "fingerprint": encoder.fingerprint,
        "backbone": OWN_ENCODER if backbone is None else backbone.as_json(),
        "weights": os.fsencode(weights),
        "dim": int(encoder.dim),
        "height": int(encoder.size[0]),
        "width": int(encoder.size[1]),
        "rule": DECODE_RULE,
    }
