"""The reference store: plain numpy, no search structures, every answer exact. Other stores are tested against it.

It writes the same files of vectors as the FAISS store. A ref is the digest of the file of vectors.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.disk import files
from retrieval.errors import BadInput
from retrieval.types import EXACT, Hits, Ids, SearchForm, Vectors
from retrieval.vectors import Bitmap, Options, SizedRef, merge_policy
from retrieval.vectors.hits import combined, cut, nearest, no_hits
from retrieval.vectors.refs import VECTORS, vectors_file
from retrieval.vectors.segment import Segment, SegmentFolder, common_dim, file_damage, gathered

BLOCK = 1024
"""Number of rows converted to float64 at a time: 34 MB at the 4,032 dimensions of the widest backbone."""


class ExactVectors:
    """The segments in a folder, searched by multiplying every query with every vector."""

    def __init__(self, folder: str | os.PathLike[str], *, float16: bool = False) -> None:
        """Use `folder`; with `float16`, new vectors are rounded and stored at half the size."""
        self.folder = Path(folder)
        self._segments = SegmentFolder(self.folder, float16=float16)

    def append(self, ids: Ids, vectors: Vectors) -> str:
        """Write one segment."""
        return self._segments.append(ids, vectors)

    def snapshot(self, refs: Sequence[str]) -> "ExactSnapshot":
        """Open segments."""
        return ExactSnapshot([self._segments.open(ref) for ref in refs])

    def merge(
        self,
        refs: Sequence[str],
        live: Ids | None = None,
        options: Options | None = None,  # noqa: ARG002 - there are no structures
        *,
        strict: bool = True,  # noqa: ARG002 - there are no structures
    ) -> str:
        """Write the live vectors of `refs` as one segment, in ascending order of id."""
        for ref in refs:
            self._segments.demand_whole(ref)
        return self._segments.merge(self.snapshot(refs).segments, live)

    def count(self, ref: str) -> int:
        """Return the number of vectors of a segment."""
        return len(self._segments.open(ref).ids)

    def forms(self, segments: Sequence[SizedRef]) -> Sequence[SearchForm]:
        """Return `EXACT` for each segment."""
        return [SearchForm(EXACT, count) for _, count in segments]

    def sweep(self, keep: Collection[str], older_than: timedelta) -> int:
        """Delete the files that no ref names."""
        return files.sweep(self.folder, (VECTORS,), self._kept(keep), older_than)

    def orphans(self, keep: Collection[str]) -> int:
        """Return the number of files that no ref names."""
        kept = self._kept(keep)
        names = files.names_in(self.folder)
        return sum(files.written_here(name, (VECTORS,)) and name not in kept for name in names)

    @staticmethod
    def _kept(refs: Collection[str]) -> set[str]:
        return {vectors_file(ref) for ref in refs}

    # -- structures: there are none -------------------------------------------------------------------------------

    def check(self, options: Options, dim: int, count: int = 0) -> None:  # noqa: ARG002 - nothing to check
        """Raise `BadInput` for any option."""
        if options:
            raise BadInput(f"exact search has no option {next(iter(options))}")

    def wants_structure(self, count: int, dim: int, options: Options) -> bool:  # noqa: ARG002 - never
        """Return False."""
        return False

    def is_structured(self, segments: Sequence[SizedRef], options: Options | None) -> bool:  # noqa: ARG002 - always
        """Return True: no segment lacks a structure that it could have."""
        return True

    def without_structure(self, ref: str) -> str:
        """Return `ref`."""
        return ref

    def worth_merging(self, segments: Sequence[SizedRef], most: int, *, least_growth: float = 1) -> list[str]:
        """Return the smallest segments if there are more than `most`; else an empty list."""
        return merge_policy.smallest(segments, most, least_growth=least_growth)

    def worth_folding(
        self,
        segments: Sequence[SizedRef],  # noqa: ARG002 - there are no structures
        dim: int,  # noqa: ARG002 - there are no structures
        options: Options,  # noqa: ARG002 - there are no structures
        *,
        patience: int = 1,  # noqa: ARG002 - there are no structures
    ) -> list[str]:
        """Return an empty list."""
        return []

    # -- damage ---------------------------------------------------------------------------------------------------

    def damage(self, ref: str) -> list[str]:
        """Return a sentence if the file of a segment is missing or damaged; else an empty list."""
        return file_damage(self.folder, [vectors_file(ref)])

    def damaged_structures(self, refs: Sequence[str], *, thorough: bool) -> list[str]:  # noqa: ARG002 - there are none
        """Return an empty list."""
        return []

    def salvage(self, ref: str) -> str:
        """Write the sound vectors of a segment; the same file, corrected, if only single bits have flipped."""
        return self._segments.salvage(ref)

    def whole_segments(self) -> Iterator[str]:
        """Yield the ref of each undamaged segment in the folder."""
        return self._segments.whole_segments()


class ExactSnapshot:
    """Some open segments, searched by multiplying every query with every vector."""

    damaged: Sequence[str] = ()

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = segments
        self.count = sum(len(segment.ids) for segment in segments)
        self.dim = common_dim(segments)

    @property
    def forms(self) -> Sequence[SearchForm]:
        """How the vectors are searched."""
        return [SearchForm(EXACT, self.count)] if self.count else []

    def search(
        self,
        queries: Vectors,
        k: int,
        only: Ids | Bitmap | None = None,
        *,
        exact: bool = False,  # noqa: ARG002 - all answers are exact
    ) -> Hits:
        """Return the `k` nearest ids of each query, (queries, k)."""
        if only is None:
            bitmap = np.ones(self.count, dtype=bool)
        elif only.dtype == np.bool_:
            bitmap = only.astype(np.bool_, copy=False)
        else:
            bitmap = self.mask(only.astype(np.int64, copy=False))
        allowed = cut(bitmap, [len(segment.ids) for segment in self.segments])
        found = [scan(segment, queries, k, rows) for segment, rows in zip(self.segments, allowed, strict=True)]
        return combined([no_hits(len(queries), k), *found])

    def mask(self, ids: Ids) -> Bitmap:
        """Return a bitmap of the rows that have one of `ids`, (count,)."""
        return np.concatenate([np.zeros(0, dtype=bool), *(np.isin(segment.ids, ids) for segment in self.segments)])

    def get(self, ids: Ids) -> Vectors:
        """Return the stored vectors of `ids`, in their order, (len(ids), dim)."""
        return gathered(self.segments, ids)


def scan(segment: Segment, queries: Vectors, k: int, allowed: NDArray[np.bool_] | None = None) -> Hits:
    """Return the `k` nearest rows of each query, (queries, k), by comparing every vector, or every `allowed` one."""
    segment.demand_sound()
    rows = np.arange(len(segment.ids)) if allowed is None else np.flatnonzero(allowed)
    best = no_hits(len(queries), k)
    size = max(k, BLOCK)
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        scores = cosines(segment.vectors, block, queries)
        best = combined([best, nearest(np.broadcast_to(segment.ids[block], scores.shape), scores, k)])
    return best


def cosines(vectors: NDArray[np.floating], rows: NDArray[np.int64], queries: Vectors) -> NDArray[np.float32]:
    """Return the cosines of `queries` with these `rows` of `vectors`, (queries, rows), summed in float64, then rounded.

    Each pair is summed by itself, so that equal vectors have equal scores in whichever row they are. A matrix product
    of BLAS does not promise that.
    """
    scores = np.empty((len(queries), len(rows)), dtype=np.float32)
    for start in range(0, len(rows), BLOCK):
        block = vectors[rows[start : start + BLOCK]].astype(np.float64)
        for query, row in zip(queries, scores, strict=True):
            row[start : start + BLOCK] = (block * query).sum(axis=1)
    return scores
