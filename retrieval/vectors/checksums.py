"""Checksums of the pieces of a file: a flipped bit is noticed when its piece is read, located, and corrected.

A file is named by the digest of all its bytes. A query that reads a few bytes does not compute this digest. So the file
ends with the CRC-32 of each piece of its content, as an array in numpy's format. A piece is checked once, when it is
first read. CRC-32 tells which single bit of a piece has flipped; the digest of the file then confirms the correction.
"""

import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

PIECE = 16_384
"""Size of a piece, in bytes: four vectors of 1,024 numbers. Its checksum takes another 4 bytes."""
TOGETHER = 256
"""Number of pieces that one thread checks at a time: 4 MB, in about 3 ms."""
DTYPE = "<u4"
"""Type of a checksum in the file."""
FLIPPED = 64
"""Largest number of pieces in which a flipped bit is looked for. Each piece takes up to some tenths of a second."""
_POLYNOMIAL = 0xEDB88320
"""Polynomial of CRC-32, as zlib uses it: https://www.rfc-editor.org/rfc/rfc1952#section-8."""

Bytes = NDArray[np.uint8]


class Pieces:
    """The pieces of some bytes, each checked when it is first read. Any number of threads may ask."""

    def __init__(self, data: Bytes, checksums: NDArray[np.uint32], damaged: Callable[[], Exception]) -> None:
        """Take the bytes and the checksum of each piece; `damaged` returns the error to raise for a damaged piece."""
        self._data, self._checksums, self._damaged = data, checksums, damaged
        self._checked = np.zeros(len(checksums), dtype=bool)
        self._complete = False

    def demand(self, starts: NDArray[np.int64] | None = None, length: int = 0) -> None:
        """Raise the error if a byte is damaged among the `length` bytes from each of `starts`; None: among all bytes.

        `starts` are offsets from the first byte, (n,).
        """
        if self._complete:
            return
        if starts is None:
            pieces = np.flatnonzero(~self._checked)
        else:
            first, last = starts // PIECE, (starts + (length - 1)) // PIECE
            span = int((last - first).max(initial=0)) + 1
            pieces = np.unique(np.minimum(first[:, None] + np.arange(span), last[:, None]))
            pieces = pieces[~self._checked[pieces]]
        if len(wrong_pieces(self._data, self._checksums, pieces)):
            raise self._damaged()
        self._checked[pieces] = True
        self._complete = self._complete or starts is None


def wrong_pieces(data: Bytes, checksums: NDArray[np.uint32], pieces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those of `pieces` whose bytes do not match their stored checksum."""
    parts = [pieces[start : start + TOGETHER] for start in range(0, len(pieces), TOGETHER)]
    if len(parts) <= 1:  # threads have nothing to share
        computed = [_checksums(data, part) for part in parts]
    else:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            computed = list(pool.map(lambda part: _checksums(data, part), parts))
    return np.asarray(pieces[np.concatenate([np.zeros(0, np.uint32), *computed]) != checksums[pieces]])


def _checksums(data: Bytes, pieces: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return the checksum of each of `pieces`, (n,), computed from the bytes."""
    view = memoryview(data)  # type: ignore[arg-type]  # an array has a buffer
    computed = (zlib.crc32(view[piece * PIECE : (piece + 1) * PIECE]) for piece in pieces.tolist())
    return np.fromiter(computed, dtype=np.uint32, count=len(pieces))


def followed_by_checksums(chunks: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Yield `chunks`, then the array of the checksums of the pieces that they make up."""
    checksums: list[int] = []
    running = filled = 0  # the checksum of the current piece so far, and the number of its bytes
    for chunk in chunks:
        yield chunk
        view = memoryview(chunk)
        for start in _cuts(len(view), PIECE - filled):
            part = view[start : start + PIECE - filled]
            running, filled = zlib.crc32(part, running), filled + len(part)
            if filled == PIECE:
                checksums.append(running)
                running = filled = 0
    if filled:
        checksums.append(running)
    yield header(len(checksums)) + np.array(checksums, dtype=DTYPE).tobytes()


def _cuts(length: int, first: int) -> Iterator[int]:
    """Yield the offsets at which a chunk of `length` bytes is cut; its first `first` bytes end the current piece."""
    if length:
        yield 0
        yield from range(first, length, PIECE)


def header(count: int) -> bytes:
    """Return the header of an array of `count` checksums."""
    written = BytesIO()
    npy.write_array_header_1_0(written, {"descr": DTYPE, "fortran_order": False, "shape": (count,)})
    return written.getvalue()


# -- correcting ---------------------------------------------------------------------------------------------------


def mended(data: Bytes, digest: str) -> tuple[NDArray[np.int64], int] | None:
    """Correct flipped bits, in place, in the bytes of a file with checksums whose SHA-256 was `digest`.

    Return the pieces that may still be wrong, and the number of bytes that have checksums. There are no such pieces if
    the SHA-256 is `digest` again. Return None for a file without checksums, or if all pieces may be wrong.
    """
    size = _size(len(data))
    count = -(-size // PIECE)
    if size < 1:
        return None
    data[size : len(data) - 4 * count] = np.frombuffer(header(count), np.uint8)
    checksums = data[len(data) - 4 * count :].view(np.uint8).view(DTYPE)
    wrong = wrong_pieces(data[:size], checksums, np.arange(count))
    for piece in wrong[:FLIPPED].tolist():
        place = slice(piece * PIECE, min((piece + 1) * PIECE, size))
        computed = zlib.crc32(data[place].tobytes())
        syndrome = computed ^ int(checksums[piece])
        bit = _flipped_bit(syndrome, place.stop - place.start)
        if syndrome.bit_count() == 1:  # the bit has flipped in the checksum
            checksums[piece] = computed
        elif bit is not None:
            data[place.start + bit // 8] ^= 1 << bit % 8
    if hashlib.sha256(data.data).hexdigest() == digest:
        return np.zeros(0, np.int64), size
    return (wrong, size) if len(wrong) < count else None


def _size(length: int) -> int:
    """Return the number of bytes that have checksums in a file of `length` bytes; 0 for an impossible length."""
    count = round((length - len(header(1))) / (PIECE + 4))
    for pieces in (count, count + 1):
        size = length - 4 * pieces - len(header(pieces))
        if pieces > 0 and -(-size // PIECE) == pieces:
            return size
    return 0


def _flipped_bit(syndrome: int, length: int) -> int | None:
    """Return which single bit of `length` bytes changes the checksum by `syndrome`; None if no single bit does.

    A bit changes the checksum as the bit after it does, shifted once more. So the bits are tried from the last one.
    """
    difference = _POLYNOMIAL
    for bit in range(8 * length - 1, -1, -1):
        if difference == syndrome:
            return bit
        difference = (difference >> 1) ^ (_POLYNOMIAL if difference & 1 else 0)
    return None
