"""All near pairs are found, in blocks, and no others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.organising import pairs
from retrieval.types import Vectors


def clustered(count: int, dim: int, seed: int) -> Vectors:
    """Unit vectors in small clusters, so that some pairs are near."""
    chance = np.random.default_rng(seed)
    centres = chance.standard_normal((max(1, count // 4), dim))
    made = centres[chance.integers(len(centres), size=count)] + chance.uniform(0.05, 1) * chance.standard_normal(
        (count, dim)
    )
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def expected(vectors: Vectors, least: float, others: Vectors | None = None) -> set[tuple[int, int]]:
    products = vectors @ (vectors if others is None else others).T
    near = np.triu(products >= least, 1) if others is None else products >= least
    return {(int(first), int(second)) for first, second in zip(*np.nonzero(near), strict=True)}


def found(near: pairs.Pairs) -> set[tuple[int, int]]:
    return set(zip(near.first.tolist(), near.second.tolist(), strict=True))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 60),
    st.sampled_from([3, 40, 600]),
    st.integers(0, 1000),
    st.floats(0.2, 0.99),
    st.sampled_from([7, 16, 4096]),
)
def test_all_near_pairs_are_found(count: int, dim: int, seed: int, least: float, block: int) -> None:
    vectors, others = clustered(count, dim, seed), clustered(count // 2, dim, seed + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "BLOCK", block)
        for second in (None, others):
            near = pairs.near(vectors, least, 1000, second)
            # A product that lies within rounding of the bound may be on either side of it
            clear, unclear = expected(vectors, least + 1e-6, second), expected(vectors, least - 1e-6, second)
            assert clear <= found(near) <= unclear
            assert (np.diff(near.scores) <= 0).all()
            compared = vectors if second is None else second
            assert near.scores == pytest.approx(np.vecdot(vectors[near.first], compared[near.second]), abs=1e-6)


def test_many_copies_do_not_make_the_square_of_their_number() -> None:
    copies = np.repeat(clustered(1, 20, 0), 500, axis=0)
    near = pairs.near(copies, 0.9, 5)
    assert np.bincount(near.first).max() == 5
    assert len(near) == 5 * 500 - 15, "the last rows have fewer rows behind them"


def test_nothing_is_near_to_nothing() -> None:
    vectors = clustered(3, 5, 0)
    assert len(pairs.near(vectors, 0, 5, vectors[:0])) == len(pairs.near(vectors[:0], 0, 5, vectors)) == 0


def test_the_best_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "BLOCK", 8)
    vectors = clustered(60, 40, 3)
    products = np.triu(vectors @ vectors.T, 1)
    near = pairs.near(vectors, -1, 3)
    for row in range(50):
        best = np.sort(products[row, row + 1 :])[::-1][:3]
        assert near.scores[near.first == row] == pytest.approx(best, abs=1e-6)


def test_progress_ends_at_the_whole() -> None:
    seen: list[float] = []
    pairs.near(clustered(20, 5, 0), 0.5, 5, progress=seen.append)
    assert seen[-1] == 1
    assert seen == sorted(seen)


@pytest.mark.parametrize("has_others", [False, True])
@pytest.mark.parametrize("block", [7, 4096])
def test_the_nearest_of_each_are_found_once(monkeypatch: pytest.MonkeyPatch, block: int, *, has_others: bool) -> None:
    monkeypatch.setattr(pairs, "BLOCK", block)
    vectors = clustered(50, 40, 5)
    others = clustered(30, 40, 6) if has_others else None
    near = pairs.nearest(vectors, 3, others)
    products = vectors @ (vectors if others is None else others).T
    if others is None:
        np.fill_diagonal(products, -np.inf)
    best = {(row, int(other)) for row, line in enumerate(products) for other in np.argsort(-line)[:3]}
    assert found(near) == (best if has_others else {(min(pair), max(pair)) for pair in best})
    assert len(found(near)) == len(near), "no pair twice"
    assert (np.diff(near.scores) <= 0).all()
    assert near.scores == pytest.approx(products[near.first, near.second], abs=1e-6)


def test_the_nearest_of_few_are_all_of_them() -> None:
    few, none = clustered(3, 5, 0), clustered(3, 5, 0)[:0]
    assert found(pairs.nearest(few, 10)) == {(0, 1), (0, 2), (1, 2)}
    assert len(pairs.nearest(few, 10, few)) == 9
    assert len(pairs.nearest(few[:1], 5)) == len(pairs.nearest(none, 5)) == 0
    assert len(pairs.nearest(none, 5, few)) == len(pairs.nearest(few, 5, none)) == 0


def test_the_nearest_among_many_copies_are_copies() -> None:
    copies = np.repeat(clustered(4, 20, 0), 8, axis=0)
    near = pairs.nearest(copies, 5)
    assert near.scores == pytest.approx(1, abs=1e-6)
    assert (near.first < near.second).all()
