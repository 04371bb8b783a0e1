"""The write-ahead log of SQLite: whether all of it is what was written, and putting right what is not.

SQLite itself reads a log up to the first frame that is not sound, says nothing, and overwrites the rest. That is right
for what a power cut leaves behind, the torn end of a transaction that was never committed. It is wrong for a flipped
bit: committed transactions behind it are lost. The two are told apart by what follows the frame that is not sound:

    nothing, or no commit     a torn end, or pages of a transaction that was rolled back: no damage
    one commit                damage if changing one word of four bytes makes the frame sound; else a torn end, since
                              the pages of the last transaction reach the disk in any order
    several commits in a row  damage: a transaction begins when the one before it is on the disk
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from retrieval.disk import files
from retrieval.storage.wal_format import (
    ALL,
    FRAME,
    HEADER,
    MAGIC,
    PAGES,
    VERSION,
    Frames,
    Header,
    State,
    added,
    after,
    links,
    pair,
    power,
    read_frames,
    solved,
    swapped,
    weights,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MENDED = 64
"""Words that are put right at most."""


@dataclass(frozen=True)
class Break:
    """Where the sound part of a log ends."""

    frame: int
    """Number of the first frame that is not sound; -1 for the header of the log."""
    patches: tuple[tuple[int, bytes], ...]
    """Places in the file, with the bytes there, of which each makes it sound; none where more than one word is wrong.

    Of a flip in the last bits of a word there may be many: a checksum does not tell in which word it was."""


def damage(path: Path) -> str:
    """Say what is wrong with the log at `path`, as one sentence; "" where nothing is, or where there is no log."""
    found = _broken(path)
    if found is None:
        return ""
    where = "its header" if found.frame < 0 else f"frame {found.frame + 1}"
    return f"the log {path.name} is not what was written: changes that were committed are behind {where}"


def mend(path: Path) -> bool:
    """Put right the words that are wrong, and tell whether the log is sound then; within the writers' lock."""
    for _ in range(MENDED):
        found = _broken(path)
        if found is None or len(found.patches) != 1:
            return found is None
        ((place, data),) = found.patches
        _write(path, place, data)
    return False


def has_all_pages(path: Path) -> bool:
    """Tell whether the first frame that is not sound has one word that is wrong, whichever it is."""
    found = _broken(path)
    return found is None or (found.frame >= 0 and bool(found.patches))


def accept(path: Path) -> None:
    """Make a log sound with its pages as they are, so that what is wrong in them can be put right row by row.

    Frames of no page, and those behind the last commit that is known to have been one, are given up.
    """
    found = _broken(path)
    if found is not None:
        with files.opened(path) as file:
            header = Header.of(file.read(HEADER))
            data = b"" if found.frame < 0 else b"".join(_rewritten(header, found.frame, file))
        _write(path, 0, data)
        os.truncate(path, len(data))


def _write(path: Path, place: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


# -- looking ------------------------------------------------------------------------------------------------------


def _broken(path: Path) -> Break | None:
    """Return where a damaged log breaks; None for one that is sound, or torn, or was begun anew while it was read.

    Two looks have to agree: a writer may be seen with a frame half written before frames that it wrote later.
    """
    found = _broken_at_a_look(path)
    while found is not None and found != (again := _broken_at_a_look(path)):
        found = again
    return found


def _broken_at_a_look(path: Path) -> Break | None:
    try:
        with files.opened(path) as file:
            data = file.read(HEADER)
            if len(data) < HEADER or not any(data):
                return None
            header = Header.of(data)
            found = _break(header, file) if header.sound else _break_of_header(header, file)
            file.seek(0)
            return found if file.read(HEADER) == data else None
    except FileNotFoundError:
        return None


def _break(header: Header, file: BinaryIO) -> Break | None:
    import numpy as np

    frames = read_frames(header, file)
    linked = links(header.checksum, frames, header.size)
    bad = np.flatnonzero(~(linked & frames.salted & (frames.pages > 0)))
    if not len(bad):
        return None
    first = int(bad[0])
    patches = tuple(_patches(header, frames, linked, first, file))
    if patches and _reaches_commit(header, frames, linked, first):
        return Break(first, patches)
    return Break(first, ()) if _follows(frames, linked, first, 2) else None


def _follows(frames: Frames, linked: "NDArray[np.bool_]", first: int, least: int) -> bool:
    """Tell whether frames that follow one another, behind the frame `first`, have at least so many commits."""
    count = 0
    for frame in range(first + 1, len(linked)):
        count = count + bool(frames.sizes[frame]) if linked[frame] and frames.salted[frame] else 0
        if count >= least:
            return True
    return False


def _reaches_commit(header: Header, frames: Frames, linked: "NDArray[np.bool_]", first: int) -> bool:
    """Tell whether a transaction ends in the frame `first`, or in those that follow from it."""
    size, target = header.size, _after(header, frames, first)
    for frame in range(first, len(linked)):
        if frame > first + 1 and not (linked[frame] and frames.salted[frame]):
            return False
        if frame == first + 1 and not (frames.salted[frame] and (linked[frame] or _link(target, frames, frame, size))):
            return False
        if frames.sizes[frame]:
            return True
    return False


def _rewritten(header: Header, first: int, file: BinaryIO) -> Iterator[bytes]:
    """Yield a log with running checksums that fit, of all frames that may belong to it."""
    frames = read_frames(header, file)
    linked = links(header.checksum, frames, header.size)
    last = max((at for at in range(len(linked)) if frames.sizes[at] and (at == first or linked[at])), default=-1)
    most = frames.largest(linked)
    file.seek(0)
    yield file.read(HEADER)
    state, steps = header.checksum, power(header.size // 8 + 1)
    for at in range(last + 1):
        data = file.read(FRAME + header.size)
        if at < first or (frames.salted[at] and 0 < frames.pages[at] <= most):
            state = after(steps, state, frames.sums[at])
            yield data[:8] + header.written()[16:24] + b"".join(word.to_bytes(4, "big") for word in state) + data[24:]


def _link(before: State, frames: Frames, frame: int, size: int) -> bool:
    return after(power(size // 8 + 1), before, frames.sums[frame]) == pair(frames.stored[frame])


def _after(header: Header, frames: Frames, frame: int) -> State:
    """Return the running checksum after a frame whose bytes are right, computed from the one before it."""
    before = header.checksum if frame == 0 else pair(frames.stored[frame - 1])
    return after(power(header.size // 8 + 1), before, frames.sums[frame])


# -- mending ------------------------------------------------------------------------------------------------------


def _patches(
    header: Header,
    frames: Frames,
    linked: "NDArray[np.bool_]",
    first: int,
    file: BinaryIO,
) -> list[tuple[int, bytes]]:
    """Return the places and the bytes of a word, or of the salts, of which each makes the frame `first` sound."""
    start = HEADER + first * (FRAME + header.size)
    if linked[first]:  # all but the salts is right
        return [(start + 8, header.written()[16:24])]
    if not frames.salted[first]:
        return []
    computed, stored = _after(header, frames, first), pair(frames.stored[first])
    checksum = [(start + 16, b"".join(word.to_bytes(4, "big") for word in computed))]
    behind = first + 1 < len(linked) and frames.salted[first + 1]
    if behind and _link(computed, frames, first + 1, header.size):
        return checksum
    wrong = [(one - other) % ALL for one, other in zip(stored, computed, strict=True)]
    file.seek(start)
    found = _corrected(header, frames, linked, first, file.read(FRAME + header.size), wrong)
    return found if behind or all(wrong) else checksum + found


def _corrected(
    header: Header,
    frames: Frames,
    linked: "NDArray[np.bool_]",
    first: int,
    data: bytes,
    wrong: Sequence[int],
) -> list[tuple[int, bytes]]:
    """Return for each word of the frame `first` that may be wrong its place in the file, and what it should be.

    Those of the fewest bits. Where the frame is of a page, or ends with a number of pages, that cannot be, that word.
    """
    order: Any = "big" if header.order == ">" else "little"
    odd = [word for word, wrong_word in enumerate(frames.odd(linked, first)) if wrong_word]
    found = []
    for word, difference in solved(weights(header.size // 4 + 2), wrong):
        at = 4 * word if word < 2 else FRAME + 4 * (word - 2)  # noqa: PLR2004 - of the header of a frame, two words
        there = int.from_bytes(data[at : at + 4], order)
        right = (there + difference) % ALL
        unlikely = word not in odd if odd else word < 2  # noqa: PLR2004 - likewise
        place = HEADER + first * (FRAME + header.size) + at
        found.append(((unlikely, (there ^ right).bit_count()), place, right.to_bytes(4, order)))
    likeliest = min((rank for rank, _, _ in found), default=None)
    return [(place, data) for rank, place, data in found if rank == likeliest]


def _break_of_header(header: Header, file: BinaryIO) -> Break | None:
    """Return how the header of a log can be put right; None where no commit follows it."""
    unknown = False
    for tried in _headers(header, file):
        frames = read_frames(tried, file)
        if not len(frames.pages):
            continue
        linked = links(tried.checksum, frames, tried.size)
        if linked[0] and frames.salted[0] and (frames.sizes[0] or _follows(frames, linked, 0, 1)):
            return Break(-1, ((0, tried.written()),))
        unknown = unknown or _follows(frames, linked, 0, 2)
    return Break(-1, ()) if unknown else None


def _headers(header: Header, file: BinaryIO) -> Iterator[Header]:
    """Yield headers that may have been there: with one bit changed, then those that the first frame speaks for."""
    data = header.written()
    for bit in range(8 * HEADER):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        found = Header.of(bytes(changed))
        if found.sound:
            yield found
    file.seek(HEADER)
    first = file.read(FRAME)
    for size in PAGES if len(first) == FRAME else ():
        salts = int.from_bytes(first[8:12], "big"), int.from_bytes(first[12:16], "big")
        yield from _fitting(Header((MAGIC, VERSION, size, header.words[3], *salts), (0, 0)), file)


def _fitting(header: Header, file: BinaryIO) -> Iterator[Header]:
    """Yield the header with the checksum that its first frame follows from, in both byte orders."""
    for magic in (MAGIC, MAGIC + 1):
        tried = Header((magic, *header.words[1:]), (0, 0))
        frames = read_frames(tried, file)
        if not len(frames.pages):
            return
        steps = power(tried.size // 8 + 1)
        (a, b), (c, d) = ((int(value) for value in row) for row in steps)
        difference = [(int(x) - int(y)) % ALL for x, y in zip(frames.stored[0], frames.sums[0], strict=True)]
        # The determinant of every power of the step is 1, so this is its inverse.
        begin = ((d * difference[0] - b * difference[1]) % ALL, (a * difference[1] - c * difference[0]) % ALL)
        yield from _numbered(Header(tried.words, begin))


def _numbered(header: Header) -> Iterator[Header]:
    """Yield the header with the sequence number that its checksum needs."""
    computed = added((0, 0), swapped(header.words, header.order))
    if computed == header.checksum:
        yield header
    wrong = [(one - other) % ALL for one, other in zip(header.checksum, computed, strict=True)]
    for word, difference in solved(weights(6), wrong):
        if word == 3:  # noqa: PLR2004 - the sequence number
            (number,) = swapped(header.words[3:4], header.order)
            (number,) = swapped(((number + difference) % ALL,), header.order)
            yield Header((*header.words[:3], number, *header.words[4:]), header.checksum)
