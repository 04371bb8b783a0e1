"""The model of an index: the network that made its vectors, and the encoder that makes more of them.

    row of the index -Model-> weights -load-> a graph from the cache, a new one, or Keras -> Encoder

A network is loaded when the first picture has to be embedded, and not before.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeGuard

from retrieval import plugins
from retrieval.arguments import text_path
from retrieval.errors import BadInput, BadWeights, MissingLibrary, ModelMismatch, RetrievalError
from retrieval.networks import capacity, catalogue, downloads
from retrieval.networks.catalogue import DEFAULT, MINI, RANDOM, Backbone
from retrieval.networks.convert import converted
from retrieval.networks.encoder import Encoder
from retrieval.networks.execution import AUTO, ON_KERAS, Execution
from retrieval.networks.options import BACKBONE_OPTIONS
from retrieval.networks.weights import all_weights
from retrieval.process import forks
from retrieval.process.children import ChildDied, ChildFailed
from retrieval.types import DECODE_RULE, Pixels

if TYPE_CHECKING:
    from retrieval.networks.compiled import CompiledEncoder
    from retrieval.networks.graph import Graph

OWN_ENCODER = '{"name": "own"}'
"""The text that an index stores in place of a backbone if it was made with an encoder of the user's own."""
GPU = "/dev/nvidia0"
"""The file by which Linux shows a GPU of NVIDIA. TensorFlow is imported and asked for a GPU only if the file exists."""
GRAPH, INT8_FORM = FORMS = ("graph", "int8")
"""Names of the artefacts of an index that hold its compiled network, and the int8 form of it."""
DEFAULTS = Execution()
_HINT = (
    "vectors of two networks cannot be compared: use the network of the index, or make another index with --index DIR"
)
FIRST_RULE = 2
"""The oldest decode rule that this version knows."""
_OLDER_RULE = (
    "the index keeps the older decode rule %s with which its pictures were read; for example, colour profiles are "
    "ignored; for the newer rule, index the pictures into another folder with --index DIR"
)
_OTHER_MINI = (
    "the weights of mini differ in this version of retrieval: make another index with --index DIR, or use the version "
    "that made this one"
)

log = logging.getLogger("retrieval")


class Model:
    """The network of an index, as the index describes it in a row of its table `encoders`."""

    def __init__(
        self,
        row: Mapping[str, Any],
        stored: "Callable[[str], Graph | None]" = lambda _: None,
        *,
        encoder: Encoder | None = None,
        loaded: Encoder | None = None,
        weights: str | None = None,
        execution: Execution = DEFAULTS,
    ) -> None:
        """Take the row, and the `encoder` or the `weights` that the caller gave, if any.

        `stored` returns a form of the compiled network that the index keeps, by its name in `FORMS`. `loaded` is an
        encoder that `load` has returned already. Raises `ModelMismatch` for an encoder with another fingerprint, and
        `BadInput` for a network that takes too much memory.
        """
        self.row = dict(row)
        self._stored, self._execution = stored, execution
        self.size: tuple[int, int] = (row["height"], row["width"])
        capacity.demand_size(self.size)
        self._given = weights
        self._after_fork()
        forks.in_child(self._after_fork)
        self._older_rule_noted = False
        self._own = None if encoder is None else self._checked(encoder, "the encoder that was given")
        self._encoders: dict[bool, Encoder] = {}
        """The result of `runs_on_keras` -> the encoder that was loaded for it."""
        if loaded is not None:
            self._encoders[runs_on_keras(execution, many=False)] = loaded

    def _after_fork(self) -> None:
        self._loading = threading.Lock()

    @property
    def backbone(self) -> Backbone | None:
        """The backbone with its options; None if the index was made with an encoder of the user's own."""
        if self.row["backbone"] == OWN_ENCODER:
            return None
        return Backbone.from_json(self.row["backbone"])

    @property
    def rule(self) -> int:
        """The decode rule of the index, by which all its pictures and queries are read."""
        return int(self.row["rule"])

    def __str__(self) -> str:
        """Return the name of the network, for a person."""
        return str(self.backbone or "an encoder of the user's own")

    def demand(self, name: str | None, options: Mapping[str, Any]) -> None:
        """Raise `ModelMismatch` if the caller asks for a backbone or options that the index does not have.

        The name None or "auto", and options that are None, stand for the backbone and the options of the index.
        """
        if name is not None:
            name = text_path(name, "the backbone")
            if name.lower() == catalogue.AUTO:
                name = None
        given = {option: value for option, value in options.items() if value is not None}
        if name is None and not given:
            return
        mine = self.backbone
        wanted = Backbone.choose(name or (mine.name if mine is not None else DEFAULT), **given)
        if mine is not None and wanted.name == mine.name:
            if wanted.is_model and name is not None:
                self._given = name  # when the file is loaded, its fingerprint shows whether it is the right model
                return
            not_given = [option for option in BACKBONE_OPTIONS if option not in given]
            wanted = replace(wanted, **{option: getattr(mine, option) for option in not_given})
        if wanted != mine:
            raise ModelMismatch(f"the index was made with {self}, not with {wanted}", hint=_HINT)

    def ready(self) -> None:
        """Load weights that the caller gave, so that wrong weights raise `ModelMismatch` before any work is done."""
        if self._given is not None:
            self.encoder()

    def encoder(self, sample: Callable[[int], Pixels] | None = None, *, many: bool = False) -> Encoder:
        """Return the encoder for `many` pictures or for a few. The first call loads it.

        `sample` returns so many pictures of the user, or fewer. The network is quantised on them if int8 was asked for
        and there is no int8 form yet. Raises `ModelMismatch` if the weights on this machine are not the weights of the
        index, and `MissingLibrary` if NNCF is needed and not installed.
        """
        self._demand_rule(self.rule)
        if many and self.rule < DECODE_RULE and not self._older_rule_noted:
            self._older_rule_noted = True
            log.warning(_OLDER_RULE, self.rule)
        if self._own is not None:
            return self._own
        with self._loading:
            on_keras = runs_on_keras(self._execution, many=many)
            if on_keras not in self._encoders:
                self._encoders[on_keras] = self._loaded(on_keras=on_keras)
            encoder = self._encoders[on_keras]
        self._complete(encoder, sample)
        return encoder

    def _complete(self, encoder: Encoder, sample: Callable[[int], Pixels] | None) -> None:
        """Give the encoder the int8 form that it lacks: the index's copy, or one that is made from pictures."""
        if not _lacks_int8(encoder):
            return
        form = self._stored(INT8_FORM)
        if form is not None and form.facts["fingerprint"] == encoder.fingerprint:
            encoder.use_int8(form)
        elif sample is not None:
            from retrieval.networks.quantise import FEWEST, pictures

            pixels = sample(pictures(encoder.size))
            if len(pixels) >= FEWEST:
                encoder.quantise(pixels)

    def _loaded(self, *, on_keras: bool) -> Encoder:
        from retrieval.networks.compiled import CompiledEncoder

        backbone = self.backbone
        if backbone is None:
            raise BadInput(
                f"the index was made with {self}, which is needed", hint="give it to: Index.open(..., encoder=...)"
            )
        graph = None
        if not on_keras and self._given is None:
            graph = self._stored(GRAPH)
        if graph is not None and all(
            graph.facts[name] == self.row[name] for name in ("fingerprint", "backbone", "dim")
        ):
            self._demand_rule(graph.facts["rule"])
            return CompiledEncoder(graph, self._execution, otherwise=partial(self._new, backbone, on_keras=False))
        return self._new(backbone, on_keras=on_keras)

    def _new(self, backbone: Backbone, *, on_keras: bool) -> Encoder:
        """Return an encoder that is made from weights, not from the index's copy of the network."""
        return self._first_that_fits(
            backbone, partial(load, execution=self._execution, on_keras=on_keras, rule=self.rule)
        )

    def _first_that_fits(self, backbone: Backbone, make: Callable[[Backbone, str], Any]) -> Encoder:
        """Return the encoder of the first weights that fit the index, and write their place into `row`.

        `make` makes an encoder of a backbone and weights. If no weights fit, `ModelMismatch` or `BadWeights` says which
        weights were tried.
        """
        errors: list[RetrievalError] = []
        for weights in all_weights(backbone, self._given, os.fsdecode(self.row["weights"])):
            try:
                encoder = make(backbone, weights)
                self._refuse_forgotten_rules(encoder)
                checked = self._checked(encoder, f"{backbone} with the weights {weights}")
            except (BadWeights, ModelMismatch) as error:
                errors.append(error)
                continue
            self.row["weights"] = os.fsencode(weights)
            for passed_over in errors:
                log.warning("%s; the right weights are %s", passed_over, weights)
            return checked
        if len(errors) == 1:
            raise errors[0]
        raise ModelMismatch("; ".join(map(str, errors)), hint=f"give the right file with --weights FILE; {_HINT}")

    def _refuse_forgotten_rules(self, encoder: Any) -> None:  # noqa: ANN401 - an encoder of `load`
        """Raise `ModelMismatch` if the index was made with these weights, but with a rule older than `FIRST_RULE`."""
        for rule in range(1, FIRST_RULE):
            if encoder.backbone.fingerprint(encoder.digest, rule) == self.row["fingerprint"]:
                self._demand_rule(rule)

    @staticmethod
    def _demand_rule(rule: int) -> None:
        """Raise `ModelMismatch` for a decode rule that this version does not know."""
        if not FIRST_RULE <= rule <= DECODE_RULE:
            raise ModelMismatch(
                f"the index was made by a version of retrieval that decodes pictures differently (rule {rule}; this "
                f"version knows {FIRST_RULE} to {DECODE_RULE})",
                hint="make another index with --index DIR, or use that version",
            )

    @property
    def forms(self) -> "dict[str, Graph]":
        """The forms of the converted network that are loaded, by name; none where Keras runs the network."""
        from retrieval.networks.compiled import CompiledEncoder

        encoder = self._encoders.get(False)  # the key is False for an encoder that does not run on Keras
        if not isinstance(encoder, CompiledEncoder):
            return {}
        return {GRAPH: encoder.graph} | ({} if encoder.int8 is None else {INT8_FORM: encoder.int8})

    def _checked(self, encoder: Encoder, name: str) -> Encoder:
        """Return the encoder; `ModelMismatch` unless it has the fingerprint of the index."""
        mine, other = self.row["fingerprint"], encoder.fingerprint
        if mine != other:
            shipped = self.backbone is not None and self.backbone.name == MINI and self._given is None
            raise ModelMismatch(
                f"the index was made with {self}, fingerprint {mine[:12]}; {name} has fingerprint {other[:12]}",
                hint=_OTHER_MINI if shipped else _HINT,
            )
        return encoder


def load(
    backbone: Backbone,
    weights: str,
    execution: Execution = DEFAULTS,
    *,
    on_keras: bool | None = None,
    rule: int = DECODE_RULE,
) -> Any:  # noqa: ANN401 - a KerasEncoder or CompiledEncoder, which are not imported here
    """Return the encoder of `backbone` with `weights`, as `weights.locate_weights` gives them.

    A network that was compiled before comes from the user's cache, without Keras. `on_keras` chooses the runtime. None
    stands for the runtime that `execution` gives for a few pictures. `rule` is the decode rule of the pictures to
    embed.
    """
    if weights == RANDOM:
        log.warning("the weights are random: good for trying things out, useless for finding similar pictures")
    if on_keras is None:
        on_keras = runs_on_keras(execution, many=False)
    if on_keras:
        return plugins.load("runtime:keras")(backbone, weights, rule=rule)
    from retrieval.networks import graph as graphs
    from retrieval.networks.compiled import CompiledEncoder  # which imports numpy

    name = graphs.key(backbone, weights, rule)
    graph = graphs.cached(name) or graphs.shipped(backbone, weights, rule)
    if graph is None:
        weights = downloads.located(backbone, weights)
        try:
            graph = converted(backbone, weights, rule)
        except ChildFailed as error:
            return _unconverted(backbone, weights, rule, error)
        name = graphs.key(backbone, weights, rule)
        graphs.remember(name, graph)
    return CompiledEncoder(graph, execution, partial(graphs.remember, name))


def _unconverted(backbone: Backbone, weights: str, rule: int, error: ChildFailed) -> Any:  # noqa: ANN401 - a KerasEncoder
    """Return the encoder on Keras for a network that cannot be converted; `RetrievalError` without TensorFlow.

    Keras is no way out where the conversion was ended from outside, for example for lack of memory.
    """
    problem = f"{weights if backbone.is_model else backbone} cannot be converted for OpenVINO ({error})"
    if isinstance(error, ChildDied):
        raise RetrievalError(problem, hint="make room in memory and on the disk, and try again") from error
    if not plugins.installed("tensorflow"):
        raise RetrievalError(problem, hint=ON_KERAS) from error
    log.warning("%s, so it runs on Keras, which is slower", problem)
    return plugins.load("runtime:keras")(backbone, weights, accelerated=False, rule=rule)


def _has_gpu() -> bool:
    """Return whether Keras can use a GPU here; the extra `gpu` installs what it needs."""
    if not os.path.exists(GPU) or not plugins.installed("tensorflow"):
        return False
    try:
        return bool(plugins.load("keras:has_gpu")())
    except MissingLibrary as error:  # TensorFlow is broken, or this process runs Keras on another backend
        log.warning("%s, so the GPU is not used", error)
        return False


@cache  # so that a note is logged once
def runs_on_keras(execution: Execution, *, many: bool) -> bool:
    """Return whether Keras runs the network.

    Keras runs it if the caller chose Keras, for `many` pictures on a GPU, and where OpenVINO cannot be loaded. Raises
    `BadInput` if the caller chose OpenVINO and it cannot be loaded.
    """
    if execution.runtime == "keras":
        return True
    if execution.runtime == AUTO and many and _has_gpu():
        return True
    try:
        plugins.load("runtime:openvino")
    except ImportError as error:
        problem = f"OpenVINO cannot be loaded ({error})"
        if isinstance(error, ModuleNotFoundError):
            problem = "OpenVINO is not installed"
        if execution.runtime != AUTO:
            raise BadInput(problem, hint="pip install openvino") from None
        log.warning("%s, so the network runs on Keras, which is slower", problem)
        return True
    return False


def demand_int8(encoder: Encoder) -> None:
    """Raise `MissingLibrary` if an encoder is to run in int8, and its int8 form cannot be made here."""
    if _lacks_int8(encoder):
        from retrieval.networks import quantise

        quantise.demand()


def _lacks_int8(encoder: Encoder) -> "TypeGuard[CompiledEncoder]":
    """Tell whether an encoder is to run in int8, and its network has no int8 form yet."""
    from retrieval.networks.compiled import CompiledEncoder

    return isinstance(encoder, CompiledEncoder) and encoder.lacks_int8


def described(encoder: Encoder, backbone: Backbone | None, weights: str) -> dict[str, Any]:
    """Return the row of the table `encoders` for a new index; `backbone` is None for an encoder of the user's own.

    Raises `BadInput` for an encoder whose input is too large for the memory.
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
