"""Pictures that show the same, in groups: one file that is kept, the head, and others of which each was compared to it.

Pictures that are verified pair by pair form a chain, and a chain may lead from a picture to one that has nothing to do
with it. So the chain only says whom to compare. A picture belongs to a group if it was compared to the head itself.
What does not belong to a head forms groups of its own.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrieval.comparing.relation import Relation, Verdict
from retrieval.organising.keep import Keeper
from retrieval.types import IndexedImage

Belonging = Sequence[tuple[int, Verdict]]
"""Pictures that belong to another one, with what they are to it."""
Compare = Callable[[int, int], Verdict | None]
"""Compares two pictures by their numbers. The answer is the same in both directions."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a group."""

    image: IndexedImage
    relation: Relation | None
    """What it is to the head; None for the head."""
    score: float
    """Cosine of its vector and that of the head, -1 to 1."""
    reason: str
    """For the head, why it is kept; for another file, what it is to the head, and why it is not kept."""
    is_kept: bool = False
    """Whether the file is kept: the head, and files in safe folders."""
    was_removed: bool = False
    """Whether a file with the same content was put into the trash or moved away before, in favour of this head."""

    def as_dict(self) -> dict[str, Any]:
        """Return the file as JSON can hold it."""
        return {
            "path": str(self.image.path),
            "keep": self.is_kept,
            "relation": None if self.relation is None else str(self.relation),
            "score": round(self.score, 6),
            "reason": self.reason,
            "bytes": self.image.bytes,
            "was_removed": self.was_removed,
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Files that show the same."""

    members: tuple[Member, ...]
    """The head, and then the others, the closest relation first; within a relation in the order of keeping."""

    @property
    def head(self) -> Member:
        """The file that is kept."""
        return self.members[0]

    @property
    def others(self) -> tuple[Member, ...]:
        """The files that are not kept."""
        return tuple(member for member in self.members if not member.is_kept)

    @property
    def tier(self) -> Relation:
        """The loosest relation in the group."""
        order = list(Relation)
        return max((member.relation for member in self.members if member.relation), key=order.index)

    def as_dict(self, number: int) -> dict[str, Any]:
        """Return the group as JSON can hold it, under a number."""
        files = [member.as_dict() for member in self.members]
        return {"group": number, "tier": str(self.tier), "files": files}


class Chains:
    """Sets of numbers, which links join."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def first(self, number: int) -> int:
        """Return the least number of the set that a number belongs to."""
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def link(self, a: int, b: int) -> None:
        """Join the sets of two numbers."""
        least, other = sorted((self.first(a), self.first(b)))
        self._parent[other] = least

    def sets(self) -> list[list[int]]:
        """Return the sets, each ascending, in the order of their least numbers."""
        found: dict[int, list[int]] = {}
        for number in range(len(self._parent)):
            found.setdefault(self.first(number), []).append(number)
        return list(found.values())


def heads(
    chain: Sequence[int],
    files: Mapping[int, Sequence[IndexedImage]],
    keeper: Keeper,
    compare: Compare,
    better: Callable[[int, Belonging], Collection[int]],
) -> Iterator[tuple[IndexedImage, int, Belonging]]:
    """Yield the heads of a chain of pictures, each with its number and with the pictures that belong to it.

    `files` has the files of each number. `better` returns those of the belonging pictures of which one is to be
    the head instead. A picture that belongs to no other one is left out, unless it has several files.
    """
    owner = {id(image): number for number in chain for image in files[number]}
    ordered = keeper.sorted(image for number in chain for image in files[number])
    taken: set[int] = set()
    for image in ordered:
        head, number = image, owner[id(image)]
        if number in taken:
            continue
        belonging = _belonging(number, chain, taken, compare)
        if others := better(number, belonging):
            head = next(image for image in ordered if owner[id(image)] in others)
            number = owner[id(head)]
            belonging = _belonging(number, chain, taken, compare)
        taken.update([number, *(other for other, _ in belonging)])
        if belonging or len(files[number]) > 1:
            yield head, number, belonging


def _belonging(number: int, chain: Sequence[int], taken: set[int], compare: Compare) -> Belonging:
    """Return the pictures of a chain that belong to one of them, without those that are taken."""
    verdicts = [(other, compare(number, other)) for other in chain if other != number and other not in taken]
    return [(other, verdict) for other, verdict in verdicts if verdict is not None]
