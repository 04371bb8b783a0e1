"""The tables of an index, and the records that stand for their rows.

Each row carries a digest of its other columns (see `signing`). `queries` and `root_rows` read and write the rows.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sql

from retrieval.storage.signing import BYTES, INTEGER, signed_table

schema = sql.MetaData()
_table = partial(signed_table, schema)

encoders = _table(  # what made the vectors
    "encoders",
    sql.Column("fingerprint", sql.Text, primary_key=True),
    sql.Column("backbone", sql.Text, nullable=False),  # JSON
    sql.Column("weights", BYTES, nullable=False),  # a path, or one of the words of `backbones`
    sql.Column("dim", INTEGER, nullable=False),
    sql.Column("height", INTEGER, nullable=False),
    sql.Column("width", INTEGER, nullable=False),
    sql.Column("rule", INTEGER, nullable=False),  # the decode rule that all its pictures are read by
)
generations = _table(  # one row a commit; the current and the previous are kept
    "generations",
    sql.Column("number", INTEGER, primary_key=True, autoincrement=False),
    sql.Column("fingerprint", sql.Text, sql.ForeignKey(encoders.c.fingerprint), nullable=False),
    sql.Column("images", INTEGER, nullable=False),
    sql.Column("files", INTEGER, nullable=False),
    sql.Column("vectors", INTEGER, nullable=False),  # in its segments, those without an image included
)
segments = _table(
    "segments",
    sql.Column("generation", INTEGER, sql.ForeignKey(generations.c.number), primary_key=True),
    sql.Column("position", INTEGER, primary_key=True),
    sql.Column("ref", sql.Text, nullable=False),
    sql.Column("vectors", INTEGER, nullable=False),
)
images = _table(  # one row a content
    "images",
    sql.Column("id", INTEGER, primary_key=True, autoincrement=False),
    sql.Column("sha256", BYTES(32), nullable=False, unique=True),
    sql.Column("width", INTEGER, nullable=False),
    sql.Column("height", INTEGER, nullable=False),
    sql.Column("format", sql.Text, nullable=False),
    sql.Column("taken", sql.Text),
)
roots = _table(  # one row an indexed folder
    "roots",
    sql.Column("id", INTEGER, primary_key=True),
    sql.Column("path", BYTES, nullable=False, unique=True),  # absolute
    sql.Column("beside", BYTES),  # from the folder that holds the index, where the root is below that
    sql.Column("exclude", sql.Text),  # patterns of what is left out, in JSON
    sql.Column("mounts", BYTES),  # folders in it that were mount points, with a NUL between them
    sql.Column("identity", sql.Text),  # device and inode of the folder at its latest whole update
)
files = _table(  # one row a place
    "files",
    sql.Column("id", INTEGER, primary_key=True),
    sql.Column("root", INTEGER, sql.ForeignKey(roots.c.id), nullable=False),
    sql.Column("path", BYTES, nullable=False),  # relative to the root
    sql.Column("size", INTEGER, nullable=False),
    sql.Column("mtime_ns", INTEGER, nullable=False),
    sql.Column("image", INTEGER, sql.ForeignKey(images.c.id)),  # NULL: no picture, or never read
    sql.Column("offline", INTEGER, nullable=False),  # 1: could not be looked at by the latest run
    sql.Column("reason", sql.Text),  # why it is unreadable
    # `formats.reader()` that found it unreadable; of no picture, `formats.table()`; "": the system gave no bytes of it
    sql.Column("reader", sql.Text),
    sql.Column("ctime_ns", INTEGER),  # NULL: not known
    sql.UniqueConstraint("root", "path"),
)
sql.Index("files_image", files.c.image, files.c.offline)
sql.Index("files_unreadable", files.c.root, files.c.path, sqlite_where=files.c.reason.is_not(None))
sql.Index("files_offline", files.c.image, sqlite_where=files.c.offline == 1)
settings = _table(  # what was chosen for this index, or found out about it; one row a word of its users
    "settings",
    sql.Column("name", sql.Text, primary_key=True),
    sql.Column("value", sql.Text, nullable=False),  # JSON
)


class FileRow(NamedTuple):  # an update makes one per file, and no other class is made as fast
    """A row of `files`: one known place. The columns stand in the order of the table, the id last."""

    root: int
    path: bytes
    size: int
    mtime_ns: int
    image: int | None = None
    offline: int = 0
    reason: str | None = None
    reader: str | None = None
    ctime_ns: int | None = None
    id: int | None = None


class ImageRow(NamedTuple):
    """A row of `images`: one content."""

    id: int
    sha256: bytes
    width: int
    height: int
    format: str
    taken: str | None
    digest: bytes


@dataclass(frozen=True, slots=True)
class Generation:
    """A committed state of the index."""

    number: int
    fingerprint: str
    images: int
    files: int
    vectors: int
    segments: tuple[tuple[str, int], ...]
    """(ref, number of vectors in the segment), in the order in which they were committed."""

    @property
    def refs(self) -> tuple[str, ...]:
        """The refs of the segments, in order."""
        return tuple(ref for ref, _ in self.segments)


@dataclass(frozen=True, slots=True)
class Place:
    """An image at one of its places."""

    image: int
    width: int
    """Of the picture, upright, in pixels."""
    height: int
    root: int
    below: bytes
    """Path from the root."""
    path: Path
    """Absolute."""
    offline: bool
    """Whether the latest update could not look at the place."""
