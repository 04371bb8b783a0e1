"""The FAISS store, the default: segments of vectors, and beside each large segment a search structure of FAISS.

A small segment is searched by scanning all its vectors (`scan`), a large one through its structure (`faiss`). The
structure is built from the vectors and kept in two files: the facts about it, with its measured recall (`facts`), and
the bytes of FAISS. `refs` says what a ref looks like, and which files it names.

This module is loaded in every run. Modules that need numpy or FAISS are imported by the methods that touch vectors, so
that an update that finds nothing new does not wait for them.
"""

import os
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval import plugins
from retrieval.disk import files
from retrieval.errors import BadInput
from retrieval.types import Ids, SearchForm, Vectors
from retrieval.vectors import Options, SizedRef, merge_policy
from retrieval.vectors.facts import Facts, form_of
from retrieval.vectors.options import AUTO, FLAT, StructureOptions
from retrieval.vectors.refs import FACTS, STRUCTURE, SUFFIXES, files_of, structured, vectors_of

if TYPE_CHECKING:
    from retrieval.vectors.segment import Segment, SegmentFolder
    from retrieval.vectors.snapshot import OpenSegment, StructuredSnapshot

log = getLogger("retrieval")


class StructuredVectors:
    """The segments in a folder, the large ones with a search structure."""

    def __init__(self, folder: str | os.PathLike[str], *, float16: bool = False) -> None:
        """Use `folder`; with `float16`, new vectors are rounded and stored at half the size."""
        self.folder = Path(folder)
        self.float16 = float16
        self._mutex = threading.Lock()
        self._open: dict[str, OpenSegment] = {}

    @cached_property
    def _segments(self) -> "SegmentFolder":
        from retrieval.vectors.segment import SegmentFolder

        return SegmentFolder(self.folder, float16=self.float16)

    def append(self, ids: Ids, vectors: Vectors) -> str:
        """Write one segment without a structure."""
        return self._segments.append(ids, vectors)

    def snapshot(self, refs: Sequence[str]) -> "StructuredSnapshot":
        """Open segments. A segment that the latest snapshot opened is used again if its files have not changed."""
        from retrieval.vectors.snapshot import StructuredSnapshot

        with self._mutex:
            segments = [self._opened(ref) for ref in refs]
            self._open = {segment.ref: segment for segment in segments if not segment.damaged}
        return StructuredSnapshot(segments)

    def merge(
        self, refs: Sequence[str], live: Ids | None = None, options: Options | None = None, *, strict: bool = True
    ) -> str:
        """Write the live vectors of `refs` as one segment, with the structure that `options` ask for."""
        for ref in refs:
            self._segments.demand_whole(ref)
        vectors = self._merged_vectors(refs, live)
        if not vectors or options is None:
            return vectors
        chosen = StructureOptions.of(options)
        if chosen.factory == FLAT:
            return vectors
        segment = self._segments.open(vectors)
        try:
            derived = self._derive(segment, chosen)
        except BadInput as error:
            if strict:
                raise
            log.warning("%s; another form is used", error)
            derived = self._derive(segment, replace(chosen, factory=AUTO))
        return "+".join([vectors, *derived])

    def _merged_vectors(self, refs: Sequence[str], live: Ids | None) -> str:
        """Write the live vectors of `refs` and return their digest; "" for no vectors.

        A single segment of which all vectors are live is not written again.
        """
        import numpy as np

        segments = [self._segments.open(ref) for ref in refs]
        if len(refs) == 1 and (live is None or np.isin(segments[0].ids, live).all()):
            return vectors_of(refs[0])
        return self._segments.merge(segments, live)

    def _derive(self, segment: "Segment", options: StructureOptions) -> tuple[str, str]:
        """Build and write the structure of a segment; return the digests of its facts and of its bytes."""
        structure = plugins.load("faiss:Structure").derived(segment, options)
        data = structure.written()
        digest = files.write_durably(self.folder, STRUCTURE, [data.data])
        return structure.facts.write(self.folder, FACTS, data), digest

    def count(self, ref: str) -> int:
        """Return the number of vectors of a segment."""
        return len(self._segments.open(ref).ids)

    def forms(self, segments: Sequence[SizedRef]) -> Sequence[SearchForm]:
        """Return how each segment is searched, as the facts say. No structure is opened."""
        return [form_of(self._facts(ref), count) for ref, count in segments]

    def sweep(self, keep: Collection[str], older_than: timedelta) -> int:
        """Delete the files that no ref names."""
        return files.sweep(self.folder, SUFFIXES, _files_of_all(keep), older_than)

    def orphans(self, keep: Collection[str]) -> int:
        """Return the number of files that no ref names."""
        kept = _files_of_all(keep)
        names = files.names_in(self.folder)
        return sum(files.written_here(name, SUFFIXES) and name not in kept for name in names)

    # -- structures -----------------------------------------------------------------------------------------------

    def check(self, options: Options, dim: int, count: int = 0) -> None:
        """Raise `BadInput` for a factory that FAISS does not know, or that needs more than `count` vectors."""
        chosen = StructureOptions.of(options)
        factory = options.get("factory", AUTO)
        if factory in (AUTO, FLAT):  # a tuple, not a set: a damaged setting may have a list here, which has no hash
            return
        count = max(count, chosen.scan_limit(dim, float16=self.float16)) if count else 0
        plugins.load("faiss:check")(factory, dim, count)

    def wants_structure(self, count: int, dim: int, options: Options) -> bool:
        """Tell whether a segment of `count` vectors is too large to be scanned by every query."""
        chosen = StructureOptions.of(options)
        return chosen.factory != FLAT and count > chosen.scan_limit(dim, float16=self.float16)

    def is_structured(self, segments: Sequence[SizedRef], options: Options | None) -> bool:
        """Tell whether every segment has an undamaged structure of the kind that `options` ask for.

        With None for `options`, tell whether no segment has a structure.
        """
        refs = [ref for ref, _ in segments]
        if options is None:
            return not any(structured(ref) for ref in refs)
        chosen = StructureOptions.of(options)
        if not all(chosen.fits(form) for form in self.forms(segments)):
            return False
        return not self.damaged_structures(refs, thorough=True)

    def without_structure(self, ref: str) -> str:
        """Return the ref of the same vectors without their structure."""
        return vectors_of(ref)

    def worth_merging(self, segments: Sequence[SizedRef], most: int, *, least_growth: float = 1) -> list[str]:
        """Return the smallest segments if more than `most` segments have no structure; else an empty list."""
        return merge_policy.smallest(_loose(segments), most, least_growth=least_growth)

    def worth_folding(
        self, segments: Sequence[SizedRef], dim: int, options: Options, *, patience: int = 1
    ) -> list[str]:
        """Return the segments that should become one with a structure, if too many vectors have none."""
        chosen = StructureOptions.of(options)
        if chosen.factory == FLAT:
            return []
        built = [segment for segment in segments if structured(segment[0])]
        most = chosen.scan_limit(dim, float16=self.float16)
        return merge_policy.worth_folding(_loose(segments), built, most, patience=patience)

    # -- damage ---------------------------------------------------------------------------------------------------

    def damage(self, ref: str) -> list[str]:
        """Return a sentence for each file of a segment that is missing or damaged."""
        from retrieval.vectors.segment import file_damage

        return file_damage(self.folder, files_of(ref))

    def damaged_structures(self, refs: Sequence[str], *, thorough: bool) -> list[str]:
        """Return the refs whose structure cannot be used; unless `thorough`, only a missing file is noticed."""
        refs = [ref for ref in refs if structured(ref)]
        if not refs:
            return []
        if thorough:
            return list(self.snapshot(refs).damaged)
        names = set(files.names_in(self.folder))
        return [ref for ref in refs if not names.issuperset(files_of(ref))]

    def salvage(self, ref: str) -> str:
        """Write the sound vectors of a segment, without a structure."""
        return self._segments.salvage(ref)

    def whole_segments(self) -> Iterator[str]:
        """Yield, for each file of vectors in the folder that is undamaged, its ref without a structure."""
        return self._segments.whole_segments()

    # -- opening --------------------------------------------------------------------------------------------------

    def _opened(self, ref: str) -> "OpenSegment":
        """Open a segment; return the one that the latest snapshot opened if its files have not changed."""
        from retrieval.vectors.snapshot import OpenSegment

        stamp = self._stamp(ref)
        known = self._open.get(ref)
        if known is not None and stamp and known.stamp == stamp:
            return known
        segment = self._segments.open(ref)
        facts = self._facts(ref)
        structure = None
        if facts is not None and facts.sufficient:
            structure = self._structure(ref, facts, segment)
        return OpenSegment(ref, stamp, segment, facts, structure)

    def _stamp(self, ref: str) -> tuple[Any, ...]:
        """Return inode, size and time of each file of `ref`; an empty tuple if a file is missing."""
        stamps = []
        for name in files_of(ref):
            try:
                status = os.lstat(self.folder / name)
            except OSError:
                return ()  # opening the file will tell why
            stamps.append((status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(stamps)

    def _facts(self, ref: str) -> Facts | None:
        """Return the facts about the structure of a segment; None if it has none, or if they are damaged."""
        if not structured(ref):
            return None
        _, facts_file, _ = files_of(ref)
        return Facts.read(self.folder / facts_file)

    def _structure(self, ref: str, facts: Facts, segment: "Segment") -> Any:  # noqa: ANN401 - a class that needs FAISS
        """Open a structure; None if it is missing or damaged.

        FAISS reads many damaged files without an error, and some of them make it overwrite memory
        (facebookresearch/faiss#5400). So it is given only bytes whose digests have been checked.
        """
        import numpy as np

        _, _, structure_file = files_of(ref)
        try:
            with files.opened(self.folder / structure_file) as file:
                data = np.memmap(file, dtype=np.uint8, mode="r")
        except (FileNotFoundError, ValueError):  # ValueError: the file is empty
            return None
        if not facts.describes(data):
            return None
        return plugins.load("faiss:Structure").opened(facts, data, segment)


def _files_of_all(refs: Collection[str]) -> set[str]:
    return {name for ref in refs for name in files_of(ref)}


def _loose(segments: Sequence[SizedRef]) -> list[SizedRef]:
    """Return the segments without a structure."""
    return [segment for segment in segments if not structured(segment[0])]
