"""`duplicates`: groups of files that show the same picture, with the file to keep."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from retrieval import BadFilter, BadInput, Index
from retrieval.comparing.relation import COPIES, Relation
from retrieval.organising.duplicates import DuplicateOptions, Duplicates, find
from retrieval.organising.groups import Group
from tests.organising.pictures import indexed, put_copies

MADE = ("jpeg", "webp", "half", "part", "turned", "mirrored", "grey", "brighter", "bordered", "written on")


@pytest.fixture(scope="module")
def library(shared: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures with their copies, a copy of the same bytes, a PNG of the same pixels, and thirty other pictures."""
    folder = tmp_path_factory.mktemp("library")
    pictures = sorted(shared("images/corel1k").rglob("*.jpg"))
    for name, picture in (("sea", pictures[120]), ("bus", pictures[333])):
        put_copies(folder / name, picture, MADE)
    shutil.copyfile(pictures[120], folder / "sea" / "same.jpg")
    with Image.open(pictures[333]) as opened:
        opened.save(folder / "bus" / "pixels.png")
    (folder / "others").mkdir()
    for number, picture in enumerate(pictures[5::33]):
        shutil.copyfile(picture, folder / "others" / f"{number}.jpg")
    return folder


@pytest.fixture(scope="module")
def index(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with indexed(library, tmp_path_factory.mktemp("index") / "index") as made:
        yield made


def group_of(found: Duplicates, folder: str) -> Group:
    (group,) = (one for one in found.groups if one.head.image.path.parent.name == folder)
    return group


def relations(group: Group) -> dict[str, str]:
    return {member.image.path.stem: str(member.relation) for member in group.others}


def test_copies_are_grouped_and_named_and_others_are_left_alone(index: Index) -> None:
    found = find(index)
    assert not found.unreadable
    assert {member.image.path.parent.name for group in found.groups for member in group.members} == {"sea", "bus"}
    sea = group_of(found, "sea")
    assert sea.head.image.path.stem not in {"grey", "bordered", "half", "part"}
    named = relations(sea)
    assert (named["half"], named["part"], named["turned"], named["mirrored"]) == (
        "resized",
        "cropped",
        "rotated",
        "mirrored",
    )
    assert (named["grey"], named["bordered"]) == ("recoloured", "edited")
    assert set(named) | {sea.head.image.path.stem} >= set(MADE) - {"written on"} | {"original", "same"}
    bus = group_of(found, "bus")
    assert bus.head.image.path.stem == "pixels", "PNG loses nothing"
    assert relations(bus)["original"] == "same_pixels"
    assert relations(bus)["jpeg"] == relations(bus)["webp"] == "reencoded"
    assert bus.tier is Relation.EDITED


def test_each_group_says_why_and_is_ready_for_programs(index: Index) -> None:
    for number, group in enumerate(find(index).groups, 1):
        facts = group.as_dict(number)
        assert list(facts) == ["group", "tier", "files"]
        head, *others = facts["files"]
        assert (head["keep"], head["relation"], head["score"]) == (True, None, 1.0)
        for file in others:
            assert list(file) == ["path", "keep", "relation", "score", "reason", "bytes", "was_removed"]
            assert not file["keep"]
            assert file["relation"] in {str(relation) for relation in COPIES}
            assert file["reason"]
            assert -1 <= file["score"] <= 1
            assert file["bytes"] == os.path.getsize(file["path"])


def test_only_what_is_asked_for_counts(index: Index) -> None:
    exact = find(index, DuplicateOptions(relations=[Relation.SAME_BYTES]))
    assert [relations(group) for group in exact.groups] == [{"same": "same_bytes"}] or [
        len(group.members) for group in exact.groups
    ] == [2]
    mirrored = find(index, DuplicateOptions(relations=[Relation.MIRRORED]))
    assert {str(member.relation) for group in mirrored.groups for member in group.others} == {"mirrored"}


def test_a_filter_leaves_files_out(index: Index) -> None:
    found = find(index, DuplicateOptions(where="folder:bus"))
    assert {member.image.path.parent.name for group in found.groups for member in group.members} == {"bus"}
    with pytest.raises(BadFilter):
        find(index, DuplicateOptions(where="nokey:1"))


def test_safe_files_are_kept_and_groups_of_them_alone_are_not_shown(index: Index, library: Path) -> None:
    assert not [
        group
        for group in find(index, DuplicateOptions(safe=[library / "sea"])).groups
        if group.head.image.path.parent.name == "sea"
    ]
    with pytest.raises(BadInput, match="is not a folder"):
        find(index, DuplicateOptions(safe=[library / "nowhere"]))


def test_between_two_folders(shared: Callable[[str], Path], tmp_path: Path) -> None:
    picture = sorted(shared("images/corel1k").rglob("*.jpg"))[120]
    put_copies(tmp_path / "all/phone", picture, ("jpeg",))
    put_copies(tmp_path / "all/library", picture, ("half",))
    with indexed(tmp_path / "all", tmp_path / "index") as index:
        both = tmp_path / "all/phone", tmp_path / "all/library"
        (group,) = find(index, DuplicateOptions(between=both, safe=[both[1]])).groups
        assert group.head.image.path.parent.name == "library"
        assert not find(index, DuplicateOptions(between=both, relations=[Relation.MIRRORED])).groups


def test_a_rule_decides_which_file_is_kept(index: Index) -> None:
    largest = group_of(find(index, DuplicateOptions(keep="largest")), "sea")
    by_path = group_of(find(index, DuplicateOptions(keep="path:jpeg.img,best")), "sea")
    assert by_path.head.image.path.stem == "jpeg"
    assert "path like jpeg.img" in by_path.head.reason
    assert largest.head.image.path.stem == "bordered", "the rule that was asked for decides"
    with pytest.raises(BadInput):
        find(index, DuplicateOptions(keep="prettiest"))


def test_decisions_stick_and_can_be_forgotten(library: Path, tmp_path: Path) -> None:
    with indexed(library, tmp_path / "index") as index:
        sea = group_of(find(index), "sea")
        other = next(member for member in sea.others if member.image.path.stem == "mirrored")
        index.decide(different=[(other.image.sha256, sea.head.image.sha256)])
        assert "mirrored" not in relations(group_of(find(index), "sea"))
        gone = next(member for member in sea.others if member.image.path.stem == "grey")
        index.decide(removed=[(gone.image.sha256, sea.head.image.sha256)])
        marked = {member.image.path.stem for member in group_of(find(index), "sea").others if member.was_removed}
        assert marked == {"grey"}
        index.decide(restored=[gone.image.sha256])
        assert not index.decisions().removed
        for wrong in ({"different": [("a", "b")]}, {"restored": ["A" * 64]}):
            with pytest.raises(BadInput, match="SHA-256"):
                index.decide(**wrong)
        index.forget_decisions()
        assert "mirrored" in relations(group_of(find(index), "sea"))


def test_files_that_changed_or_cannot_be_read_are_reported(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path / "cache"))
    shutil.copytree(library / "others", tmp_path / "others")
    with indexed(tmp_path / "others", tmp_path / "index") as index:
        (tmp_path / "others/0.jpg").write_bytes((tmp_path / "others/1.jpg").read_bytes())
        (tmp_path / "others/2.jpg").unlink()
        found = find(index)
        assert sorted(failure.path.name for failure in found.unreadable) == ["0.jpg", "2.jpg"]
        assert "has changed since it was indexed" in str(found.unreadable)


def test_few_pictures_and_none(shared: Callable[[str], Path], tmp_path: Path) -> None:
    with Index.create(tmp_path / "empty", backbone="mini") as index:
        assert find(index) == Duplicates((), (), 0)
    put_copies(tmp_path / "one", next(shared("images/corel1k").rglob("*.jpg")), ())
    with indexed(tmp_path / "one", tmp_path / "index") as index:
        assert find(index).groups == ()
