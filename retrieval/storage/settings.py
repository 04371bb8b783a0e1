"""The settings of an index: their names, and the values that each can have.

A setting is a row of the table `settings`, with a value in JSON. It is either chosen by the user or computed from the
index. A setting that is missing or damaged is treated as never set.
"""

import re
from collections.abc import Mapping
from typing import Any

from retrieval.errors import IndexDamaged
from retrieval.storage.bounds import DIMENSIONS, LARGEST, Check, is_finite, is_plain, loaded
from retrieval.storage.signing import REPAIR

FLOAT16 = "float16"
"""Whether new vectors are stored as float16, at half the size. It is chosen when the index is made."""
SEARCH = "search"
"""The options of search structures. Only the vector store understands them."""
RANKING = "ranking"
"""The ranking that searches use, and the measurements that led to it."""
MEAN = "mean"
"""The mean of all vectors when the index was tuned."""
GRAPH = "graph"
"""The facts of the compiled network, an artefact."""
INT8 = "int8"
"""The facts of the int8 form of the compiled network, an artefact."""
TAGGED = "tagged"
"""The state of the tags, with the generation up to which the images have tags."""
UNREAD = "unread_metadata"
"""Whether there are images whose metadata have to be read: an earlier version indexed them, or their rows are damaged.
"""
DECISIONS = "decisions"
"""What people have decided about pictures that look alike."""

_DIGEST = "[0-9a-f]{64}"


def value_of(name: str, text: str) -> Any:  # noqa: ANN401 - what JSON holds
    """Return the value of the setting `name` from its JSON; `IndexDamaged` for a value that the setting cannot have.

    A setting that this version does not know can have any value.
    """
    value = loaded(text)
    check = _CHECKS.get(name)
    if check is not None and not check(value):
        raise IndexDamaged(f"the setting {name} of the index is damaged", hint=REPAIR)
    return value


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_options(value: object) -> bool:
    return isinstance(value, dict) and is_plain(value)  # the vector store checks the entries


def _is_ranking(value: object) -> bool:
    if (
        not isinstance(value, dict)
        or str(value.get("name")) not in {"none", "mixed", "expansion"}
        or not is_plain(value)
    ):
        return False
    figures = [value.get("map", {}), value.get("agreement", {})]
    return isinstance(value.get("by", ""), str) and all(
        isinstance(of, dict) and all(map(is_finite, of.values())) for of in figures
    )


def _is_mean(value: object) -> bool:
    return isinstance(value, list) and 0 < len(value) <= DIMENSIONS and all(is_finite(number) for number in value)


def _is_artefact(value: object) -> bool:
    """Tell whether a value can be the facts of an artefact, with the digests of its files."""
    if not isinstance(value, dict) or not is_plain(value) or not isinstance(value.get("files"), list):
        return False
    return all(isinstance(digest, str) and re.fullmatch(_DIGEST, digest) for digest in value["files"])


def _is_state_of_tags(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    numbers = [value.get("generation", 0), value.get("version", 0)]
    return isinstance(value.get("made", False), bool) and all(
        type(number) is int and 0 <= number <= LARGEST for number in numbers
    )


def _are_decisions(value: object) -> bool:
    if not isinstance(value, dict) or not is_plain(value):
        return False
    pairs = [pair for name in ("different", "removed") for pair in value.get(name, [])]
    return all(
        isinstance(pair, list) and len(pair) == 2 and all(re.fullmatch(_DIGEST, str(digest)) for digest in pair)  # noqa: PLR2004 - a pair
        for pair in pairs
    )


_CHECKS: Mapping[str, Check] = {
    FLOAT16: _is_flag,
    SEARCH: _is_options,
    RANKING: _is_ranking,
    MEAN: _is_mean,
    GRAPH: _is_artefact,
    INT8: _is_artefact,
    TAGGED: _is_state_of_tags,
    UNREAD: _is_flag,
    DECISIONS: _are_decisions,
}
