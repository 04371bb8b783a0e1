"""The verbs of `Rows` and `View`: what other folders can ask of one committed state."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from retrieval import BadInput, Index, IndexDamaged
from retrieval.storage.records import Spot
from retrieval.storage.rows import Rows
from retrieval.storage.settings import SEARCH
from retrieval.types import image_id
from tests.fakes import ColourEncoder, colour, picture, put


@pytest.fixture
def filled(index: Index, photos: Path, tmp_path: Path) -> Index:
    """An index of the root `photos`, with a file that cannot be read, and of the root `other`, with a copy."""
    put(photos / "bad.png", b"\x89PNG\r\n\x1a\n")
    put(tmp_path / "other" / "copy.png", picture(colour(3)))
    index.add(photos)
    index.add(tmp_path / "other")
    return index


@pytest.fixture
def rows(filled: Index) -> Iterator[Rows]:
    with filled._store.rows() as rows:
        yield rows


@pytest.fixture
def root(rows: Rows, photos: Path) -> int:
    """Id of the root `photos`."""
    return next(root for root, place in rows.root_places.items() if place == os.fsencode(photos))


def sha256(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def id_of(path: Path) -> int:
    return image_id(sha256(path))


def test_the_index_as_a_whole(rows: Rows) -> None:
    assert (rows.generation.images, rows.generation.vectors, rows.generation.files) == (12, 12, 14)
    assert rows.encoder()["dim"] == ColourEncoder.dim
    coverage = rows.coverage()
    assert (coverage.images, coverage.unreadable, coverage.offline, coverage.updating) == (12, 1, 0, False)


def test_a_setting_is_none_if_it_was_never_set_or_is_damaged(filled: Index) -> None:
    with filled._store.writing():
        filled._store.put_setting("notes", {"a": [1, "b"]})
        filled._store.put_setting(SEARCH, "not a record")
    with filled._store.rows() as rows:
        assert rows.setting("notes") == {"a": [1, "b"]}
        assert rows.setting("nothing") is None
        assert rows.setting(SEARCH) is None
    with filled._store.writing():
        filled._store.put_setting("notes", None)
    with filled._store.rows() as rows:
        assert rows.setting("notes") is None


def test_roots_are_in_byte_order_with_their_places_now(rows: Rows, photos: Path, tmp_path: Path) -> None:
    assert [root.path for root in rows.roots] == [os.fsencode(tmp_path / "other"), os.fsencode(photos)]
    assert list(rows.root_places.values()) == [root.path for root in rows.roots]
    assert [(info.path, info.images, info.reachable) for info in rows.root_infos()] == [
        (tmp_path / "other", 1, True),
        (photos, 12, True),
    ]


def test_a_path_has_a_spot_in_its_root_and_one_where_its_link_leads(
    rows: Rows, root: int, photos: Path, tmp_path: Path
) -> None:
    (photos / "link.png").symlink_to(tmp_path / "other" / "copy.png")
    place = os.fsencode(photos)
    assert rows.spots(os.fsencode(photos / "sub" / "none")) == [Spot(root, place, b"sub/none")]
    linked, target = rows.spots(os.fsencode(photos / "link.png"))
    assert (linked, target.below) == (Spot(root, place, b"link.png"), b"copy.png")
    assert rows.spots(os.fsencode(tmp_path)) == []


def test_spots_below_are_parts_of_roots(rows: Rows, root: int, photos: Path, tmp_path: Path) -> None:
    (other,) = set(rows.root_places) - {root}
    assert rows.spots_below(None) == [(other, b""), (root, b"")]
    assert rows.spots_below(os.fsencode(tmp_path)) == [(other, b""), (root, b"")]
    assert rows.spots_below(os.fsencode(photos)) == [(root, b"")]
    assert rows.spots_below(os.fsencode(photos / "sub")) == [(root, b"sub/")]
    with pytest.raises(BadInput, match=r"no picture below .*nowhere is in the index"):
        rows.spots_below(os.fsencode(photos / "nowhere"))


def test_files_by_folder_page_and_id(rows: Rows, root: int) -> None:
    sub = rows.files_below(root, b"sub/", limit=10)
    assert [row.path for row in sub] == [b"sub/10.png", b"sub/11.png"]
    assert rows.files_below(root, b"sub/", b"sub/10.png", limit=10) == sub[1:]
    assert len(rows.files_below(root, limit=3)) == 3
    assert rows.files_by_id([row.id for row in reversed(sub)]) == sub
    assert rows.files_by_id([10**9]) == []


def test_files_at_a_path_are_the_file_or_all_below_it(rows: Rows, root: int, photos: Path, tmp_path: Path) -> None:
    spot, files = rows.files_at(os.fsencode(photos / "sub"))
    assert (spot.root, spot.below) == (root, b"sub")
    assert set(files.values()) == {id_of(photos / "sub" / "10.png"), id_of(photos / "sub" / "11.png")}
    _, bad = rows.files_at(os.fsencode(photos / "bad.png"))
    assert list(bad.values()) == [None]
    for path in (photos / "none.png", tmp_path):
        with pytest.raises(BadInput, match=r"nothing at .* is in the index"):
            rows.files_at(os.fsencode(path))


def test_failures_and_reachable_places_of_a_root(rows: Rows, root: int, photos: Path) -> None:
    ((path, failure),) = rows.failures(root, None, 10)
    assert (path, failure.path) == (b"bad.png", photos / "bad.png")
    assert rows.failures(root, b"bad.png", 10) == []
    assert rows.count_reachable(root) == 12
    assert not rows.any_offline(root, b"")


def test_places_that_are_offline_are_counted(filled: Index, photos: Path) -> None:
    photos.rename(photos.parent / "away")
    filled.add(photos)
    with filled._store.rows() as rows:
        root = next(root for root, place in rows.root_places.items() if place == os.fsencode(photos))
        assert rows.count_reachable(root) == 0
        assert rows.any_offline(root, b"sub/")
        assert not rows.any_offline(root, b"nothing/")
        assert rows.coverage().offline == 11  # the twelfth has a copy
        copied = id_of(photos.parent / "away" / "03.png")
        assert [place.offline for place in rows.places([copied])[copied]] == [False, True]


def test_images_by_id_and_by_place(rows: Rows, root: int, photos: Path) -> None:
    path = photos / "03.png"
    assert rows.sha256_of(id_of(path)) == sha256(path)
    assert rows.sha256_of(5) is None
    assert rows.contents_of([5, id_of(path)]) == {id_of(path): sha256(path)}
    assert rows.image_at(root, b"03.png") == id_of(path)
    assert rows.image_at(root, b"bad.png") is None
    assert rows.image_at(root, b"none.png") is None


def test_ids_are_ascending_and_their_beginning_is_a_sample(rows: Rows, photos: Path) -> None:
    ids = sorted(id_of(path) for path in photos.rglob("[0-9]*.png"))
    assert rows.image_ids().tolist() == ids
    assert rows.image_ids().dtype == np.int64
    assert rows.image_ids(5).tolist() == ids[:5]
    assert rows.image_ids(0).tolist() == []
    assert rows.image_ids(99).tolist() == ids


def test_places_of_images_with_their_copies(rows: Rows, photos: Path, tmp_path: Path) -> None:
    copied, single = id_of(photos / "03.png"), id_of(photos / "04.png")
    found = rows.places([single, copied, 5])
    assert {image: [place.path for place in places] for image, places in found.items()} == {
        copied: [tmp_path / "other" / "copy.png", photos / "03.png"],
        single: [photos / "04.png"],
    }
    assert (found[single][0].width, found[single][0].height, found[single][0].offline) == (32, 24, False)


def test_images_below_a_folder(rows: Rows, root: int, photos: Path) -> None:
    ((path, image),) = rows.images_below(root, b"sub/", b"sub/10.png", 10)
    assert (path, image.path, image.id) == (
        b"sub/11.png",
        photos / "sub" / "11.png",
        id_of(photos / "sub" / "11.png"),
    )
    assert (image.width, image.height, image.format, image.taken, image.offline) == (32, 24, "PNG", None, False)


def test_a_view_has_the_vectors_of_the_same_state(filled: Index, photos: Path) -> None:
    store = filled._store
    with store.reading() as view:
        ids = view.rows.image_ids()
        assert (view.images, view.is_exact, view.live) == (12, True, None)
        assert view.vectors(ids[:3]).shape == (3, ColourEncoder.dim)
        assert np.array_equal(view.sample(4), view.vectors(ids[:4]))
        found = view.search(view.vectors(ids[:1]), 99)
        assert found.ids.shape == (1, 12)
        assert found.ids[0, 0] == ids[0]
        with pytest.raises(IndexDamaged, match="the vector of image 5 is missing"):
            view.vectors(np.array([5]))


def test_views_of_one_state_share_statistics_and_another_state_begins_anew(filled: Index, photos: Path) -> None:
    store, computed = filled._store, []

    def compute() -> int:
        computed.append(1)
        return len(computed)

    for _ in range(2):
        with store.reading() as view:
            assert view.statistic("count", compute) == 1
    (photos / "00.png").unlink()
    filled.add(photos)
    with store.reading() as view:
        assert view.statistic("count", compute) == 2
