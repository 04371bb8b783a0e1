"""Which segments are worth merging: few of them for a query to visit, and no vector rewritten often.

A segment is (ref, vectors in it).
"""

import itertools
from collections.abc import Iterable, Sequence

from retrieval.vectors import structured

Part = tuple[str, int]


def smallest(segments: Sequence[Part], most: int, *, least: float = 1) -> list[str]:
    """Return the smallest segments without a structure where there are more than `most` of them, else none.

    As many as let the largest of them grow most in proportion, and none if it does not grow `least` times. So each
    vector is rewritten only as often as its segment grows manifold: 4 times in 20,000 commits of one image.
    """
    ordered = _ascending(part for part in segments if not structured(part[0]))
    if len(ordered) <= most:
        return []
    sizes = [count for _, count in ordered]
    growth = [total / size for total, size in zip(itertools.accumulate(sizes), sizes, strict=True)]
    best = growth.index(max(growth[1:]), 1)
    return [ref for ref, _ in ordered[: best + 1]] if growth[best] >= least else []


def worth_folding(segments: Sequence[Part], most: int, *, patient: int = 1) -> list[str]:
    """Return what should become one segment with a structure: none while no more than `most` vectors have none.

    With the segments that have none, those of at most twice the vectors that are folded in. So a segment is built anew
    only when it grows by half of itself, and there are as many as there are powers of three in their number. Within a
    run, `patient` > 1 waits for that many times `most`, and until as many vectors have no structure as have one: so
    structures are built a few times in a run, and a run that is killed leaves few vectors without.
    """
    loose = [part for part in segments if not structured(part[0])]
    built = _ascending(part for part in segments if structured(part[0]))
    folded = sum(count for _, count in loose)
    if folded <= patient * most or (patient > 1 and folded < sum(count for _, count in built)):
        return []
    group = [ref for ref, _ in loose]
    for ref, count in built:
        if count <= 2 * folded:
            group.append(ref)
            folded += count
    return group


def _ascending(segments: Iterable[Part]) -> list[Part]:
    return sorted(segments, key=lambda segment: segment[1])
