"""The file of one segment: its format, reading, writing, merging, and saving the sound vectors of a damaged one.

The file holds three arrays in numpy's own format (version 1.0), one after the other, all little-endian: ids (n,) int64,
vectors (n, dim) float32 or float16, and the checksums of the pieces of the file up to there (see `checksums`). Version
0.1 wrote no checksums. The file is named by the SHA-256 of its bytes.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from retrieval.disk import files
from retrieval.errors import IndexDamaged, StorageError, reason_of
from retrieval.types import Ids, Vectors
from retrieval.vectors import checksums
from retrieval.vectors.refs import HINT, VECTORS, vectors_file

HEADER = 4096
"""Largest size of the header of an array, in bytes; numpy writes 128."""
BLOCK = 1024
"""Number of rows that are copied at a time while a segment is written."""


@dataclass(frozen=True)
class Segment:
    """One segment, open for reading."""

    ids: Ids
    """(n,), distinct, in the order in which they were appended."""
    vectors: NDArray[np.floating]
    """(n, dim), float32 or float16; mapped into memory, and read when touched."""
    checked: checksums.Pieces | None = None
    """The pieces of the file with their checksums; None for a file without checksums and for vectors in memory."""
    starts: tuple[int, int] = (0, 0)
    """Offsets of the ids and of the vectors in the file, in bytes."""

    def demand_sound(self, rows: NDArray[np.int64] | None = None) -> None:
        """Raise `IndexDamaged` if one of the vectors in `rows` is damaged; None: if any vector is.

        Each piece of the file is checked once. Nothing is checked in a file without checksums.
        """
        if self.checked is not None:
            width = self.dim * self.vectors.itemsize
            self.checked.demand(None if rows is None else self.starts[1] + width * rows.ravel(), width)

    def rows_outside(self, pieces: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows, ascending, whose id and vector have no byte in any of these `pieces` of the file.

        `pieces` are numbers of pieces, ascending.
        """
        rows = np.arange(len(self.ids))
        touched = np.zeros(len(rows), dtype=bool)
        for start, length in zip(self.starts, (8, self.dim * self.vectors.itemsize), strict=True):
            first = (start + length * rows) // checksums.PIECE
            last = (start + length * (rows + 1) - 1) // checksums.PIECE
            touched |= np.searchsorted(pieces, first) < np.searchsorted(pieces, last, side="right")
        return np.flatnonzero(~touched)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.vectors.shape[1])

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The rows in ascending order of id."""
        return np.argsort(self.ids, kind="stable")  # takes one pass if the ids ascend, as they do after a merge

    def positions(self, ids: Ids) -> NDArray[np.int64]:
        """Return the row of each of `ids`, (len(ids),); -1 for an id that is not in the segment."""
        places = np.searchsorted(self.ids, ids, sorter=self.order)
        rows = self.order[np.minimum(places, len(self.ids) - 1)]
        return np.where(self.ids[rows] == ids, rows, -1)

    def mask(self, ids: Ids) -> NDArray[np.bool_]:
        """Return for each row whether it has one of `ids`, (n,).

        This is several times as fast as `np.isin` if both the rows and `ids` ascend.
        """
        mask = np.zeros(len(self.ids), dtype=bool)
        positions = self.positions(ids)
        mask[positions[positions >= 0]] = True
        return mask


def common_dim(segments: Sequence[Segment]) -> int:
    """Return the length of the vectors of all segments, 0 without a segment; `IndexDamaged` if the lengths differ."""
    dims = {segment.dim for segment in segments}
    if len(dims) > 1:
        raise IndexDamaged("the index holds vectors of several lengths", hint=HINT)
    return next(iter(dims), 0)


def gathered(segments: Sequence[Segment], ids: Ids) -> Vectors:
    """Return the vectors of `ids`, in their order, (len(ids), dim).

    For an id in several segments, the vector in the first of these is returned. Raises `KeyError` with the first id
    that is in no segment, and `IndexDamaged` if one of the vectors is damaged.
    """
    vectors = np.zeros((len(ids), segments[0].dim if segments else 0), dtype=np.float32)
    missing = np.ones(len(ids), dtype=bool)
    for segment in segments:
        positions = segment.positions(ids)
        here = missing & (positions >= 0)
        segment.demand_sound(positions[here])
        vectors[here] = segment.vectors[positions[here]]
        missing &= ~here
    if missing.any():
        raise KeyError(int(ids[np.argmax(missing)]))
    return vectors


class SegmentFolder:
    """The segments in one folder: a segment is named by the digest of its file."""

    def __init__(self, folder: Path, *, float16: bool = False) -> None:
        """Use `folder`. With `float16`, new vectors are rounded and stored at half the size.

        Segments of float32 and of float16 can be read in either case.
        """
        self.folder = folder
        self.dtype = np.dtype("<f2" if float16 else "<f4")

    def append(self, ids: Ids, vectors: Vectors) -> str:
        """Write a segment, durable on return, and return its digest; `ValueError` as for `VectorStore.append`."""
        distinct = len(np.unique(ids))
        if not (len(ids) == len(vectors) == distinct > 0):
            raise ValueError(f"{len(ids)} ids, {distinct} of them distinct, for {len(vectors)} vectors")
        return self._write(ids, [vectors], vectors.shape[1])

    def merge(self, segments: Sequence[Segment], live: Ids | None) -> str:
        """Write the vectors of `segments` as one segment, in ascending order of id, and return its digest.

        Only the ids in `live` are taken; None takes all. If no vectors are left, nothing is written and "" is returned.
        """
        common_dim(segments)
        ids = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *(segment.ids for segment in segments)]))
        if live is not None:
            ids = np.intersect1d(ids, live)
        if not len(ids):
            return ""
        blocks = (gathered(segments, ids[start : start + BLOCK]) for start in range(0, len(ids), BLOCK))
        return self._write(ids, blocks, segments[0].dim)

    def _write(self, ids: Ids, blocks: Iterable[Vectors], dim: int) -> str:
        """Write ids and their vectors of length `dim`, which come in blocks of rows, and return the digest."""
        arrays = _packed([ids], (len(ids),), "<i8"), _packed(blocks, (len(ids), dim), self.dtype)
        return files.write_durably(self.folder, VECTORS, checksums.followed_by_checksums(itertools.chain(*arrays)))

    def open(self, ref: str) -> Segment:
        """Open the vectors of `ref`; raises what `open_segment` raises."""
        return open_segment(self.folder / vectors_file(ref))

    def demand_whole(self, ref: str) -> None:
        """Raise `IndexDamaged` unless the file of vectors of `ref` has the digest that is its name.

        Without this check, a merge would write damaged vectors to a new file whose name fits them, and the file that
        shows the damage would be swept.
        """
        path = self.folder / vectors_file(ref)
        if files.sha256_of(path) != path.stem:
            raise IndexDamaged(f"the file of vectors {path.name} is missing or damaged", hint=HINT)

    def salvage(self, ref: str) -> str:
        """Write the sound vectors of a segment and return their digest; "" if no vector is sound.

        If only single bits have flipped, the file is corrected and keeps its name.
        """
        path = self.folder / vectors_file(ref)
        try:
            with files.opened(path) as file:
                data = np.asarray(np.memmap(file, np.uint8, "c"))  # "c": changes stay in memory
            result = checksums.mended(data, path.stem)
            if result is None:
                return ""
            wrong, size = result
            if not len(wrong):
                return files.write_durably(self.folder, VECTORS, [data.data])
            segment = _segment(data[:size], path)
        except (FileNotFoundError, IndexDamaged, ValueError):  # ValueError: the file is empty
            return ""
        rows = segment.rows_outside(wrong)
        if not len(rows):
            return ""
        blocks = (segment.vectors[rows[start : start + BLOCK]] for start in range(0, len(rows), BLOCK))
        return self._write(segment.ids[rows], blocks, segment.dim)

    def whole_segments(self) -> Iterator[str]:
        """Yield the digest of each undamaged file of vectors in the folder, in ascending order."""
        for name in files.names_in(self.folder):
            digest, _, suffix = name.partition(".")
            if f".{suffix}" != VECTORS or files.sha256_of(self.folder / name) != digest:
                continue
            try:
                open_segment(self.folder / name)
            except IndexDamaged:  # a file of somebody else
                continue
            yield digest


def file_damage(folder: Path, names: Iterable[str]) -> list[str]:
    """Read every byte of the files `names` and return a sentence for each file that is missing or damaged."""
    damage = []
    for name in names:
        kind = "vectors" if name.endswith(VECTORS) else "search structure"
        digest = files.sha256_of(folder / name)
        if not digest:
            damage.append(f"{kind}: the file {name[:16]}… is missing")
        elif digest != name.partition(".")[0]:
            damage.append(f"{kind}: the file {name} is damaged")
    return damage


# -- the format ---------------------------------------------------------------------------------------------------


def open_segment(path: Path) -> Segment:
    """Map the segment at `path` into memory. The ids are read, and the vectors are not.

    Raises `IndexDamaged` if the file is missing or not as long as its headers say, and `StorageError` if the system
    cannot read it.
    """
    try:
        with files.opened(path) as file:
            data = np.asarray(np.memmap(file, np.uint8, "r"))  # a plain array: slices of a memmap are slow to make
    except FileNotFoundError as error:
        raise IndexDamaged(f"the file of vectors {path.name} is missing", hint=HINT) from error
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"the file of vectors {path.name} cannot be read: {reason_of(error)}") from error
    except ValueError as error:  # the file is empty
        raise _damaged(path) from error
    return _segment(data, path)


def _damaged(path: Path) -> IndexDamaged:
    return IndexDamaged(f"the file of vectors {path.name} is damaged", hint=HINT)


def _segment(data: checksums.Bytes, path: Path) -> Segment:
    """Return the segment in `data`, the bytes of the file at `path`, and check its headers and ids; `IndexDamaged`."""
    try:
        (count,), ids_type, begin = _next_array(data, 0, "<i8")
        (rows, dim), dtype, start = _next_array(data, begin + 8 * count, "<f4", "<f2")
        end = start + rows * dim * dtype.itemsize
        vectors = data[start:end].view(dtype).reshape(rows, dim)
        ids = data[begin : begin + 8 * count].view(ids_type).copy()
        _demand_shape(ids, vectors)
        checked = None if end == len(data) else _pieces(data, end, path)
    except Exception as error:  # numpy evaluates a header, and raises anything for garbage
        raise _damaged(path) from error
    if checked is not None:
        checked.demand(np.zeros(1, np.int64), start)  # all bytes before the vectors
    return Segment(ids, vectors, checked, (begin, start))


def _demand_shape(ids: NDArray[np.int64], vectors: NDArray[np.floating]) -> None:
    if not len(ids) == len(vectors) > 0 < vectors.shape[1]:
        raise ValueError(f"{len(ids)} ids and {vectors.shape} numbers")


def _pieces(data: checksums.Bytes, end: int, path: Path) -> checksums.Pieces:
    """Return the pieces of the first `end` bytes, with their checksums, which follow after `end`."""
    (count,), dtype, start = _next_array(data, end, checksums.DTYPE)
    if count != -(-end // checksums.PIECE) or start + 4 * count != len(data):
        raise ValueError(f"{count} checksums of {end} bytes")
    return checksums.Pieces(data[:end], data[start:].view(dtype), lambda: _damaged(path))


def _next_array(data: checksums.Bytes, at: int, *dtypes: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Read the header at offset `at` of an array in C order; return its shape, its type and the offset of its numbers.

    `ValueError` for an array of a type that is not one of `dtypes`.
    """
    file = BytesIO(data[at : at + HEADER].tobytes())
    if npy.read_magic(file) != (1, 0):
        raise ValueError("another version of numpy's format")
    shape, in_fortran_order, dtype = npy.read_array_header_1_0(file)
    if dtype not in map(np.dtype, dtypes) or in_fortran_order:
        raise ValueError(f"an array of {dtype}")
    return shape, dtype, at + file.tell()


def _packed(
    blocks: Iterable[NDArray[np.generic]], shape: tuple[int, ...], dtype: np.typing.DTypeLike
) -> Iterator[bytes | memoryview]:
    """Yield the header and then the numbers of an array in numpy's format; the numbers come in blocks of rows."""
    header = BytesIO()
    description = npy.dtype_to_descr(np.dtype(dtype))
    npy.write_array_header_1_0(header, {"descr": description, "fortran_order": False, "shape": shape})
    yield header.getvalue()
    for block in blocks:
        yield np.ascontiguousarray(block, dtype=dtype).data.cast("B")
