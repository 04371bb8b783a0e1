"""Open segments of the FAISS store, and the search over them: through the structure of each, or by scanning it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval.types import EXACT, Hits, Ids, SearchForm, Vectors
from retrieval.vectors import Bitmap, scan
from retrieval.vectors.facts import Facts, form_of
from retrieval.vectors.hits import combined, cut, no_hits
from retrieval.vectors.refs import structured
from retrieval.vectors.scan import Mask
from retrieval.vectors.segment import Segment, common_dim, gathered


@dataclass(frozen=True)
class OpenSegment:
    """One segment with its structure, open for reading."""

    ref: str
    stamp: tuple[Any, ...]
    """Inode, size and time of each file: at least one of them changes when a file changes."""
    segment: Segment
    facts: Facts | None
    """Facts about the structure; None if there is no structure, or if the facts are damaged."""
    structure: Any
    """An open `faiss.Structure`; None if there is none, if it is damaged, or if its recall is too low."""

    @property
    def damaged(self) -> bool:
        """Whether the ref names a structure that cannot be used because its files are missing or damaged."""
        if not structured(self.ref):
            return False
        return self.facts is None or (self.facts.sufficient and self.structure is None)

    @property
    def approximate(self) -> bool:
        """Whether the segment is searched through a structure."""
        return self.structure is not None

    @property
    def form(self) -> SearchForm:
        """How the segment is searched."""
        return form_of(self.facts if self.approximate else None, len(self.segment.ids))

    def added(self, hits: Hits, queries: Vectors, allowed: Mask | None, *, exact: bool) -> Hits:
        """Return the nearest ids of each query, among those in `hits` and those in this segment.

        `allowed` are the rows of the segment that may be found, or None for all.
        """
        k = hits.ids.shape[1]
        if exact or not self.approximate:
            more = scan.search(self.segment, queries, k, allowed, hits.scores[:, -1])
        else:
            more = self.structure.search(self.segment, queries, k, allowed)
        return combined([hits, more]) if (more.ids >= 0).any() else hits


class StructuredSnapshot:
    """Some open segments. Each is searched through its structure, if it has one that can be used."""

    def __init__(self, parts: Sequence[OpenSegment]) -> None:
        self.parts = parts
        self.damaged = [part.ref for part in parts if part.damaged]
        self.count = sum(len(part.segment.ids) for part in parts)
        self.dim = common_dim([part.segment for part in parts])
        self._of_ids: tuple[Ids, Sequence[Mask | None]] | None = None
        """The ids to which the latest search was limited, and for each segment the rows that have them."""

    @property
    def forms(self) -> Sequence[SearchForm]:
        """How the vectors are searched, largest part first. All vectors that are searched exactly are one part."""
        forms = [part.form for part in self.parts if part.approximate]
        exact = self.count - sum(form.vectors for form in forms)
        if exact:
            forms.append(SearchForm(EXACT, exact))
        return sorted(forms, key=lambda form: -form.vectors)

    def search(self, queries: Vectors, k: int, only: Ids | Bitmap | None = None, *, exact: bool = False) -> Hits:
        """Return the `k` nearest ids of each query, (queries, k)."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        hits = no_hits(len(queries), k)
        for part, allowed in zip(self.parts, self._allowed(only), strict=True):
            hits = part.added(hits, queries, allowed, exact=exact)
        return hits

    def mask(self, ids: Ids) -> Bitmap:
        """Return a bitmap of the rows that have one of `ids`, (count,)."""
        return np.concatenate([np.zeros(0, dtype=bool), *(part.segment.mask(ids) for part in self.parts)])

    def get(self, ids: Ids) -> Vectors:
        """Return the stored vectors of `ids`, in their order, (len(ids), dim)."""
        return gathered([part.segment for part in self.parts], ids)

    def _allowed(self, only: Ids | Bitmap | None) -> Sequence[Mask | None]:
        """Return for each segment the mask of the rows that may be found; None if all may be."""
        if only is None:
            return [None] * len(self.parts)
        if only.dtype == np.bool_:
            bitmap = only.astype(np.bool_, copy=False)
            return _unless_all(cut(bitmap, [len(part.segment.ids) for part in self.parts]))
        ids = only.astype(np.int64, copy=False)
        known = self._of_ids
        if known is None or known[0] is not ids:
            known = self._of_ids = ids, _unless_all([part.segment.mask(ids) for part in self.parts])
        return known[1]


def _unless_all(masks: Sequence[Mask]) -> list[Mask | None]:
    """Return `masks`, with None in place of each mask that allows all rows."""
    return [None if mask.all() else mask for mask in masks]
