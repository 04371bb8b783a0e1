"""Networks converted for OpenVINO: converted once, compared with Keras, kept, and run in the best precision.

    weights -> Keras -> frozen graph -> intermediate representation -> user's cache -> copy in the index
                 └── parity, on the first pictures ──┘

A converted network is a `Graph`: two files, named by the SHA-256 of their bytes, and facts about them. With the copy in
the index, a machine can answer queries without the weights and without Keras.
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
from retrieval.networks.encoder import MOST_DIM, PARITY, Encoder
from retrieval.networks.execution import AUTO, PRECISIONS, Execution
from retrieval.networks.weights import cached as cached_file
from retrieval.process import forks
from retrieval.types import DECODE_RULE, Pixels, Vectors

SAMPLE = 8
"""Number of pictures on which networks are compared. Keras takes up to some seconds for them."""
RUNS = 3
"""Number of timed runs per precision. The fastest run counts: other work of the machine only makes runs slower."""
WORTH = 1.1
"""Factor by which a lower precision must be faster to be chosen."""
CONVERSION = 1
"""Version of the conversion. A graph from another version of the conversion is not taken from the cache."""
SUFFIXES = (".xml", ".bin")
"""Suffixes of the two files of a graph: its structure and its weights."""

Facts = dict[str, Any]
"""The facts about a graph, as JSON holds them. `files`: digests of the two files. `fingerprint`, `backbone`, `digest`
of the weights, decode `rule` and `dim` say which network it is. `parity`: the least cosine to the vectors of Keras,
null where it was not measured. `pictures`: on how many it was measured. `precisions`: processor -> the best precision,
and the least cosine of its vectors to those in f32."""
log = logging.getLogger("retrieval")


@dataclass(frozen=True)
class Graph:
    """A converted network."""

    files: tuple[bytes, bytes]
    """Structure and weights, as OpenVINO reads them."""
    facts: Facts

    @classmethod
    def checked(cls, files: Sequence[bytes | None], facts: Facts) -> "Graph | None":
        """Return the graph of two files; None where the files are damaged or the facts are impossible.

        Files and facts may come from an index that somebody else made.
        """
        if len(files) != len(SUFFIXES) or not _are_possible(facts):
            return None
        structure, weights = files
        if structure is None or weights is None or [_digest(structure), _digest(weights)] != facts["files"]:
            return None
        return cls((structure, weights), facts)


def _are_possible(facts: Facts) -> bool:
    """Return whether the facts have the types and ranges that this program writes."""
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
    """Return whether a value is a list of a precision and a cosine."""
    if not isinstance(known, list) or len(known) != 2:  # noqa: PLR2004 - precision and cosine
        return False
    precision, cosine = known
    return precision in PRECISIONS and _is_number(cosine)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# -- in the user's cache ------------------------------------------------------------------------------------------


def key(backbone: Backbone, weights: str, rule: int = DECODE_RULE) -> str | None:
    """Return the key of a converted network in the cache, without loading the network.

    `weights` is the result of `weights.locate_weights`. `rule` is the decode rule, which is a part of the fingerprint.
    Returns None where the weights still have to be downloaded.
    """
    if weights == IMAGENET:
        weights = str(cached_file(backbone))
    is_random = weights == RANDOM  # then there is no file of weights
    try:
        with open(os.devnull if is_random else weights, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
    parts = (
        CONVERSION,
        backbone.as_json(),
        digest,
        is_random,
        rule,
        version("openvino"),
        version("keras"),
    )
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def cached(name: str | None) -> Graph | None:
    """Return the graph that the cache has under the key `name`; None where it is missing or damaged."""
    data = cache.read(f"{name}.json") or b""
    digest, _, text = data.partition(b"\n")
    if not text or hashlib.sha256(text).hexdigest().encode() != digest:
        return None
    facts = json.loads(text)
    files = [cache.read(digest + suffix) for digest, suffix in zip(facts["files"], SUFFIXES, strict=True)]
    return Graph.checked(files, facts)


def remember(name: str | None, graph: Graph) -> None:
    """Write a graph, or new facts about it, into the user's cache under the key `name`; None: write nothing."""
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
    """Return the graph of `reference`, an encoder on Keras. `half` rounds the stored weights to float16."""
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
    """The encoder that runs a graph.

    On the first pictures, the encoder compares its vectors with the vectors of Keras, and chooses the best precision.
    """

    def __init__(
        self,
        graph: Graph,
        execution: Execution,
        reference: Callable[[], Encoder],
        changed: Callable[[Graph], None] = lambda _: None,
    ) -> None:
        """Take a graph. `reference` returns the encoder on Keras with the same weights; it is called only if needed.

        `changed` is called with the graph whenever new facts about it are known.
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
        """Return one vector of length 1 per picture, (n, dim)."""
        with self._choosing:
            if self._reference is not None:
                self._chosen = self._settled(batch[:SAMPLE], self._reference)
                self._reference = None  # it holds the whole network a second time
        assert self._chosen is not None  # noqa: S101 - it is chosen at the first call
        return self._chosen.images(batch)

    def _settled(self, sample: Pixels, reference: Callable[[], Encoder]) -> Encoder:
        """Return the encoder to run: the graph, or the reference if the graph does not run or differs from it."""
        try:
            plain = self._measured(sample, reference)
            if plain is not None:
                return self._at_best_precision(plain, sample)
            self._refuse("network", self.graph.facts["parity"], "Keras")
        except RuntimeError as error:  # from OpenVINO, for an operation that this version does not know, for example
            reason = " ".join(str(error).split())[:200]
            log.warning("the compiled network does not run here, so Keras runs it, which is slower (%s)", reason)
        return reference()

    def _measured(self, sample: Pixels, reference: Callable[[], Encoder]) -> Encoder | None:
        """Return the graph in f32, compared with the reference; None where their vectors differ too much."""
        plain = self._run("f32")
        if self.graph.facts["parity"] is None:
            original = reference()
            expected = original.images(sample)
            if self._learn_parity(plain, sample, expected) < PARITY:
                # Try again without rounding the weights.
                self.graph = convert(original, half=False)
                plain = self._run("f32")
                self._learn_parity(plain, sample, expected)
        known = self.graph.facts["parity"]
        return plain if known is None or known >= PARITY else None

    def _run(self, precision: str) -> Encoder:
        """Return the encoder that runs the graph in a precision."""
        execution = replace(self._execution, precision=precision)
        make = plugins.load("runtime:openvino")
        encoder: Encoder = make(self.graph.files, self.size, self.dim, self.fingerprint, execution)
        return encoder

    def _learn_parity(self, plain: Encoder, sample: Pixels, expected: Vectors) -> float:
        """Measure and return the parity. Keep it as a fact if any picture of the sample could be compared."""
        cosines = parity(plain.images(sample), expected)
        if len(cosines):
            self._learn(parity=float(cosines.min()), pictures=len(cosines))
        return float(cosines.min(initial=1.0))

    def _at_best_precision(self, plain: Encoder, sample: Pixels) -> Encoder:
        """Return the encoder in the precision that was asked for, or in the best one; `plain` runs in f32."""
        asked = self._execution.precision
        if asked == "f32":
            return plain
        if asked == AUTO:
            best = self._best_precision(plain, sample)
            return plain if best == "f32" else self._run(best)
        chosen = self._run(asked)
        cosine = parity(chosen.images(sample), plain.images(sample)).min(initial=1.0)
        if cosine >= PARITY:
            return chosen
        self._refuse(f"network in {asked}", cosine, "f32")
        return plain

    def _best_precision(self, plain: Encoder, sample: Pixels) -> str:
        """Return the best precision on this processor. It is measured once, on a full sample; until then it is f32."""
        processor = plugins.load("openvino:processor")()
        known = self.graph.facts["precisions"].get(processor)
        if known is None and len(sample) == SAMPLE:
            known = self._race(plain, sample)
            self._learn(precisions=self.graph.facts["precisions"] | {processor: known})
        if known is None:
            return "f32"
        precision, _ = known
        return str(precision)

    @staticmethod
    def _refuse(what: str, cosine: float, instead: str) -> None:
        """Log that a compiled network is not used, and what is used instead."""
        sentence = "the compiled %s differs from the original (cosine %.4f), so %s is used instead"
        log.warning(sentence, what, cosine, instead)

    def _race(self, plain: Encoder, sample: Pixels) -> list[Any]:
        """Return the fastest precision on this processor, and the least cosine of its vectors to those in f32.

        A precision is not chosen if it is not faster by the factor `WORTH`, or if its vectors differ too much from f32.
        """
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
        """Return the vectors of the sample, and the time of the fastest run, in seconds."""
        vectors = encoder.images(sample)  # the first run compiles the network
        seconds = []
        for _ in range(RUNS):
            start = time.perf_counter()
            encoder.images(sample)
            seconds.append(time.perf_counter() - start)
        return vectors, min(seconds)

    def _learn(self, **facts: Any) -> None:  # noqa: ANN401 - values of JSON
        """Add facts to the graph, and tell the caller of the new facts."""
        self.graph = replace(self.graph, facts=self.graph.facts | facts)
        self._changed(self.graph)


def parity(vectors: Vectors, expected: Vectors) -> NDArray[np.float64]:
    """Return the cosine of each vector to the expected one, -1 for a vector that is zero or not of finite numbers.

    Pictures whose expected vector does not have the length 1 are left out: the reference found nothing in them.
    """
    usable = np.abs(np.linalg.norm(expected, axis=1) - 1) < 1e-3  # noqa: PLR2004 - 1, but for rounding
    compared = vectors[usable].astype(np.float64)
    with np.errstate(all="ignore"):
        cosines = (compared * expected[usable]).sum(axis=1) / np.linalg.norm(compared, axis=1)
    return np.where(np.isfinite(cosines), cosines, -1.0)
