"""`duplicates`: groups of files that show the same picture, with the file to keep."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from retrieval import BadFilter, BadInput, Index
from retrieval.comparing.relation import COPIES, Relation
from retrieval.organising import duplicates
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
    (exact,) = find(index, DuplicateOptions(relations=[Relation.SAME_BYTES])).groups
    assert {member.image.path.stem for member in exact.members} == {"original", "same"}
    assert [str(member.relation) for member in exact.others] == ["same_bytes"]
    assert exact.tier is Relation.SAME_BYTES
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


def test_between_two_folders_files_of_one_folder_are_no_duplicates_of_each_other(
    shared: Callable[[str], Path], tmp_path: Path
) -> None:
    picture = sorted(shared("images/corel1k").rglob("*.jpg"))[120]
    phone, library = tmp_path / "all/phone", tmp_path / "all/library"
    put_copies(phone, picture, ("jpeg", "mirrored"))
    shutil.copyfile(picture, phone / "same.jpg")
    put_copies(library, picture, ("half",))
    shutil.copyfile(library / "half.img", phone / "half.img")
    (library / "original.jpg").unlink()
    put_copies(tmp_path / "all/elsewhere", picture, ("grey",))
    with indexed(tmp_path / "all", tmp_path / "index") as index:
        (group,) = find(index, DuplicateOptions(between=(phone, library))).groups
        assert group.head.image.path.parent == phone
        assert {member.image.path for member in group.others} == {library / "half.img"}
        (back,) = find(index, DuplicateOptions(between=(phone, library), keep="path:library/*")).groups
        assert back.head.image.path == library / "half.img"
        assert {member.image.path.parent for member in back.others} == {phone}
        assert {member.image.path.name for member in back.others} == {
            "original.jpg", "same.jpg", "jpeg.img", "mirrored.img", "half.img",
        }  # fmt: skip
        exact = DuplicateOptions(between=(phone, library), relations=[Relation.SAME_BYTES])
        (same,) = find(index, exact).groups
        assert {member.image.path.name for member in same.members} == {"half.img"}
        for overlapping in ((phone, phone), (tmp_path / "all", library), (library, tmp_path / "all")):
            with pytest.raises(BadInput, match="overlap"):
                find(index, DuplicateOptions(between=overlapping))


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


def test_files_that_are_offline_are_left_out_and_counted(library: Path, tmp_path: Path) -> None:
    shutil.copytree(library / "bus", tmp_path / "drive")
    with indexed(tmp_path / "drive", tmp_path / "index") as index:
        assert len(find(index).groups) == 1
        (tmp_path / "drive").rename(tmp_path / "away")
        index.add(tmp_path / "drive")
        assert find(index) == Duplicates((), (), len(MADE) + 2)


def test_links_to_files_are_left_out(library: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    shutil.copyfile(library / "sea/original.jpg", tmp_path / "photos/a.jpg")
    (tmp_path / "photos/link.jpg").symlink_to("a.jpg")
    with indexed(tmp_path / "photos", tmp_path / "index") as index:
        assert find(index) == Duplicates((), (), 0)


def test_names_of_one_file_are_one_file(library: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    shutil.copyfile(library / "sea/original.jpg", tmp_path / "photos/a.jpg")
    os.link(tmp_path / "photos/a.jpg", tmp_path / "photos/b.jpg")
    with indexed(tmp_path / "photos", tmp_path / "index") as index:
        assert find(index).groups == ()


def test_safe_files_beside_others_are_kept_and_the_others_are_not(library: Path, tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    shutil.copytree(library / "bus", tmp_path / "all/safe")
    shutil.copytree(library / "bus", tmp_path / "all/new")
    with indexed(tmp_path / "all", tmp_path / "index") as index:
        (group,) = find(index, DuplicateOptions(safe=[tmp_path / "all/safe"])).groups
        assert group.head.image.path.parent.name == "safe"
        assert {member.image.path.parent.name for member in group.others} == {"new"}
        kept = [member for member in group.members if member.is_kept]
        assert {member.image.path.parent.name for member in kept} == {"safe"}
        assert all("in a safe folder" in member.reason for member in group.others)


def test_groups_and_files_are_in_order_and_the_same_each_time(index: Index) -> None:
    found = find(index)
    order = list(Relation)
    tiers = [order.index(group.tier) for group in found.groups]
    assert tiers == sorted(tiers)
    for group in found.groups:
        closeness = [order.index(member.relation) for member in group.members[1:] if member.relation]
        assert closeness == sorted(closeness)
        assert group.tier is order[closeness[-1]]
    assert find(index) == found


def test_in_a_long_chain_a_head_is_compared_with_what_was_proposed(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = group_of(find(index), "sea")
    monkeypatch.setattr(duplicates, "LONG", 3)
    short = [member for group in find(index).groups for member in group.members]
    assert {member.image.path.parent.name for member in short} == {"sea", "bus"}
    assert len({member.image.path for member in short}) == len(short), "no file is in two groups"
    assert {member.image.path.stem for member in whole.others} >= {"jpeg", "half", "turned"}


def test_progress_names_its_steps_and_each_ends_at_the_whole(index: Index) -> None:
    seen: dict[str, tuple[int, int]] = {}
    find(index, progress=lambda step, done, total: seen.update({step: (done, total)}))
    assert list(seen) == ["looking", "finding candidates", "comparing"]
    assert all(done == total for done, total in seen.values()), seen


def test_near_duplicates_that_others_have_made(shared: Callable[[str], Path], tmp_path: Path) -> None:
    with indexed(shared("images/near-duplicates"), tmp_path / "index") as index:
        found = find(index)
        told = {member.image.path.name: str(member.relation) for group in found.groups for member in group.others}
        assert told == {
            "ukbench00120.jpg": "same_bytes",
            "ukbench00120_resize.jpg": "resized",
            "ukbench00120_rotation.jpg": "rotated",
            "ukbench00120_hflip.jpg": "mirrored",
            "ukbench09268.jpg": "same_bytes",
            "ukbench09380.bmp": "same_bytes",
            "ukbench09380.jpeg": "same_bytes",
            "ukbench09380.png": "same_bytes",
            "ukbench09380.svg": "same_bytes",
            "ukbench09380.webp": "reencoded",
        }
        assert {group.head.image.path.parent.name for group in found.groups} == {"base_images"}
        assert [str(group.tier) for group in found.groups] == ["same_bytes", "reencoded", "mirrored"]


def test_few_pictures_and_none(shared: Callable[[str], Path], tmp_path: Path) -> None:
    with Index.create(tmp_path / "empty", backbone="mini") as index:
        assert find(index) == Duplicates((), (), 0)
    put_copies(tmp_path / "one", next(shared("images/corel1k").rglob("*.jpg")), ())
    with indexed(tmp_path / "one", tmp_path / "index") as index:
        assert find(index).groups == ()
