"""Segments with a FAISS structure beside each: the default store.

The vectors are those of `exact`. The structure of a segment, today a flat one, is derived from them: a file of its own,
named by its SHA-256, given to FAISS only if its bytes have that digest (FAISS reads many a damaged file in silence:
facebookresearch/faiss#5400). A ref is `VECTORS+STRUCTURE`, the two digests.

FAISS proposes in float32; the answer is computed in float64 from the vectors, and is that of `exact` to the last bit.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.types import Hits, Ids, Vectors
from retrieval.vectors import exact
from retrieval.vectors.exact import ExactVectors, Segment

faiss: Any = _faiss
"""Without its types, which do not know what its Python layer accepts (arrays, keywords)."""
FaissIndex = Any

SUFFIX = ".faiss"
SPARE = 16
"""Candidates asked beyond k, so that those within the margin of the k-th come with the first search nearly always."""


class FaissVectors:
    """The segments in `folder`, each with its structure."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._exact = ExactVectors(folder)

    def append(self, ids: Ids, vectors: Vectors) -> str:
        """Write a segment and its structure, durable on return."""
        return f"{self._exact.append(ids, vectors)}+{self._derive(vectors)}"

    def snapshot(self, refs: Sequence[str]) -> "FaissSnapshot":
        """Open segments; one whose structure is not what was committed is searched without."""
        segments = self._segments(refs)
        structures = [self._opened(ref, segment) for ref, segment in zip(refs, segments, strict=True)]
        return FaissSnapshot(refs, segments, structures)

    def merge(self, refs: Sequence[str], live: Ids) -> str:
        """Write the live vectors of `refs` as one segment with its structure, in ascending order of id."""
        ids, vectors = exact.merged(self._segments(refs), live)
        return self.append(ids, vectors) if len(ids) else ""

    def sweep(self, keep: Collection[str], older_than: timedelta) -> int:
        """Delete what no ref names."""
        return exact.sweep(self.folder, {name for ref in keep for name in files_of(ref)}, older_than)

    def _segments(self, refs: Sequence[str]) -> list[Segment]:
        return [exact.open_segment(self.folder / files_of(ref)[0]) for ref in refs]

    def _derive(self, vectors: Vectors) -> str:
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        return exact.write_durably(self.folder, SUFFIX, (memoryview(faiss.serialize_index(index)),))

    def _opened(self, ref: str, segment: Segment) -> "Structure | None":
        """Give FAISS the very bytes whose digest was checked, without a copy and whatever the folder is called."""
        path = self.folder / files_of(ref)[1]
        try:
            data = np.memmap(path, dtype=np.uint8, mode="r")
        except (OSError, ValueError):  # missing, or empty
            return None
        if hashlib.sha256(data.data).hexdigest() != path.stem:
            return None
        index = faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(data), data.size))
        return Structure(index, data) if (index.ntotal, index.d) == segment.vectors.shape else None


def files_of(ref: str) -> tuple[str, str]:
    """Return the names of the files of `ref`: vectors, structure."""
    vectors, _, structure = ref.partition("+")
    return vectors + exact.SUFFIX, structure + SUFFIX


@dataclass(frozen=True)
class Structure:
    """An open structure."""

    index: FaissIndex
    data: NDArray[np.uint8]
    """The bytes that `index` is a view of."""


class FaissSnapshot:
    """Some segments, each searched through its structure where that is whole."""

    def __init__(
        self, refs: Sequence[str], segments: Sequence[Segment], structures: Sequence[Structure | None]
    ) -> None:
        self.segments = segments
        self.structures = structures
        self.damaged = [ref for ref, structure in zip(refs, structures, strict=True) if structure is None]
        self.count = sum(len(segment.ids) for segment in segments)

    def search(self, queries: Vectors, k: int, only: Ids | None = None) -> Hits:
        """Return the nearest ids of each query."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        parts = [exact.nobody(len(queries), k)]
        for segment, structure in zip(self.segments, self.structures, strict=True):
            if structure is None:
                parts.append(exact.scan(segment, queries, k, only))
            else:
                parts.append(_search(segment, structure.index, queries, k, only))
        return exact.combined(parts)

    def get(self, ids: Ids) -> Vectors:
        """Return stored vectors."""
        return exact.gathered(self.segments, ids)


def margin(dim: int) -> float:
    """Return how far a float32 score of two rows of length 1 may be from the float64 one, in any order of summation.

    The bound for an inner product is dim * u * sum |x_i y_i| with u = 2**-24 (Higham 2002, Accuracy and Stability of
    Numerical Algorithms, section 3.1), and the sum is at most the product of the lengths. 2 u more for rounding both
    scores; one per cent for higher orders and for lengths that are 1 only nearly.
    """
    return 1.01 * (dim + 2) * 2.0**-24


def _search(segment: Segment, index: FaissIndex, queries: Vectors, k: int, only: Ids | None) -> Hits:
    parameters, allowed = None, len(segment.ids)
    if only is not None:
        mask = np.isin(segment.ids, only)
        parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little")))
        allowed = int(mask.sum())
    hits = exact.nobody(len(queries), k)
    open_, asked = np.arange(len(queries)), min(k + SPARE, allowed)
    while len(open_) and asked:
        proposed, rows = index.search(queries[open_], asked, params=parameters)
        found = _rescored(segment, rows, queries[open_], k)
        hits.ids[open_], hits.scores[open_] = found.ids, found.scores
        # What was not proposed scores at most the last proposal plus the margin: below the k-th, or it has to be seen.
        reach = proposed[:, -1].astype(np.float64) + margin(index.d)
        open_ = open_[found.scores[:, -1] <= reach] if asked < allowed else open_[:0]
        asked = min(2 * asked, allowed)
    return hits


def _rescored(segment: Segment, rows: NDArray[np.int64], queries: Vectors, k: int) -> Hits:
    scores = [exact.cosines(segment.vectors, some, query[None])[0] for some, query in zip(rows, queries, strict=True)]
    return exact.nearest(segment.ids[rows], np.stack(scores), k)
