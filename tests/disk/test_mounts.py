"""Which file system a folder lies on, told by a list of mounts."""

from pathlib import Path

import pytest

from retrieval.disk import mounts

SAMPLE = r"""
proc /proc proc rw,relatime 0 0
/dev/vda / ext4 rw,relatime 0 0
server:/export /mnt/share nfs4 rw,vers=4.2 0 0
/dev/sdb /mnt/share/local\040disk ext4 rw 0 0
//nas/photos /mnt/my\040photos\134x cifs rw 0 0
me@host: /home/me/far fuse.sshfs rw 0 0
/dev/sdc /home/me/ntfs fuseblk rw 0 0
portal /run/user/0/doc fuse.portal rw 0 0
host0 /mnt/host 9p rw 0 0
/dev/sdd /mnt/over nfs rw 0 0
/dev/sde /mnt/over xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", ""),
        ("/home/me/index", ""),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/deep/er", "nfs4"),
        ("/mnt/shared", ""),
        ("/mnt/share/local disk/index", ""),
        ("/mnt/my photos\\x/index", "cifs"),
        ("/home/me/far/index", "fuse.sshfs"),
        ("/home/me/ntfs/index", ""),
        ("/run/user/0/doc/index", ""),
        ("/mnt/host/index", "9p"),
        ("/mnt/over/index", ""),
    ],
)
def test_a_network_file_system_is_told_by_the_longest_mount_point(
    folder: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mounts").write_text(SAMPLE.strip())
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "mounts")
    assert mounts.network_file_system(Path(folder)) == kind
