"""Segments of vectors in plain files, searched one by one with numpy: the truth, and the oracle of every other store.

A segment is three arrays in numpy's own format (version 1.0) behind one another: ids (n,) int64, vectors (n, dim)
float32 or float16, and checksums of the pieces of these (`pieces`), all little-endian; earlier versions wrote none of
the last. It is named by the SHA-256 of its bytes, which is also its ref.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from retrieval.disk import files
from retrieval.errors import IndexDamaged, StorageError, reason_of
from retrieval.types import EXACT, Hits, Ids, SearchForm, Vectors
from retrieval.vectors import SUFFIXES, Form, checksums

SUFFIX = SUFFIXES[0]
HINT = "see what is lost with: retrieval verify --repair"
HEADER = 4096
"""Bytes at most in front of the numbers of an array; numpy writes 128."""
BLOCK = 1024
"""Rows converted to float64 at a time: 34 MB at the 4,032 dimensions of the widest backbone."""


class ExactVectors:
    """The segments in `folder`."""

    def __init__(self, folder: Path, *, float16: bool = False) -> None:
        """Use `folder`; `float16` writes vectors rounded to half the bytes. Segments of both kinds are read."""
        self.folder = folder
        self.dtype = np.dtype("<f2" if float16 else "<f4")

    def append(self, ids: Ids, vectors: Vectors) -> str:
        """Write a segment, durable on return."""
        if not (len(ids) == len(vectors) == len(np.unique(ids)) > 0):
            raise ValueError(f"{len(ids)} ids, {len(np.unique(ids))} of them distinct, for {len(vectors)} vectors")
        return self._write(ids, [vectors], vectors.shape[1])

    def _write(self, ids: Ids, blocks: Iterable[Vectors], dim: int) -> str:
        """Write ids with their vectors, which come some at a time."""
        parts = (_packed([ids], (len(ids),), "<i8"), _packed(blocks, (len(ids), dim), self.dtype))
        return files.write_durably(self.folder, SUFFIX, checksums.followed_by_checksums(itertools.chain(*parts)))

    def snapshot(self, refs: Sequence[str]) -> "ExactSnapshot":
        """Open segments."""
        return ExactSnapshot([open_segment(self.folder / (ref + SUFFIX)) for ref in refs])

    def merge(self, refs: Sequence[str], live: Ids | None = None, form: Form | None = None) -> str:  # noqa: ARG002
        """Write the live vectors of `refs` as one segment, in ascending order of id; there is no form but this."""
        for ref in refs:
            demand_whole(self.folder / (ref + SUFFIX))
        return self.merged(self.snapshot(refs).segments, live)

    def merged(self, segments: Sequence["Segment"], live: Ids | None) -> str:
        """Write the vectors of `segments` whose ids are in `live`, if not None, as one; some at a time."""
        common_dim(segments)
        held = np.concatenate([np.zeros(0, dtype=np.int64), *(segment.ids for segment in segments)])
        ids = np.unique(held) if live is None else np.intersect1d(held, live)
        if not len(ids):
            return ""
        some = (ids[start : start + BLOCK] for start in range(0, len(ids), BLOCK))
        return self._write(ids, (gathered(segments, part) for part in some), segments[0].dim)

    def count(self, ref: str) -> int:
        """Return how many vectors a segment has."""
        return len(open_segment(self.folder / (ref + SUFFIX)).ids)

    def forms(self, segments: Sequence[tuple[str, int]]) -> Sequence[SearchForm]:
        """Return how segments are searched."""
        return [SearchForm(EXACT, count) for _, count in segments]

    def sweep(self, keep: Collection[str], older_than: timedelta) -> int:
        """Delete what no ref names."""
        return files.sweep(self.folder, (SUFFIX,), {ref + SUFFIX for ref in keep}, older_than)

    def salvage(self, ref: str) -> str:
        """Write what is sound of a segment; the same file where only bits have flipped."""
        return self._write_sound(self.folder / (ref + SUFFIX))

    def _write_sound(self, path: Path) -> str:
        try:
            with files.opened(path) as file:
                data = np.asarray(np.memmap(file, np.uint8, "c"))  # what is changed of it is changed in memory only
            found = checksums.mended(data, path.stem)
            if found is not None and not len(found[0]):
                return files.write_durably(self.folder, SUFFIX, [data.data])
            segment = None if found is None else _segment(data[: found[1]], path)
        except (FileNotFoundError, IndexDamaged, ValueError):  # the last of an empty file
            return ""
        rows = np.zeros(0, np.int64) if segment is None or found is None else segment.apart_from(found[0])
        if segment is None or not len(rows):
            return ""
        some = (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))
        return self._write(segment.ids[rows], (segment.vectors[part] for part in some), segment.dim)


@dataclass(frozen=True)
class Segment:
    """One file, open."""

    ids: Ids
    """Distinct, in the order they were appended."""
    vectors: NDArray[np.floating]
    """(n, dim), float32 or float16; mapped into memory, read when touched."""
    checked: checksums.Pieces | None = None
    """What tells whether they are what was written; None of a file of an earlier version, or of vectors in memory."""
    starts: tuple[int, int] = (0, 0)
    """Where in that file the ids and the vectors begin, in bytes."""

    def demand_sound(self, rows: NDArray[np.int64] | None = None) -> None:
        """Raise `IndexDamaged` unless those `rows` are what was written, or all where None; each is looked at once."""
        if self.checked is not None:
            width = self.dim * self.vectors.itemsize
            self.checked.demand(None if rows is None else self.starts[1] + width * rows.ravel(), width)

    def apart_from(self, wrong: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of which nothing, the ids included, is in one of those pieces of the file."""
        rows, width = np.arange(len(self.ids)), self.dim * self.vectors.itemsize
        touched = np.zeros(len(rows), dtype=bool)
        for start, length in zip(self.starts, (8, width), strict=True):
            first, last = (
                (start + length * rows) // checksums.PIECE,
                (start + length * rows + length - 1) // checksums.PIECE,
            )
            touched |= np.searchsorted(wrong, first) < np.searchsorted(wrong, last, side="right")
        return np.flatnonzero(~touched)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.vectors.shape[1])

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Positions in ascending order of id."""
        return np.argsort(self.ids, kind="stable")  # which sees in one pass that they ascend, as after a merge

    def positions(self, ids: Ids) -> NDArray[np.int64]:
        """Return where each of `ids` stands, -1 for those that are not here."""
        places = np.searchsorted(self.ids, ids, sorter=self.order)
        found = self.order[np.minimum(places, len(self.ids) - 1)]
        return np.where(self.ids[found] == ids, found, -1)

    def mask(self, ids: Ids) -> NDArray[np.bool_]:
        """Return which rows have one of `ids`; several times as fast as `np.isin` where both ascend."""
        mask = np.zeros(len(self.ids), dtype=bool)
        positions = self.positions(ids)
        mask[positions[positions >= 0]] = True
        return mask


class ExactSnapshot:
    """Some segments, searched by multiplying everything with everything."""

    damaged: Sequence[str] = ()

    @property
    def forms(self) -> Sequence[SearchForm]:
        """What is searched in which way."""
        return [SearchForm(EXACT, self.count)] * bool(self.count)

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = segments
        self.count = sum(len(segment.ids) for segment in segments)
        self.dim = common_dim(segments)

    def search(self, queries: Vectors, k: int, only: Ids | None = None, *, exact: bool = False) -> Hits:  # noqa: ARG002
        """Return the nearest ids of each query."""
        return combined([nobody(len(queries), k), *(scan(segment, queries, k, only) for segment in self.segments)])

    def get(self, ids: Ids) -> Vectors:
        """Return stored vectors."""
        return gathered(self.segments, ids)


def common_dim(segments: Sequence[Segment]) -> int:
    """Return the numbers that the vectors of all segments have, 0 for none; `IndexDamaged` where they differ."""
    dims = {segment.dim for segment in segments}
    if len(dims) > 1:
        raise IndexDamaged("the index holds vectors of several lengths", hint=HINT)
    return next(iter(dims), 0)


def scan(segment: Segment, queries: Vectors, k: int, only: Ids | None) -> Hits:
    """Return the `k` nearest by looking at every vector, some at a time."""
    segment.demand_sound()
    allowed = np.arange(len(segment.ids)) if only is None else np.flatnonzero(np.isin(segment.ids, only))
    best = nobody(len(queries), k)
    some = max(k, BLOCK)
    for start in range(0, len(allowed), some):
        rows = allowed[start : start + some]
        scores = cosines(segment.vectors, rows, queries)
        best = combined([best, nearest(np.broadcast_to(segment.ids[rows], scores.shape), scores, k)])
    return best


def cosines(vectors: NDArray[np.floating], rows: NDArray[np.int64], queries: Vectors) -> NDArray[np.float32]:
    """Return the cosines (queries, rows) of `queries` with those `rows` of `vectors`, summed in float64, then rounded.

    Each pair is summed by itself, so that equal vectors score equally wherever they stand (a BLAS product does not
    promise that).
    """
    scores = np.empty((len(queries), len(rows)), dtype=np.float32)
    for start in range(0, len(rows), BLOCK):
        block = vectors[rows[start : start + BLOCK]].astype(np.float64)
        for query, row in zip(queries, scores, strict=True):
            row[start : start + BLOCK] = (block * query).sum(axis=1)
    return scores


def nobody(queries: int, k: int) -> Hits:
    """Return hits without a neighbour."""
    return Hits(np.full((queries, k), -1, dtype=np.int64), np.full((queries, k), -np.inf, dtype=np.float32))


def nearest(ids: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Hits:
    """Return the `k` best of each row, by score and then by id, padded where there are fewer."""
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    best = nobody(len(order), k)
    best.ids[:, : order.shape[1]] = np.take_along_axis(ids, order, 1)
    best.scores[:, : order.shape[1]] = np.take_along_axis(scores, order, 1)
    return best


def combined(parts: Sequence[Hits]) -> Hits:
    """Return the k best of the k best of several sets; an id that several propose counts once, with its best score."""
    ids = np.concatenate([part.ids for part in parts], axis=1)
    scores = np.concatenate([part.scores for part in parts], axis=1)
    order = np.lexsort((-scores, ids), axis=1)
    ids, scores = np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)
    again = ids[:, 1:] == ids[:, :-1]
    ids[:, 1:][again], scores[:, 1:][again] = -1, -np.inf
    return nearest(ids, scores, parts[0].ids.shape[1])


def gathered(segments: Sequence[Segment], ids: Ids) -> Vectors:
    """Return the vectors of `ids` in their order; `KeyError` for the first that no segment has."""
    found = np.zeros((len(ids), segments[0].vectors.shape[1] if segments else 0), dtype=np.float32)
    missing = np.ones(len(ids), dtype=bool)
    for segment in segments:
        positions = segment.positions(ids)
        here = missing & (positions >= 0)
        segment.demand_sound(positions[here])
        found[here] = segment.vectors[positions[here]]
        missing &= ~here
    if missing.any():
        raise KeyError(int(ids[np.argmax(missing)]))
    return found


def open_segment(path: Path) -> Segment:
    """Map the segment at `path`. Reads the ids, not the vectors.

    `IndexDamaged` where it is missing or not as long as it says, `StorageError` where the system does not give it.
    """
    try:
        with files.opened(path) as file:
            data = np.asarray(np.memmap(file, np.uint8, "r"))  # of numpy's own class: each slice of a memmap is slow
    except FileNotFoundError as error:
        raise IndexDamaged(f"the file of vectors {path.name} is missing", hint=HINT) from error
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"the file of vectors {path.name} cannot be read: {reason_of(error)}") from error
    except ValueError as error:  # it is empty
        raise _damaged(path) from error
    return _segment(data, path)


def _damaged(path: Path) -> IndexDamaged:
    return IndexDamaged(f"the file of vectors {path.name} is not what was written", hint=HINT)


def _segment(data: checksums.Bytes, path: Path) -> Segment:
    """Return the segment that a file at `path` holds, whose ids are what was written."""
    try:
        (count,), ids_type, begin = _next_array(data, 0, "<i8")
        (rows, dim), dtype, start = _next_array(data, begin + 8 * count, "<f4", "<f2")
        end = start + rows * dim * dtype.itemsize
        vectors = data[start:end].view(dtype).reshape(rows, dim)
        ids = data[begin : begin + 8 * count].view(ids_type).copy()
        _demand_shape(ids, vectors)
        checked = None if end == len(data) else _pieces(data, end, path)
    except Exception as error:  # numpy's reader of headers raises whatever evaluating garbage raises
        raise _damaged(path) from error
    if checked is not None:
        checked.demand(np.zeros(1, np.int64), start)
    return Segment(ids, vectors, checked, (begin, start))


def _demand_shape(ids: NDArray[np.int64], vectors: NDArray[np.floating]) -> None:
    if not len(ids) == len(vectors) > 0 < vectors.shape[1]:
        raise ValueError(f"{len(ids)} ids and {vectors.shape} numbers")


def _pieces(data: checksums.Bytes, end: int, path: Path) -> checksums.Pieces:
    (count,), dtype, start = _next_array(data, end, checksums.DTYPE)
    if count != -(-end // checksums.PIECE) or start + 4 * count != len(data):
        raise ValueError(f"{count} checksums of {end} bytes")
    return checksums.Pieces(data[:end], data[start:].view(dtype), lambda: _damaged(path))


def _next_array(data: checksums.Bytes, at: int, *dtypes: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Read the header of an array in C order of one of `dtypes`: its shape, which, and where its numbers begin."""
    file = BytesIO(data[at : at + HEADER].tobytes())
    if npy.read_magic(file) != (1, 0):
        raise ValueError("another version of numpy's format")
    shape, in_fortran_order, found = npy.read_array_header_1_0(file)
    if found not in map(np.dtype, dtypes) or in_fortran_order:
        raise ValueError(f"an array of {found}")
    return shape, found, at + file.tell()


def _packed(
    blocks: Iterable[NDArray[np.generic]], shape: tuple[int, ...], dtype: np.typing.DTypeLike
) -> Iterator[bytes | memoryview]:
    """Yield the header and the numbers of an array in numpy's format, which comes some rows at a time."""
    header = BytesIO()
    description = npy.dtype_to_descr(np.dtype(dtype))
    npy.write_array_header_1_0(header, {"descr": description, "fortran_order": False, "shape": shape})
    yield header.getvalue()
    for block in blocks:
        yield np.ascontiguousarray(block, dtype=dtype).data.cast("B")


def demand_whole(path: Path) -> None:
    """Raise `IndexDamaged` unless the bytes of a file are those that it is named by.

    What is written of damaged vectors would have a name that fits, and the evidence would be swept.
    """
    if files.sha256_of(path) != path.stem:
        raise IndexDamaged(f"the file of vectors {path.name} is missing or not what was written", hint=HINT)
