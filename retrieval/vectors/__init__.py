"""SEAM: where vectors live. A `VectorStore` keeps vectors in segments, a `VectorSnapshot` searches some of them.

The flow: `append` writes new vectors as a segment and returns its ref, a text that only the store understands. The
metadata commits refs; `snapshot` opens committed refs, and the snapshot answers `search` and `get`. `merge` makes one
segment of several and may give it a search structure (built by FAISS, to answer without comparing every vector).
`sweep` deletes the files that no committed ref names. Segments never change. Stores are made by name with
`open_store("faiss:FOLDER")`; the default is in `indexed`, the reference in `oracle`. `memory` searches
vectors that are in no store. `scaling` checks vectors that a caller hands in.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from retrieval import plugins
from retrieval.errors import BadInput
from retrieval.types import Hits, Ids, SearchForm, Vectors

if TYPE_CHECKING:  # an update without news does not wait for numpy
    import numpy as np
    from numpy.typing import NDArray

    Bitmap = NDArray[np.bool_]
    """(count,), one value for each row of a snapshot."""
else:
    Bitmap = Any

__all__ = [
    "Bitmap",
    "Options",
    "SizedRef",
    "VectorSnapshot",
    "VectorStore",
    "memory",
    "open_store",
    "options",
    "scaling",
]

Options: TypeAlias = Mapping[str, Any]
"""Options of search structures: a JSON object that only the store understands. `{}` stands for the defaults."""
SizedRef: TypeAlias = tuple[str, int]
"""The ref of a segment, and the number of vectors in it."""
SEAM = "vector_stores"
"""Name of this seam in `plugins`; other packages register under the entry points "retrieval.vector_stores"."""


class VectorSnapshot(Protocol):
    """Some segments, read only. Nothing that is appended, merged or swept later changes them.

    Any number of threads may use a snapshot.
    """

    count: int
    """Number of vectors in all segments. An id in several segments counts once for each."""
    dim: int
    """Length of the vectors, the same in all segments; 0 without a segment."""
    damaged: Sequence[str]
    """Refs of segments whose search structure is missing or damaged. These segments are searched without it."""
    forms: Sequence[SearchForm]
    """How the vectors are searched, largest part first."""

    def search(self, queries: Vectors, k: int, only: Ids | Bitmap | None = None, *, exact: bool = False) -> Hits:
        """Return the `k` (>= 1) nearest ids of each query, (queries, k).

        `queries` are (queries, dim). `only` limits the search: to some ids, in any order, which need not all be in the
        snapshot; or to the rows for which a bitmap has True. Bitmaps come from `mask`, and can be combined with `&`,
        `|` and `~`. For several searches among the same ids, the caller should pass the same array, unchanged: the
        snapshot keeps the bitmap of the latest array.

        A segment without a structure is searched exactly; with `exact`, every segment is. The other segments are
        searched with the recall that `forms` gives. Every query gets `k` hits if there are `k` ids to be found.

        Scores are cosines computed in float64 from the stored vectors and rounded to float32. So they depend neither on
        the other queries nor on how a segment is searched. Hits are in descending order of score, and equal scores in
        ascending order of id. An id in several segments counts once, with its best score. Raises `IndexDamaged` if
        vectors that are read are damaged, and `ValueError` for a bitmap whose length is not `count`.
        """
        ...

    def mask(self, ids: Ids) -> Bitmap:
        """Return a new bitmap, (count,), of the rows that have one of `ids`, which are in any order."""
        ...

    def get(self, ids: Ids) -> Vectors:
        """Return the stored vectors of `ids`, in their order, (len(ids), dim).

        For an id in several segments, the vector in the first of these segments is returned. Raises `KeyError` for an
        id in no segment, and `IndexDamaged` if one of the vectors is damaged.
        """
        ...


class VectorStore(Protocol):
    """Segments at one place. One process writes at a time, any number read.

    An implementation passes `tests/contracts/vectors.py`. Its constructor takes the place, a text, and `float16`; the
    constructor neither reads nor writes. All methods raise `OSError` if the disk fails or is full, `StorageError` if
    the system denies access, and `IndexDamaged` if something is missing or damaged. Damage is noticed when it is read.

    Methods take options as they were stored: entries that are unknown or impossible are ignored.
    """

    # -- writing and reading --------------------------------------------------------------------------------------

    def append(self, ids: Ids, vectors: Vectors) -> str:
        """Write one segment, durable on return, and return its ref.

        `ids` are (n,), `vectors` (n, dim). Raises `ValueError` unless n >= 1, there are as many ids as vectors, and all
        ids differ. The same ids and vectors have the same ref.
        """
        ...

    def snapshot(self, refs: Sequence[str]) -> VectorSnapshot:
        """Open the segments `refs`; `IndexDamaged` if the vectors of one are missing or not of the right length."""
        ...

    def merge(
        self, refs: Sequence[str], live: Ids | None = None, options: Options | None = None, *, strict: bool = True
    ) -> str:
        """Write one segment with the vectors of `refs`, durable on return, and return its ref; "" for no vectors.

        Only the ids in `live` are kept; None keeps all. For an id in several segments, the vector that `get` returns is
        kept. With `options`, the new segment gets the search structure that they ask for. The vectors of a single
        segment of which all are kept are not written again.

        Raises `BadInput` for options that cannot be used for these vectors; without `strict`, another structure is
        built in that case, with a warning in the log. Raises `IndexDamaged` if a segment is damaged.
        """
        ...

    def count(self, ref: str) -> int:
        """Return the number of vectors in a segment; `IndexDamaged` if the segment is missing."""
        ...

    def forms(self, segments: Sequence[SizedRef]) -> Sequence[SearchForm]:
        """Return for each segment which search structure it has, without opening the structure.

        A structure whose recall is less than its target is not used for searching.
        """
        ...

    def sweep(self, keep: Collection[str], older_than: timedelta) -> int:
        """Delete the files that no ref in `keep` names and that are older than `older_than`; return their number.

        Files that no store has written are left alone.
        """
        ...

    def orphans(self, keep: Collection[str]) -> int:
        """Return the number of files that no ref in `keep` names, however old."""
        ...

    # -- search structures ----------------------------------------------------------------------------------------

    def check(self, options: Options, dim: int, count: int = 0) -> None:
        """Raise `BadInput` for options with which no structure can be made for `count` vectors of length `dim`.

        A `count` of 0 stands for any number of vectors. If `count` vectors need no structure (see `wants_structure`),
        the options are checked for the number of vectors up to which none is needed.
        """
        ...

    def wants_structure(self, count: int, dim: int, options: Options) -> bool:
        """Tell whether a segment of `count` vectors should have a structure, because a scan of it takes too long."""
        ...

    def is_structured(self, segments: Sequence[SizedRef], options: Options | None) -> bool:
        """Tell whether every segment has an undamaged structure of the kind that `options` ask for.

        The recall of the structures does not matter. With None for `options`, tell whether no segment has a structure.
        """
        ...

    def without_structure(self, ref: str) -> str:
        """Return the ref of the same vectors without a structure."""
        ...

    def worth_merging(self, segments: Sequence[SizedRef], most: int, *, least_growth: float = 1) -> list[str]:
        """Return refs that should be merged so that at most `most` segments have no structure; often an empty list.

        The list is also empty if the merged segment would be less than `least_growth` times as large as the largest of
        the segments in it.
        """
        ...

    def worth_folding(
        self, segments: Sequence[SizedRef], dim: int, options: Options, *, patience: int = 1
    ) -> list[str]:
        """Return refs that should be merged into one segment with a structure; often an empty list.

        The list is empty as long as the vectors without a structure are few enough for a query to scan them all. With
        `patience` > 1, about `patience` times as many vectors may be without a structure.
        """
        ...

    # -- damage ---------------------------------------------------------------------------------------------------

    def damage(self, ref: str) -> Sequence[str]:
        """Read every byte of a segment and return a sentence for each part that is missing or damaged."""
        ...

    def damaged_structures(self, refs: Sequence[str], *, thorough: bool) -> Sequence[str]:
        """Return those of `refs` whose structure cannot be used and should be built again.

        With `thorough`, all bytes of the structures are checked. Without it, only missing files are noticed, which is
        fast.
        """
        ...

    def salvage(self, ref: str) -> str:
        """Write the sound vectors of a damaged segment, durable on return, and return their ref; "" if none is sound.

        If all vectors could be corrected, the returned ref is `without_structure(ref)`.
        """
        ...

    def whole_segments(self) -> Iterable[str]:
        """Yield a ref of each segment in the store whose vectors are undamaged, whether it is committed or not."""
        ...


def open_store(url: str, *, float16: bool = False) -> VectorStore:
    """Return the vector store at `url`, "NAME:PLACE", as in "faiss:/photos/index_data/vectors".

    NAME is the name of an implementation: "faiss" (the default; PLACE is a folder), "exact" (the reference; PLACE is a
    folder), or one that another package registers as an entry point in the group "retrieval.vector_stores". With
    `float16`, new vectors are stored at half the size. Nothing is read or written. Raises `BadInput` for an unknown
    name.
    """
    name, _, place = url.partition(":")
    try:
        implementation = plugins.implementation(SEAM, name)
    except KeyError:
        known = ", ".join(plugins.implementations(SEAM))
        raise BadInput(f"there is no vector store named {name!r}", hint=f"vector stores: {known}") from None
    store: VectorStore = implementation(place, float16=float16)
    return store
