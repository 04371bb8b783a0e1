"""Nothing that is known is forgotten by mistake: drives that are away, and what counts as most of a folder."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval import Index
from retrieval.storage.root_rows import all_roots
from tests.conftest import PROJECT
from tests.fakes import ColourEncoder, colour, picture, put
from tests.indexing.test_update import counts, paths


def test_offline_stays_offline_until_it_is_seen_again(index: Index, photos: Path) -> None:
    index.add(photos)
    kept = {number: (photos / f"{number:02}.png").read_bytes() for number in range(7)}
    for number in kept:
        (photos / f"{number:02}.png").unlink()
    assert counts(index.add(photos)) == {"offline": 7, "unchanged": 5}
    for number in range(20, 23):
        put(photos / f"{number}.png", picture(colour(number)))
    assert counts(index.add(photos)) == {"added": 3, "offline": 7, "unchanged": 5}
    for _ in range(2):
        assert counts(index.add(photos)) == {"offline": 7, "unchanged": 8}
    for number, data in kept.items():
        put(photos / f"{number:02}.png", data)
    assert counts(index.add(photos)) == {"unchanged": 15}
    assert index.info().offline == 0


def test_what_is_offline_is_no_part_of_the_whole_either(index: Index, photos: Path) -> None:
    index.add(photos)
    for number in range(7):
        (photos / f"{number:02}.png").unlink()
    index.add(photos)  # 7 of 12 are offline, 5 are there
    for number in range(7, 9):
        (photos / f"{number:02}.png").unlink()
    assert counts(index.add(photos)) == {"gone": 2, "offline": 7, "unchanged": 3}
    shutil.rmtree(photos / "sub")  # 2 of 3, though only 2 of 10 that are known
    assert counts(index.add(photos)) == {"offline": 9, "unchanged": 1}
    assert counts(index.add(photos, prune=True)) == {"gone": 9, "unchanged": 1}


def test_what_is_found_to_be_offline_now_is_no_part_of_the_whole(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20, 60):
        put(photos / "many" / f"{number}.png", picture(colour(number)))
    index.add(photos)
    for number in range(10):
        (photos / f"{number:02}.png").unlink()  # 10 of the 12 that can be looked at, of 52 that are known
    monkeypatch.setattr(os, "scandir", refusing("many", os.scandir))
    assert counts(index.add(photos)) == {"offline": 50, "unchanged": 2, "unreadable": 1}


def refusing(name: str, function: Callable[..., object], error: int = errno.EACCES) -> Callable[..., object]:
    """Return `function` for all but paths with that last name."""

    def refuse(path: bytes, *arguments: object, **options: object) -> object:
        if isinstance(path, bytes) and path.rstrip(b"/").endswith(os.fsencode(name)):
            raise OSError(error, os.strerror(error), path)
        return function(path, *arguments, **options)

    return refuse


def test_the_content_of_an_offline_place_elsewhere_is_a_copy(index: Index, photos: Path) -> None:
    index.add(photos)
    data = (photos / "00.png").read_bytes()
    for number in range(7):
        (photos / f"{number:02}.png").unlink()
    index.add(photos)
    put(photos / "found.png", data)
    assert counts(index.add(photos)) == {"copied": 1, "offline": 7, "unchanged": 5}
    assert index.info().offline == 6  # as images: that one can be reached now
    assert {str(photos / "00.png"), str(photos / "found.png")} <= paths(index)
    assert counts(index.remove(photos / "00.png")) == {"removed": 1}
    assert counts(index.add(photos)) == {"offline": 6, "unchanged": 6}


def test_another_picture_or_folder_at_an_offline_place_takes_it(index: Index, photos: Path) -> None:
    index.add(photos)
    for number in range(7):
        (photos / f"{number:02}.png").unlink()
    index.add(photos)
    put(photos / "00.png", picture(colour(70)))
    put(photos / "01.png" / "inside.png", picture(colour(71)))
    assert counts(index.add(photos)) == {"added": 1, "changed": 1, "gone": 1, "offline": 5, "unchanged": 5}
    assert index.info().images == 12


def test_offline_places_that_are_excluded_are_forgotten(index: Index, photos: Path) -> None:
    index.add(photos)
    photos.rename(photos.parent / "unplugged")
    assert counts(index.add(photos)) == {"offline": 12}
    assert counts(index.add(photos, exclude=["sub/"])) == {"offline": 10, "removed": 2}
    photos.mkdir()
    assert counts(index.add(photos, exclude=["0[0-4].png"])) == {"offline": 5, "removed": 5}


def test_places_below_a_folder_that_became_a_file_are_gone(index: Index, photos: Path) -> None:
    index.add(photos)
    shutil.rmtree(photos / "sub")
    put(photos / "sub", b"a file")
    assert counts(index.add(photos)) == {"gone": 2, "unchanged": 10}


def test_a_link_that_leads_nowhere_now_is_offline(index: Index, photos: Path, tmp_path: Path) -> None:
    put(tmp_path / "drive" / "a.png", picture(colour(50)))
    (photos / "link.png").symlink_to(tmp_path / "drive" / "a.png")
    (photos / "never.png").symlink_to(tmp_path / "nothing.png")
    assert counts(index.add(photos)) == {"added": 13}
    (tmp_path / "drive").rename(tmp_path / "away")
    for _ in range(2):
        assert counts(index.add(photos)) == {"offline": 1, "unchanged": 12}
    (tmp_path / "away").rename(tmp_path / "drive")
    assert counts(index.add(photos)) == {"unchanged": 13}


# -- drives -----------------------------------------------------------------------------------------------------------

DRIVE = """if True:
    import os, subprocess, sys
    from pathlib import Path
    from retrieval import Index
    from tests.fakes import ColourEncoder, colour, picture, put
    from tests.indexing.test_update import counts

    home = Path(sys.argv[1])
    photos, usb = home / "photos", home / "photos" / "usb"

    def mount(place=usb):
        subprocess.run(["mount", "-t", "tmpfs", "usb", place], check=True)
        for number in range(10):
            put(place / f"{number}.png", picture(colour(number)))
            os.utime(place / f"{number}.png", ns=(number, number))

    def unmount(place=usb):
        subprocess.run(["umount", place], check=True)

    def said(**options):
        return counts(index.add(options.pop("folder", photos), **options))

    for number in range(10, 100):
        put(photos / f"{number}.png", picture((number, 7, 9)))
    usb.mkdir()
    index = Index.create(home / "index", encoder=ColourEncoder())
"""


def in_a_mount_namespace(home: Path, code: str) -> None:
    """Run `code` where it may mount; skip the test where the system does not allow that."""
    allowed = (
        shutil.which("unshare")
        and not subprocess.run(
            ["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"], capture_output=True, check=False
        ).returncode
    )
    if not allowed:
        pytest.skip("the system lets nobody mount")
    code = DRIVE + "".join(f"    {line}\n" for line in code.strip().splitlines())
    child = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", code, home],
        capture_output=True, text=True, check=False, cwd=PROJECT,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr


def test_a_drive_inside_a_folder_is_offline_without_it(tmp_path: Path) -> None:
    in_a_mount_namespace(
        tmp_path,
        """
mount()
assert said() == {"added": 100}
unmount()
for _ in range(2):
    assert said() == {"offline": 10, "unchanged": 90}, said()
usb.rmdir()
assert said() == {"offline": 10, "unchanged": 90}
assert said(folder=usb) == {"offline": 10}
put(photos / "new.png", picture((1, 2, 3)))
assert said() == {"added": 1, "offline": 10, "unchanged": 90}
usb.mkdir()
mount()
assert said() == {"unchanged": 101}
(usb / "0.png").unlink()
assert said() == {"gone": 1, "unchanged": 100}
unmount()
put(usb / "other.png", picture((3, 2, 1)))
assert said() == {"added": 1, "offline": 9, "unchanged": 91}
assert said(prune=True) == {"gone": 9, "unchanged": 92}
(usb / "other.png").unlink()
assert said() == {"gone": 1, "unchanged": 91}
""",
    )


def test_a_drive_that_is_known_from_an_update_of_its_own(tmp_path: Path) -> None:
    in_a_mount_namespace(
        tmp_path,
        """
assert said() == {"added": 90}
mount()
assert said(folder=usb) == {"added": 10}
unmount()
assert said() == {"offline": 10, "unchanged": 90}
""",
    )


def test_a_folder_that_takes_over_a_drive_that_is_away(tmp_path: Path) -> None:
    in_a_mount_namespace(
        tmp_path,
        """
mount()
assert said(folder=usb) == {"added": 10}
unmount()
assert said() == {"added": 90, "offline": 10}
assert said() == {"offline": 10, "unchanged": 90}
mount()
assert said() == {"unchanged": 100}
""",
    )


def test_a_folder_that_was_a_drive_itself(tmp_path: Path) -> None:
    in_a_mount_namespace(
        tmp_path,
        """
mount()
put(usb / "more" / "x.png", picture((4, 5, 6)))
assert said(folder=usb) == {"added": 11}
unmount()
put(usb / "more" / "x.png", picture((4, 5, 6)))
for number in range(50, 70):
    put(usb / "more" / f"{number}.png", picture((number, 1, 1)))
assert said(folder=usb)["offline"] == 10
""",
    )


def test_what_was_copied_from_a_drive_to_its_mount_point_is_seen(tmp_path: Path) -> None:
    in_a_mount_namespace(
        tmp_path,
        """
mount()
assert said() == {"added": 100}
unmount()
for number in range(10):
    put(usb / f"{number}.png", picture(colour(number)))
assert said() == {"unchanged": 100}
(usb / "0.png").unlink()  # which is no drive any more
assert said() == {"gone": 1, "unchanged": 99}
""",
    )


def test_mount_points_are_told_by_their_device(index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where nobody may mount: another device is pretended."""
    stat = os.stat

    def elsewhere(path: bytes, *arguments: object, **options: object) -> os.stat_result:
        found = stat(path, *arguments, **options)  # type: ignore[call-overload]
        if isinstance(path, bytes) and path.rstrip(b"/").endswith(b"photos/sub"):
            return os.stat_result([*found[:2], found.st_dev + 1, *found[3:]])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", elsewhere)
        index.add(photos)
    with index._store.connection() as connection:
        assert [root.mounts for root in all_roots(connection)] == [(b"sub/",)]
    shutil.rmtree(photos / "sub")
    assert counts(index.add(photos)) == {"offline": 2, "unchanged": 10}


def test_a_repeated_run_keeps_no_mounts_of_what_was_forgotten(photos: Path, tmp_path: Path) -> None:
    with Index.create(tmp_path / "other", encoder=ColourEncoder()) as index:
        index.add(photos)
        with index._store.connection() as connection:
            assert [root.mounts for root in all_roots(connection)] == [()]
