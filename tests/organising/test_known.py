"""`known` and `differences`: whether pictures are there already."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval import BadInput, Index, UnreadableImage
from retrieval.comparing.relation import Relation
from retrieval.organising.differences import State, differences
from retrieval.organising.known import known
from tests.organising.pictures import indexed, put_copies


@pytest.fixture
def folders(shared: Callable[[str], Path], tmp_path: Path) -> tuple[Path, Path]:
    """A card with a mirrored copy, a common picture and a new one; and a library."""
    card, library = tmp_path / "card", tmp_path / "library"
    pictures = sorted(shared("images/corel1k").rglob("*.jpg"))[::90]
    library.mkdir()
    for number, picture in enumerate(pictures[:8]):
        shutil.copyfile(picture, library / f"{number}.jpg")
    put_copies(card, pictures[1], ("mirrored", "turned"))
    shutil.copyfile(pictures[9], card / "new.jpg")
    return card, library


def test_a_picture_is_known_by_its_bytes_and_by_looking(folders: tuple[Path, Path], tmp_path: Path) -> None:
    card, library = folders
    with indexed(library, tmp_path / "index") as index:
        (same,) = known(index, card / "original.jpg")
        assert (same.path, same.relation, same.score) == (library / "1.jpg", Relation.SAME_BYTES, 1.0)
        for name, relation in (("mirrored", Relation.MIRRORED), ("turned", Relation.ROTATED)):
            (found,) = known(index, card / f"{name}.img")
            assert (found.path, found.relation) == (library / "1.jpg", relation)
            assert list(found.as_dict()) == ["path", "relation", "score", "reason"]
        assert known(index, card / "mirrored.img", [Relation.SAME_BYTES]) == ()
        assert known(index, card / "new.jpg") == ()
        with pytest.raises(UnreadableImage):
            known(index, card / "nothing.jpg")


@pytest.mark.parametrize("is_indexed", [True, False])
def test_what_a_folder_lacks(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_indexed: bool
) -> None:
    card, library = folders
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    index = indexed(library, tmp_path / "index") if is_indexed else None
    found = differences(card, library, index)
    if index is not None:
        index.close()
    states = {item.path.name: (item.state, item.other and item.other.name, item.relation) for item in found.files}
    assert states.pop("new.jpg") == (State.MISSING, None, None)
    assert states.pop("mirrored.img") == (State.NEARLY, "1.jpg", Relation.MIRRORED)
    assert states.pop("turned.img") == (State.NEARLY, "1.jpg", Relation.ROTATED)
    assert states.pop("original.jpg") == (State.COMMON, "1.jpg", Relation.SAME_BYTES)
    assert states == {f"{number}.jpg": (State.ONLY_THERE, None, None) for number in (0, *range(2, 8))}
    assert not os.listdir(tmp_path / "temporary"), "nothing is left behind"
    assert sorted(os.listdir(card)) == ["mirrored.img", "new.jpg", "original.jpg", "turned.img"]


def test_files_that_are_no_pictures_are_reported(folders: tuple[Path, Path]) -> None:
    card, library = folders
    (card / "torn.jpg").write_bytes((card / "new.jpg").read_bytes()[:500])
    assert [failure.path.name for failure in differences(card, library).unreadable] == ["torn.jpg"]


def test_folders_that_overlap_or_are_none(folders: tuple[Path, Path], tmp_path: Path) -> None:
    card, _ = folders
    for one, other in ((card, card), (tmp_path, card), (card, tmp_path)):
        with pytest.raises(BadInput, match="overlap"):
            differences(one, other)
    with pytest.raises(BadInput, match="is not a folder"):
        differences(card, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert {item.state for item in differences(card, tmp_path / "empty").files} == {State.MISSING}


def test_an_empty_index_with_the_same_network(tmp_path: Path) -> None:
    with Index.create(tmp_path / "x", backbone="mini") as one, one.empty_like(tmp_path / "y") as other:
        assert (len(other), other.info().backbone) == (0, one.info().backbone)
