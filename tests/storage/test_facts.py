"""Facts of an index: long lists come by pages, complete and in order, whatever happens between two pages."""

from pathlib import Path

import pytest

from retrieval import BadInput, Index
from retrieval.storage import facts
from tests.fakes import ColourEncoder, colour, picture, put


@pytest.fixture
def filled(index: Index, photos: Path, tmp_path: Path) -> Index:
    """An index of two roots with 15 places of images and 5 files that cannot be read."""
    for number in range(5):
        put(photos / f"bad{number}.png", b"\x89PNG\r\n\x1a\n")
    for number in range(3):
        put(tmp_path / "other" / f"{number}.png", picture(colour(number)))  # copies
    index.add(photos)
    index.add(tmp_path / "other")
    return index


@pytest.mark.parametrize("page", [1, 2, 3, 4, 12, 5000])
def test_images_come_in_byte_order_of_root_and_path_whatever_the_page(
    filled: Index, photos: Path, tmp_path: Path, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "PAGE", page)
    here = sorted(path for path in photos.rglob("*.png") if not path.name.startswith("bad"))
    there = sorted((tmp_path / "other").glob("*.png"))
    assert [image.path for image in filled.images()] == there + here
    assert [image.path for image in filled.images(photos / "sub")] == sorted((photos / "sub").glob("*.png"))


@pytest.mark.parametrize("page", [1, 2, 5, 6])
def test_failures_come_in_byte_order_of_root_and_path_whatever_the_page(
    filled: Index, photos: Path, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "PAGE", page)
    found = list(filled.failures())
    assert [failure.path for failure in found] == sorted(photos.glob("bad*.png"))
    assert all(failure.reason for failure in found)


def test_no_page_begins_before_it_is_asked_for_and_each_is_of_the_latest_state(
    filled: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "PAGE", 2)
    listed = filled.images(photos)
    first = [next(listed), next(listed)]
    (photos / "05.png").unlink()
    filled.add(photos)  # nothing that the list holds keeps a writer out
    names = [image.path.name for image in [*first, *listed]]
    assert names == ["00.png", "01.png", "02.png", "03.png", "04.png", *(f"{n:02}.png" for n in range(6, 12))]


def test_a_root_that_is_forgotten_meanwhile_ends_its_list(
    filled: Index, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "PAGE", 2)
    listed, failures = filled.images(), filled.failures()
    begun = [next(listed), next(failures)]
    filled.remove(tmp_path / "other")
    filled.remove(photos)
    assert len(begun) == 2
    assert [image.path.name for image in listed] == ["1.png"]  # of the page that was read before
    assert [failure.path.name for failure in failures] == ["bad1.png"]


def test_a_folder_without_images_is_refused(filled: Index, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no picture below"):
        list(filled.images(tmp_path / "nothing"))


def test_info_counts_what_is_there(filled: Index, photos: Path, tmp_path: Path) -> None:
    info = filled.info()
    assert (info.images, info.vectors, info.failures, info.offline) == (12, 12, 5, 0)
    assert (info.dim, info.ranking, info.parity) == (ColourEncoder.dim, None, None)
    assert {(root.path, root.images) for root in info.roots} == {(photos, 12), (tmp_path / "other", 3)}
    assert info.bytes == sum(path.stat().st_size for path in (tmp_path / "index").rglob("*") if path.is_file())
