"""`Index.update`: only what has changed is looked at, with the same result as of a whole update."""

import os
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from retrieval import BadInput, Index, Report
from retrieval.indexing.changes import by_root
from retrieval.storage.records import Root
from tests.fakes import ColourEncoder, colour, picture, put

if TYPE_CHECKING:
    from collections.abc import Callable


def content(index: Index) -> list[tuple[str, int]]:
    return [(os.fspath(image.path), image.id) for image in index.images()]


@pytest.fixture
def kept(index: Index, photos: Path) -> Index:
    index.add(photos)
    return index


def test_new_changed_and_deleted_files(kept: Index, photos: Path) -> None:
    put(photos / "new.png", picture((1, 2, 3)))
    put(photos / "00.png", picture((9, 99, 9)))
    (photos / "01.png").unlink()
    assert kept.update([photos / "new.png", photos / "00.png", photos / "01.png"]) == Report(added=1, changed=1, gone=1)
    assert kept.add(photos) == Report(unchanged=12)


def test_what_is_not_named_is_not_looked_at(kept: Index, photos: Path) -> None:
    put(photos / "new.png", picture((1, 2, 3)))
    put(photos / "other.png", picture((4, 5, 6)))
    assert kept.update([photos / "new.png"]) == Report(added=1)
    assert photos / "other.png" not in [image.path for image in kept.images()]
    assert kept.update([]) == Report()


def test_folders_that_are_renamed_deleted_or_new(kept: Index, photos: Path) -> None:
    (photos / "sub").rename(photos / "sub.renamed")
    assert kept.update([photos / "sub", photos / "sub.renamed"]) == Report(moved=2)
    shutil.rmtree(photos / "sub.renamed")
    assert kept.update([photos / "sub.renamed"]) == Report(gone=2)
    put(photos / "deep/er/a.png", picture((7, 7, 7)))
    assert kept.update([photos / "deep"]) == Report(added=1)
    assert kept.add(photos) == Report(unchanged=11)


def test_a_file_takes_the_place_of_a_folder_and_back(kept: Index, photos: Path) -> None:
    shutil.rmtree(photos / "sub")
    put(photos / "sub", picture((8, 8, 8)))
    assert kept.update([photos / "sub"]) == Report(added=1, gone=2)
    (photos / "sub").unlink()
    put(photos / "sub/a.png", picture((5, 5, 5)))
    assert kept.update([photos / "sub"]) == Report(added=1, gone=1)


def test_what_a_scan_leaves_out_stays_out(kept: Index, photos: Path, tmp_path: Path) -> None:
    kept.add(photos, exclude=["no*.png"])
    names = ("no.png", ".hidden.png", ".folder/a.png", "lost+found/a.png")
    for name in names:
        put(photos / name, picture((3, 1, 4)))
    put(tmp_path / "elsewhere/a.png", picture((3, 1, 5)))
    (photos / "link").symlink_to(tmp_path / "elsewhere")
    assert kept.update([*(photos / name for name in names), photos / "link"]) == Report()
    with pytest.raises(BadInput, match="lies in no indexed folder"):
        kept.update([tmp_path / "elsewhere/a.png"])


def test_a_root_that_is_away_loses_nothing(kept: Index, photos: Path) -> None:
    photos.rename(photos.with_name("away"))
    assert kept.update([photos / "00.png", photos / "sub"]) == Report(offline=3)
    photos.with_name("away").rename(photos)
    assert kept.update([photos / "00.png", photos / "sub"]) == Report(unchanged=3)


def test_a_torn_file_is_read_again_when_it_is_whole(kept: Index, photos: Path) -> None:
    data = picture((6, 6, 6), (64, 64))
    put(photos / "slow.png", data[: len(data) // 3])
    assert kept.update([photos / "slow.png"]).unreadable == 1
    put(photos / "slow.png", data)
    assert kept.update([photos / "slow.png"]).added == 1
    assert not list(kept.failures())


def test_paths_within_others_are_looked_at_once() -> None:
    roots = [Root(1, b"/a"), Root(2, b"/a/.b")]
    places = [b"/a/x/y.png", b"/a/x", b"/a/x.png", b"/a/.b/z.png"]
    found = {spot.root: paths for spot, paths in by_root(roots, places).items()}
    assert found == {1: [b"x", b"x.png"], 2: [b"z.png"]}


@pytest.mark.parametrize("seed", range(5))
def test_after_any_changes_the_index_is_as_a_new_one(
    tmp_path: Path, encoder: ColourEncoder, seed: int, photos: Path
) -> None:
    chance = random.Random(seed)

    def some() -> Path:
        return photos / chance.choice(["", "a", "b", "a/c"]) / f"{chance.randrange(12)}.png"

    changes: list[Callable[[Path], None]] = [
        lambda path: put(path, picture(colour(chance.randrange(30)))),
        lambda path: path.unlink(missing_ok=True),
        lambda path: path.rename(photos / f"moved{chance.randrange(9)}.png") if path.exists() else None,
    ]
    with Index.create(tmp_path / "kept", encoder=encoder) as kept:
        kept.add(photos)
        for _ in range(20):
            changed = [some() for _ in range(3)]
            for path in changed:
                chance.choices(changes, [4, 1, 1])[0](path)
            kept.update([*changed, *photos.glob("moved*.png")])
        with Index.create(tmp_path / "new", encoder=encoder) as new:
            new.add(photos)
            assert content(kept) == content(new)
