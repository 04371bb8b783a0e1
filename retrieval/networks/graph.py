"""Networks converted for OpenVINO. A network is converted once, and kept in the user's cache.

    weights -`convert`-> Graph -> user's cache -> copy in the index

A converted network is a `Graph`: two files, named by the SHA-256 of their bytes, and facts about them. With the copy in
the index, a machine can answer queries without the weights and without Keras.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from retrieval.disk import cache
from retrieval.errors import IndexDamaged
from retrieval.networks.catalogue import IMAGENET, MINI, RANDOM, Backbone
from retrieval.networks.encoder import MOST_DIM
from retrieval.networks.execution import PRECISIONS
from retrieval.networks.weights import SHIPPED
from retrieval.networks.weights import cached as cached_file
from retrieval.types import DECODE_RULE

CONVERSION = 2
"""Version of the conversion. A graph from another version of the conversion is not taken from the cache."""
SUFFIXES = (".xml", ".bin")
"""Suffixes of the two files of a graph: its structure and its weights."""
INT8_FORM = SHIPPED.with_name("mini.int8.json")
"""Facts about the int8 form of the network that ships. scripts/quantise_mini.py writes them and the two files."""

Files = tuple[bytes, bytes]
"""Structure and weights, as OpenVINO reads them."""
Facts = dict[str, Any]
"""The facts about a graph, as JSON holds them. `files`: digests of the two files. `fingerprint`, `backbone`, `digest`
of the weights, decode `rule` and `dim` say which network it is. `parity`: the least cosine of its vectors to those of
the network before its weights were rounded, null if no picture had a vector; of an int8 form, the mean cosine to those
in f32. `pictures`: on how many pictures it was measured. `precisions`: processor -> the best precision, and the least
cosine of its vectors to those in f32."""


@dataclass(frozen=True)
class Graph:
    """A converted network."""

    files: Files
    facts: Facts

    @classmethod
    def made(cls, files: Files, *, backbone: str, digest: str, rule: int, **facts: Any) -> "Graph":  # noqa: ANN401 - values of JSON
        """Return the graph of two files that were converted now, with its fingerprint."""
        known = {"backbone": backbone, "digest": digest, "rule": rule, "precisions": {}, **facts}
        known["fingerprint"] = Backbone.from_json(backbone).fingerprint(digest, rule)
        return cls(files, {"files": list(map(_digest, files)), **known})

    def with_files(self, files: Files, **facts: Any) -> "Graph":  # noqa: ANN401 - values of JSON
        """Return another form of this network: two other files, and facts that differ."""
        return Graph(files, self.facts | {"precisions": {}, **facts, "files": list(map(_digest, files))})

    @classmethod
    def checked(cls, files: Sequence[bytes | None], facts: Facts) -> "Graph | None":
        """Return the graph of two files; None where the files are damaged or the facts are impossible.

        Files and facts may come from an index that somebody else made.
        """
        sound = [data for data in files if data is not None]
        return None if list(map(_digest, sound)) != facts.get("files") else cls.of(sound, facts)

    @classmethod
    def of(cls, files: Sequence[bytes], facts: Facts) -> "Graph | None":
        """Return the graph of two files whose digests were compared already; None where the facts are impossible."""
        if len(files) != len(SUFFIXES) or not _are_possible(facts):
            return None
        structure, weights = files
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
    """Return whether a value can be a cosine."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -2 < value < 2  # noqa: PLR2004 - rounding


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


def shipped(backbone: Backbone, weights: str, rule: int = DECODE_RULE) -> Graph | None:
    """Return the converted network that comes with the package: that of `MINI` with its own weights and options.

    Returns None for any other network, and if the files are missing or damaged.
    """
    if weights != str(SHIPPED) or backbone != Backbone.choose(MINI):
        return None
    try:
        files = [SHIPPED.with_suffix(suffix).read_bytes() for suffix in SUFFIXES]
        facts = json.loads(SHIPPED.with_suffix(".json").read_bytes())
        facts |= {"rule": rule, "fingerprint": backbone.fingerprint(facts["digest"], rule)}
        return Graph.checked(files, facts)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def shipped_int8(graph: Graph) -> Graph | None:
    """Return the int8 form of a network that comes with the package: that of `MINI` with its own weights and options.

    Returns None for any other network, and if the files are missing or damaged.
    """
    try:
        facts = json.loads(INT8_FORM.read_bytes())
        if any(graph.facts[name] != facts[name] for name in ("backbone", "digest")):
            return None
        files = [INT8_FORM.with_suffix(suffix).read_bytes() for suffix in SUFFIXES]
        return Graph.checked(files, graph.facts | facts)
    except (OSError, ValueError, LookupError, TypeError):
        return None


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


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
