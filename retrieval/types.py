"""Array aliases, and the frozen records that several folders of the package use.

A path below a root is bytes, as the file system gives it, because a file name need not be valid UTF-8.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

if TYPE_CHECKING:  # commands that decode no picture do not wait for numpy
    import numpy as np
    from numpy.typing import NDArray

    from retrieval.errors import BadInput, UnreadableImage
    from retrieval.searching.matches import Matches

    Pixels = NDArray[np.uint8]
    """(n, height, width, 3), RGB, 0-255, upright."""
    Vectors = NDArray[np.float32]
    """(n, dim), rows of length 1, C-contiguous."""
    Ids = NDArray[np.int64]
    """(n,), >= 0; -1 means "no neighbour"."""
else:
    Pixels = Vectors = Ids = Any


DECODE_RULE = 3
"""Version of the rule by which `decode.decode` turns files into pixels. An index made with rule 2 or a later rule keeps
that rule."""


def image_id(sha256: bytes) -> int:
    """Return the id of the content with this SHA-256: its first 63 bits.

    The id depends on the content alone, so all indexes on all machines give a content the same id.
    """
    return int.from_bytes(sha256[:8], "big") >> 1


def displayed(path: bytes | str | os.PathLike[str]) -> str:
    r"""Return `path` as one printable line.

    Control characters and bytes that are not UTF-8 are escaped: `\n`, `\xff`.
    """
    text = os.fsdecode(path)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # noqa: PLR2004 - PEP 383: Python keeps a byte that is not UTF-8 as 0xDC00 + byte
        return rf"\x{code - 0xDC00:02x}"
    return repr(character)[1:-1]


class Found(NamedTuple):  # a scan makes one per file, and a NamedTuple is made faster than a dataclass
    """A regular file that a scan saw."""

    path: bytes
    """Path from the root, with `/` between folders."""
    size: int
    """Size in bytes."""
    mtime_ns: int
    """Time of the last change of the content, in nanoseconds since 1970."""
    ctime_ns: int
    """Time of the last change of the content or of its facts, in nanoseconds since 1970; on Windows, of creation."""

    def storable(self) -> "Found":
        """Return the file with times that a database can keep: times before 1677 or after 2262 are moved there."""
        mtime_ns, ctime_ns = (max(-LATEST, min(time_ns, LATEST)) for time_ns in (self.mtime_ns, self.ctime_ns))
        return self._replace(mtime_ns=mtime_ns, ctime_ns=ctime_ns)


LATEST = 2**63 - 1
"""Latest time that a database can keep, in nanoseconds since 1970: 64 bits reach to the year 2262."""


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A folder or a file that a scan could not look at."""

    path: bytes
    """Path from the root. The path of a folder ends in `/`; the path of the root itself is empty."""
    reason: str
    """Why, as a clause for a person."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the camera and people noted about a picture, in the file of the picture. None: the file does not say."""

    taken: str | None = None
    """Time at which the picture was taken, in ISO 8601, as in `2026-11-24T06:35:37`: the local time of the camera, with
    the fraction of a second and the time zone if the file says them; only the day if it says no more. It is never the
    date of the file."""
    make: str | None = None
    """Maker of the camera, as in `Canon`."""
    model: str | None = None
    """Model of the camera, as in `Canon EOS R6`."""
    lens: str | None = None
    iso: int | None = None
    """Sensitivity, as in 400."""
    aperture: float | None = None
    """F-number, as in 2.8."""
    exposure: float | None = None
    """Exposure time, in seconds."""
    focal_length: float | None = None
    """Focal length of the lens, in millimetres."""
    latitude: float | None = None
    """Degrees north of the equator, -90 to 90."""
    longitude: float | None = None
    """Degrees east of Greenwich, -180 to 180. It is known if, and only if, the latitude is known."""
    rating: float | None = None
    """Stars that somebody gave, 0 to 5; -1 for a rejected picture."""
    keywords: tuple[str, ...] = ()
    """Keywords that somebody gave, in the order of the file, each once."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The facts about one content: one row of the table `images`, and one of `metadata`."""

    sha256: bytes
    width: int
    """Width of the upright picture, in pixels."""
    height: int
    """Height of the upright picture, in pixels."""
    format: str
    """Format that the bytes of the file have, whatever its name: JPEG, PNG, …"""
    metadata: Metadata = Metadata()

    @property
    def id(self) -> int:
        """The 63-bit id of the content."""
        return image_id(self.sha256)


@dataclass(frozen=True, slots=True)
class Hits:
    """The nearest vectors of each query, nearest first. A row with fewer than k vectors ends in id -1, score -inf."""

    ids: "NDArray[np.int64]"
    """(queries, k)."""
    scores: "NDArray[np.float32]"
    """(queries, k), cosines in [-1, 1]. Equal scores stand in ascending order of id."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A class that the network of the index finds in an image."""

    name: str
    """Name of the class in ImageNet, as in `golden retriever`."""
    score: float
    """Cosine between the vector of the image and the direction of the class, -1 to 1."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A label with its score."""

    label: str
    score: float
    """Share of the votes, or the probability that a network gives, 0 to 1."""


LIKELY = 0.5
"""Least probability of a likely match. A match below it may be related or not (see `searching.likelihood`)."""


@dataclass(frozen=True, slots=True)
class Match:
    """One image of the index that is similar to a query."""

    rank: int
    """Position in the whole answer, from 1. With an offset, the first rank is offset + 1."""
    score: float
    """Cosine between the vectors of the query and of the image, -1 to 1; higher is nearer."""
    path: Path
    """Absolute path of the first file with this content. Reachable files come before others; within each group, files
    stand in byte order of their paths."""
    id: int
    """Id of the image, the same in every index."""
    width: int
    """Width of the upright picture, in pixels."""
    height: int
    """Height of the upright picture, in pixels."""
    copies: tuple[Path, ...]
    """Absolute paths of the other files with the same content, in the same order."""
    offline: bool = False
    """Whether the latest update could look at none of the files of the image: neither `path` nor `copies`."""
    relevance: float | None = None
    """Value by which the match is ranked instead of the score, -1 to 1 (see `searching.expansion`). None if it is
    ranked by score, as are the first matches of the ranking "mixed" and the matches behind the shortlist. Copies of the
    query have their score here."""
    false_matches: float | None = None
    """Expected number of unrelated images of the index that are as near by chance; None if `probability` is None."""
    probability: float | None = None
    """Probability that the match at this rank is related to the query, 0.5 to 1; 1 for a copy. None if the search did
    not ask for it, if the index has too few images, or if the match does not stand out (see `searching.likelihood`)."""
    tags: tuple[Tag, ...] = ()
    """Classes of the image, best first; empty if the search did not ask for them, or the index has none."""
    taken: str | None = None
    """Time at which the picture was taken; see `Metadata.taken`."""
    similar: tuple[Path, ...] = ()
    """Absolute paths of other images that look the same and stand under this one, best first; empty if the search did
    not group matches."""

    def as_dict(self) -> dict[str, Any]:
        """Return the match as JSON can hold it. A path is text; bytes that are not UTF-8 are surrogate escapes.

        `relevance`, `false_matches`, `probability`, `tags`, `taken` and `similar` are left out if they are unknown.
        """
        row = {item.name: getattr(self, item.name) for item in fields(self)}
        row |= {"path": str(self.path), "copies": [str(path) for path in self.copies]}
        row["tags"] = [asdict(tag) for tag in self.tags] or None
        row["similar"] = [str(path) for path in self.similar] or None
        optional = {"relevance", "false_matches", "probability", "tags", "taken", "similar"}
        return {name: value for name, value in row.items() if name not in optional or value is not None}


@dataclass(frozen=True, slots=True)
class IndexedImage:
    """An image of the index, with one of its files."""

    id: int
    path: Path
    """Absolute path of the file."""
    width: int
    """Width of the upright picture, in pixels."""
    height: int
    """Height of the upright picture, in pixels."""
    format: str
    """Format that the bytes of the file have, whatever its name: JPEG, PNG, …"""
    metadata: Metadata
    """What the camera and people noted about the picture."""
    bytes: int
    """Size of the file, in bytes."""
    modified_ns: int
    """Time of the latest change of the file, in nanoseconds since 1970."""
    sha256: str
    """SHA-256 of the bytes of the file, 64 hexadecimal digits. Files with the same bytes are one image."""
    offline: bool = False
    """Whether the latest update could not look at this file."""

    @property
    def taken(self) -> str | None:
        """The time at which the picture was taken; see `Metadata.taken`."""
        return self.metadata.taken

    def as_dict(self) -> dict[str, Any]:
        """Return the image as JSON can hold it, with its metadata. A path is text, as in `Match.as_dict`."""
        row: dict[str, Any] = asdict(self) | {"path": str(self.path)}
        noted: dict[str, Any] = row.pop("metadata")
        return row | noted


@dataclass(frozen=True, slots=True)
class Failure:
    """A file or folder that could not be looked at, read or decoded."""

    path: Path
    """Absolute path."""
    reason: str
    """Why, as a clause for a person."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call of `Index.add` is. `add` gives one to its callback after every batch."""

    done: int
    """Number of files that were looked at so far."""
    total: int
    """Number of files to look at, counted beforehand."""
    embedded: int
    """Number of pictures that went through the network so far."""
    unreadable: int
    """Number of files and folders that could not be read so far."""
    latest_failure: str = ""
    """Path and reason of the latest file or folder that could not be read; empty if there is none."""
    headers: int = 0
    """Number of files of an earlier version's index whose metadata were read so far, after everything else."""


class Timing(dict[str, float]):
    """Seconds spent on each step, by the name of the step. The times of threads that run at once are added up."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Allow pickling and copying, without the lock."""
        return Timing, (), None, None, iter(self.items())

    @contextmanager
    def of(self, step: str) -> Iterator[None]:
        """Add the time that the `with` block takes to `step`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(step, time.perf_counter() - start)

    def add(self, step: str, seconds: float) -> None:
        """Add `seconds` to `step`."""
        with self._lock:
            self[step] = self.get(step, 0.0) + seconds


@dataclass(frozen=True)
class Report:
    """What an update did. The counts are numbers of files with pictures; other files are not counted at all."""

    added: int = 0
    """Files with new content."""
    changed: int = 0
    """Known files whose content has changed."""
    unchanged: int = 0
    """Known files with the same content."""
    moved: int = 0
    """Files with known content at a new path, whose old path is gone."""
    copied: int = 0
    """New files with known content, which stays at its old path too."""
    gone: int = 0
    """Files that no longer exist. They are forgotten."""
    offline: int = 0
    """Files that cannot be looked at now, or that vanished together with more than half of their root. They are kept
    and marked, until they are seen again or are forgotten on request."""
    unreadable: int = 0
    """Files and folders that could not be looked at, read or decoded. Those that failed at an earlier update and have
    not changed since are counted without being tried again."""
    removed: int = 0
    """Files forgotten on request: by `remove`, or because they are excluded now."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Reason -> number of files and folders that this update tried and could not read."""
    notes: dict[str, int] = field(default_factory=dict)
    """Note -> number of pictures that this update read for the first time and uses although they are not whole."""
    timing: dict[str, float] = field(default_factory=dict, compare=False)
    """Step -> seconds. `total` contains `load` (the network), `encode` (with compiling the network and comparing it),
    `commit` and `wait` (for pictures that are still being read). `read` (with decoding) adds up all threads."""

    def __str__(self) -> str:
        """Return the counts that are not zero in one line, in the order of the fields; "0 unchanged" if all are."""
        counts = [(getattr(self, item.name), item.name) for item in fields(self) if item.type is int]
        return ", ".join(f"{count} {name}" for count, name in counts if count) or "0 unchanged"


@dataclass(frozen=True, slots=True)
class FileEvent:
    """What an update did about one file."""

    event: str
    """A field of `Report`: added, changed, moved, copied, gone, offline, unreadable or removed."""
    path: Path
    """Absolute path of the file; of a folder, if it is one that cannot be listed."""
    image: int | None = None
    """Id of the image in the file. None if the file has no image now."""
    before: Path | None = None
    """Absolute path at which a moved file was before, else None."""

    def as_dict(self) -> dict[str, Any]:
        """Return the event as JSON can hold it. A path is text, as in `Match.as_dict`; what is None is left out."""
        row = {"event": self.event, "path": str(self.path), "id": self.image}
        row["before"] = None if self.before is None else str(self.before)
        return {name: value for name, value in row.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the indexed folders a search covers."""

    images: int
    """Number of images in the index."""
    unreadable: int
    """Number of files and folders that could not be looked at, read or decoded."""
    offline: int
    """Number of those `images` that are offline: the latest update could look at none of their files."""
    updating: bool = False
    """Whether a process is writing to the index now, so that there may soon be more images. Known on Linux only."""
    unread: bool = False
    """Whether the metadata of some images were never read, because an earlier version has indexed them. Filters do not
    see these metadata. The next update reads them."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to several queries, with facts about the index. All come from one committed state of the index."""

    results: "list[Matches | BadInput | UnreadableImage]"
    """One item per query, in their order: its matches, best first, or the error that says why it has no answer."""
    coverage: Coverage
    """How much this state of the index holds."""
    structures: tuple[int, int] | None = None
    """(number found, number of all): how many of the matches of an exact search the search structures find as well.
    Matches are ranked by score, and all queries are counted together. None if the search was not exact, or if the index
    has no search structures."""
    among: int | None = None
    """Number of images that meet the filter of the search; None if it had no filter."""


class RetrievalSocket:
    """Where a server of an index is asked by the command line: the name of a socket in its folder, and the address."""

    NAME = "serve.sock"
    ADDRESS = "/own/answers"


@dataclass(frozen=True, slots=True)
class Tagged:
    """A query for the images that have a tag."""

    words: str
    """Words of the name of the tag, as in `golden retriever`."""


@dataclass(frozen=True, slots=True)
class Blend:
    """A query made of several pictures: for images that are near to some pictures, and far from others."""

    like: "Sequence[Any]"
    """Pictures to be near to, at least one. A picture is anything that can be a query, except a tag or a blend."""
    unlike: "Sequence[Any]" = ()
    """Pictures to be far from."""
    weights: "Sequence[float] | None" = None
    """Weight of each picture, more than 0: first those of `like`, then those of `unlike`; None if all are equal. Only
    the proportions within `like` and within `unlike` count."""


@dataclass(frozen=True, slots=True)
class RootInfo:
    """An indexed folder."""

    path: Path
    """Absolute path of the folder."""
    images: int
    """Number of files with images below the folder; copies are counted too."""
    reachable: bool
    """Whether the folder is there now."""
    exclude: tuple[str, ...] = ()
    """Patterns of files that are left out, in the syntax of .gitignore, relative to the folder. The last one that
    matches a file decides."""


EXACT = "exact"
"""Name of the form of search that looks at every vector."""


@dataclass(frozen=True, slots=True)
class SearchForm:
    """How some of the vectors are searched."""

    form: str
    """`EXACT`, or the factory string of a search structure of FAISS, as in `HNSW32,SQ8`."""
    vectors: int
    """Number of vectors that are searched in this way."""
    recall: float = 1.0
    """Share of the ten nearest vectors that the structure finds, or of the ten that come next, whichever is less.
    It was measured on held-out vectors when the structure was built. Pictures unlike those of the index may find fewer;
    an exact search finds all."""
    target: float = 1.0
    """Recall that was asked for. A structure with a lower recall is not used: a search looks at all of its vectors."""


def added_up(forms: Sequence[SearchForm]) -> tuple[SearchForm, ...]:
    """Return `forms` with all exact forms merged into one, the form with most vectors first."""
    added = [form for form in forms if form.form != EXACT]
    exact = sum(form.vectors for form in forms if form.form == EXACT)
    if exact:
        added.append(SearchForm(EXACT, exact))
    return tuple(sorted(added, key=lambda form: -form.vectors))


class Measured(TypedDict, total=False):
    """What `retrieval tune` measured for a ranking; empty for a ranking that was chosen without measuring."""

    by: str
    """Source of the right answers: "labels", or "changes" if changed pictures had to find their originals."""
    queries: int
    """Number of queries."""
    map: dict[str, float]
    """Name of each ranking that was measured -> its mean average precision."""
    agreement: dict[str, float]
    """Name of each ranking -> the share of the first matches that changed pictures share with their originals; empty if
    labels decided."""
    reason: str
    """What was compared, and why this ranking was chosen: a sentence."""


class RankingInForce(Measured):
    """The ranking that searches of an index use by default, with what was measured for it."""

    name: str
    """The ranking: "none" (by score), "mixed" or "expansion"."""


@dataclass(frozen=True, slots=True)
class Info:
    """The facts about an index."""

    images: int
    """Number of images."""
    vectors: int
    """Number of stored vectors. It is more than `images` until the vectors of removed images are compacted away."""
    generation: int
    """Number of the latest commit."""
    backbone: str
    """The network that made the vectors, in words."""
    dim: int
    """Length of a vector: its number of values."""
    roots: tuple[RootInfo, ...]
    """The indexed folders, in byte order of their paths."""
    offline: int
    """Number of images that are offline: the latest update could look at none of their files."""
    failures: int
    """Number of files and folders that could not be looked at, read or decoded."""
    bytes: int
    """Size of all files of the index, in bytes."""
    search: tuple[SearchForm, ...] = ()
    """How the vectors are searched, the form with most vectors first."""
    parity: float | None = None
    """Least cosine between the vectors of the converted network and of the network as Keras built it, over the pictures
    on which both were compared; None if the index has no converted network."""
    rule: int = DECODE_RULE
    """Version of the decode rule, which turns the files of the index and of queries into pixels."""
    ranking: RankingInForce | None = None
    """The ranking that `Index.tune` has set; None if it was never called."""

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON can hold them."""
        roots = [asdict(root) | {"path": str(root.path), "exclude": list(root.exclude)} for root in self.roots]
        search = [asdict(form) for form in self.search]
        return {item.name: getattr(self, item.name) for item in fields(self)} | {"roots": roots, "search": search}
