"""Files that share their blocks on the disk (reflinks), on file systems that can do this: btrfs, XFS, bcachefs."""

import os
import sys

from retrieval.errors import BadInput, reason_of
from retrieval.organising.contents import Facts, created, dress, opened

_FICLONE = 0x40049409
"""Number of the request, from `linux/fs.h`; see ioctl_ficlone(2)."""


def clone(path: bytes, place: bytes, facts: Facts) -> None:
    """Make the new file `place`, with these facts, which shares all blocks with `path`; `BadInput` and `OSError`."""
    if sys.platform != "linux":
        raise BadInput("files can share their blocks on Linux only")
    import fcntl

    with opened(path) as source, created(place) as file:
        try:
            fcntl.ioctl(file.fileno(), _FICLONE, source.fileno())
        except OSError as error:
            raise BadInput(f"this file system cannot let files share their blocks: {reason_of(error)}") from error
        dress(place, facts)
        os.fsync(file.fileno())
