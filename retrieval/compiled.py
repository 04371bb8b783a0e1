"""Networks compiled by OpenVINO: converted once, held against the reference, kept, and run at the best precision.

    weights -> Keras -> frozen graph -> intermediate representation -> user's cache -> copy in the index
                 └── parity, on the first pictures ──┘

A graph is two files, named by the SHA-256 of their bytes, and facts about it. Its copy in an index is all that a
machine needs to answer: neither weights nor Keras.
"""

import hashlib
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from retrieval import plugins
from retrieval.backbones import IMAGENET, RANDOM, Backbone
from retrieval.images import DECODE_RULE
from retrieval.runtimes import AUTO, Encoder, Execution
from retrieval.types import Pixels, Vectors
from retrieval.vectors.exact import write_durably

PARITY = 0.999
"""Least cosine between a compiled network's vector and the reference's, of each picture; below, it is not used."""
SAMPLE = 8
"""Pictures that are compared: the reference takes up to seconds for them."""
WORTH = 1.1
"""How much faster a lower precision has to be."""
GRAPH = "graph"
"""The setting of an index that has the facts of its compiled network."""
ENCODER = "encoder"
"""The folder of an index that has its files."""
CONVERSION = 1
"""Version of how a network is converted; with another, it is converted anew."""
STRUCTURE, WEIGHTS = ".xml", ".bin"

Facts = dict[str, Any]
"""What JSON holds of a graph: `files` (two digests), `fingerprint`, `backbone`, `dim`, `parity` (the least cosine; null
where it has not been measured), `pictures` (how many it was measured on), `precisions` (processor -> the best one, and
its least cosine to f32)."""
log = logging.getLogger("retrieval")


@dataclass(frozen=True)
class Graph:
    """A converted network."""

    files: tuple[bytes, bytes]
    """Structure and weights, as OpenVINO reads them."""
    facts: Facts

    @classmethod
    def read(cls, folder: Path, facts: Facts) -> "Graph | None":
        """Read the graph that has these facts; None where its files are not what was written."""
        try:
            files = [path.read_bytes() for path in paths(folder, facts)]
        except OSError:
            return None
        whole = [hashlib.sha256(data).hexdigest() for data in files] == facts["files"]
        return cls((files[0], files[1]), facts) if whole else None

    def write(self, folder: Path) -> None:
        """Write the files into `folder`, durable on return; `OSError`."""
        folder.mkdir(parents=True, exist_ok=True)
        for path, data in zip(paths(folder, self.facts), self.files, strict=True):
            write_durably(folder, path.suffix, (data,))


def paths(folder: Path, facts: Mapping[str, Any]) -> list[Path]:
    """Return where the files of a graph are."""
    return [folder / (digest + suffix) for digest, suffix in zip(facts["files"], (STRUCTURE, WEIGHTS), strict=True)]


# -- the user's cache ---------------------------------------------------------------------------------------------


def cache() -> Path:
    """Return the folder of what can be made again: `retrieval` in the place that the system has for that (XDG)."""
    from platformdirs import user_cache_path

    return user_cache_path("retrieval")


def key(backbone: Backbone, weights: str) -> str | None:
    """Return what tells a conversion from others, without loading anything; None where the weights are to be fetched.

    `weights` is what `locate_weights` gives.
    """
    if weights == IMAGENET:
        home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
        weights = os.fspath(Path(home, "models", backbone.weights_file))
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
        DECODE_RULE,
        version("openvino"),
        version("keras"),
    )
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def cached(name: str | None) -> Graph | None:
    """Return the graph that was converted before under that key."""
    try:
        facts = json.loads((cache() / f"{name}.json").read_text())
        return Graph.read(cache(), facts)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(name: str | None, graph: Graph) -> None:
    """Keep a graph, or new facts about it, in the cache, whole or not at all; one that cannot be written is none."""
    if name is None:
        return
    with suppress(OSError):
        graph.write(cache())
        partial = cache() / f"{secrets.token_hex(8)}.partial"
        partial.write_text(json.dumps(graph.facts))
        partial.replace(cache() / f"{name}.json")


def _blobs() -> Path | None:
    """Return the folder where OpenVINO keeps what it has compiled for this machine; None where there can be none."""
    try:
        (cache() / "compiled").mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return cache() / "compiled" if os.access(cache() / "compiled", os.W_OK) else None


# -- encoders -----------------------------------------------------------------------------------------------------


def convert(reference: Any, *, half: bool = True) -> Graph:  # noqa: ANN401 - a KerasEncoder, which stays unimported
    """Return the graph of a Keras encoder, with weights rounded to float16 where `half`."""
    files = plugins.load("openvino:converted")(reference.frozen(), half=half)
    facts = {
        "files": [hashlib.sha256(data).hexdigest() for data in files],
        "fingerprint": reference.fingerprint,
        "backbone": reference.backbone.as_json(),
        "dim": reference.dim,
        "parity": None,
        "pictures": 0,
        "precisions": {},
    }
    return Graph(files, facts)


def _forgotten() -> Encoder:
    raise AssertionError("the reference is asked for once")


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
        self.dim: int = graph.facts["dim"]
        self._execution, self._reference, self._changed = execution, reference, changed
        self._chosen: Encoder | None = None
        self._choosing = threading.Lock()

    def images(self, batch: Pixels) -> Vectors:
        """Return one row of length 1 a picture."""
        with self._choosing:
            if self._chosen is None:
                self._chosen = self._measured(batch[:SAMPLE])
                self._reference = _forgotten  # for it holds the whole network once more
        return self._chosen.images(batch)

    def _run(self, precision: str) -> Encoder:
        execution = replace(self._execution, precision=precision)
        made: Encoder = plugins.load("runtime:openvino")(self.graph.files, self.fingerprint, execution, _blobs())
        return made

    def _measured(self, sample: Pixels) -> Encoder:
        """Return what is to run: the reference if the conversion is not true to it."""
        plain = self._run("f32")
        if self.graph.facts["parity"] is None:
            reference = self._reference()
            expected = reference.images(sample)
            if self._learn_parity(plain, sample, expected) < PARITY:  # then with weights of full precision
                self.graph = convert(reference, half=False)
                plain = self._run("f32")
                self._learn_parity(plain, sample, expected)
        cosine: float = self.graph.facts["parity"]
        if cosine < PARITY:
            self._refuse("network", cosine, "Keras")
            return self._reference()
        return self._at_best_precision(plain, sample)

    def _learn_parity(self, plain: Encoder, sample: Pixels, expected: Vectors) -> float:
        cosine = parity(plain.images(sample), expected)
        self._learn(parity=cosine, pictures=len(sample))
        return cosine

    def _at_best_precision(self, plain: Encoder, sample: Pixels) -> Encoder:
        asked, processor = self._execution.precision, plugins.load("openvino:processor")()
        known = self.graph.facts["precisions"].get(processor)
        if asked == AUTO and known is None and len(sample) == SAMPLE:
            known = self._race(plain, sample)
            self._learn(precisions=self.graph.facts["precisions"] | {processor: known})
        if asked == AUTO:
            asked = "f32" if known is None else known[0]
            return plain if asked == "f32" else self._run(asked)
        chosen = self._run(asked)
        cosine = parity(chosen.images(sample), plain.images(sample))
        if cosine >= PARITY:
            return chosen
        self._refuse(f"network in {asked}", cosine, "f32")
        return plain

    @staticmethod
    def _refuse(what: str, cosine: float, instead: str) -> None:
        log.warning(
            "the compiled %s differs from the original (cosine %.4f); running in %s instead", what, cosine, instead
        )

    def _race(self, plain: Encoder, sample: Pixels) -> list[Any]:
        """Return the fastest precision on this processor, f32 if that is nearly, and its least cosine to f32."""
        best, least = "f32", 1.0
        exact, fastest = self._timed(plain, sample)
        for precision in plugins.load("openvino:precisions")():
            vectors, seconds = self._timed(self._run(precision), sample)
            cosine = parity(vectors, exact)
            if cosine >= PARITY and WORTH * seconds < fastest:
                best, fastest, least = precision, seconds, cosine
        return [best, least]

    @staticmethod
    def _timed(encoder: Encoder, sample: Pixels) -> tuple[Vectors, float]:
        vectors = encoder.images(sample)  # compiles, too
        start = time.perf_counter()
        encoder.images(sample)
        return vectors, time.perf_counter() - start

    def _learn(self, **facts: Any) -> None:  # noqa: ANN401 - what JSON holds
        self.graph = replace(self.graph, facts=self.graph.facts | facts)
        self._changed(self.graph)


def parity(vectors: Vectors, expected: Vectors) -> float:
    """Return the least cosine of corresponding rows; pictures for which the network answers nothing do not count."""
    lengths = np.linalg.norm(expected, axis=1)
    cosines = (vectors.astype(np.float64) * expected).sum(axis=1)[np.abs(lengths - 1) < 1e-3]  # noqa: PLR2004
    return float(np.nan_to_num(cosines, nan=-1.0).min(initial=1.0))
