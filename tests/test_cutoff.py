"""Where likely matches end: the arithmetic, and what a search tells of it. On real pictures: `test_quality`."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import Index
from retrieval.cutoff import FEWEST, Background, probabilities
from tests.contracts.vectors import normalised
from tests.fakes import ColourEncoder, picture, put

Expected = st.lists(st.floats(0, 1e6), min_size=1, max_size=30)


def test_the_probability_is_what_is_not_false_of_those_as_near() -> None:
    assert probabilities(np.array([0.2, 0.4, 1.5, 8.0])).tolist() == pytest.approx([0.8, 0.8, 0.5, 0])
    assert probabilities(np.array([0.9, 0.9, 0.9])).tolist() == pytest.approx(
        [0.7, 0.7, 0.7]
    )  # one of the three, or so


@given(Expected, st.randoms())
def test_probabilities_descend_and_know_no_order(false: list[float], chance: object) -> None:
    found = probabilities(np.array(false))
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) <= 0).all()
    chance.shuffle(false)  # type: ignore[attr-defined]
    assert probabilities(np.array(false)).tolist() == found.tolist()


def clusters(centres: int, each: int, spread: float = 0.6) -> np.ndarray:
    chance = np.random.default_rng(1)
    middles = np.repeat(chance.standard_normal((centres, 64)), each, axis=0)
    return normalised(middles + spread * chance.standard_normal(middles.shape) + 1)


def test_what_is_of_a_kind_is_told_from_what_is_of_none() -> None:
    vectors = clusters(30, 20)
    background = Background(vectors[::2], len(vectors))
    query, kind, others = vectors[0], vectors[1:20], vectors[20:]
    assert probabilities(background.false_matches(query, kind)).min() > 0.9
    assert background.false_matches(query, others).min() > 1
    stranger = normalised(np.random.default_rng(2).standard_normal((1, 64)) + 1)[0]
    near = vectors[np.argsort(-(vectors @ stranger))[:100]]
    assert probabilities(background.false_matches(stranger, near)).max() < 0.5


def test_twice_the_pictures_are_twice_the_false_matches() -> None:
    vectors = clusters(30, 20)
    once, twice = (Background(vectors[::2], images).false_matches(vectors[0], vectors[1:50]) for images in (600, 1200))
    assert twice == pytest.approx(2 * once)
    assert once.max() <= 600


def test_pictures_all_alike_and_all_unlike_are_no_trouble() -> None:
    for vectors in (np.ones((12, 64)) / 8, np.eye(64)[:12]):
        some = vectors.astype(np.float32)
        found = Background(some, 12).false_matches(some[0], some)
        assert np.isfinite(found).all()


class TestIndex:
    """Reds, greens and blues, 40 of each, some of them between."""

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
    def test_probabilities_descend_and_auto_ends_where_they_do(self, index: Index, folder: Path, ranking: str) -> None:
        found = index.search(folder / "red/3.png", 119, judge=True, ranking=ranking)
        told = [match.probability for match in found]
        assert None not in told
        assert told == sorted(told, reverse=True)
        likely = [match for match in found if match.probability >= 0.5]
        assert index.search(folder / "red/3.png", 119, auto=True, ranking=ranking) == likely
        assert index.search(folder / "red/3.png", 5, offset=2, judge=True, ranking=ranking) == found[2:7]
        assert found[0].as_dict()["probability"] == found[0].probability
        assert "false_matches" in found[0].as_dict()

    def test_the_query_itself_changes_nothing_for_others(self, index: Index, folder: Path) -> None:
        without = {match.id: match.probability for match in index.search(folder / "red/3.png", 119, judge=True)}
        found = index.search(folder / "red/3.png", 120, judge=True, include_self=True)
        assert found[0].probability == 1
        others = {match.id: match.probability for match in found if match.path != folder / "red/3.png"}
        assert others == pytest.approx(without)

    def test_who_does_not_ask_is_told_nothing(self, index: Index, folder: Path) -> None:
        found = index.search(folder / "red/3.png", 3)
        assert all(match.probability is match.false_matches is None for match in found)
        assert not {"probability", "false_matches"} & found[0].as_dict().keys()

    def test_what_is_added_counts_at_once(self, index: Index, folder: Path) -> None:
        before = index.search(folder / "red/3.png", 100, judge=True)[-1]
        for number in range(120):
            put(folder / f"grey/{number}.png", picture((100 + number, 100 + number, 100 + number)))
        index.add(folder)
        after = next(found for found in index.search(folder / "red/3.png", 239, judge=True) if found.id == before.id)
        assert after.false_matches != before.false_matches

    def test_of_few_pictures_nothing_is_told_and_nothing_is_cut(self, tmp_path: Path) -> None:
        with Index.create(tmp_path / "few", encoder=ColourEncoder()) as index:
            for number in range(FEWEST - 1):
                put(tmp_path / f"pictures/{number}.png", picture((200, 20 * number, 0)))
            index.add(tmp_path / "pictures")
            found = index.search(picture((200, 1, 0)), auto=True)
            assert len(found) == FEWEST - 1
            assert all(match.probability is None for match in found)
            put(tmp_path / "pictures/more.png", picture((1, 2, 3)))
            index.add(tmp_path / "pictures")
            assert index.search(picture((200, 1, 0)), judge=True)[0].probability is not None
