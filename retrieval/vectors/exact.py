"""Segments of vectors in plain files, searched one by one with numpy: the truth, and the oracle of every other store.

A segment is two arrays in numpy's own format (version 1.0) behind one another: ids (n,) int64, then vectors (n, dim)
float32 or float16, both little-endian. It is named by the SHA-256 of its bytes, which is also its ref.
"""

import hashlib
import itertools
import os
import re
import secrets
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from retrieval.errors import IndexDamaged, StorageError
from retrieval.types import EXACT, Hits, Ids, SearchForm, Vectors
from retrieval.vectors import Form

SUFFIX = ".vectors"
PARTIAL = ".partial"
WRITTEN_HERE = re.compile(rf"[0-9a-f]{{64}}\.[a-z]+|[0-9a-f]{{16}}\{PARTIAL}")
"""Names of the files that `write_durably` makes; no other file is ever swept."""
HINT = "see what is lost with: retrieval verify --repair"
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
        return write_durably(self.folder, SUFFIX, itertools.chain(*parts))

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
        return sweep(self.folder, {ref + SUFFIX for ref in keep}, older_than)


@dataclass(frozen=True)
class Segment:
    """One file, open."""

    ids: Ids
    """Distinct, in the order they were appended."""
    vectors: NDArray[np.floating]
    """(n, dim), float32 or float16; mapped into memory, read when touched."""

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

    def search(self, queries: Vectors, k: int, only: Ids | None = None, *, exact: bool = False) -> Hits:  # noqa: ARG002
        """Return the nearest ids of each query."""
        return combined([nobody(len(queries), k), *(scan(segment, queries, k, only) for segment in self.segments)])

    def get(self, ids: Ids) -> Vectors:
        """Return stored vectors."""
        return gathered(self.segments, ids)


def scan(segment: Segment, queries: Vectors, k: int, only: Ids | None) -> Hits:
    """Return the `k` nearest by looking at every vector, some at a time."""
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
        with path.open("rb") as file:
            return _segment(file)
    except FileNotFoundError as error:
        raise IndexDamaged(f"the file of vectors {path.name} is missing", hint=HINT) from error
    except OSError as error:
        raise StorageError(f"the file of vectors {path.name} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # numpy's reader of headers raises whatever evaluating garbage raises
        raise IndexDamaged(f"the file of vectors {path.name} is not what was written", hint=HINT) from error


def _segment(file: BinaryIO) -> Segment:
    size = os.fstat(file.fileno()).st_size
    (count,), _ = _next_array(file, "<i8")
    if count * 8 > size:
        raise ValueError(f"{count} ids in {size} bytes")
    ids = np.fromfile(file, dtype="<i8", count=count)
    (rows, dim), dtype = _next_array(file, "<f4", "<f2")
    start = file.tell()
    if not (len(ids) == count == rows > 0 < dim and start + rows * dim * dtype.itemsize == size):
        raise ValueError(f"{count} ids and {rows} x {dim} numbers in {size} bytes")
    mapped = np.memmap(file, dtype=dtype, mode="r", offset=start, shape=(rows, dim))
    return Segment(ids, np.asarray(mapped))  # of numpy's own class, which each slice of a memmap pays for not being


def _next_array(file: BinaryIO, *dtypes: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read the header of an array in C order of one of `dtypes`: its shape, and which."""
    if npy.read_magic(file) != (1, 0):
        raise ValueError("another version of numpy's format")
    shape, in_fortran_order, found = npy.read_array_header_1_0(file)
    if found not in map(np.dtype, dtypes) or in_fortran_order:
        raise ValueError(f"an array of {found}")
    return shape, found


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


def write_durably(folder: Path, suffix: str, chunks: Iterable[bytes | memoryview]) -> str:
    """Write a file named by the SHA-256 of its content plus `suffix`, and return that digest in hexadecimal.

    Written aside, flushed to the disk and renamed, then the folder is flushed: on return it survives a power cut, and
    at no moment does a file of that name exist that is not whole. `OSError` where the disk fails; then nothing is left,
    or, if only the folder could not be flushed, a whole file that nobody names. A failed flush is not tried again: the
    system may have dropped what it could not write.
    """
    digest = hashlib.sha256()
    partial = folder / (secrets.token_hex(8) + PARTIAL)
    try:
        with partial.open("xb") as file:
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / (digest.hexdigest() + suffix))
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    flush_folder(folder)
    return digest.hexdigest()


def flush_folder(folder: Path) -> None:
    """Make the names in `folder` durable, where the system can (Windows does so by itself)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(folder: Path, keep: Collection[str], older_than: timedelta) -> int:
    """Delete the files of `folder` that were written here, are not named in `keep` and are older; return how many.

    A file that the system does not let go of (Windows, while a reader has it open) is left to a later sweep.
    """
    limit = time.time() - older_than.total_seconds()
    swept = 0
    for path in list(folder.iterdir()):
        if WRITTEN_HERE.fullmatch(path.name) and path.name not in keep and path.stat().st_mtime <= limit:
            with suppress(PermissionError):
                path.unlink()
                swept += 1
    return swept


def demand_whole(path: Path) -> None:
    """Raise `IndexDamaged` unless the bytes of a file are those that it is named by.

    What is written of damaged vectors would have a name that fits, and the evidence would be swept.
    """
    if sha256_of(path) != path.stem:
        raise IndexDamaged(f"the file of vectors {path.name} is missing or not what was written", hint=HINT)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal, "" where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
