"""Segments with a FAISS structure beside each: the default store.

The vectors are those of `exact`. The structure of a segment, today a flat one, is derived from them: a file of its own,
named by its SHA-256, opened only if its bytes have that digest (FAISS reads many a damaged file in silence:
facebookresearch/faiss#5400). A ref is `VECTORS+STRUCTURE`, the two digests.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from retrieval.types import Hits, Ids, Vectors
from retrieval.vectors import exact
from retrieval.vectors.exact import ExactSnapshot, ExactVectors, Segment

SUFFIX = ".faiss"
MARGIN = np.float32(1e-4)
"""How far a float32 inner product of two rows of length 1 may be from the float64 one. The bound for dim = 4096, the largest
of any backbone, is dim * 2**-24 = 2.4e-4 in the worst order of summation (Higham 2002, Accuracy and Stability of Numerical
Algorithms, section 3.1); FAISS sums in at least 8 lanes, which divides it by 8."""
SPARE = 16
"""Candidates asked beyond k, so that those within the margin of the k-th come with the first search nearly always."""


class FaissVectors:
    """The segments below `folder`, each with its structure."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._exact = ExactVectors(folder)

    def append(self, ids: Ids, vectors: Vectors) -> str:
        """Write a segment and its structure, durable on return."""
        return self._with_structure(self._exact.append(ids, vectors), vectors)

    def snapshot(self, refs: Sequence[str]) -> "FaissSnapshot":
        """Open segments; one whose structure is not what was committed is searched without."""
        segments, structures, damaged = [], [], []
        for ref in refs:
            segments.append(exact.open_segment(self.folder / files_of(ref)[0]))
            structures.append(self._opened(ref))
            if structures[-1] is None:
                damaged.append(ref)
        return FaissSnapshot(segments, structures, damaged)

    def merge(self, refs: Sequence[str], live: Ids) -> str:
        """Write the live vectors of `refs` as one segment with its structure."""
        ids, vectors = exact.merged([exact.open_segment(self.folder / files_of(ref)[0]) for ref in refs], live)
        return self.append(ids, vectors) if len(ids) else ""

    def sweep(self, keep: Collection[str], older_than: timedelta) -> int:
        """Delete what no ref names."""
        names = {name for ref in keep for name in files_of(ref)}
        return exact.sweep(self.folder, names, older_than)

    def _with_structure(self, vectors_digest: str, vectors: Vectors) -> str:
        structure = faiss.IndexFlatIP(vectors.shape[1])
        structure.add(np.ascontiguousarray(vectors))
        data = faiss.serialize_index(structure)
        return f"{vectors_digest}+{exact.write_durably(self.folder, SUFFIX, (memoryview(data),))}"

    def _opened(self, ref: str) -> Any | None:  # noqa: ANN401 - faiss has no types
        path = self.folder / files_of(ref)[1]
        return faiss.read_index(str(path)) if exact.sha256_of(path) == path.stem else None


def files_of(ref: str) -> tuple[str, str]:
    """Return the names of the files of `ref`: vectors, structure."""
    vectors, _, structure = ref.partition("+")
    return vectors + exact.SUFFIX, structure + SUFFIX


class FaissSnapshot:
    """Some segments, each searched through its structure where that is whole."""

    def __init__(self, segments: Sequence[Segment], structures: Sequence[Any], damaged: Sequence[str]) -> None:
        self.segments = segments
        self.structures = structures
        self.damaged = damaged
        self.count = sum(len(segment.ids) for segment in segments)

    def search(self, queries: Vectors, k: int, only: Ids | None = None) -> Hits:
        """Return the nearest ids of each query."""
        pairs = zip(self.segments, self.structures, strict=True)
        return exact.combined(
            [_search(segment, structure, queries, k, only) for segment, structure in pairs], len(queries), k
        )

    def get(self, ids: Ids) -> Vectors:
        """Return stored vectors."""
        return exact.gathered(self.segments, ids)


def _search(segment: Segment, structure: Any, queries: Vectors, k: int, only: Ids | None) -> Hits:  # noqa: ANN401
    if structure is None:
        return ExactSnapshot([segment]).search(queries, k, only)
    parameters, allowed = None, len(segment.ids)
    if only is not None:
        mask = np.isin(segment.ids, only)
        allowed = int(mask.sum())
        parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little")))
    ids = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    rows, asked = np.arange(len(queries)), min(k + SPARE, allowed)
    while len(rows) and asked:
        proposed, positions = structure.search(queries[rows], asked, params=parameters)
        exactly = np.stack(
            [exact.cosines(segment.vectors[p], q) for p, q in zip(positions, queries[rows], strict=True)]
        )
        hits = exact.nearest(segment.ids[positions], exactly, k)
        ids[rows], scores[rows] = hits.ids, hits.scores
        # What was not proposed scores at most the last proposal plus the margin: below the k-th, or it has to be looked at.
        rows = rows[hits.scores[:, -1] - MARGIN <= proposed[:, -1]] if asked < allowed else rows[:0]
        asked = min(2 * asked, allowed)
    return Hits(ids, scores)
