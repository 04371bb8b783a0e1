"""Which segments are worth merging, so that a query visits few segments and no vector is rewritten often."""

import itertools
from collections.abc import Iterable, Sequence

from retrieval.vectors import SizedRef


def smallest(loose: Sequence[SizedRef], most: int, *, least_growth: float = 1) -> list[str]:
    """Return the refs of the smallest segments, to be merged, if there are more than `most`; else an empty list.

    `loose` are the segments without a search structure. The growth of a merge is the size of the new segment, divided
    by the size of the largest segment in it. The number of segments with the largest growth is chosen; none are merged
    if that growth is under `least_growth`. So a vector is rewritten only when its segment grows several times: 4 times
    in 20,000 commits of one image.
    """
    ordered = _ascending(loose)
    if len(ordered) <= most:
        return []
    sizes = [count for _, count in ordered]
    growth = [total / size for total, size in zip(itertools.accumulate(sizes), sizes, strict=True)]
    best = growth.index(max(growth[1:]), 1)
    return [ref for ref, _ in ordered[: best + 1]] if growth[best] >= least_growth else []


def worth_folding(loose: Sequence[SizedRef], built: Sequence[SizedRef], most: int, *, patience: int = 1) -> list[str]:
    """Return the refs of the segments that should become one segment with a structure; often an empty list.

    `loose` are the segments without a structure, `built` those with one. Nothing is folded while `loose` hold at most
    `most` vectors. Otherwise all of `loose` are folded, and then, from the smallest, each of `built` that has at most
    twice as many vectors as are folded so far. So a structure is built again only when its segment grows by half of
    itself, and n vectors have at most about log n structures, to the base 3.

    Within a run, `patience` > 1 waits for `patience` times `most` vectors, and until `loose` hold as many vectors as
    `built`. So structures are built a few times in a run, and a killed run leaves few vectors without a structure.
    """
    folded = sum(count for _, count in loose)
    if folded <= patience * most:
        return []
    if patience > 1 and folded < sum(count for _, count in built):
        return []
    group = [ref for ref, _ in loose]
    for ref, count in _ascending(built):
        if count <= 2 * folded:
            group.append(ref)
            folded += count
    return group


def _ascending(segments: Iterable[SizedRef]) -> list[SizedRef]:
    """Return segments in ascending order of their number of vectors."""
    return sorted(segments, key=lambda segment: segment[1])
