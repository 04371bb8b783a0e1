"""Records of the storage: rows as Python objects, which other folders give to the store and get from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class FileRow(NamedTuple):  # an update makes one for each file: objects of other classes take longer to make
    """A row of the table `files`: one known place. The columns are in the order of the table, but `id` is last."""

    root: int
    path: bytes
    """Path from the root."""
    size: int
    """Size of the file, in bytes."""
    mtime_ns: int
    """Time of the last change of the content, in nanoseconds since 1970."""
    image: int | None = None
    """Id of the image in the file; None for a file that is not a picture or that was never read."""
    offline: int = 0
    """1 if the latest update could not look at the place, else 0."""
    reason: str | None = None
    """Why the file cannot be read; None for a readable file."""
    reader: str | None = None
    """The version of the reading code that found the file unreadable."""
    ctime_ns: int | None = None
    """Time at which the system last noted a change of the file, in nanoseconds since 1970; None if it is not known."""
    id: int | None = None
    """None for a place that has no row yet."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A committed state of the index."""

    number: int
    fingerprint: str
    """Fingerprint of the encoder that made the vectors."""
    images: int
    """Number of images."""
    files: int
    """Number of places."""
    vectors: int
    """Number of vectors in all segments, including those that no longer belong to an image."""
    segments: tuple[tuple[str, int], ...]
    """Ref and number of vectors of each segment, in the order in which the segments were committed."""

    @property
    def refs(self) -> tuple[str, ...]:
        """The refs of the segments, in order."""
        return tuple(ref for ref, _ in self.segments)


@dataclass(frozen=True, slots=True)
class Place:
    """An image at one of its places."""

    image: int
    """Id of the image."""
    width: int
    """Width of the upright picture, in pixels."""
    height: int
    root: int
    """Id of the root."""
    below: bytes
    """Path from the root."""
    path: Path
    """Absolute path."""
    offline: bool
    """Whether the latest update could not look at the place."""
    taken: str | None = None
    """Time at which the picture was taken; see `Metadata.taken`."""


@dataclass(frozen=True, slots=True)
class Root:
    """An indexed folder."""

    id: int
    """0 for a root that has no row yet."""
    path: bytes
    """Absolute path at the latest update."""
    beside: bytes | None = None
    """Path from the folder that holds the index; None if the root is not below that folder."""
    exclude: tuple[str, ...] = ()
    """Patterns of what the index leaves out, relative to the root. The last pattern that matches a path decides."""
    mounts: tuple[bytes, ...] = ()
    """Folders in the root that were mount points: their paths from the root, ending in `/`; "" for the root itself."""
    identity: str | None = None
    """Device and inode of the folder at its latest complete update; None before the first one."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A path as the index knows it: a root, and the path from there."""

    root: int
    """Id of the root."""
    place: bytes
    """Where the root is now, absolute."""
    below: bytes
    """Path from the root; "" for the root itself."""
