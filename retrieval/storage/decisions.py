"""What people have decided about pictures that look alike, by the SHA-256 of their contents, kept in the index."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from retrieval.errors import BadInput
from retrieval.storage.commit import Store
from retrieval.storage.settings import DECISIONS

Pair = tuple[str, str]
"""Two SHA-256, each 64 hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """Pairs of contents about which people have decided."""

    different: frozenset[Pair] = frozenset()
    """Pairs that are no duplicates, whatever they look like. The lesser SHA-256 stands first."""
    removed: frozenset[Pair] = frozenset()
    """Pairs of which the first was put into the trash or moved away because the second was kept. Both are the same for
    copies with the same bytes."""

    def are_different(self, one: str, other: str) -> bool:
        """Tell whether somebody has said that two contents are no duplicates."""
        return (min(one, other), max(one, other)) in self.different

    def was_removed(self, one: str, kept: str) -> bool:
        """Tell whether a content was removed before in favour of another one."""
        return (one, kept) in self.removed


def read(store: Store) -> Decisions:
    """Return all decisions."""
    with store.rows() as rows:
        value = rows.setting(DECISIONS) or {}
    return Decisions(*(frozenset((a, b) for a, b in value.get(name, [])) for name in ("different", "removed")))


def write(store: Store, decisions: Decisions) -> None:
    """Keep these decisions in place of all earlier ones; within `Store.writing`."""
    value = {name: sorted(getattr(decisions, name)) for name in ("different", "removed")}
    store.put_setting(DECISIONS, {name: [list(pair) for pair in pairs] for name, pairs in value.items()})


def demand_digests(digests: Iterable[str]) -> None:
    """Raise `BadInput` for what is no SHA-256 of 64 hexadecimal digits, in lower case."""
    for digest in digests:
        if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
            raise BadInput("a content is named by its SHA-256, 64 hexadecimal digits in lower case")


def with_different(decisions: Decisions, pairs: Iterable[Pair]) -> Decisions:
    """Return the decisions with more pairs that are no duplicates."""
    added = {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}
    return Decisions(decisions.different | added, decisions.removed)


def with_removed(decisions: Decisions, pairs: Iterable[Pair]) -> Decisions:
    """Return the decisions with more contents that were removed in favour of others."""
    return Decisions(decisions.different, decisions.removed | frozenset(pairs))


def without_removed(decisions: Decisions, contents: Iterable[str]) -> Decisions:
    """Return the decisions without the removals of these contents, because they were undone."""
    undone = frozenset(contents)
    return Decisions(decisions.different, frozenset(pair for pair in decisions.removed if pair[0] not in undone))
