"""`deciding`: from groups to a plan, and what the index remembers of it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from retrieval import Index
from retrieval.comparing.relation import Relation
from retrieval.organising import acting, deciding
from retrieval.organising.deciding import Doing
from retrieval.organising.groups import Group, Member
from retrieval.organising.journal import Journal
from retrieval.organising.plan import Kind
from retrieval.types import IndexedImage, Metadata
from tests.organising.library import digest, put_library, state_of

A, B = "a" * 64, "b" * 64


def member(name: str, sha256: str, relation: Relation | None = None, *, is_kept: bool = False) -> Member:
    image = IndexedImage(1, Path(name), 4, 3, "JPEG", Metadata(), 10, 0, sha256)
    return Member(image, relation, 1.0, "", is_kept=is_kept or relation is None)


GROUP = Group(
    (
        member("/photos/head.jpg", A),
        member("/photos/same.jpg", A, Relation.SAME_BYTES),
        member("/safe/same.jpg", A, Relation.SAME_BYTES),
        member("/photos/half.jpg", B, Relation.RESIZED),
    )
)


@pytest.mark.parametrize(
    ("kind", "acted_on"),
    [
        ("trash", ["/photos/same.jpg", "/safe/same.jpg", "/photos/half.jpg"]),
        ("move", ["/photos/same.jpg", "/safe/same.jpg", "/photos/half.jpg"]),
        ("hardlink", ["/photos/same.jpg", "/safe/same.jpg"]),
        ("reflink", ["/photos/same.jpg", "/safe/same.jpg"]),
    ],
)
def test_all_but_the_head_is_acted_on_and_links_need_the_same_bytes(kind: Kind, acted_on: list[str]) -> None:
    target = b"/away" if kind == "move" else b""
    plan = deciding.plan_of([GROUP], Doing(kind=kind, target=target), roots=[b"/photos", b"/safe"])
    assert [act.path.decode() for act in plan.acts] == acted_on
    assert {(act.kind, act.kept, act.kept_sha256.hex(), act.target) for act in plan.acts} == {
        (kind, b"/photos/head.jpg", A, target)
    }
    assert (plan.roots, plan.safe) == ((b"/photos", b"/safe"), ())


def test_safe_files_are_left_out() -> None:
    plan = deciding.plan_of([GROUP], Doing(kind="trash"), roots=[b"/"], safe=[b"/safe"])
    assert [act.path for act in plan.acts] == [b"/photos/same.jpg", b"/photos/half.jpg"]
    assert plan.safe == (b"/safe",)
    beside = deciding.plan_of([GROUP], Doing(kind="trash"), roots=[b"/"], safe=[b"/sa"])
    assert len(beside.acts) == 3, "a folder whose name begins alike is another one"
    kept = Group((*GROUP.members[:1], replace(GROUP.members[1], is_kept=True)))
    assert deciding.plan_of([kept], Doing(kind="trash"), roots=[b"/"]).acts == ()


def test_no_groups_make_no_acts() -> None:
    assert deciding.plan_of([], Doing(kind="trash"), roots=[b"/"]).acts == ()


# -- metadata -----------------------------------------------------------------------------------------------------


def with_metadata(one: Member, **facts: object) -> Member:
    return replace(one, image=replace(one.image, metadata=replace(Metadata(), **facts)))


def test_what_only_files_that_go_say_is_written_beside_the_head_before_they_go() -> None:
    head, same, safe, half = GROUP.members
    words = with_metadata(half, keywords=("sea",), rating=4.0)
    plan = deciding.plan_of(
        [Group((head, same, with_metadata(safe, keywords=("safe",)), words))],
        Doing(kind="trash", merges=True),
        roots=[b"/"],
        safe=[b"/safe"],
    )
    assert [(act.kind, act.path) for act in plan.acts] == [
        ("sidecar", b"/photos/head.jpg"),
        ("trash", b"/photos/same.jpg"),
        ("trash", b"/photos/half.jpg"),
    ]
    assert "sea" in plan.acts[0].text
    assert "safe" not in plan.acts[0].text, "the safe file stays, and so do its words"
    nothing_new = Group((with_metadata(head, keywords=("sea", "sand"), rating=1.0), words))
    assert [
        act.kind for act in deciding.plan_of([nothing_new], Doing(kind="trash", merges=True), roots=[b"/"]).acts
    ] == ["trash"]


def test_a_tag_is_given_besides_the_words_that_a_file_has() -> None:
    group = Group((GROUP.head, with_metadata(GROUP.members[1], keywords=("sea",))))
    (tagged,) = deciding.plan_of([group], Doing(kind="sidecar", tag="duplicate"), roots=[b"/"]).acts
    assert (tagged.kind, tagged.path, tagged.kept) == ("sidecar", b"/photos/same.jpg", b"/photos/head.jpg")
    assert tagged.text.index("<rdf:li>sea<") < tagged.text.index("<rdf:li>duplicate<")


# -- what is remembered -------------------------------------------------------------------------------------------


@pytest.fixture
def library(pictures: list[Path], tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    put_library(tmp_path / "photos", pictures)
    index.add(tmp_path / "photos")
    return tmp_path / "photos"


def group_in(folder: Path) -> Group:
    """A group of `kept.jpg`, with two others that are said to be copies."""
    names = {"kept": None, "trash": Relation.RESIZED, "move": Relation.EDITED}
    return Group(
        tuple(
            member(str(folder / f"{name}.jpg"), digest(folder / f"{name}.jpg").hex(), relation)
            for name, relation in names.items()
        )
    )


def test_what_was_removed_is_remembered_but_what_was_refused_is_not(library: Path, index: Index) -> None:
    group = group_in(library)
    plan = deciding.plan_of([group], Doing(kind="trash"), roots=[bytes(library)])
    (library / "move.jpg").write_bytes(b"changed since")
    outcome = acting.carry_out(plan, Journal(index.folder))
    assert [refusal.path for refusal in outcome.refused] == [bytes(library / "move.jpg")]
    deciding.remember(index, plan, Journal(index.folder).entries())
    assert index.decisions().removed == {(digest_of(group, 1), digest_of(group, 0))}


def test_what_was_undone_is_forgotten(library: Path, index: Index) -> None:
    group, before = group_in(library), state_of(library)
    journal = Journal(index.folder)
    plan = deciding.plan_of([group], Doing(kind="trash"), roots=[bytes(library)])
    acting.carry_out(plan, journal)
    deciding.remember(index, plan, journal.entries())
    assert len(index.decisions().removed) == 2
    undone = acting.undoable(journal.entries())
    acting.undo(journal)
    deciding.forget(index, undone)
    assert not index.decisions().removed
    assert state_of(library) == before


def test_a_link_removes_no_content(library: Path, index: Index) -> None:
    head = member(str(library / "kept.jpg"), digest(library / "kept.jpg").hex())
    same = member(str(library / "hardlink.jpg"), head.image.sha256, Relation.SAME_BYTES)
    plan = deciding.plan_of([Group((head, same))], Doing(kind="hardlink"), roots=[bytes(library)])
    journal = Journal(index.folder)
    acting.carry_out(plan, journal)
    assert [entry.done for entry in journal.entries()] == [True]
    deciding.remember(index, plan, journal.entries())
    assert not index.decisions().removed


def digest_of(group: Group, number: int) -> str:
    return group.members[number].image.sha256
