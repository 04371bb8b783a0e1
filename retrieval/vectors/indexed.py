"""Segments with a search structure beside each large one: the default store.

The vectors are those of `exact`; a small segment is searched by looking at all of them (`flat`). A large one has a
structure of FAISS, derived from its vectors, in two files: what it is and how well it searches (JSON), and the bytes of
FAISS. The ref is `VECTORS+FACTS+STRUCTURE`, the three digests. FAISS is imported only where there is a structure.

FAISS reads many a damaged file in silence, and some overwrite its memory (facebookresearch/faiss#5400), so it is given
only bytes that have been checked. The facts hold a digest of each piece of them, so that all processors can do that.
"""

import hashlib
import json
import os
import threading
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from retrieval import plugins
from retrieval.disk import files
from retrieval.storage import bounds
from retrieval.types import EXACT, Hits, Ids, SearchForm, Vectors
from retrieval.vectors import FLAT, SUFFIXES, Form, files_of, scan, structured
from retrieval.vectors import segment as exact
from retrieval.vectors.scan import Mask
from retrieval.vectors.segment import ExactVectors, Segment, combined, nobody

PIECE = 8_000_000
"""Bytes of a structure that one digest stands for."""
PIECE_LEAST, MOST_REFINED = 4096, 1000
"""Bounds of what facts say: of those bytes, and of candidates for each neighbour asked for."""


@dataclass(frozen=True)
class Facts:
    """What a structure is, and how well it searches."""

    factory: str
    """As FAISS writes it."""
    vectors: int
    dim: int
    target: float
    """The recall that was asked for."""
    effort: int = 1
    """efSearch of a graph, nprobe of inverted lists."""
    refine: float = 1.0
    """Candidates for each neighbour asked for; those are ranked by the stored vectors."""
    recall: float = 0.0
    """Share of the nearest that was found of held-out vectors, which were not in the structure yet: of the first ten or
    of the second ten, whichever is less."""
    queries: int = 0
    """How many those were."""
    piece: int = PIECE
    """How many of FAISS' bytes one digest stands for."""
    pieces: tuple[str, ...] = ()
    """The SHA-256 of each piece of those, in hexadecimal."""

    @property
    def sufficient(self) -> bool:
        """Whether it finds what was asked for; else the vectors are searched without it."""
        return self.recall >= self.target

    def measured(self, effort: int, refine: float, recall: float, queries: int) -> Self:
        """Return the facts with the outcome of tuning."""
        return replace(self, effort=effort, refine=refine, recall=recall, queries=queries)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return the facts in a file that is named by its digest; None where that is missing or not understood."""
        try:
            data = files.read(path)
        except FileNotFoundError:
            return None
        if hashlib.sha256(data).hexdigest() != path.stem:
            return None
        try:
            known = {item.name for item in fields(cls)}
            facts = {name: value for name, value in json.loads(data).items() if name in known}
            found = cls(**facts | {"pieces": tuple(facts["pieces"])})
            possible = found.possible
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):  # of a version that says other things
            return None
        return found if possible else None

    @property
    def possible(self) -> bool:
        """Whether these can be facts of this program; `TypeError` where they are not even numbers."""
        counts = self.vectors, self.dim, self.effort, self.queries, self.piece
        return (
            bounds.is_factory(self.factory)
            and all(type(count) is int for count in counts)
            and 0 < self.vectors <= bounds.LARGEST
            and 0 < self.dim <= bounds.DIMENSIONS
            and 0 < self.effort <= bounds.NUMBER
            and 1 <= self.refine <= MOST_REFINED
            and 0 <= self.recall <= 1
            and 0 <= self.target <= 1
            and PIECE_LEAST <= self.piece <= bounds.LARGEST
            and all(isinstance(digest, str) for digest in self.pieces)
        )


class StructuredVectors:
    """The segments in `folder`, the large ones with a structure."""

    def __init__(self, folder: Path, *, float16: bool = False) -> None:
        """Use `folder`; `float16` keeps the vectors that are written from now on in half the bytes."""
        self.folder = folder
        self._exact = ExactVectors(folder, float16=float16)
        self._mutex = threading.Lock()
        self._parts: dict[str, Part] = {}

    def append(self, ids: Ids, vectors: Vectors) -> str:
        """Write a segment, durable on return, without a structure."""
        return self._exact.append(ids, vectors)

    def snapshot(self, refs: Sequence[str]) -> "StructuredSnapshot":
        """Open segments, but for those that the last snapshot has opened and that are as they were."""
        with self._mutex:
            parts = [self._opened(ref) for ref in refs]
            self._parts = {part.ref: part for part in parts if not part.damaged}
        return StructuredSnapshot(parts)

    def merge(self, refs: Sequence[str], live: Ids | None = None, form: Form | None = None) -> str:
        """Write the live vectors of `refs` as one segment, with a structure of that form."""
        for ref in refs:
            exact.demand_whole(self.folder / files_of(ref)[0])
        segments = [exact.open_segment(self.folder / files_of(ref)[0]) for ref in refs]
        if len(refs) == 1 and (live is None or np.isin(segments[0].ids, live).all()):
            vectors = refs[0].split("+")[0]
        else:
            vectors = self._exact.merged(segments, live)
        if not vectors or form is None or form.factory == FLAT:
            return vectors
        return "+".join([vectors, *self._derive(exact.open_segment(self.folder / files_of(vectors)[0]), form)])

    def count(self, ref: str) -> int:
        """Return how many vectors a segment has."""
        return self._exact.count(ref.partition("+")[0])

    def forms(self, segments: Sequence[tuple[str, int]]) -> Sequence[SearchForm]:
        """Return how segments are searched, as the facts of their structures say, which are not opened."""
        return [_form(self._facts(ref), count) for ref, count in segments]

    def _facts(self, ref: str) -> Facts | None:
        return Facts.read(self.folder / files_of(ref)[1]) if structured(ref) else None

    def sweep(self, keep: Collection[str], older_than: timedelta) -> int:
        """Delete what no ref names."""
        return files.sweep(self.folder, SUFFIXES, {name for ref in keep for name in files_of(ref)}, older_than)

    def salvage(self, ref: str) -> str:
        """Write what is sound of the vectors of a segment, without a structure."""
        return self._exact.salvage(ref.partition("+")[0])

    def _derive(self, segment: Segment, form: Form) -> tuple[str, str]:
        """Write the structure of a segment; return the digests of its facts and of its bytes."""
        made = plugins.load("vectors:faiss").derived(segment, form)
        data = made.written()
        structure = files.write_durably(self.folder, SUFFIXES[2], [data.data])
        pieces = _digests(data, PIECE)
        facts = json.dumps(asdict(replace(made.facts, piece=PIECE, pieces=pieces)), sort_keys=True).encode()
        return files.write_durably(self.folder, SUFFIXES[1], [facts]), structure

    def _opened(self, ref: str) -> "Part":
        stamp = self._stamp(ref)
        before = self._parts.get(ref)
        if before is not None and stamp and before.stamp == stamp:
            return before
        segment = exact.open_segment(self.folder / files_of(ref)[0])
        facts = self._facts(ref)
        used = facts is not None and facts.sufficient
        return Part(ref, stamp, segment, facts, self._structure(ref, facts, segment) if facts and used else None)

    def _stamp(self, ref: str) -> tuple[Any, ...]:
        """Return what changes when one of the files of a ref does; missing ones are noticed where they are opened."""
        found = []
        for name in files_of(ref):
            try:
                at = os.lstat(self.folder / name)
            except OSError:
                return ()
            found.append((at.st_ino, at.st_size, at.st_mtime_ns))
        return tuple(found)

    def _structure(self, ref: str, facts: Facts, segment: Segment) -> Any:  # noqa: ANN401 - a class that only FAISS has
        """Open a structure; None where it is missing, or is not what was written."""
        try:
            with files.opened(self.folder / files_of(ref)[2]) as file:
                data = np.memmap(file, dtype=np.uint8, mode="r")
        except (FileNotFoundError, ValueError):  # missing, or empty
            return None
        if facts.pieces != _digests(data, facts.piece):
            return None
        return plugins.load("vectors:faiss").opened(facts, data, segment)


def _digests(data: NDArray[np.uint8], size: int) -> tuple[str, ...]:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return tuple(pool.map(lambda piece: hashlib.sha256(piece.data).hexdigest(), pieces))


def _form(facts: Facts | None, count: int) -> SearchForm:
    return SearchForm(EXACT, count) if facts is None else SearchForm(facts.factory, count, facts.recall, facts.target)


@dataclass(frozen=True)
class Part:
    """A segment, open."""

    ref: str
    stamp: tuple[Any, ...]
    segment: Segment
    facts: Facts | None
    """What the structure is; None where there is none, or where they are damaged."""
    structure: Any
    """An open structure; None where there is none, where it is damaged, or where it finds too little to be used."""

    @property
    def damaged(self) -> bool:
        """Whether the structure that the ref names cannot be used."""
        return structured(self.ref) and (self.facts is None or (self.facts.sufficient and self.structure is None))

    @property
    def approximate(self) -> bool:
        """Whether the structure is what the segment is searched with."""
        return self.structure is not None

    @property
    def form(self) -> SearchForm:
        """How the segment is searched."""
        return _form(self.facts if self.approximate else None, len(self.segment.ids))

    def added(self, hits: Hits, queries: Vectors, allowed: Mask | None, *, exact: bool) -> Hits:
        """Return the nearest ids of each query among those in `hits` and in this segment."""
        k = hits.ids.shape[1]
        if exact or not self.approximate:
            more = scan.search(self.segment, queries, k, allowed, hits.scores[:, -1])
        else:
            more = self.structure.search(self.segment, queries, k, allowed)
        return combined([hits, more]) if (more.ids >= 0).any() else hits


class StructuredSnapshot:
    """Some segments, each searched through its structure where it has one that is whole."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.damaged = [part.ref for part in parts if part.damaged]
        self.count = sum(len(part.segment.ids) for part in parts)
        self.dim = exact.common_dim([part.segment for part in parts])
        self._masks: tuple[Ids, Sequence[Mask | None]] | None = None

    @property
    def forms(self) -> Sequence[SearchForm]:
        """How the vectors are searched; what is searched exactly is one part."""
        forms = [part.form for part in self.parts if part.approximate]
        rest = self.count - sum(form.vectors for form in forms)
        forms += [SearchForm(EXACT, rest)] * bool(rest)
        return sorted(forms, key=lambda form: -form.vectors)

    def search(self, queries: Vectors, k: int, only: Ids | None = None, *, exact: bool = False) -> Hits:
        """Return the nearest ids of each query."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        hits = nobody(len(queries), k)
        for part, allowed in zip(self.parts, self._allowed(only), strict=True):
            hits = part.added(hits, queries, allowed, exact=exact)
        return hits

    def get(self, ids: Ids) -> Vectors:
        """Return stored vectors."""
        return exact.gathered([part.segment for part in self.parts], ids)

    def _allowed(self, only: Ids | None) -> Iterator[Mask | None]:
        """Yield for each segment which of its rows may be found, None for all; those of the last `only` are kept."""
        if only is None:
            yield from [None] * len(self.parts)
            return
        known = self._masks
        if known is None or known[0] is not only:
            masks = [part.segment.mask(only) for part in self.parts]
            known = self._masks = only, [None if mask.all() else mask for mask in masks]
        yield from known[1]
