"""Pairs of pictures that may be copies of each other: few enough to look at each of them.

    signatures alike, in one of eight orientations -> most of the detail agrees or is alike (in batches)
    vectors among the nearest                      -> perhaps a part of the other picture

Signatures find whole pictures, however they were turned, encoded, scaled or recoloured. Vectors find crops.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from retrieval.comparing import relation
from retrieval.comparing.agreement import agreement
from retrieval.comparing.looks import REVERSE, TURNS, turned, turned_signatures
from retrieval.organising import pairs
from retrieval.organising.gallery import Gallery
from retrieval.organising.pairs import Pairs

ALIKE = 0.55
"""Least cosine of the signatures of a pair. Of 5,400 distinct pictures, 8,700 of 14 million pairs reach it in one of
eight orientations; of text over a fifth of a picture, 98 in 100 do, of turned copies all."""
MOST = 20
"""Largest number of pairs by signature of a picture and orientation, the most alike ones."""
NEIGHBOURS = 5
"""Number of nearest vectors among which a picture is looked for as a part. Parts of 80 % of each side are among the 5
nearest in 100 of 100 cases (MobileNetV2) and 98 of 100 (mini), if there are no other copies."""
NEAR = 0.7
"""Least cosine of their vectors. Of parts of 80 % of each side, 99 in 100 reach 0.77 with either network."""
BATCH = 512
"""Number of pairs whose agreement is computed at a time: 30 MB."""


class Candidate(NamedTuple):
    """Two pictures that may be copies."""

    first: int
    """Number of a picture in the first gallery. Within one gallery, less than `second`."""
    second: int
    """Number of a picture in the second gallery."""
    is_near: bool
    """Whether the vectors are so near that one may be a part of the other."""


def candidates(
    first: Gallery, second: Gallery | None = None, progress: Callable[[float], None] | None = None
) -> list[Candidate]:
    """Return the candidates within a gallery, or between two, ascending. `progress` gets the share that is done."""
    found: set[tuple[int, int]] = set()
    turns = [turn for turn in TURNS if second is not None or turn <= REVERSE[turn]]
    for done, turn in enumerate(turns):
        found.update(_alike(first, second, turn))
        if progress is not None:
            progress((done + 1) / (len(turns) + 1))
    near = set(_near(first, second))
    if progress is not None:
        progress(1.0)
    return [Candidate(*pair, pair in near) for pair in sorted(found | near)]


def _near(first: Gallery, second: Gallery | None) -> Iterator[tuple[int, int]]:
    others = None if second is None else second.vectors
    if len(first) == 0 or (second is not None and len(second) == 0):
        return
    nearest = pairs.nearest(first.vectors, NEIGHBOURS, others)
    for a, b, score in zip(nearest.first.tolist(), nearest.second.tolist(), nearest.scores.tolist(), strict=True):
        if score >= NEAR:
            yield a, b


def _alike(first: Gallery, second: Gallery | None, turn: int) -> Iterator[tuple[int, int]]:
    """Yield the pairs whose signatures are alike in an orientation, and of which much detail agrees."""
    other = first if second is None else second
    if not len(first.owners) or not len(other.owners):
        return
    within = second is None and turn == 0
    signatures = None if within else turned_signatures(other.signatures, turn)
    found = pairs.near(first.signatures, ALIKE, MOST, signatures)
    for start in range(0, len(found), BATCH):
        part = slice(start, start + BATCH)
        block = Pairs(found.first[part], found.second[part], found.scores[part])
        yield from _agreeing(first, other, block, turn, one_gallery=second is None)


def _agreeing(
    first: Gallery, other: Gallery, block: Pairs, turn: int, *, one_gallery: bool
) -> Iterator[tuple[int, int]]:
    owners = np.stack([first.owners[block.first], other.owners[block.second]], axis=1)
    apart = (owners[:, 0] != owners[:, 1]) if one_gallery else np.ones(len(owners), bool)
    if not apart.any():
        return
    grey = other.grey[block.second[apart]]
    agreed = agreement(first.grey[block.first[apart]], turned(grey, turn))
    has_detail = agreed.detail >= relation.SOME
    agrees = np.maximum(agreed.alike, agreed.exact) >= min(relation.SCENE, relation.NEARLY)
    looked_at = has_detail & (agrees | (agreed.exact >= relation.EDITED))
    for a, b in owners[apart][looked_at].tolist():
        yield (min(a, b), max(a, b)) if one_gallery else (a, b)
