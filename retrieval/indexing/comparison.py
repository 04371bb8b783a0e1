"""What is on disk against what is known: two sorted streams, merged by path."""

from collections.abc import Iterable, Iterator

from retrieval.storage.records import FileRow
from retrieval.types import Found, Unlisted

Pair = tuple[Found | Unlisted | None, FileRow | None]
"""What the scan saw at a path, and the row of that path; None for what one side does not have."""


def compared(scan: Iterable[Found | Unlisted], rows: Iterator[FileRow]) -> Iterator[Pair]:
    """Yield the pairs of two streams that are in byte order of path.

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
    """Tell whether the scan could learn nothing about `path` because of `unlisted`."""
    is_folder = not unlisted.path or unlisted.path.endswith(b"/")
    return path.startswith(unlisted.path) if is_folder else path == unlisted.path
