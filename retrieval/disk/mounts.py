"""Which file system a folder lies on, where several machines may share it."""

import os
import re
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
    """Return the type of the network file system that holds `folder`.

    The result is "" for a local file system, and on a system other than Linux, which is not asked.
    """
    try:
        lines = MOUNTS.read_bytes().splitlines()
    except OSError:
        return ""
    path = os.fsencode(os.path.realpath(folder)) + b"/"
    longest, kind = b"", b""
    for line in lines:
        fields = line.split(b" ")
        point = _unescaped(fields[1]).rstrip(b"/") + b"/"
        if path.startswith(point) and len(point) >= len(
            longest
        ):  # the later of two mounts at one place hides the other
            longest, kind = point, fields[2]
    found = os.fsdecode(kind)
    return found if NETWORK.fullmatch(found) else ""


def _unescaped(field: bytes) -> bytes:
    r"""Return a field of `MOUNTS` with its octal escapes replaced, such as `\040` for a space."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)
