"""The format of SQLite's write-ahead log: header, frames, checksums: https://sqlite.org/fileformat2.html#walformat.

A checksum runs through the whole log. Adding up is linear modulo 2**32, so that all frames are summed together, and the
word that is wrong is computed, not searched for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Words = NDArray[np.uint32]
else:
    Words = Any

HEADER, FRAME = 32, 24
"""Bytes of the header of the log and of that of a frame."""
MAGIC, VERSION = 0x377F0682, 3007000
"""The first two words of a log; one more than `MAGIC` for checksums of big-endian words."""
PAGES = [2**power for power in range(9, 17)]
"""Sizes that a page can have, in bytes."""
PART = 4096
"""Frames that are summed together: 17 MB of them at 4,096 bytes a page."""
ALL = 2**32

State = tuple[int, int]
"""A running checksum."""


@dataclass(frozen=True)
class Header:
    """The header of a log."""

    words: tuple[int, ...]
    """Magic, version, page size, sequence number, two salts."""
    checksum: State
    """As it is written."""

    @property
    def order(self) -> str:
        """The byte order of the checksums."""
        return ">" if self.words[0] & 1 else "<"

    @property
    def size(self) -> int:
        """Bytes of a page."""
        return self.words[2]

    @property
    def plausible(self) -> bool:
        """Whether it can be one, whatever its checksum."""
        return self.words[0] | 1 == MAGIC | 1 and self.words[1] == VERSION and self.size in PAGES

    @property
    def sound(self) -> bool:
        """Whether it is what was written."""
        return self.plausible and added((0, 0), swapped(self.words, self.order)) == self.checksum

    @classmethod
    def of(cls, data: bytes) -> "Header":
        """Read it."""
        words = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(0, HEADER, 4))
        return cls(words[:6], (words[6], words[7]))

    def written(self) -> bytes:
        """Return its bytes."""
        return b"".join(word.to_bytes(4, "big") for word in (*self.words, *self.checksum))


@dataclass
class Frames:
    """What there is of the frames of a log, without their pages."""

    pages: Words
    """(n,), numbers of pages."""
    sizes: Words
    """(n,), pages of the database where a transaction ends with it, else 0."""
    salted: "NDArray[np.bool_]"
    """(n,), whether it has the salts of the log; others are left from earlier."""
    sums: Words
    """(n, 2), the checksum of each alone, begun with 0."""
    stored: Words
    """(n, 2), the running checksum as it is written."""

    def largest(self, linked: "NDArray[np.bool_]") -> int:
        """Return a number that no page of the database can have: twice the largest of frames that are sound."""
        sound = linked & self.salted
        return 2 * max(int(column[sound].max(initial=1)) for column in (self.pages, self.sizes))

    def odd(self, linked: "NDArray[np.bool_]", frame: int) -> tuple[bool, bool]:
        """Tell whether the number of a frame's page cannot be, and whether its number of pages cannot.

        The frames of a transaction are in the order of their pages, unless it was a very large one.
        """
        page, size, most = int(self.pages[frame]), int(self.sizes[frame]), self.largest(linked)
        before = int(self.pages[frame - 1]) if frame and not self.sizes[frame - 1] else 0
        behind = int(self.pages[frame + 1]) if frame + 1 < len(linked) and not size else most
        return not before < page < behind, bool(size) and not before < size <= most


def read_frames(header: Header, file: BinaryIO) -> Frames:
    """Read all whole frames."""
    import numpy as np

    weighed, length = weights(header.size // 4 + 2), FRAME + header.size
    parts = []
    file.seek(HEADER)
    while rows := len(data := file.read(PART * length)) // length:
        words = np.frombuffer(data, np.uint8, rows * length).reshape(rows, length).view(">u4")
        summed = words[:, [0, 1, *range(6, length // 4)]].view(header.order + "u4").astype(np.uint32) @ weighed
        parts.append((words[:, :6].astype(np.uint32), summed))
    heads, sums = (np.concatenate([np.zeros((0, width), np.uint32), *part]) for width, part in _columns(parts))
    salted = (heads[:, 2] == header.words[4]) & (heads[:, 3] == header.words[5])
    return Frames(heads[:, 0], heads[:, 1], salted, sums, heads[:, 4:6])


def _columns(parts: Sequence[tuple[Words, Words]]) -> Iterator[tuple[int, list[Words]]]:
    yield 6, [heads for heads, _ in parts]
    yield 2, [sums for _, sums in parts]


def links(begin: State, frames: Frames, size: int) -> "NDArray[np.bool_]":
    """Tell of each frame whether its checksum follows from that of the frame before, as both are written."""
    import numpy as np

    before = np.concatenate([np.array([begin], np.uint32), frames.stored])[:-1]
    follows = (before @ power(size // 8 + 1).T + frames.sums) == frames.stored
    return np.asarray(follows.all(axis=1))


# -- checksums ----------------------------------------------------------------------------------------------------


def added(state: State, words: Sequence[int]) -> State:
    """Return the running checksum after some words, as SQLite adds them up."""
    one, other = state
    for at in range(0, len(words), 2):
        one = (one + words[at] + other) % ALL
        other = (other + words[at + 1] + one) % ALL
    return one, other


def swapped(words: Sequence[int], order: str) -> tuple[int, ...]:
    """Return words that were read as big-endian in the byte order of the checksums."""
    return tuple(words) if order == ">" else tuple(int.from_bytes(word.to_bytes(4, "big"), "little") for word in words)


@cache
def weights(count: int) -> Words:
    """Return what each of `count` words adds to either half of a checksum, (count, 2)."""
    import numpy as np

    weights = np.empty((count, 2), np.uint32)
    first, second = (1, 1), (0, 1)
    for at in range(count - 2, -1, -2):
        weights[at], weights[at + 1] = first, second
        first, second = (((one + other) % ALL, (one + 2 * other) % ALL) for one, other in (first, second))
    return weights


@cache
def power(pairs: int) -> Words:
    """Return what so many pairs of zeros make of a running checksum, (2, 2)."""
    import numpy as np

    columns = [added(state, [0] * (2 * pairs)) for state in ((1, 0), (0, 1))]
    return np.array(columns, np.uint32).T


def after(steps: Words, before: State, sums: Words) -> State:
    """Return the running checksum behind a frame: `steps` are the `power` of its pairs, `sums` its own checksum."""
    import numpy as np

    return pair(steps @ np.array(before, np.uint32) + sums)


def pair(words: Words) -> State:
    """Return two words as plain numbers."""
    return int(words[0]), int(words[1])


def solved(weights: Words, wrong: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (word, what has to be added to it) where that alone changes a checksum by `wrong`."""
    import numpy as np

    inverse = [_inverse(weights[:, column]) for column in (0, 1)]
    for column in (0, 1):
        odd = weights[:, column] & 1 == 1  # of each word, at least one weight is
        odd &= (weights[:, 0] & 1 == 0) | (column == 0)
        with np.errstate(over="ignore"):
            differences = np.uint32(wrong[column]) * inverse[column]
            fits = odd & (differences * weights[:, 1 - column] == np.uint32(wrong[1 - column]))
        yield from ((int(word), int(differences[word])) for word in np.flatnonzero(fits))


def _inverse(numbers: Words) -> Words:
    """Return what odd numbers have to be multiplied with to make 1, modulo 2**32; by Newton's method."""
    import numpy as np

    found = numbers.astype(np.uint32)
    with np.errstate(over="ignore"):
        for _ in range(5):  # each step doubles the bits that are right, of which there are three to begin with
            found = found * (np.uint32(2) - numbers * found)
    return found
