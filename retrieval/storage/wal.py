"""Find and repair damage in SQLite's write-ahead log.

SQLite reads a log up to the first frame that is not sound, ignores the rest without a word, and overwrites it later.
That is right after a power cut, which leaves the torn end of a transaction that was never committed. It is wrong after
a flipped bit: the committed transactions behind it are lost. What follows the first bad frame tells the two apart:

    nothing, or no commit     a torn end, or pages of a transaction that was rolled back: no damage
    one commit                damage if the change of one word of four bytes makes the frame sound; else a torn end,
                              since the pages of the last transaction reach the disk in any order
    several commits in a row  damage: a transaction begins only when the one before it is on the disk
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from retrieval.disk import files
from retrieval.storage.wal_format import (
    FRAME,
    HEADER,
    MAGIC,
    MODULUS,
    PAGES,
    VERSION,
    WORD,
    Frames,
    Header,
    State,
    added,
    after,
    links,
    pair,
    pairs_of_frame,
    power,
    read_frames,
    solved,
    swapped,
    weights,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    """One value per frame."""

MOST_CORRECTIONS = 64
"""Largest number of words that are corrected in one log."""
SUMMED = 2
"""Number of words of a frame header that are under its checksum: page number and number of pages."""
SEQUENCE = 3
"""Position of the sequence number among the words of the header of a log."""

Patch = tuple[int, bytes]
"""A position in the file, and the bytes to write there."""


@dataclass(frozen=True)
class Break:
    """The place where the sound part of a damaged log ends."""

    frame: int
    """Number of the first frame that is not sound, from 0; -1 for the header of the log."""
    patches: tuple[Patch, ...]
    """Patches each of which makes the frame sound; empty if more than one word is wrong.

    There may be many for a flip in the last bits of a word: a checksum does not tell which word was hit."""


def damage(path: Path) -> str:
    """Return a sentence about the damage of the log at `path`; "" for a sound log, and if there is no log."""
    found = _broken(path)
    if found is None:
        return ""
    where = "in its header" if found.frame < 0 else f"at frame {found.frame + 1}"
    return f"the log {path.name} is damaged {where}, and committed changes follow"


def mend(path: Path) -> bool:
    """Correct wrong words as long as it is certain which ones, and tell whether the log is sound then.

    The caller holds the lock of the writer.
    """
    for _ in range(MOST_CORRECTIONS):
        found = _broken(path)
        if found is None:
            return True
        if len(found.patches) != 1:
            return False
        ((position, data),) = found.patches
        _write(path, position, data)
    return False


def has_all_pages(path: Path) -> bool:
    """Tell whether at most one word is wrong in the first bad frame of the log, though it may be unclear which one."""
    found = _broken(path)
    return found is None or (found.frame >= 0 and bool(found.patches))


def accept(path: Path) -> None:
    """Write checksums that fit the pages of a log as they are, so that damaged rows in them can be repaired later.

    Frames without a possible page are dropped, and so are those behind the last frame that is known to be a commit.
    """
    found = _broken(path)
    if found is None:
        return
    data = b""
    if found.frame >= 0:
        with files.opened(path) as file:
            header = Header.of(file.read(HEADER))
            data = b"".join(_rewritten(header, found.frame, file))
    _write(path, 0, data)
    os.truncate(path, len(data))


def _write(path: Path, position: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(position)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


# -- finding damage -----------------------------------------------------------------------------------------------


def _broken(path: Path) -> Break | None:
    """Return where a damaged log breaks; None for a log that is sound, torn, or begun anew while it was read.

    Two readings in a row must agree. While another process writes, a reading may see a half-written frame before
    frames that were written later.
    """
    found = _broken_in_one_reading(path)
    while found is not None:
        again = _broken_in_one_reading(path)
        if again == found:
            return found
        found = again
    return None


def _broken_in_one_reading(path: Path) -> Break | None:
    try:
        with files.opened(path) as file:
            data = file.read(HEADER)
            if len(data) < HEADER or not any(data):
                return None
            header = Header.of(data)
            found = _break_in_frames(header, file) if header.sound else _break_in_header(header, file)
            file.seek(0)
            is_same_log = file.read(HEADER) == data
            return found if is_same_log else None
    except FileNotFoundError:
        return None


def _break_in_frames(header: Header, file: BinaryIO) -> Break | None:
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
    return Break(first, ()) if _are_commits_behind(frames, linked, first, 2) else None


def _are_commits_behind(frames: Frames, linked: "Flags", first: int, least: int) -> bool:
    """Tell whether a row of sound frames behind the frame `first` has at least `least` commits."""
    count = 0
    for frame in range(first + 1, len(linked)):
        if not (linked[frame] and frames.salted[frame]):
            count = 0
        elif frames.sizes[frame]:
            count += 1
        if count >= least:
            return True
    return False


def _reaches_commit(header: Header, frames: Frames, linked: "Flags", first: int) -> bool:
    """Tell whether a transaction ends in the frame `first`, or in the frames that follow from it."""
    if frames.sizes[first]:
        return True
    for frame in range(first + 1, len(linked)):
        follows = bool(linked[frame])
        if frame == first + 1 and not follows:  # it follows from the right checksum of `first`, if not from the written
            follows = _follows(_checksum_after(header, frames, first), frames, frame, header.size)
        if not (frames.salted[frame] and follows):
            return False
        if frames.sizes[frame]:
            return True
    return False


def _follows(before: State, frames: Frames, frame: int, size: int) -> bool:
    """Tell whether the written checksum of a frame follows from the running checksum `before` it."""
    return after(power(pairs_of_frame(size)), before, frames.sums[frame]) == pair(frames.stored[frame])


def _checksum_after(header: Header, frames: Frames, frame: int) -> State:
    """Return the running checksum after a frame, computed from its bytes and from the checksum before it."""
    before = header.checksum if frame == 0 else pair(frames.stored[frame - 1])
    return after(power(pairs_of_frame(header.size)), before, frames.sums[frame])


# -- repairing frames ---------------------------------------------------------------------------------------------


def _rewritten(header: Header, first: int, file: BinaryIO) -> Iterator[bytes]:
    """Yield the parts of a log with fitting checksums, made of all frames that may belong to the log."""
    frames = read_frames(header, file)
    linked = links(header.checksum, frames, header.size)
    commits = [frame for frame in range(len(linked)) if frames.sizes[frame] and (frame == first or linked[frame])]
    last = max(commits, default=-1)
    page_limit = frames.page_limit(linked)
    file.seek(0)
    yield file.read(HEADER)
    checksum, steps = header.checksum, power(pairs_of_frame(header.size))
    for frame in range(last + 1):
        data = file.read(FRAME + header.size)
        if frame < first or (frames.salted[frame] and 0 < frames.pages[frame] <= page_limit):
            checksum = after(steps, checksum, frames.sums[frame])
            yield data[:8] + header.salts + _bytes_of(checksum) + data[FRAME:]


def _bytes_of(checksum: State) -> bytes:
    return b"".join(word.to_bytes(WORD, "big") for word in checksum)


def _patches(header: Header, frames: Frames, linked: "Flags", first: int, file: BinaryIO) -> list[Patch]:
    """Return the patches of one word, or of the two salts, each of which makes the frame `first` sound."""
    start = HEADER + first * (FRAME + header.size)
    if linked[first]:  # everything but the salts is right
        return [(start + 8, header.salts)]
    if not frames.salted[first]:
        return []
    computed, stored = _checksum_after(header, frames, first), pair(frames.stored[first])
    patch_of_checksum = (start + 16, _bytes_of(computed))
    has_next = first + 1 < len(linked) and bool(frames.salted[first + 1])
    if has_next and _follows(computed, frames, first + 1, header.size):
        return [patch_of_checksum]  # the next frame follows from the bytes of this one: only its checksum is wrong
    wrong = [(written - right) % MODULUS for written, right in zip(stored, computed, strict=True)]
    file.seek(start)
    patches = _patches_of_words(header, frames, linked, first, file.read(FRAME + header.size), wrong)
    if has_next or all(wrong):
        return patches
    return [patch_of_checksum, *patches]


def _patches_of_words(
    header: Header, frames: Frames, linked: "Flags", first: int, data: bytes, wrong: Sequence[int]
) -> list[Patch]:
    """Return a patch for each word of the frame `first` that alone can make its checksum off by `wrong`.

    `data` is the frame. Only the likeliest patches are returned. If the page number or the number of pages is
    impossible, these are patches of the impossible word, else of the page. Among them, those that change the fewest
    bits are the likeliest.
    """
    order: Literal["big", "little"] = "big" if header.order == ">" else "little"
    impossible = frames.impossible_words(linked, first)
    ranked: list[tuple[tuple[bool, int], Patch]] = []
    for word, change in solved(weights(header.size // WORD + SUMMED), wrong):
        is_in_head = word < SUMMED
        at = WORD * word if is_in_head else FRAME + WORD * (word - SUMMED)
        written = int.from_bytes(data[at : at + WORD], order)
        right = (written + change) % MODULUS
        is_unlikely = is_in_head
        if any(impossible):
            is_unlikely = not (is_in_head and impossible[word])
        rank = (is_unlikely, (written ^ right).bit_count())
        position = HEADER + first * (FRAME + header.size) + at
        ranked.append((rank, (position, right.to_bytes(WORD, order))))
    best = min((rank for rank, _ in ranked), default=None)
    return [patch for rank, patch in ranked if rank == best]


# -- repairing the header -----------------------------------------------------------------------------------------


def _break_in_header(header: Header, file: BinaryIO) -> Break | None:
    """Return the break at a damaged header, with the right header as its patch if one is found.

    Return None if no commit follows the header.
    """
    are_commits_known = False
    for candidate in _candidates(header, file):
        frames = read_frames(candidate, file)
        if not len(frames.pages):
            continue
        linked = links(candidate.checksum, frames, candidate.size)
        if linked[0] and frames.salted[0] and (frames.sizes[0] or _are_commits_behind(frames, linked, 0, 1)):
            return Break(-1, ((0, candidate.written()),))
        are_commits_known = are_commits_known or _are_commits_behind(frames, linked, 0, 2)
    return Break(-1, ()) if are_commits_known else None


def _candidates(header: Header, file: BinaryIO) -> Iterator[Header]:
    """Yield possible right headers: those with one bit changed, then those computed from the first frame."""
    data = header.written()
    for bit in range(8 * HEADER):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        candidate = Header.of(bytes(changed))
        if candidate.sound:
            yield candidate
    file.seek(HEADER)
    first = file.read(FRAME)
    if len(first) < FRAME:
        return
    salts = int.from_bytes(first[8:12], "big"), int.from_bytes(first[12:16], "big")
    for size in PAGES:
        yield from _with_checksum(Header((MAGIC, VERSION, size, header.words[SEQUENCE], *salts), (0, 0)), file)


def _with_checksum(header: Header, file: BinaryIO) -> Iterator[Header]:
    """Yield the header with the checksum from which its first frame follows, in both byte orders."""
    for magic in (MAGIC, MAGIC + 1):
        candidate = Header((magic, *header.words[1:]), (0, 0))
        frames = read_frames(candidate, file)
        if not len(frames.pages):
            return
        (a, b), (c, d) = power(pairs_of_frame(candidate.size)).tolist()
        stored, alone = pair(frames.stored[0]), pair(frames.sums[0])
        first_rest, second_rest = ((word - own) % MODULUS for word, own in zip(stored, alone, strict=True))
        # The determinant of every power of the step is 1, so that this is the product with the inverse matrix.
        checksum = ((d * first_rest - b * second_rest) % MODULUS, (a * second_rest - c * first_rest) % MODULUS)
        yield from _with_sequence_number(Header(candidate.words, checksum))


def _with_sequence_number(header: Header) -> Iterator[Header]:
    """Yield the header, with the sequence number that its checksum needs."""
    computed = added((0, 0), swapped(header.words, header.order))
    if computed == header.checksum:
        yield header
    wrong = [(written - right) % MODULUS for written, right in zip(header.checksum, computed, strict=True)]
    for word, change in solved(weights(len(header.words)), wrong):
        if word == SEQUENCE:
            (number,) = swapped([header.words[SEQUENCE]], header.order)
            (number,) = swapped([(number + change) % MODULUS], header.order)
            yield Header((*header.words[:SEQUENCE], number, *header.words[SEQUENCE + 1 :]), header.checksum)
