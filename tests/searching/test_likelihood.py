"""Which matches are likely: the computation, and what a search returns. `test_quality` has real pictures."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import Index, SearchOptions
from retrieval.searching.likelihood import FEWEST, Background, probabilities
from retrieval.types import LIKELY
from tests.contracts.vectors import normalised
from tests.fakes import ColourEncoder, picture, put

Expected = st.lists(st.floats(0, 1e6), min_size=1, max_size=30)


def test_the_probability_is_the_number_of_matches_over_matches_and_false_ones() -> None:
    assert probabilities(np.array([0.25, 1, 3, 16])).tolist() == pytest.approx([0.8, 2 / 3, 0.5, 0.2])
    assert probabilities(np.array([0.6, 0.6, 0.6])).tolist() == pytest.approx([3 / 3.6] * 3)  # three are as near
    assert probabilities(np.array([])).tolist() == []


@given(Expected, st.randoms())
def test_probabilities_descend_whatever_the_order_of_the_matches(false: list[float], chance: object) -> None:
    found = probabilities(np.array(false))
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) <= 0).all()
    chance.shuffle(false)  # type: ignore[attr-defined]
    assert probabilities(np.array(false)).tolist() == found.tolist()


def clusters(centres: int, each: int, spread: float = 0.6) -> np.ndarray:
    chance = np.random.default_rng(1)
    middles = np.repeat(chance.standard_normal((centres, 64)), each, axis=0)
    return normalised(middles + spread * chance.standard_normal(middles.shape) + 1)


def test_related_matches_are_likely_and_unrelated_ones_are_not() -> None:
    vectors = clusters(30, 20, spread=0.3)
    background = Background(vectors[::2], len(vectors))
    query, kind, others = vectors[0], vectors[1:20], vectors[20:]
    assert probabilities(background.false_matches(query, kind)).min() > 0.9
    assert background.false_matches(query, others).min() > 1
    stranger = normalised(np.random.default_rng(2).standard_normal((1, 64)) + 1)[0]
    near = vectors[np.argsort(-(vectors @ stranger))[:100]]
    assert probabilities(background.false_matches(stranger, near)).max() < LIKELY


@pytest.mark.parametrize("share", [2, 5, 30])
def test_related_matches_are_likely_however_many_pairs_are_related(share: int) -> None:
    """In an index of few themes, many pairs are related; they must not count as the unrelated background."""
    vectors = clusters(share, 600 // share, spread=0.4)
    background = Background(vectors[:: 600 // 300], len(vectors))
    found = probabilities(background.false_matches(vectors[0], vectors[1:]))
    assert (found[: 600 // share // 2] >= LIKELY).all()


@pytest.mark.parametrize("count", [FEWEST, 200, 500])
def test_an_index_of_one_theme_or_of_none_has_no_likely_matches(count: int) -> None:
    """Vectors around one centre, or each around its own: neither has a gap among its scores."""
    for centres in (1, count):
        vectors = clusters(centres, count // centres)
        background = Background(vectors, count)
        order = np.argsort(-(vectors @ vectors.T), axis=1)[:, 1:101]
        told = [
            probabilities(background.false_matches(vectors[at], vectors[near]))[0] >= LIKELY
            for at, near in enumerate(order[:50])
        ]
        assert np.mean(told) <= 0.02


def test_twice_the_pictures_are_twice_the_false_matches() -> None:
    vectors = clusters(30, 20)
    once, twice = (Background(vectors[::2], images).false_matches(vectors[0], vectors[1:50]) for images in (600, 1200))
    assert twice == pytest.approx(2 * once)


def test_equal_vectors_and_orthogonal_ones_give_finite_numbers() -> None:
    for vectors in (np.ones((12, 64)) / 8, np.eye(64)[:12]):
        some = vectors.astype(np.float32)
        found = Background(some, 12).false_matches(some[0], some)
        assert np.isfinite(found).all()


class TestIndex:
    """A search among red, green and blue pictures, 40 of each, with random variations."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        chance = np.random.default_rng(0)
        for number in range(40):
            for name, shade in (("red", (200, 40, 40)), ("green", (40, 200, 40)), ("blue", (40, 40, 200))):
                colour = tuple(int(value) for value in np.clip(chance.normal(shade, 12), 0, 255))
                put(tmp_path / f"photos/{name}/{number}.png", picture(colour))
        return tmp_path / "photos"

    @pytest.fixture
    def index(self, folder: Path, tmp_path: Path) -> Iterator[Index]:
        with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
            index.add(folder)
            yield index

    @pytest.mark.parametrize("ranking", ["none", "expansion"])
    def test_probabilities_descend_and_likely_returns_those_that_have_one(
        self, index: Index, folder: Path, ranking: str
    ) -> None:
        found = index.search(folder / "red/3.png", 119, options=SearchOptions(likelihood=True, ranking=ranking))
        likely = [match for match in found if match.probability is not None]
        told = [match.probability for match in likely if match.probability is not None]
        assert 20 <= len(likely) <= 40
        assert likely == found[: len(likely)], "what cannot be told comes after what can"
        assert told == sorted(told, reverse=True)
        assert min(told) >= LIKELY
        assert all(match.path.parent.name == "red" for match in likely)
        assert all((match.false_matches is None) == (match.probability is None) for match in found)
        assert all(match.false_matches is None or match.false_matches <= 120 for match in found)
        assert index.search(folder / "red/3.png", 119, options=SearchOptions(likely=True, ranking=ranking)) == likely
        assert (
            index.search(folder / "red/3.png", 5, options=SearchOptions(offset=2, likelihood=True, ranking=ranking))
            == found[2:7]
        )
        assert found[0].as_dict()["probability"] == found[0].probability
        assert "false_matches" in found[0].as_dict()
        assert not {"probability", "false_matches"} & found[-1].as_dict().keys()

    def test_the_query_as_a_match_changes_nothing_for_the_others(self, index: Index, folder: Path) -> None:
        without = {
            match.id: match.probability
            for match in index.search(folder / "red/3.png", 119, options=SearchOptions(likelihood=True))
        }
        found = index.search(folder / "red/3.png", 120, options=SearchOptions(likelihood=True, include_self=True))
        assert found[0].probability == 1
        others = {match.id: match.probability for match in found if match.path != folder / "red/3.png"}
        assert others == pytest.approx(without)

    def test_without_the_option_there_is_no_probability(self, index: Index, folder: Path) -> None:
        found = index.search(folder / "red/3.png", 3)
        assert all(match.probability is match.false_matches is None for match in found)
        assert not {"probability", "false_matches"} & found[0].as_dict().keys()

    def test_new_images_count_at_once(self, index: Index, folder: Path) -> None:
        before = index.search(folder / "red/3.png", 100, options=SearchOptions(likelihood=True))[9]
        for number in range(120):
            put(folder / f"grey/{number}.png", picture((100 + number, 100 + number, 100 + number)))
        index.add(folder)
        after = next(
            found
            for found in index.search(folder / "red/3.png", 239, options=SearchOptions(likelihood=True))
            if found.id == before.id
        )
        assert before.false_matches is not None
        assert after.false_matches != before.false_matches

    def test_among_few_pictures_only_copies_are_likely(self, tmp_path: Path) -> None:
        """`likely` returns nothing if nothing is certain, because a script takes all that it returns for likely."""
        with Index.create(tmp_path / "few", encoder=ColourEncoder()) as index:
            for number in range(FEWEST - 1):
                put(tmp_path / f"pictures/{number}.png", picture((200, 5 * number, 0)))
            index.add(tmp_path / "pictures")
            stranger, copy = picture((0, 100, 200)), picture((200, 50, 0), format="BMP")
            found = index.search(stranger, FEWEST, options=SearchOptions(likelihood=True))
            assert len(found) == FEWEST - 1
            assert all(match.probability is match.false_matches is None for match in found)
            assert index.search(stranger, options=SearchOptions(likely=True)) == []
            (first,) = index.search(copy, options=SearchOptions(likely=True, min_score=0.99999))
            assert (first.path.name, first.probability, first.false_matches) == ("10.png", 1, 0)
            put(tmp_path / "pictures/more.png", picture((1, 2, 3)))
            index.add(tmp_path / "pictures")
            assert index.search(copy, 10, options=SearchOptions(likelihood=True))[0].probability == 1
