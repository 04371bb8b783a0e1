"""The format of SQLite's write-ahead log: https://sqlite.org/fileformat2.html#walformat.

A log is a header and then frames. A frame is a frame header and one page of the database. A running checksum, of two
words of four bytes, goes through the whole log and is written in each frame.

The checksum is a linear function of the words, modulo 2**32. So all frames can be summed at once, and a wrong word can
be computed from the checksum instead of being searched for.
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

HEADER = 32
"""Size of the header of a log, in bytes."""
FRAME = 24
"""Size of the header of a frame, in bytes. The page follows."""
MAGIC = 0x377F0682
"""First word of a log whose checksums read words as little-endian; one more for big-endian."""
VERSION = 3007000
"""Second word of a log."""
PAGES = [2**power for power in range(9, 17)]
"""The sizes that a page can have, in bytes."""
PART = 4096
"""Number of frames that are read and summed together: 17 MB of them for pages of 4,096 bytes."""
MODULUS = 2**32
WORD = 4
"""Size of a word, in bytes."""

State = tuple[int, int]
"""The two words of a running checksum."""


@dataclass(frozen=True)
class Header:
    """The header of a log."""

    words: tuple[int, ...]
    """Magic, version, page size, sequence number and two salts."""
    checksum: State
    """The checksum as it is written in the header."""

    @property
    def order(self) -> str:
        """The byte order in which checksums read words: ">" or "<"."""
        return ">" if self.words[0] & 1 else "<"

    @property
    def size(self) -> int:
        """Size of a page, in bytes."""
        return self.words[2]

    @property
    def plausible(self) -> bool:
        """Whether magic, version and page size are possible, whatever the checksum."""
        return self.words[0] | 1 == MAGIC | 1 and self.words[1] == VERSION and self.size in PAGES

    @property
    def sound(self) -> bool:
        """Whether the header is plausible and fits its checksum."""
        return self.plausible and added((0, 0), swapped(self.words, self.order)) == self.checksum

    @classmethod
    def of(cls, data: bytes) -> "Header":
        """Return the header in `data`, `HEADER` bytes."""
        words = tuple(int.from_bytes(data[at : at + WORD], "big") for at in range(0, HEADER, WORD))
        return cls(words[:6], (words[6], words[7]))

    def written(self) -> bytes:
        """Return the header as bytes."""
        return b"".join(word.to_bytes(WORD, "big") for word in (*self.words, *self.checksum))

    @property
    def salts(self) -> bytes:
        """The two salts as bytes, as each frame of the log repeats them."""
        return self.written()[16:24]


@dataclass
class Frames:
    """The headers and checksums of n frames of a log, without their pages."""

    pages: Words
    """Numbers of the pages, (n,)."""
    sizes: Words
    """Number of pages of the database if a transaction ends with the frame, else 0, (n,)."""
    salted: "NDArray[np.bool_]"
    """Whether the frame has the salts of the log, (n,). Frames with other salts are left over from an earlier log."""
    sums: Words
    """Checksum of each frame by itself, begun with 0, (n, 2)."""
    stored: Words
    """Running checksum as it is written in the frame, (n, 2)."""

    def page_limit(self, linked: "NDArray[np.bool_]") -> int:
        """Return a number that is larger than that of any page: twice the largest number in a sound frame."""
        sound = linked & self.salted
        return 2 * max(int(column[sound].max(initial=1)) for column in (self.pages, self.sizes))

    def impossible_words(self, linked: "NDArray[np.bool_]", frame: int) -> tuple[bool, bool]:
        """Tell whether the page number of a frame is impossible, and whether its number of pages is.

        The frames of a transaction are in the order of their pages, unless the transaction was a very large one.
        """
        page, size, limit = int(self.pages[frame]), int(self.sizes[frame]), self.page_limit(linked)
        before = int(self.pages[frame - 1]) if frame and not self.sizes[frame - 1] else 0
        behind = int(self.pages[frame + 1]) if frame + 1 < len(linked) and not size else limit
        return not before < page < behind, bool(size) and not before < size <= limit


def read_frames(header: Header, file: BinaryIO) -> Frames:
    """Read all complete frames of a log."""
    import numpy as np

    length = FRAME + header.size
    words_of_sums = [0, 1, *range(FRAME // WORD, length // WORD)]  # the rest of the frame header is not under the sum
    factors = weights(len(words_of_sums))
    heads, sums = [np.zeros((0, 6), np.uint32)], [np.zeros((0, 2), np.uint32)]
    file.seek(HEADER)
    while True:
        data = file.read(PART * length)
        rows = len(data) // length
        if not rows:
            break
        words = np.frombuffer(data, np.uint8, rows * length).reshape(rows, length).view(">u4")
        heads.append(words[:, :6].astype(np.uint32))
        sums.append(words[:, words_of_sums].view(header.order + "u4").astype(np.uint32) @ factors)
    head = np.concatenate(heads)
    salted = (head[:, 2] == header.words[4]) & (head[:, 3] == header.words[5])
    return Frames(head[:, 0], head[:, 1], salted, np.concatenate(sums), head[:, 4:6])


def links(begin: State, frames: Frames, size: int) -> "NDArray[np.bool_]":
    """Tell for each frame whether its written checksum follows from the one written before it, (n,).

    `begin` is the checksum of the header, `size` the size of a page in bytes.
    """
    import numpy as np

    before = np.concatenate([np.array([begin], np.uint32), frames.stored])[:-1]
    follows = (before @ power(pairs_of_frame(size)).T + frames.sums) == frames.stored
    return np.asarray(follows.all(axis=1))


# -- checksums ----------------------------------------------------------------------------------------------------


def pairs_of_frame(size: int) -> int:
    """Return how many pairs of words of a frame are under its checksum; `size` is the size of a page in bytes."""
    return size // (2 * WORD) + 1


def added(state: State, words: Sequence[int]) -> State:
    """Return the running checksum after some more words, which is SQLite's own algorithm."""
    first, second = state
    for at in range(0, len(words), 2):
        first = (first + words[at] + second) % MODULUS
        second = (second + words[at + 1] + first) % MODULUS
    return first, second


def swapped(words: Sequence[int], order: str) -> tuple[int, ...]:
    """Return words that were read as big-endian as the words of the byte order `order`."""
    if order == ">":
        return tuple(words)
    return tuple(int.from_bytes(word.to_bytes(WORD, "big"), "little") for word in words)


@cache
def weights(count: int) -> Words:
    """Return the factors with which each of `count` words enters the two words of a checksum, (count, 2)."""
    import numpy as np

    factors = np.empty((count, 2), np.uint32)
    first, second = (1, 1), (0, 1)
    for at in range(count - 2, -1, -2):
        factors[at], factors[at + 1] = first, second
        first, second = _one_pair_earlier(first), _one_pair_earlier(second)
    return factors


def _one_pair_earlier(factors: State) -> State:
    first, second = factors
    return (first + second) % MODULUS, (first + 2 * second) % MODULUS


@cache
def power(pairs: int) -> Words:
    """Return the matrix by which `pairs` pairs of zeros change a running checksum, (2, 2)."""
    import numpy as np

    zeros = [0] * (2 * pairs)
    return np.array([added((1, 0), zeros), added((0, 1), zeros)], np.uint32).T


def after(steps: Words, before: State, sums: Words) -> State:
    """Return the running checksum after a frame: `steps` is the `power` of its pairs, `sums` its own checksum."""
    import numpy as np

    return pair(steps @ np.array(before, np.uint32) + sums)


def pair(words: Words) -> State:
    """Return two words as Python numbers."""
    return int(words[0]), int(words[1])


def solved(factors: Words, wrong: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield each single word whose change explains that a checksum is off by `wrong`, with the change: (word, change).

    `factors` are the `weights` of the words. At least one of the two factors of a word is odd, and so has an inverse.
    """
    import numpy as np

    inverse = [_inverse(factors[:, column]) for column in (0, 1)]
    for column in (0, 1):
        usable = factors[:, column] & 1 == 1
        if column == 1:
            usable &= factors[:, 0] & 1 == 0  # the others were tried with column 0
        with np.errstate(over="ignore"):
            changes = np.uint32(wrong[column]) * inverse[column]
            fits = usable & (changes * factors[:, 1 - column] == np.uint32(wrong[1 - column]))
        for word in np.flatnonzero(fits):
            yield int(word), int(changes[word])


def _inverse(numbers: Words) -> Words:
    """Return the inverses of odd numbers modulo 2**32, by Newton's method. For even numbers the result is useless."""
    import numpy as np

    found = numbers.astype(np.uint32)
    with np.errstate(over="ignore"):
        for _ in range(5):  # the first guess has three right bits, and each step doubles them
            found = found * (np.uint32(2) - numbers * found)
    return found
