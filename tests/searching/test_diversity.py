"""Answers that do not say the same thing many times."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import BadInput, Index, SearchOptions
from retrieval.searching import diversity
from retrieval.types import Vectors
from tests.fakes import ColourEncoder, picture, put


def unit(count: int, seed: int, dim: int = 3) -> Vectors:
    made = np.random.default_rng(seed).standard_normal((count, dim)) + 0.5
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@given(st.integers(0, 30), st.integers(0, 500))
def test_all_that_stand_under_a_head_look_like_it(count: int, seed: int) -> None:
    vectors = unit(count, seed)
    products = vectors @ vectors.T
    heads = diversity.grouped(vectors)
    for position, head in enumerate(heads):
        assert head <= position
        assert heads[head] == head
        assert head == position or products[head, position] >= diversity.ALIKE
    own = [position for position, head in enumerate(heads) if head == position]
    assert all(products[first, second] < diversity.ALIKE for first, second in itertools.combinations(own, 2))


@given(st.integers(1, 25), st.integers(0, 500), st.floats(0.01, 1), st.integers(1, 30))
def test_each_choice_has_the_highest_value_of_those_left(count: int, seed: int, balance: float, wanted: int) -> None:
    vectors, scores = unit(count, seed), np.sort(unit(count, seed + 1)[:, 0])[::-1]
    chosen = diversity.spread(scores, vectors, balance, wanted).tolist()
    assert len(set(chosen)) == len(chosen) == min(count, wanted)
    assert chosen[0] == 0
    for step in range(1, len(chosen)):
        left = [position for position in range(count) if position not in chosen[:step]]
        values = balance * scores - (1 - balance) * (vectors @ vectors[chosen[:step]].T).max(axis=1)
        assert values[chosen[step]] == pytest.approx(max(values[left]), abs=1e-5)


def test_a_balance_of_one_is_the_order_of_the_scores() -> None:
    scores = np.linspace(1, 0, 12, dtype=np.float32)
    assert diversity.spread(scores, unit(12, 0), 1, 12).tolist() == list(range(12))


@pytest.fixture
def bursts(tmp_path: Path) -> Iterator[Index]:
    """Ten colours, each as a burst of twelve pictures that differ by little."""
    for number in range(120):
        burst, frame = divmod(number, 12)
        put(tmp_path / f"photos/{burst}-{frame:02}.png", picture((25 * burst, 255 - 25 * burst, 60 + frame)))
    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
        index.add(tmp_path / "photos")
        yield index


@pytest.mark.parametrize("ranking", ["none", "mixed", "expansion"])
def test_bursts_stand_under_their_best_picture(bursts: Index, ranking: str) -> None:
    query = picture((0, 255, 60))
    plain = bursts.search(query, 120, SearchOptions(ranking=ranking))
    found = bursts.search(query, 4, SearchOptions(ranking=ranking, group=True, likelihood=True))
    assert [match.rank for match in found] == [1, 2, 3, 4]
    assert found[0].path == plain[0].path
    shown = [path for match in found for path in (match.path, *match.similar)]
    assert len(set(shown)) == len(shown)
    for match in found:
        vectors = bursts.embed([match.path, *match.similar])
        assert len(match.similar) >= 5
        assert (vectors @ vectors[0]).min() >= diversity.ALIKE
        assert match.as_dict()["similar"] == [str(path) for path in match.similar]
    page = bursts.search(query, 2, SearchOptions(ranking=ranking, group=True, offset=2))
    assert [match.path for match in page] == [match.path for match in found[2:]]
    assert "similar" not in plain[0].as_dict()


def test_a_spread_answer_is_more_varied(bursts: Index) -> None:
    query = picture((0, 255, 60))

    def kinds(**options: object) -> int:
        found = bursts.search(query, 6, SearchOptions(**options))  # type: ignore[arg-type]
        assert [match.rank for match in found] == list(range(1, 7))
        return len({match.path.name[0] for match in found})

    assert kinds() <= 2
    assert kinds(mmr=0.3) >= 4
    both = bursts.search(query, 6, SearchOptions(mmr=0.3, group=True, where="name:0*|5*"))
    assert {match.path.name[0] for match in both[:2]} == {"0", "5"}
    assert [match.id for match in bursts.search(query, 6, SearchOptions(mmr=1))] == [
        match.id for match in bursts.search(query, 6, SearchOptions(ranking="none"))
    ]


@pytest.mark.parametrize("mmr", [0, 1.5, "x", True])
def test_an_impossible_balance_is_refused(mmr: object) -> None:
    with pytest.raises(BadInput, match="mmr"):
        SearchOptions(mmr=mmr)  # type: ignore[arg-type]
