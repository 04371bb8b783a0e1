"""SEAM: where vectors live. A `VectorStore` keeps vectors in segments, a `VectorSnapshot` searches some of them.

The flow: `append` writes new vectors as a segment and returns its ref, a text that only the store understands. The
metadata commits refs; `snapshot` opens committed refs, and the snapshot answers `search` and `get`. `merge` makes one
segment of several and may give it a search structure, `sweep` deletes what no committed ref names. Segments never
change. Stores are made by name with `open_store("faiss:FOLDER")`; the default is in `indexed`, the reference in
`oracle`.
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

__all__ = ["Bitmap", "Options", "SizedRef", "VectorSnapshot", "VectorStore", "open_store", "options"]

Options: TypeAlias = Mapping[str, Any]
"""What was chosen for search structures: a JSON object that only the store understands. `{}` chooses nothing."""
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
    """Refs whose search structure is missing or damaged. They answer all the same, from the vectors themselves."""
    forms: Sequence[SearchForm]
    """How the vectors are searched, largest part first."""

    def search(self, queries: Vectors, k: int, only: Ids | Bitmap | None = None, *, exact: bool = False) -> Hits:
        """Return the `k` (>= 1) nearest ids of each query, (queries, k).

        `only` limits what can be found: to ids, in any order, of which those that are not here are ignored; or to the
        rows for which a bitmap has True. Bitmaps come from `mask`, and can be combined with `&`, `|` and `~`. Ids that
        are used for several searches should be the same array, unchanged: what they stand for is kept.

        A segment without a structure is searched exactly, and all are with `exact`; others with the recall that
        `forms` tells. There are `k` hits where there are `k` ids.

        Scores are cosines computed in float64 from the stored vectors and rounded to float32. So they depend neither on
        the other queries nor on how a segment is searched. Equal scores stand in ascending order of id. An id in
        several segments counts once, with its best score. `IndexDamaged` where vectors that are looked at are not what
        was written, `ValueError` for a bitmap of another length than `count`.
        """
        ...

    def mask(self, ids: Ids) -> Bitmap:
        """Return a new bitmap of the rows that have one of `ids`, which are in any order."""
        ...

    def get(self, ids: Ids) -> Vectors:
        """Return the stored vectors of `ids`, in their order, (len(ids), dim).

        For an id in several segments, the vector of the first of these. `KeyError` for an id in none of them,
        `IndexDamaged` where one of the vectors is damaged.
        """
        ...


class VectorStore(Protocol):
    """Segments at one place. One process writes at a time, any number read.

    An implementation passes `tests/contracts/vectors.py`. Its constructor takes the place, a text, and `float16`; it
    neither reads nor writes. Errors: `OSError` where the disk fails or is full, `StorageError` where the system gives
    no access, `IndexDamaged` where something is missing or damaged. Damage is noticed where it is read.

    Methods take options as they were stored: entries that are unknown or impossible are ignored.
    """

    # -- writing and reading --------------------------------------------------------------------------------------

    def append(self, ids: Ids, vectors: Vectors) -> str:
        """Write one segment, durable on return, and return its ref.

        `ids` are (n,), `vectors` (n, dim). `ValueError` unless n >= 1, there are as many ids as vectors, and each id
        stands once. The same ids and vectors have the same ref.
        """
        ...

    def snapshot(self, refs: Sequence[str]) -> VectorSnapshot:
        """Open the segments `refs`; `IndexDamaged` where the vectors of one are missing or not of the right length."""
        ...

    def merge(
        self, refs: Sequence[str], live: Ids | None = None, options: Options | None = None, *, strict: bool = True
    ) -> str:
        """Write one segment with the vectors of `refs`, durable on return, and return its ref; "" for no vectors.

        Only ids in `live` are kept, or all for None. For an id in several segments, the vector that `get` returns is
        kept. With `options`, the new segment gets the search structure that they ask for; the vectors of a single
        segment that is kept whole are not written again.

        `BadInput` for options that cannot be used for these vectors; unless `strict`, another structure is taken in
        that case, with a warning in the log. `IndexDamaged` where a segment is damaged.
        """
        ...

    def count(self, ref: str) -> int:
        """Return the number of vectors in a segment; `IndexDamaged` where it is missing."""
        ...

    def forms(self, segments: Sequence[SizedRef]) -> Sequence[SearchForm]:
        """Return for each segment the search structure that it has, without opening the structure.

        A structure whose recall is less than its target is not used for searching.
        """
        ...

    def sweep(self, keep: Collection[str], older_than: timedelta) -> int:
        """Delete the files that no ref in `keep` names and that are older than that; return their number.

        Files that no store has written are left alone.
        """
        ...

    def orphans(self, keep: Collection[str]) -> int:
        """Return the number of files that no ref in `keep` names, however old."""
        ...

    # -- search structures ----------------------------------------------------------------------------------------

    def check(self, options: Options, dim: int, count: int = 0) -> None:
        """Raise `BadInput` for options with which no structure can be made for `count` vectors of length `dim`.

        0 stands for any number of vectors. Options are refused only for a count that `wants_structure` with them.
        """
        ...

    def wants_structure(self, count: int, dim: int, options: Options) -> bool:
        """Tell whether a segment of `count` vectors should have a structure: a query would scan it for too long."""
        ...

    def is_structured(self, segments: Sequence[SizedRef], options: Options | None) -> bool:
        """Tell whether every segment has an undamaged structure as `options` ask for, whatever its recall.

        For None: whether no segment has a structure.
        """
        ...

    def without_structure(self, ref: str) -> str:
        """Return the ref of the same vectors without a structure."""
        ...

    def worth_merging(self, segments: Sequence[SizedRef], most: int, *, least_growth: float = 1) -> list[str]:
        """Return refs that should be merged so that at most `most` segments have no structure; often an empty list.

        The list is empty, too, where the largest of the merged segments would grow by less than `least_growth` times.
        """
        ...

    def worth_folding(
        self, segments: Sequence[SizedRef], dim: int, options: Options, *, patience: int = 1
    ) -> list[str]:
        """Return refs that should be merged into one segment with a structure; often an empty list.

        The list is empty while a query can scan all vectors that have no structure. `patience` > 1 waits until there
        are about that many times more.
        """
        ...

    # -- damage ---------------------------------------------------------------------------------------------------

    def damage(self, ref: str) -> Sequence[str]:
        """Read every byte of a segment and return a sentence for each part that is missing or damaged."""
        ...

    def damaged_structures(self, refs: Sequence[str], *, thorough: bool) -> Sequence[str]:
        """Return those of `refs` whose structure cannot be used and should be built again.

        With `thorough`, the bytes of structures are checked. Without, only missing ones are noticed, which is fast.
        """
        ...

    def salvage(self, ref: str) -> str:
        """Write the sound vectors of a damaged segment, durable on return, and return the ref; "" where none is sound.

        Where all vectors could be put right, the ref is `without_structure(ref)`.
        """
        ...

    def whole_segments(self) -> Iterable[str]:
        """Yield a ref of each segment in the store whose vectors are what was written, whether committed or not."""
        ...


def open_store(url: str, *, float16: bool = False) -> VectorStore:
    """Return the vector store at `url`, "NAME:PLACE", as in "faiss:/photos/index_data/vectors".

    The name is that of an implementation: "faiss" (a folder, the default), "exact" (a folder, the reference), or one
    that another package registers as an entry point in the group "retrieval.vector_stores". `float16` keeps new vectors
    in half the bytes. Nothing is read or written. `BadInput` for an unknown name.
    """
    name, _, place = url.partition(":")
    try:
        implementation = plugins.implementation(SEAM, name)
    except KeyError:
        known = ", ".join(plugins.implementations(SEAM))
        raise BadInput(f"there is no vector store named {name!r}", hint=f"vector stores: {known}") from None
    store: VectorStore = implementation(place, float16=float16)
    return store
