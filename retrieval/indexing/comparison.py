"""Compare the files on disk with the rows of the index: two sorted streams, merged by path."""

from collections.abc import Iterable, Iterator

from retrieval.storage.records import FileRow
from retrieval.types import Found, Unlisted

Pair = tuple[Found | Unlisted | None, FileRow | None]
"""What the scan saw at a path, or None if it saw nothing there; and the row of that path, or None if it has no row."""


def compared(scan: Iterable[Found | Unlisted], rows: Iterator[FileRow]) -> Iterator[Pair]:
    """Yield a pair for each path in `scan` or `rows`, which are both in byte order of their paths.

    A folder that could not be listed is paired with its own row, or None, and then with every row below it.
    """
    row = next(rows, None)
    for seen in scan:
        while row is not None and row.path < seen.path:
            yield None, row
            row = next(rows, None)
        if isinstance(seen, Unlisted):
            if row is None or row.path != seen.path:
                yield seen, None
            while row is not None and covers(seen, row.path):
                yield seen, row
                row = next(rows, None)
        elif row is not None and row.path == seen.path:
            yield seen, row
            row = next(rows, None)
        else:
            yield seen, None
    while row is not None:
        yield None, row
        row = next(rows, None)


def covers(unlisted: Unlisted, path: bytes) -> bool:
    """Tell whether `path` is the file `unlisted`, or the folder `unlisted` or below it: the scan could not see it."""
    is_folder = not unlisted.path or unlisted.path.endswith(b"/")
    return path.startswith(unlisted.path) if is_folder else path == unlisted.path
