"""Folders that an index knows: what stays with them, and what becomes of them when a library is copied or linked."""

import os
import shutil
from pathlib import Path

import pytest

from retrieval import BadInput, Index
from retrieval.pictures.excludes import beneath
from tests.fakes import ColourEncoder, colour, picture, put
from tests.indexing.test_update import counts, paths
from tests.pictures.test_scan import listed


def excludes(index: Index) -> dict[str, tuple[str, ...]]:
    return {root.path.name: root.exclude for root in index.folders()}


def places(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*.png")}


# -- what is excluded -------------------------------------------------------------------------------------------------


def test_what_is_excluded_stays_excluded(index: Index, photos: Path) -> None:
    assert counts(index.add(photos, exclude=["sub/"])) == {"added": 10}
    assert counts(index.add(photos)) == {"unchanged": 10}
    assert counts(index.add(photos, exclude=["0[0-4].png", "sub/"])) == {"removed": 5, "unchanged": 5}
    assert excludes(index) == {"photos": ("sub/", "0[0-4].png")}
    assert index.info().as_dict()["roots"][0]["exclude"] == ["sub/", "0[0-4].png"]
    assert counts(index.add(photos, no_exclude=["sub/"])) == {"added": 2, "unchanged": 5}
    assert counts(index.add(photos, no_exclude=["0[0-4].png"], exclude=["!00.png"])) == {"added": 5, "unchanged": 7}
    assert excludes(index) == {"photos": ("!00.png",)}


def test_a_pattern_that_is_not_kept_cannot_be_taken_back(index: Index, photos: Path) -> None:
    index.add(photos, exclude=["sub/", "a b*"])
    with pytest.raises(BadInput, match=r"\*\.png is not excluded") as error:
        index.add(photos, no_exclude=["*.png"], exclude=["0*"])
    assert error.value.hint == "these patterns are excluded: sub/, a b*"
    assert excludes(index) == {"photos": ("sub/", "a b*")}
    index.remove(photos)
    with pytest.raises(BadInput, match="is not excluded"):
        index.add(photos, no_exclude=["sub/"])
    assert index.folders() == ()


@pytest.mark.parametrize("wrong", ["*.png", b"*.png", [b"*.png"], ["*.png", 3], 5, None])
@pytest.mark.parametrize("name", ["exclude", "no_exclude"])
def test_what_is_no_list_of_patterns_is_refused(index: Index, photos: Path, name: str, wrong: object) -> None:
    index.add(photos)
    with pytest.raises(BadInput, match=name):
        index.add(photos, **{name: wrong})  # type: ignore[arg-type]
    assert index.info().images == 12
    assert excludes(index) == {"photos": ()}


def test_what_is_no_pattern_is_refused_and_not_kept(index: Index, photos: Path) -> None:
    for wrong in ("/", "!", "\\"):
        for name in ("exclude", "no_exclude"):
            with pytest.raises(BadInput, match="is not a pattern"):
                index.add(photos, **{name: ["sub/", wrong]})  # type: ignore[arg-type]
    assert counts(index.add(photos, exclude=["# a comment", "", " "])) == {"added": 12}
    assert excludes(index) == {"photos": ()}


def test_a_subfolder_is_updated_with_the_patterns_of_its_root(index: Index, photos: Path) -> None:
    put(photos / "sub" / "raw" / "x.png", picture(colour(50)))
    put(photos / "raw" / "x.png", picture(colour(51)))
    assert counts(index.add(photos, exclude=["1?.png"])) == {"added": 12}
    assert counts(index.add(photos / "sub")) == {"unchanged": 1}
    assert counts(index.add(photos / "sub", exclude=["raw/"])) == {"removed": 1}
    assert excludes(index) == {"photos": ("1?.png", "/sub/**/raw/")}
    assert counts(index.add(photos)) == {"unchanged": 11}  # the other raw/ was not meant
    assert counts(index.add(photos / "sub", no_exclude=["raw/"])) == {"added": 1}
    assert excludes(index) == {"photos": ("1?.png",)}


def test_a_root_takes_over_the_patterns_of_those_below_it(index: Index, photos: Path) -> None:
    put(photos / "sub" / "deep" / "11.png", picture(colour(50)))
    assert counts(index.add(photos / "sub", exclude=["11.png"])) == {"added": 1}
    put(photos / "11.png", picture(colour(51)))
    assert counts(index.add(photos, exclude=["00.png"])) == {"added": 10, "unchanged": 1}
    assert excludes(index) == {"photos": ("/sub/**/11.png", "00.png")}
    assert counts(index.add(photos)) == {"unchanged": 11}


PLANTED = ("x.jpg", "x.png", "b/x.jpg", "b/c/x.png", "c/x.jpg", "c/b/x.jpg", "b/b/b/x.jpg", " s/x.jpg", "!n", "#h")


@pytest.mark.parametrize("folder", ["f", "f/g", "[f]", "*", "!f", "#f", "a b", "f\\g", "f\ng", "é", b"\xff"])
@pytest.mark.parametrize(
    "patterns",
    [("*.png",), ("b",), ("b/",), ("/b",), ("b/c",), ("b/**",), ("**/b",), ("*", "!*.png"), ("*", "!*/", "!*.png"),
     ("b/*", "!b/c/"), ("\\!n", "\\#h"), ("**",), ("[a-b]/x.jpg",), ("?.jpg", "!/b/?.jpg")],
)  # fmt: skip
def test_a_pattern_means_the_same_from_a_folder_above(
    tmp_path: Path, folder: str | bytes, patterns: tuple[str, ...]
) -> None:
    inner = os.path.join(os.fsencode(tmp_path), os.fsencode(folder))
    for name in PLANTED:
        put(os.path.join(inner, os.fsencode(name)), b"")
        put(tmp_path / "other" / name, b"")
    below = os.fsencode(folder)
    left = {below + b"/" + path for path in listed(inner, exclude=patterns)}
    others = {b"other/" + os.fsencode(name) for name in PLANTED}
    assert set(listed(tmp_path, exclude=tuple(beneath(pattern, below) for pattern in patterns))) == left | others


# -- libraries that are copied, moved and linked ----------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder with an index and what it indexes: photos/."""
    for number in range(12):
        put(tmp_path / "lib" / "photos" / f"{number:02}.png", picture(colour(number)))
    with Index.create(tmp_path / "lib" / "index_data", encoder=ColourEncoder()) as index:
        index.add(tmp_path / "lib" / "photos", exclude=["*.tmp"])
    return tmp_path / "lib"


def opened(library: Path) -> Index:
    return Index.open(library / "index_data", encoder=ColourEncoder())


def test_a_copied_library_can_index_what_it_was_copied_from(library: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(library, tmp_path / "lib2"))
    with opened(copy) as index:
        assert counts(index.add(library / "photos")) == {"copied": 12}
        assert {root.path for root in index.folders()} == {library / "photos", copy / "photos"}
        assert paths(index) == places(library) | places(copy)
        for folder in (library, copy):
            assert counts(index.add(folder / "photos")) == {"unchanged": 12}
        assert index.verify().whole
        assert counts(index.remove(library / "photos")) == {"removed": 12}
        assert paths(index) == places(copy)
    with opened(library) as index:
        assert paths(index) == places(library)


def test_a_copied_library_can_index_a_folder_above_the_one_it_was_copied_from(library: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(library, tmp_path / "lib2"))
    with opened(copy) as index:
        assert counts(index.add(library)) == {"copied": 12}
        assert counts(index.add(tmp_path)) == {"unchanged": 24}
        assert paths(index) == places(tmp_path)
        assert len(index.folders()) == 1
        assert index.verify().whole


def test_libraries_that_change_places(library: Path, tmp_path: Path) -> None:
    """Each root is now where another one was."""
    with opened(library) as index:
        for name in ("a", "b"):
            put(library / name / "x.png", picture(colour(20 + ord(name))))
            index.add(library / name)
    copy = Path(shutil.copytree(library, tmp_path / "lib2"))
    with opened(copy) as index:
        index.add(library / "a")
        index.add(library / "b")
    shutil.rmtree(library)
    shutil.move(copy, library)
    with opened(library) as index:
        for name in ("photos", "a", "b"):
            assert set(counts(index.add(library / name))) == {"unchanged"}
        assert sorted(root.path.name for root in index.folders()) == ["a", "b", "photos"]
        assert paths(index) == places(library)
        assert index.verify().whole


def test_two_roots_that_come_to_one_place_are_one(library: Path, tmp_path: Path) -> None:
    with opened(library) as index:
        put(tmp_path / "new" / "photos" / "z.png", picture(colour(40)))
        index.add(tmp_path / "new" / "photos", exclude=["*.bak"])
    shutil.copytree(library / "photos", tmp_path / "new" / "photos", dirs_exist_ok=True)
    shutil.move(library / "index_data", tmp_path / "new" / "index_data")
    with opened(tmp_path / "new") as index:
        assert counts(index.add(tmp_path / "new" / "photos")) == {"unchanged": 13}
        assert [(root.path, root.images) for root in index.folders()] == [(tmp_path / "new" / "photos", 13)]
        assert set(index.folders()[0].exclude) == {"*.tmp", "*.bak"}
        assert paths(index) == places(tmp_path / "new")
        assert index.verify().whole


def test_a_folder_that_was_moved_and_linked_is_the_same_root(index: Index, photos: Path, tmp_path: Path) -> None:
    index.add(photos)
    (tmp_path / "disk").mkdir()
    shutil.move(photos, tmp_path / "disk" / "photos")
    photos.symlink_to(tmp_path / "disk" / "photos")
    assert counts(index.remove(photos / "00.png")) == {"removed": 1}
    assert counts(index.add(photos)) == {"added": 1, "unchanged": 11}
    assert [root.path for root in index.folders()] == [tmp_path / "disk" / "photos"]
    assert index.verify().whole


def test_a_moved_library_that_is_away_for_now_is_found_beside_its_index_later(library: Path, tmp_path: Path) -> None:
    shutil.move(library, tmp_path / "moved")
    shutil.move(tmp_path / "moved" / "photos", tmp_path / "aside")
    with opened(tmp_path / "moved") as index:
        assert counts(index.add(index.folders()[0].path)) == {"offline": 12}
        shutil.move(tmp_path / "aside", tmp_path / "moved" / "photos")
        assert counts(index.add(tmp_path / "moved" / "photos")) == {"unchanged": 12}
        assert paths(index) == places(tmp_path / "moved")


@pytest.mark.parametrize("empty", ["", b""])
def test_an_empty_path_is_no_folder(
    index: Index, photos: Path, empty: str | bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    index.add(photos)
    for call in (index.add, index.remove, index.id_of, lambda path: list(index.images(path))):
        with pytest.raises(BadInput, match="empty"):
            call(empty)  # type: ignore[operator]
    assert index.info().images == 12
