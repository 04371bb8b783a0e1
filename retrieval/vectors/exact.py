"""Segments of vectors in plain files, searched one by one with numpy: the truth, and the oracle of every other store.

A segment is two arrays in numpy's own format behind one another: ids (n,) int64, then vectors (n, dim) float32. It is named by
the SHA-256 of its bytes, which is also its ref.
"""

import hashlib
import os
import secrets
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from retrieval.errors import IndexDamaged
from retrieval.types import Hits, Ids, Vectors

SUFFIX = ".vectors"
BLOCK = 4096
"""Rows converted to float64 at a time."""


class ExactVectors:
    """The segments below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def append(self, ids: Ids, vectors: Vectors) -> str:
        """Write a segment, durable on return."""
        return write_durably(self.folder, SUFFIX, (_packed(ids), _packed(vectors)))

    def snapshot(self, refs: Sequence[str]) -> "ExactSnapshot":
        """Open segments."""
        return ExactSnapshot([open_segment(self.folder / (ref + SUFFIX)) for ref in refs])

    def merge(self, refs: Sequence[str], live: Ids) -> str:
        """Write the live vectors of `refs` as one segment, in ascending order of id."""
        ids, vectors = merged([open_segment(self.folder / (ref + SUFFIX)) for ref in refs], live)
        return self.append(ids, vectors) if len(ids) else ""

    def sweep(self, keep: Collection[str], older_than: timedelta) -> int:
        """Delete what no ref names."""
        return sweep(self.folder, {ref + SUFFIX for ref in keep}, older_than)


@dataclass(frozen=True)
class Segment:
    """One file, open."""

    ids: Ids
    vectors: Vectors
    """Mapped into memory, read when touched."""

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Positions in ascending order of id."""
        return np.argsort(self.ids, kind="stable")

    def positions(self, ids: Ids) -> NDArray[np.int64]:
        """Return where each of `ids` stands, -1 for those that are not here."""
        places = np.searchsorted(self.ids, ids, sorter=self.order)
        found = self.order[np.minimum(places, len(self.ids) - 1)]
        return np.where(self.ids[found] == ids, found, -1)


class ExactSnapshot:
    """Some segments, searched by multiplying everything with everything."""

    damaged: Sequence[str] = ()

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = segments
        self.count = sum(len(segment.ids) for segment in segments)

    def search(self, queries: Vectors, k: int, only: Ids | None = None) -> Hits:
        """Return the nearest ids of each query."""
        return combined([self._scan(segment, queries, k, only) for segment in self.segments], len(queries), k)

    def get(self, ids: Ids) -> Vectors:
        """Return stored vectors."""
        return gathered(self.segments, ids)

    @staticmethod
    def _scan(segment: Segment, queries: Vectors, k: int, only: Ids | None) -> Hits:
        allowed = np.arange(len(segment.ids)) if only is None else np.flatnonzero(np.isin(segment.ids, only))
        ids = np.broadcast_to(segment.ids[allowed], (len(queries), len(allowed)))
        vectors = segment.vectors[allowed]
        return nearest(ids, np.stack([cosines(vectors, query) for query in queries]), k)


def cosines(vectors: Vectors, query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of `query` with each row of `vectors`, summed in float64 and rounded.

    Each row is summed by itself, so that equal rows score equally wherever they stand (a BLAS product does not promise that).
    """
    scores = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK]
        scores[start : start + BLOCK] = (block.astype(np.float64) * query).sum(axis=1)
    return scores


def nearest(ids: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Hits:
    """Return the `k` best of each row, by score and then by id, padded where there are fewer."""
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    missing = ((0, 0), (0, k - order.shape[1]))
    return Hits(
        np.pad(np.take_along_axis(ids, order, 1), missing, constant_values=-1),
        np.pad(np.take_along_axis(scores, order, 1), missing, constant_values=-np.inf),
    )


def combined(parts: Sequence[Hits], queries: int, k: int) -> Hits:
    """Return the `k` best of the `k` best of several segments; an id that several propose counts once."""
    empty = Hits(np.full((queries, 1), -1), np.full((queries, 1), -np.inf, dtype=np.float32))
    ids = np.concatenate([part.ids for part in (empty, *parts)], axis=1)
    scores = np.concatenate([part.scores for part in (empty, *parts)], axis=1)
    for row in range(queries):
        first = np.zeros(ids.shape[1], dtype=bool)
        first[np.unique(ids[row], return_index=True)[1]] = True
        scores[row, ~first] = -np.inf
        ids[row, ~first] = -1
    # Padding has the largest id, so that it stands behind every neighbour whatever its score.
    ranked = nearest(np.where(ids < 0, np.iinfo(np.int64).max, ids), scores, k)
    return Hits(np.where(np.isneginf(ranked.scores), -1, ranked.ids), ranked.scores)


def gathered(segments: Iterable[Segment], ids: Ids) -> Vectors:
    """Return the vectors of `ids` in their order; `KeyError` for the first that no segment has."""
    found: Vectors | None = None
    missing = np.ones(len(ids), dtype=bool)
    for segment in segments:
        positions = segment.positions(ids)
        here = missing & (positions >= 0)
        if found is None:
            found = np.zeros((len(ids), segment.vectors.shape[1]), dtype=np.float32)
        found[here] = segment.vectors[positions[here]]
        missing &= ~here
    if found is None or missing.any():
        raise KeyError(int(ids[np.argmax(missing)]))
    return found


def merged(segments: Sequence[Segment], live: Ids) -> tuple[Ids, Vectors]:
    """Return the ids that are both in `segments` and in `live`, ascending, with their vectors."""
    ids = np.intersect1d(np.concatenate([segment.ids for segment in segments]), live)
    return ids, gathered(segments, ids) if len(ids) else np.zeros((0, 0), dtype=np.float32)


def open_segment(path: Path) -> Segment:
    """Map the segment at `path`; `IndexDamaged` where it is missing, cut short or no segment. Reads the ids, not the vectors."""
    try:
        with path.open("rb") as file:
            ids = np.asarray(npy.read_array(file, allow_pickle=False), dtype=np.int64)
            npy.read_magic(file)  # type: ignore[no-untyped-call]
            shape, _, dtype = npy.read_array_header_1_0(file)  # type: ignore[no-untyped-call]
            vectors = np.memmap(path, dtype=dtype, mode="r", offset=file.tell(), shape=shape)
    except (OSError, ValueError, EOFError) as error:
        raise IndexDamaged(
            f"the vectors in {path.name} cannot be read: {error}",
            hint="see what is lost with: retrieval verify --repair",
        ) from error
    if dtype != np.float32 or len(shape) != 2 or len(ids) != shape[0]:  # noqa: PLR2004 - rows and columns
        raise IndexDamaged(f"{path.name} holds no vectors", hint="see what is lost with: retrieval verify --repair")
    return Segment(ids, vectors)


def _packed(array: NDArray[np.generic]) -> bytes:
    buffer = BytesIO()
    npy.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def write_durably(folder: Path, suffix: str, chunks: Iterable[bytes | memoryview]) -> str:
    """Write a file named by the SHA-256 of its content plus `suffix`, and return that digest in hexadecimal.

    Written aside, flushed to the disk and renamed, then the folder is flushed: on return it survives a power cut, and at no
    moment does a file of that name exist that is not whole. After a failure nothing of it is left.
    """
    digest = hashlib.sha256()
    partial = folder / f"{secrets.token_hex(8)}.partial"
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
    """Delete the files of `folder` that are not named in `keep` and older than that; return how many."""
    limit = time.time() - older_than.total_seconds()
    rubbish = [path for path in folder.iterdir() if path.name not in keep and path.stat().st_mtime <= limit]
    for path in rubbish:
        path.unlink()
    return len(rubbish)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal, "" where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
