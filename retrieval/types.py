"""Array aliases and the frozen records that cross floors.

Paths below a root are bytes, as the file system gives them, so that any name is a path.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # whoever looks into no picture does not wait for numpy
    import numpy as np
    from numpy.typing import NDArray

    from retrieval.errors import BadInput, UnreadableImage

    Pixels = NDArray[np.uint8]
    """(n, height, width, 3), RGB, 0-255, upright."""
    Vectors = NDArray[np.float32]
    """(n, dim), rows of length 1, C-contiguous."""
    Ids = NDArray[np.int64]
    """(n,), >= 0; -1 means "no neighbour"."""
else:
    Pixels = Vectors = Ids = Any


DECODE_RULE = 3
"""Version of what `decode.decode` does to pixels. An index is read with the rule that it was made with, from 2 on."""


def image_id(sha256: bytes) -> int:
    """Return the id of the content with that SHA-256: its first 63 bits, so that machines agree without asking."""
    return int.from_bytes(sha256[:8], "big") >> 1


def displayed(path: bytes | str | os.PathLike[str]) -> str:
    r"""Return `path` as one printable line.

    Control characters and bytes that are not UTF-8 are escaped: `\n`, `\xff`.
    """
    text = os.fsdecode(path)
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    raw = ord(character)
    return rf"\x{raw - 0xDC00:02x}" if 0xDC80 <= raw <= 0xDCFF else repr(character)[1:-1]  # noqa: PLR2004 - PEP 383


class Found(NamedTuple):  # of which a scan makes one for each file: no other class is made as fast
    """A regular file that a scan saw."""

    path: bytes
    """Relative to the root, `/` between folders."""
    size: int
    mtime_ns: int
    """Since 1970."""
    ctime_ns: int
    """When the system last noted a change of the file, since 1970. On Windows, when the file was made."""

    def storable(self) -> "Found":
        """Return it with times that a database can keep: the nearest, where its own are before 1677 or after 2262."""
        mtime_ns, ctime_ns = (max(-LATEST, min(time_ns, LATEST)) for time_ns in (self.mtime_ns, self.ctime_ns))
        return self._replace(mtime_ns=mtime_ns, ctime_ns=ctime_ns)


LATEST = 2**63 - 1
"""Nanoseconds since 1970 that a database can keep, in 64 bits: until the year 2262."""


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A folder (its path ends in `/`, the root's is empty) or a file of which a scan could learn nothing."""

    path: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Picture:
    """What is kept of a content: one row of the table `images`."""

    sha256: bytes
    width: int
    """Pixels, upright."""
    height: int
    format: str
    """JPEG, PNG, … as its bytes say."""
    taken: str | None
    """When, as the camera noted it: `2026-11-24T06:35:37`, local time without zone."""

    @property
    def id(self) -> int:
        """The content's 63-bit id."""
        return image_id(self.sha256)


@dataclass(frozen=True, slots=True)
class Hits:
    """Proposed neighbours of each query, nearest first; where there are fewer than asked, id -1 and score -inf."""

    ids: "NDArray[np.int64]"
    """(queries, k)."""
    scores: "NDArray[np.float32]"
    """(queries, k), cosine in [-1, 1]; equal scores stand in ascending order of id."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A class that a picture was found to be of, by its network."""

    name: str
    """As ImageNet calls it: `golden retriever`."""
    score: float
    """Cosine of the picture's vector and the direction of the class, -1 to 1."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A label and how much speaks for it."""

    label: str
    score: float
    """Share of the votes, or the probability that a network gives: 0 to 1."""


LIKELY = 0.5
"""Probability from which a match is a likely one. Below, it cannot be told whether it is related: see `likelihood`."""


@dataclass(frozen=True, slots=True)
class Match:
    """One similar picture."""

    rank: int
    """From 1; with an offset, from offset + 1."""
    score: float
    """Cosine in [-1, 1], higher is nearer."""
    path: Path
    """Absolute; the first of its places in byte order, those that can be reached before those that cannot."""
    id: int
    width: int
    height: int
    copies: tuple[Path, ...]
    """The same bytes at other places, in byte order."""
    offline: bool = False
    """Whether none of these places could be looked at by the latest update."""
    relevance: float | None = None
    """What the rank follows, -1 to 1, where that is not the score: see `expansion.relevance`. None where not ranked."""
    false_matches: float | None = None
    """Number of unrelated pictures of the index that are to be expected as near; None as for `probability`."""
    probability: float | None = None
    """How likely the match at this rank is related, 0.5 to 1; 1 for a copy. None where that was not asked for or cannot
    be told: the index has too few pictures, or the match does not stand out from the others (see `likelihood`)."""
    tags: tuple[Tag, ...] = ()
    """What it was found to be, best first; where that was asked for, and the network tells classes."""

    def as_dict(self) -> dict[str, Any]:
        """Return the match as JSON knows it: paths as text, with surrogate escapes where a name is not UTF-8."""
        row = {item.name: getattr(self, item.name) for item in fields(self)}
        row |= {"path": str(self.path), "copies": [str(path) for path in self.copies]}
        row["tags"] = [asdict(tag) for tag in self.tags] or None
        told = {"relevance", "false_matches", "probability", "tags"}
        return {name: value for name, value in row.items() if name not in told or value is not None}


@dataclass(frozen=True, slots=True)
class IndexedImage:
    """An image of the index at one of its places."""

    id: int
    path: Path
    """Absolute."""
    width: int
    """Of the picture, upright, in pixels."""
    height: int
    format: str
    """JPEG, PNG, … as the bytes of the file say."""
    taken: str | None
    """Time that the camera noted: `2026-11-24T06:35:37`, local time without zone; None where it noted none."""
    offline: bool = False
    """Whether the latest update could not look at this place."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A file or folder that could not be looked at, read or decoded, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an `add` is; handed to its callback after every batch."""

    done: int
    """Files looked at so far."""
    total: int
    """Files to look at, counted beforehand."""
    embedded: int
    """Pictures that went through the network."""
    unreadable: int
    latest_failure: str = ""


class Timing(dict[str, float]):
    """Seconds by what they were spent on. Threads that do the same at once count each for itself."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it be pickled and copied, but for its lock."""
        return Timing, (), None, None, iter(self.items())

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Count what is done inside under `what`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(what, time.perf_counter() - start)

    def add(self, what: str, seconds: float) -> None:
        """Count `seconds` under `what`."""
        with self._lock:
            self[what] = self.get(what, 0.0) + seconds


@dataclass(frozen=True)
class Report:
    """What a run did, counted in places of pictures; other files count nowhere, but for what is `unreadable`."""

    added: int = 0
    """New content."""
    changed: int = 0
    """Known places whose content is another now."""
    unchanged: int = 0
    moved: int = 0
    """Known content at a new place, its old place being gone."""
    copied: int = 0
    """Known content at one place more."""
    gone: int = 0
    """Places that no longer exist; forgotten."""
    offline: int = 0
    """Places that cannot be looked at now, or that vanished with more than half of their root; kept and marked. They
    stay so until they are seen again or forgotten on request."""
    unreadable: int = 0
    """Files and folders that could not be looked at, read or decoded, now or at an earlier run without having changed
    since."""
    removed: int = 0
    """Places forgotten on request: `remove`, or excluded."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Of what was unreadable and that this run tried, other things failed before: reason -> files and folders."""
    notes: dict[str, int] = field(default_factory=dict)
    """Of what this run read for the first time, and used though it is not whole: what is to be known -> pictures."""
    timing: dict[str, float] = field(default_factory=dict, compare=False)
    """Seconds: `total`, and of these `load` (the network), `encode` (compiling and comparing it included), `commit` and
    `wait` (for pictures that are being read); meanwhile `read` (and decode) by all threads together."""

    def __str__(self) -> str:
        """One line: what is not zero, in the order of the fields; always at least `unchanged`."""
        counts = [(getattr(self, item.name), item.name) for item in fields(self) if item.type is int]
        return ", ".join(f"{count} {name}" for count, name in counts if count) or "0 unchanged"


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of what was found an answer can draw on."""

    images: int
    unreadable: int
    """Files and folders that could not be looked at, read or decoded."""
    offline: int
    """Images, among all, of which no place could be looked at by the latest update."""
    updating: bool = False
    """Whether somebody is writing to the index now, so that there may soon be more; never seen but on Linux."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What was found for some queries, all in one state of the index."""

    results: "list[list[Match] | BadInput | UnreadableImage]"
    """One for each query, in their order: matches, the best first, or the error that says why this query has none."""
    coverage: Coverage
    """What the same state holds."""
    structures: tuple[int, int] | None = None
    """How well the search structures do, told after an exact search of an index that has some: the number of the exact
    matches that they find too, and the number of exact matches, of all queries together and by score."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """A query for the images that are tagged with a class."""

    words: str
    """Words of the name of the class: `golden retriever`."""


@dataclass(frozen=True, slots=True)
class RootInfo:
    """An indexed folder."""

    path: Path
    images: int
    """Places of images below it."""
    reachable: bool
    """Whether the folder is there now."""
    exclude: tuple[str, ...] = ()
    """Patterns of what is left out, in the syntax of .gitignore and from the folder downwards; the last that fits
    decides."""


EXACT = "exact"
"""The form of search that looks at every vector."""


@dataclass(frozen=True, slots=True)
class SearchForm:
    """How some of the vectors are searched."""

    form: str
    """`EXACT`, or a factory string of FAISS, as in `HNSW32,SQ8`."""
    vectors: int
    recall: float = 1.0
    """Share of the nearest that it found, of the first ten or of the second ten, whichever is less, measured on vectors
    held out when it was made. Pictures unlike those of the index may find fewer; `exact` finds all."""
    target: float = 1.0
    """The recall that was asked for. A structure that found less is not used: all of its vectors are looked at."""


def added_up(forms: Sequence[SearchForm]) -> tuple[SearchForm, ...]:
    """Return `forms`, largest first; what has no structure is one of them."""
    rest = sum(form.vectors for form in forms if form.form == EXACT)
    parts = [form for form in forms if form.form != EXACT] + [SearchForm(EXACT, rest)] * bool(rest)
    return tuple(sorted(parts, key=lambda form: -form.vectors))


@dataclass(frozen=True, slots=True)
class Info:
    """The facts of an index."""

    images: int
    vectors: int
    """Stored; more than `images` where removed pictures have not been compacted away."""
    generation: int
    """Number of the latest commit."""
    backbone: str
    dim: int
    roots: tuple[RootInfo, ...]
    offline: int
    """Images of which no place could be looked at by the latest update."""
    failures: int
    """Files and folders that could not be looked at, read or decoded."""
    bytes: int
    """On disk, everything included."""
    search: tuple[SearchForm, ...] = ()
    """How the vectors are searched, as the files say, largest part first."""
    parity: float | None = None
    """Least cosine between the vectors of the compiled network and Keras', of the pictures that it was held against;
    None where the index has no compiled network."""
    rule: int = DECODE_RULE
    """The decode rule: how the pictures of the index, and its queries, are turned into pixels."""
    ranking: dict[str, Any] | None = None
    """How neighbours are ranked, `name`, and what `retrieval tune` measured for that; None where it was never run."""

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON knows them."""
        roots = [asdict(root) | {"path": str(root.path), "exclude": list(root.exclude)} for root in self.roots]
        search = [asdict(form) for form in self.search]
        return {item.name: getattr(self, item.name) for item in fields(self)} | {"roots": roots, "search": search}
