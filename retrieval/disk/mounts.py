"""The file systems that are mounted: where, and whether several machines may share them."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
"""Linux' list of mounted file systems, in the form of https://man7.org/linux/man-pages/man5/fstab.5.html."""
NETWORK = re.compile(
    "9p|afs|beegfs|ceph|cifs|coda|davfs|gfs2|glusterfs|gpfs|lustre|ncpfs|nfs4?|ocfs2|orangefs|pvfs2|smb3|smbfs"
    r"|fuse\.(ceph|ceph-fuse|davfs2|gcsfuse|glusterfs|goofys|rclone|s3fs|smbnetfs|sshfs)"
)
"""Types of file systems that several machines share. SQLite's log does not work on them, because it needs memory that
all of its users share: https://sqlite.org/wal.html."""


def network_file_system(folder: Path) -> str:
    """Return the type of the network file system that holds `folder`, "" for a local file system.

    Systems other than Linux do not tell, so the result is "" there.
    """
    path = os.fsencode(os.path.realpath(folder)) + b"/"
    longest, kind_there = b"", b""
    for point, kind in _mounted():
        # The innermost mount counts. Of two mounts at one place, the later one hides the other.
        if path.startswith(point) and len(point) >= len(longest):
            longest, kind_there = point, kind
    name = os.fsdecode(kind_there)
    return name if NETWORK.fullmatch(name) else ""


def inside(folder: Path) -> frozenset[bytes]:
    """Return the absolute paths below `folder` where file systems are mounted, ending in `/`; none but on Linux."""
    path = os.fsencode(os.path.realpath(folder)).rstrip(b"/") + b"/"
    return frozenset(point for point, _ in _mounted() if point.startswith(path) and point != path)


def _mounted() -> Iterator[tuple[bytes, bytes]]:
    """Yield the place of each mounted file system, ending in `/`, and its type."""
    try:
        lines = MOUNTS.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        _, escaped, kind, *_ = line.split(b" ")
        yield _unescaped(escaped).rstrip(b"/") + b"/", kind


def _unescaped(field: bytes) -> bytes:
    r"""Return a field of `MOUNTS` with its octal escapes replaced, such as `\040` for a space."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)
