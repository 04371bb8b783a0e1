"""The tables of an index.

Each row carries a digest of its other columns (see `signing`). `queries` and `root_rows` read and write the rows,
`records` has the objects that stand for rows, and `migrations` creates the tables.
"""

from functools import partial
from typing import NamedTuple

import sqlalchemy as sql

from retrieval.storage.signing import BYTES, signed_table
from retrieval.storage.sqlite import INTEGER, partial_index

schema = sql.MetaData()
_table = partial(signed_table, schema)

encoders = _table(  # one row: the network that made the vectors
    "encoders",
    sql.Column("fingerprint", sql.Text, primary_key=True),
    sql.Column("backbone", sql.Text, nullable=False),  # JSON
    sql.Column("weights", BYTES, nullable=False),  # path of the weights file; or "imagenet" or "random"
    sql.Column("dim", INTEGER, nullable=False),
    sql.Column("height", INTEGER, nullable=False),
    sql.Column("width", INTEGER, nullable=False),
    sql.Column("rule", INTEGER, nullable=False),  # version of the decode rule that all pictures were read with
)
generations = _table(  # one row per commit; the current and the previous generation are kept
    "generations",
    sql.Column("number", INTEGER, primary_key=True, autoincrement=False),
    sql.Column("fingerprint", sql.Text, sql.ForeignKey(encoders.c.fingerprint), nullable=False),
    sql.Column("images", INTEGER, nullable=False),
    sql.Column("files", INTEGER, nullable=False),
    sql.Column("vectors", INTEGER, nullable=False),  # in all segments, including vectors without an image
)
segments = _table(  # one row per segment of a generation
    "segments",
    sql.Column("generation", INTEGER, sql.ForeignKey(generations.c.number), primary_key=True),
    sql.Column("position", INTEGER, primary_key=True),
    sql.Column("ref", sql.Text, nullable=False),
    sql.Column("vectors", INTEGER, nullable=False),
)
images = _table(  # one row per content
    "images",
    sql.Column("id", INTEGER, primary_key=True, autoincrement=False),
    sql.Column("sha256", BYTES(32), nullable=False, unique=True),
    sql.Column("width", INTEGER, nullable=False),
    sql.Column("height", INTEGER, nullable=False),
    sql.Column("format", sql.Text, nullable=False),
    sql.Column("taken", sql.Text),
)
metadata = _table(  # one row per content whose metadata were read
    "metadata",
    sql.Column("image", INTEGER, sql.ForeignKey(images.c.id), primary_key=True, autoincrement=False),
    sql.Column("make", sql.Text),
    sql.Column("model", sql.Text),
    sql.Column("lens", sql.Text),
    sql.Column("iso", INTEGER),
    sql.Column("aperture", sql.REAL),
    sql.Column("exposure", sql.REAL),  # seconds
    sql.Column("focal_length", sql.REAL),  # millimetres
    sql.Column("latitude", sql.REAL),  # degrees
    sql.Column("longitude", sql.REAL),  # degrees
    sql.Column("rating", sql.REAL),
    sql.Column("keywords", sql.Text, nullable=False),  # a list, as JSON
)
roots = _table(  # one row per indexed folder
    "roots",
    sql.Column("id", INTEGER, primary_key=True),
    sql.Column("path", BYTES, nullable=False, unique=True),  # absolute
    sql.Column("beside", BYTES),  # path from the folder that holds the index; NULL: the root is not below that folder
    sql.Column("exclude", sql.Text),  # patterns of the paths that are left out, as JSON
    sql.Column("mounts", BYTES),  # folders in the root that were mount points, separated by NUL
    sql.Column("identity", sql.Text),  # device and inode of the folder at its latest complete update
)
files = _table(  # one row per place
    "files",
    sql.Column("id", INTEGER, primary_key=True),
    sql.Column("root", INTEGER, sql.ForeignKey(roots.c.id), nullable=False),
    sql.Column("path", BYTES, nullable=False),  # relative to the root
    sql.Column("size", INTEGER, nullable=False),
    sql.Column("mtime_ns", INTEGER, nullable=False),
    sql.Column("image", INTEGER, sql.ForeignKey(images.c.id)),  # NULL: not a picture, or never read
    sql.Column("offline", INTEGER, nullable=False),  # 1: the latest update could not look at the place
    sql.Column("reason", sql.Text),  # why the file is unreadable; NULL: it is readable
    # For an unreadable file: `formats.reader()` that failed on it; `formats.table()` if the file is not a picture; ""
    # if the system gave no bytes of it.
    sql.Column("reader", sql.Text),
    sql.Column("ctime_ns", INTEGER),  # NULL: not known
    sql.UniqueConstraint("root", "path"),
)
sql.Index("files_image", files.c.image, files.c.offline)
partial_index("files_unreadable", files.c.root, files.c.path, where=files.c.reason.is_not(None))
partial_index("files_offline", files.c.image, where=files.c.offline == 1)
settings = _table(  # one row per setting; `settings.py` has their names
    "settings",
    sql.Column("name", sql.Text, primary_key=True),
    sql.Column("value", sql.Text, nullable=False),  # JSON
)


class ImageRow(NamedTuple):
    """A row of the table `images`: one content. The columns are in the order of the table."""

    id: int
    sha256: bytes
    width: int
    height: int
    format: str
    taken: str | None
    digest: bytes
