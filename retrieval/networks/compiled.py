"""Networks compiled by OpenVINO: converted once, held against the reference, kept, and run at the best precision.

    weights -> Keras -> frozen graph -> intermediate representation -> user's cache -> copy in the index
                 └── parity, on the first pictures ──┘

A graph is two files, named by the SHA-256 of their bytes, and facts about it. Its copy in an index is all that a
machine needs to answer: neither weights nor Keras.
"""

import hashlib
import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval import plugins
from retrieval.disk import cache
from retrieval.errors import IndexDamaged
from retrieval.networks.catalogue import IMAGENET, RANDOM, Backbone
from retrieval.networks.encoder import AUTO, MOST_DIM, PRECISIONS, Encoder, Execution
from retrieval.networks.weights import cached as cached_file
from retrieval.process import forks
from retrieval.types import DECODE_RULE, Pixels, Vectors

PARITY = 0.999
"""Least cosine between a compiled network's vector and the reference's, of each picture; below, it is not used."""
SAMPLE = 8
"""Pictures that are compared: the reference takes up to seconds for them."""
RUNS = 3
"""Runs of which the fastest is what a precision can do: what else the machine does makes for slower ones only."""
WORTH = 1.1
"""How much faster a lower precision has to be."""
CONVERSION = 1
"""Version of how a network is converted; with another, it is converted anew."""
SUFFIXES = (".xml", ".bin")

Facts = dict[str, Any]
"""What JSON holds of a graph: `files` (two digests); of what it is (`fingerprint`, `backbone`, `digest` of the weights,
decode `rule`, `dim`); `parity` (the least cosine; null where it has not been measured), `pictures` (how many tell it),
`precisions` (processor -> the best one, and its least cosine to f32)."""
log = logging.getLogger("retrieval")


@dataclass(frozen=True)
class Graph:
    """A converted network."""

    files: tuple[bytes, bytes]
    """Structure and weights, as OpenVINO reads them."""
    facts: Facts

    @classmethod
    def checked(cls, files: Sequence[bytes | None], facts: Facts) -> "Graph | None":
        """Return the graph of two files; None where they are not what was written, or where the facts are of no graph.

        The facts may come from an index that somebody else has made.
        """
        if len(files) != len(SUFFIXES) or not _are_possible(facts):
            return None
        structure, weights = files
        if structure is None or weights is None or list(map(_digest, (structure, weights))) != facts["files"]:
            return None
        return cls((structure, weights), facts)


def _are_possible(facts: Facts) -> bool:
    """Tell whether this program may have written the facts of a graph."""
    parity, precisions = facts.get("parity"), facts.get("precisions")
    return (
        all(isinstance(facts.get(name), str) for name in ("fingerprint", "digest", "backbone"))
        and all(type(facts.get(name)) is int for name in ("rule", "dim", "pictures"))
        and 1 <= facts["dim"] <= MOST_DIM
        and (parity is None or _is_number(parity))
        and isinstance(precisions, dict)
        and all(_is_precision(known) for known in precisions.values())
        and _is_backbone(facts["backbone"])
    )


def _is_backbone(text: str) -> bool:
    try:
        Backbone.from_json(text)
    except IndexDamaged:
        return False
    return True


def _is_precision(known: object) -> bool:
    """Tell whether a value is a precision with its least cosine to f32."""
    if not isinstance(known, list) or len(known) != 2:  # noqa: PLR2004 - the two
        return False
    precision, cosine = known
    return precision in PRECISIONS and _is_number(cosine)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# -- in the user's cache ------------------------------------------------------------------------------------------


def key(backbone: Backbone, weights: str, rule: int = DECODE_RULE) -> str | None:
    """Return what tells a conversion from others, without loading anything; None where the weights are to be fetched.

    `weights` is what `weights.locate_weights` gives; `rule` is the decode rule, which the fingerprint contains.
    """
    if weights == IMAGENET:
        weights = str(cached_file(backbone))
    try:
        with open(os.devnull if weights == RANDOM else weights, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
    parts = (
        CONVERSION,
        backbone.as_json(),
        digest,
        weights == RANDOM,
        rule,
        version("openvino"),
        version("keras"),
    )
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def cached(name: str | None) -> Graph | None:
    """Return the graph that was converted before under that key."""
    data = cache.read(f"{name}.json") or b""
    digest, _, text = data.partition(b"\n")
    if not text or hashlib.sha256(text).hexdigest().encode() != digest:
        return None
    facts = json.loads(text)
    files = [cache.read(digest + suffix) for digest, suffix in zip(facts["files"], SUFFIXES, strict=True)]
    return Graph.checked(files, facts)


def remember(name: str | None, graph: Graph) -> None:
    """Keep a graph, or new facts about it."""
    if name is None:
        return
    for digest, suffix, data in zip(graph.facts["files"], SUFFIXES, graph.files, strict=True):
        if cache.read(digest + suffix) != data:
            cache.write(digest + suffix, data)
    text = json.dumps(graph.facts).encode()
    cache.write(f"{name}.json", hashlib.sha256(text).hexdigest().encode() + b"\n" + text)


# -- encoders -----------------------------------------------------------------------------------------------------


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def convert(reference: Any, *, half: bool = True) -> Graph:  # noqa: ANN401 - a KerasEncoder, which stays unimported
    """Return the graph of a Keras encoder, with weights rounded to float16 where `half`."""
    files = plugins.load("openvino:converted")(reference.frozen(), half=half)
    facts = {
        "files": list(map(_digest, files)),
        "fingerprint": reference.fingerprint,
        "digest": reference.digest,
        "rule": reference.rule,
        "backbone": reference.backbone.as_json(),
        "dim": reference.dim,
        "parity": None,
        "pictures": 0,
        "precisions": {},
    }
    return Graph(files, facts)


class CompiledEncoder:
    """The encoder of a graph. With the first pictures it finds out how it runs best, and whether it may."""

    def __init__(
        self,
        graph: Graph,
        execution: Execution,
        reference: Callable[[], Encoder],
        changed: Callable[[Graph], None] = lambda _: None,
    ) -> None:
        """Take a graph; `reference` gives the Keras encoder of the same weights, and is called if it is needed.

        `changed` is told of the graph when more is known about it.
        """
        self.graph = graph
        self.backbone = Backbone.from_json(graph.facts["backbone"])
        self.size: tuple[int, int] = self.backbone.input_size
        self.fingerprint: str = graph.facts["fingerprint"]
        self.digest: str = graph.facts["digest"]
        self.dim: int = graph.facts["dim"]
        self._execution, self._changed = execution, changed
        self._reference: Callable[[], Encoder] | None = reference
        self._chosen: Encoder | None = None
        self._after_fork()
        forks.in_child(self._after_fork)

    def _after_fork(self) -> None:
        self._choosing = threading.Lock()

    def images(self, batch: Pixels) -> Vectors:
        """Return one row of length 1 a picture."""
        with self._choosing:
            if self._reference is not None:
                self._chosen = self._settled(batch[:SAMPLE], self._reference)
                self._reference = None  # which holds the whole network once more
        assert self._chosen is not None  # noqa: S101 - it is, from the first call on
        return self._chosen.images(batch)

    def _settled(self, sample: Pixels, reference: Callable[[], Encoder]) -> Encoder:
        """Return what is to run: the reference where the compiled network cannot, or is not true to it."""
        try:
            plain = self._measured(sample, reference)
            if plain is not None:
                return self._at_best_precision(plain, sample)
            self._refuse("network", self.graph.facts["parity"], "Keras")
        except RuntimeError as error:  # OpenVINO's own: an instruction that this version does not know, for example
            sentence = " ".join(str(error).split())[:200]
            log.warning("the compiled network cannot be used here; running on Keras, more slowly (%s)", sentence)
        return reference()

    def _measured(self, sample: Pixels, reference: Callable[[], Encoder]) -> Encoder | None:
        """Return the network in f32, held against the reference; None where it is not true to it."""
        plain = self._run("f32")
        if self.graph.facts["parity"] is None:
            original = reference()
            expected = original.images(sample)
            if self._learn_parity(plain, sample, expected) < PARITY:  # then with weights of full precision
                self.graph = convert(original, half=False)
                plain = self._run("f32")
                self._learn_parity(plain, sample, expected)
        known = self.graph.facts["parity"]
        return plain if known is None or known >= PARITY else None

    def _run(self, precision: str) -> Encoder:
        execution = replace(self._execution, precision=precision)
        start = plugins.load("runtime:openvino")
        made: Encoder = start(self.graph.files, self.size, self.dim, self.fingerprint, execution)
        return made

    def _learn_parity(self, plain: Encoder, sample: Pixels, expected: Vectors) -> float:
        """Measure and return the parity; one that no picture tells is no fact."""
        cosines = parity(plain.images(sample), expected)
        if len(cosines):
            self._learn(parity=float(cosines.min()), pictures=len(cosines))
        return float(cosines.min(initial=1.0))

    def _at_best_precision(self, plain: Encoder, sample: Pixels) -> Encoder:
        asked, processor = self._execution.precision, plugins.load("openvino:processor")()
        if asked == AUTO:
            known = self.graph.facts["precisions"].get(processor)
            if known is None and len(sample) == SAMPLE:
                known = self._race(plain, sample)
                self._learn(precisions=self.graph.facts["precisions"] | {processor: known})
            asked = "f32" if known is None else known[0]
            return plain if asked == "f32" else self._run(asked)
        chosen = plain if asked == "f32" else self._run(asked)
        cosine = 1.0 if chosen is plain else parity(chosen.images(sample), plain.images(sample)).min(initial=1.0)
        if cosine >= PARITY:
            return chosen
        self._refuse(f"network in {asked}", cosine, "f32")
        return plain

    @staticmethod
    def _refuse(what: str, cosine: float, instead: str) -> None:
        sentence = "the compiled %s differs from the original (cosine %.4f); running in %s instead"
        log.warning(sentence, what, cosine, instead)

    def _race(self, plain: Encoder, sample: Pixels) -> list[Any]:
        """Return the fastest precision on this processor, f32 if that is nearly, and its least cosine to f32."""
        best, least = "f32", 1.0
        exact, fastest = self._timed(plain, sample)
        for precision in plugins.load("openvino:precisions")():
            vectors, seconds = self._timed(self._run(precision), sample)
            cosine = float(parity(vectors, exact).min(initial=1.0))
            if cosine >= PARITY and WORTH * seconds < fastest:
                best, fastest, least = precision, seconds, cosine
        return [best, least]

    @staticmethod
    def _timed(encoder: Encoder, sample: Pixels) -> tuple[Vectors, float]:
        vectors = encoder.images(sample)  # compiles, too
        seconds = []
        for _ in range(RUNS):
            start = time.perf_counter()
            encoder.images(sample)
            seconds.append(time.perf_counter() - start)
        return vectors, min(seconds)

    def _learn(self, **facts: Any) -> None:  # noqa: ANN401 - what JSON holds
        self.graph = replace(self.graph, facts=self.graph.facts | facts)
        self._changed(self.graph)


def parity(vectors: Vectors, expected: Vectors) -> NDArray[np.float64]:
    """Return the cosines of corresponding rows of length 1, -1 for what is no number.

    Pictures for which the reference answers nothing, or no number, are left out.
    """
    told = np.abs(np.linalg.norm(expected, axis=1) - 1) < 1e-3  # noqa: PLR2004 - rounding
    with np.errstate(all="ignore"):
        products = (vectors[told].astype(np.float64) * expected[told]).sum(axis=1)
        cosines = products / np.linalg.norm(vectors[told].astype(np.float64), axis=1)
    return np.where(np.isfinite(cosines), cosines, -1.0)
