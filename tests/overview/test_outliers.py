"""The images least like the others."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval import BadInput, Index
from retrieval.overview.outliers import outliers
from tests.fakes import picture, put


def test_the_odd_picture_comes_first(index: Index) -> None:
    found = outliers(index)
    assert len(found) == 20
    assert found[0].path.name == "odd.png"
    assert [one.score for one in found] == sorted(one.score for one in found)


def test_the_score_is_the_mean_with_the_ten_nearest_after_copies(index: Index) -> None:
    images = {image.id: image.path for image in index.images()}
    vectors = index.vectors(images)
    for one in outliers(index, 3):
        products = np.sort(vectors @ index.vectors([one.id])[0])[::-1]
        copies = min(5, np.count_nonzero(products[1:] >= 0.95))  # the first is the image itself
        products = products[1 + copies : 11 + copies]
        assert one.score == pytest.approx(products.mean(), abs=1e-6)
        assert one.nearest in images.values()


def test_a_copy_that_was_saved_again_hides_nothing(index: Index, photos: Path) -> None:
    put(photos / "again.png", picture((3, 2, 1), size=(64, 64)))
    put(photos / "third.jpg", picture((3, 2, 1), size=(64, 64), format="JPEG"))
    before = outliers(index, 1)[0].score
    index.add(photos)
    found = outliers(index, 3)
    assert {one.path.name for one in found} == {"odd.png", "again.png", "third.jpg"}
    assert found[0].score == pytest.approx(before, abs=0.01)
    assert all(one.nearest is not None and one.nearest.parent.name for one in found)


def test_more_than_there_are_and_none(index: Index, empty: Index) -> None:
    assert len(outliers(index, 1000)) == 58
    assert outliers(index, 0) == ()
    assert outliers(empty) == ()


def test_one_picture_and_pictures_that_all_look_the_same(empty: Index, tmp_path: Path) -> None:
    put(tmp_path / "same/0.png", picture((9, 9, 9)))
    empty.add(tmp_path / "same")
    (one,) = outliers(empty)
    assert (one.score, one.nearest) == (-1, None)
    for number in range(1, 4):
        put(tmp_path / f"same/{number}.png", picture((9, 9, 9), size=(8 + 8 * number, 8)))
    empty.add(tmp_path / "same")
    found = outliers(empty)
    assert {one.score for one in found} == {1}
    assert [one.id for one in found] == sorted(one.id for one in found)


def test_only_images_that_meet_the_filter_are_compared(index: Index) -> None:
    found = outliers(index, 100, where="path:*/red")
    assert {one.path.parent.name for one in found} == {"red"}
    with pytest.raises(BadInput):
        outliers(index, -1)


def test_real_pictures_of_another_kind_stand_out(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """Five drawings and studio photographs among a hundred photographs of flowers."""
    for path in sorted((shared("images/corel1k") / "flowers").iterdir())[:100]:
        put(tmp_path / "photos" / path.name, path.read_bytes())
    for kind in ("snoopy", "dollar_bill", "revolver", "yin_yang", "stop_sign"):
        path = min((shared("images/caltech101") / kind).iterdir())
        buffer = io.BytesIO()
        Image.open(path).convert("RGB").save(buffer, "PNG")
        put(tmp_path / "photos" / f"odd-{kind}.png", buffer.getvalue())
    with Index.create(tmp_path / "index", backbone="mini") as index:
        index.add(tmp_path / "photos")
        found = outliers(index, 5)
    assert sum(one.path.name.startswith("odd") for one in found) >= 4
