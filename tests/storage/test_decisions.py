"""Decisions of people about contents: kept in the index, by digest."""

from pathlib import Path

import pytest

from retrieval import BadInput, Index, IndexBusy
from retrieval.storage.decisions import Decisions
from tests.fakes import ColourEncoder

A, B, C = "a" * 64, "b" * 64, "c" * 64


def test_an_index_begins_without_decisions(index: Index) -> None:
    assert index.decisions() == Decisions()


def test_a_pair_is_different_in_both_directions(index: Index) -> None:
    index.decide(different=[(B, A)])
    known = index.decisions()
    assert known.are_different(A, B)
    assert known.are_different(B, A)
    assert not known.are_different(A, C)
    assert known.different == {(A, B)}


def test_a_removal_has_a_direction(index: Index) -> None:
    index.decide(removed=[(A, B)])
    assert index.decisions().was_removed(A, B)
    assert not index.decisions().was_removed(B, A)
    assert not index.decisions().are_different(A, B)


def test_decisions_add_up_and_stay_when_the_index_is_opened_again(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
        index.decide(different=[(A, B)])
        index.decide(different=[(B, C)], removed=[(A, C)])
        index.decide(different=[(A, B)])
    with Index.open(tmp_path / "index", encoder=ColourEncoder()) as index:
        assert index.decisions() == Decisions(frozenset({(A, B), (B, C)}), frozenset({(A, C)}))


def test_what_is_restored_was_not_removed_in_favour_of_anything(index: Index) -> None:
    index.decide(removed=[(A, B), (A, C), (B, C)], different=[(A, B)])
    index.decide(restored=[A])
    assert index.decisions() == Decisions(frozenset({(A, B)}), frozenset({(B, C)}))


def test_all_decisions_can_be_forgotten(index: Index) -> None:
    index.decide(removed=[(A, B)], different=[(A, C)])
    index.forget_decisions()
    assert index.decisions() == Decisions()


def test_a_content_is_not_different_from_itself_but_a_copy_of_it_may_have_been_removed(index: Index) -> None:
    index.decide(different=[(A, A)], removed=[(B, B)])
    assert index.decisions() == Decisions(frozenset(), frozenset({(B, B)}))


@pytest.mark.parametrize("wrong", ["", "a" * 63, "A" * 64, "g" * 64, "a" * 64 + "\n", None, 7])
def test_what_is_no_digest_is_refused_and_nothing_of_it_is_kept(index: Index, wrong: str) -> None:
    for given in ({"different": [(A, B), (A, wrong)]}, {"removed": [(A, B), (wrong, A)]}, {"restored": [wrong]}):
        with pytest.raises(BadInput, match="64 hexadecimal digits"):
            index.decide(**given)
    assert index.decisions() == Decisions()


def test_nothing_is_decided_while_another_process_writes(index: Index, tmp_path: Path) -> None:
    with Index.open(tmp_path / "index", encoder=ColourEncoder()) as other, other._store.writing():
        with pytest.raises(IndexBusy):
            index.decide(different=[(A, B)])
        with pytest.raises(IndexBusy):
            index.forget_decisions()
        assert index.decisions() == Decisions(), "reading waits for nobody"
