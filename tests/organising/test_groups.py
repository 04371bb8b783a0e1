"""`groups`: chains, and the heads to which others belong."""

from pathlib import Path

from retrieval.comparing.relation import Relation, Verdict
from retrieval.organising.groups import Chains, heads
from retrieval.organising.keep import Keeper
from retrieval.types import IndexedImage, Metadata

SAME = Verdict(Relation.REENCODED, 1.0, "encoded again")


def image(number: int, width: int) -> IndexedImage:
    return IndexedImage(number, Path(f"/{number}.jpg"), width, 100, "JPEG", Metadata(), 1, 1, "0")


def test_links_join_sets() -> None:
    chains = Chains(6)
    for pair in ((4, 5), (1, 4), (0, 2)):
        chains.link(*pair)
    assert chains.sets() == [[0, 2], [1, 4, 5], [3]]
    assert chains.first(5) == 1


def test_a_picture_belongs_to_a_head_that_it_was_compared_with_itself() -> None:
    """0 is like 1, and 1 is like 2, but 0 is not like 2."""
    related = {(0, 1), (1, 2)}
    files = {number: [image(number, 500 - number)] for number in range(3)}

    def compare(a: int, b: int) -> Verdict | None:
        return SAME if (min(a, b), max(a, b)) in related else None

    found = list(heads([0, 1, 2], files, Keeper.of("largest"), compare, lambda *_: ()))
    assert [(head.id, number, [other for other, _ in others]) for head, number, others in found] == [(0, 0, [1])]


def test_what_does_not_belong_to_the_first_head_makes_groups_of_its_own() -> None:
    related = {(0, 1), (1, 2), (2, 3)}
    files = {number: [image(number, 500 - number)] for number in range(4)}

    def compare(a: int, b: int) -> Verdict | None:
        return SAME if (min(a, b), max(a, b)) in related else None

    found = list(heads([0, 1, 2, 3], files, Keeper.of("largest"), compare, lambda *_: ()))
    assert [(number, [other for other, _ in others]) for _, number, others in found] == [(0, [1]), (2, [3])]


def test_another_head_can_be_better() -> None:
    files = {number: [image(number, 500 - number)] for number in range(3)}
    found = list(heads([0, 1, 2], files, Keeper.of("largest"), lambda *_: SAME, lambda number, _: {2} - {number}))
    assert [(number, sorted(other for other, _ in others)) for _, number, others in found] == [(2, [0, 1])]
