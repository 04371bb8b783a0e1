"""Ranking by query expansion: compared with a plain computation, and as a search shows it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from retrieval import BadInput, Index, SearchOptions
from retrieval.measuring import tuning
from retrieval.measuring.evaluate import by_folders, evaluate, of_itself
from retrieval.measuring.tuning import tune
from retrieval.searching.expansion import COMPANY, ranked, relevance
from tests.contracts.vectors import normalised
from tests.fakes import ColourEncoder, picture, put


def plainly(query: np.ndarray, near: np.ndarray, mean: np.ndarray, share: float) -> list[float]:
    """What `relevance` returns, computed vector by vector."""
    pool = [(one - mean) / np.linalg.norm(one - mean) for one in np.concatenate([query[None], near]).astype(float)]
    expanded = []
    for at, one in enumerate(pool):
        others = sorted((other for number, other in enumerate(pool) if number != at), key=lambda other: -(one @ other))
        company = [(COMPANY - rank) / (COMPANY + 1) * other for rank, other in enumerate(others[:COMPANY])]
        together = one + sum(company)
        expanded.append(together / np.linalg.norm(together))
    return [
        share * (expanded[0] @ far) + (1 - share) * (pool[0] @ one)
        for far, one in zip(expanded[1:], pool[1:], strict=True)
    ]


def drawn(count: int, seed: int) -> np.ndarray:
    chance = np.random.default_rng(seed)
    return normalised(chance.standard_normal((count, 12)) + 0.5)


@given(st.integers(1, 40), st.integers(0, 1000), st.sampled_from([0.0, 0.5, 0.75, 1.0]))
def test_relevance_is_what_a_plain_computation_gives(count: int, seed: int, share: float) -> None:
    query, *near = drawn(count + 1, seed)
    mean = drawn(50, seed + 1).mean(axis=0)
    found = relevance(query, np.stack(near), mean, share)
    assert found == pytest.approx(plainly(query, np.stack(near), mean, share), abs=1e-5)
    assert (np.abs(found) <= 1).all()


@given(st.integers(2, 40), st.integers(0, 1000))
def test_relevance_does_not_depend_on_the_order_of_the_neighbours(count: int, seed: int) -> None:
    query, *near = drawn(count + 1, seed)
    order = np.random.default_rng(seed).permutation(count)
    found = relevance(query, np.stack(near), np.zeros(12, np.float32), 0.5)
    again = relevance(query, np.stack(near)[order], np.zeros(12, np.float32), 0.5)
    assert again == pytest.approx(found[order], abs=1e-5)


def test_a_query_equal_to_the_mean_gives_finite_relevances() -> None:
    near = drawn(5, 1)
    assert np.isfinite(relevance(near[0], near, near[0], 0.5)).all()
    assert np.isfinite(relevance(near[0], np.repeat(near[:1], 4, axis=0), near[0], 0.5)).all()


def test_copies_come_first_and_equal_ones_have_an_order() -> None:
    scores = np.array([1, 0.99995, 0.9, 0.8, 0.7, 0.7], dtype=np.float32)
    relevant = np.array([0.1, 0.2, 0.3, 0.9, 0.5, 0.5], dtype=np.float32)
    ids = np.array([5, 4, 3, 2, 0, 1])  # equal scores stand in the order of ids
    assert ranked(ids, scores, relevant, 0).tolist() == [0, 1, 3, 4, 5, 2]
    assert ranked(ids, scores, relevant, 1).tolist() == [0, 1, 2, 3, 4, 5]
    for first in (4, 5, 100):
        assert ranked(ids, scores, relevant, first).tolist() == [0, 1, 2, 3, 4, 5]


class TestIndex:
    """A search among red, green and blue pictures, 20 of each."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for number in range(20):
            for name, shade in (("red", (1, 0, 0)), ("green", (0, 1, 0)), ("blue", (0, 0, 1))):
                colour = tuple((255 - 3 * number) * part + 5 * number * (1 - part) for part in shade)
                put(tmp_path / f"photos/{name}/{number}.png", picture(colour))
        return tmp_path / "photos"

    @pytest.fixture
    def index(self, folder: Path, tmp_path: Path) -> Iterator[Index]:
        with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
            index.add(folder)
            yield index

    def test_the_rank_follows_relevance_and_the_score_stays_the_cosine(self, index: Index, folder: Path) -> None:
        query = folder / "red/3.png"
        plain = {match.id: match for match in index.search(query, 59)}
        found = index.search(query, 59, options=SearchOptions(ranking="expansion"))
        assert {match.id: match.score for match in found} == {id_: match.score for id_, match in plain.items()}
        assert [match.rank for match in found] == list(range(1, 60))
        relevant = [match.relevance for match in found if match.score < 0.9999]
        assert None not in relevant
        assert relevant == sorted(relevant, reverse=True)
        assert all(match.relevance is None for match in plain.values())
        assert "relevance" not in next(iter(plain.values())).as_dict()

    def test_pages_are_parts_of_one_answer(self, index: Index, folder: Path) -> None:
        whole = index.search(folder / "red/3.png", 30, options=SearchOptions(ranking="expansion"))
        for offset in (0, 7, 23):
            page = index.search(folder / "red/3.png", 7, options=SearchOptions(offset=offset, ranking="expansion"))
            assert page == whole[offset : offset + 7]

    def test_a_query_from_outside_is_ranked_too(self, index: Index) -> None:
        found = index.search(picture((240, 20, 20)), 5, options=SearchOptions(ranking="expansion"))
        assert {match.path.parent.name for match in found} == {"red"}

    def test_mixed_keeps_the_first_three_by_score(self, index: Index, folder: Path) -> None:
        """The query is among the matches, or it is not; it does not count among the three."""
        query, mixed = folder / "red/3.png", SearchOptions(ranking="mixed")
        plain = index.search(query, 59)
        found = index.search(query, 59, options=mixed)
        assert [match.id for match in found[:3]] == [match.id for match in plain[:3]]
        assert [match.relevance for match in found[:3]] == [None] * 3
        relevant = [match.relevance for match in found[3:]]
        assert None not in relevant
        assert relevant == sorted(relevant, reverse=True)
        assert {match.id: match.score for match in found} == {match.id: match.score for match in plain}
        with_itself = index.search(query, 60, options=SearchOptions(ranking="mixed", include_self=True))
        assert [match.id for match in with_itself[1:]] == [match.id for match in found]
        for offset in (0, 2, 7, 23):
            assert (
                index.search(query, 7, options=SearchOptions(offset=offset, ranking="mixed"))
                == (found[offset : offset + 7])
            )

    def test_mixed_is_the_default_of_an_index_of_100_images(self, index: Index, folder: Path) -> None:
        def as_if_asked_for(ranking: str) -> bool:
            query = folder / "red/3.png"
            return index.search(query, 99) == index.search(query, 99, options=SearchOptions(ranking=ranking))

        for number in range(39):
            put(folder / f"grey/{number}.png", picture((6 * number, 6 * number, 250 - 6 * number)))
        index.add(folder)
        assert (index.info().images, as_if_asked_for("none"), as_if_asked_for("mixed")) == (99, True, False)
        put(folder / "grey/39.png", picture((250, 250, 250)))
        index.add(folder)
        assert (index.info().images, as_if_asked_for("none"), as_if_asked_for("mixed")) == (100, False, True)
        assert index.info().ranking is None
        for chosen in ("none", "expansion", "mixed"):
            index.tune(chosen)
            assert as_if_asked_for(chosen)

    def test_few_pictures_are_ranked_too(self, tmp_path: Path) -> None:
        with Index.create(tmp_path / "few", encoder=ColourEncoder()) as index:
            assert index.search(picture((1, 2, 3)), options=SearchOptions(ranking="expansion")) == []
            with pytest.raises(BadInput, match="the index is empty"):
                index.tune("expansion")
            for count in (1, 2):
                put(tmp_path / f"pictures/{count}.png", picture((200, count, 0)))
                index.add(tmp_path / "pictures")
                assert len(index.search(picture((1, 2, 3)), options=SearchOptions(ranking="expansion"))) == count

    def test_an_unknown_ranking_is_refused(self, index: Index, folder: Path) -> None:
        with pytest.raises(BadInput, match="there is no ranking best"):
            index.search(folder / "red/3.png", options=SearchOptions(ranking="best"))
        with pytest.raises(BadInput, match="there is no ranking auto"):
            index.tune("auto")

    def test_the_choice_of_a_ranking_is_kept_and_can_be_undone(
        self, index: Index, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def ranked_now() -> bool:
            return index.search(folder / "red/3.png", 1)[0].relevance is not None

        assert (ranked_now(), index.info().ranking) == (False, None)
        truth = by_folders(index, folder)
        for better, name in ((True, "expansion"), (False, "none")):
            monkeypatch.setattr(tuning, "_by_labels", lambda *_, better=better: (better, "it was told so"))
            found = tune(index, truth, labelled=True)
            assert (found.ranking, found.by, found.queries, found.decided) == (name, "labels", 60, True)
            assert list(found.map) == ["none", "mixed", "expansion"]
            assert ranked_now() == better
            facts = {"name": name, "by": "labels", "queries": 60, "map": found.map, "agreement": {}}
            assert index.info().ranking == facts | {"reason": "on 60 pictures, it was told so; it was told so"}
        index.tune("expansion")
        assert ranked_now()
        with Index.open(tmp_path / "index", encoder=ColourEncoder()) as again:
            assert again.search(folder / "red/3.png", 1)[0].relevance is not None
        index.tune("none")
        assert (ranked_now(), index.info().ranking) == (False, {"name": "none"})

    def test_without_labels_changed_pictures_must_find_their_originals(self, index: Index) -> None:
        truth = of_itself(index, count=10)
        found = tune(index, truth, labelled=False)
        assert found.by == "changes"
        for name in ("none", "mixed", "expansion"):
            measures = evaluate(index, truth, options=SearchOptions(ranking=name)).measures
            assert found.map[name] == pytest.approx(measures["map"].value)
            assert 0 <= found.agreement[name] <= 1
        assert (found.decided, found.ranking) == (False, "none")
        assert found.reason.startswith("on 10 pictures, too few to tell whether mixed loses 0.02")
        assert index.info().ranking is None

    def test_the_agreement_is_the_share_of_neighbours_in_common(self, index: Index) -> None:
        """A picture and its changed version; neither of them counts as a neighbour."""
        truth = of_itself(index, count=5)
        shares = []
        for question in truth.questions:
            (original,) = question.relevant
            near = [match.id for match in index.search(question.made(), 11) if match.id != original][:10]
            company = {match.id for match in index.search(original, 10)}
            shares.append(len(company & set(near)) / 10)
        found = tune(index, truth, labelled=False)
        assert found.agreement["none"] == pytest.approx(np.mean(shares))

    def test_a_picture_that_leaves_the_index_does_not_stop_the_tuning(self, index: Index, folder: Path) -> None:
        truth = of_itself(index, count=10)
        (gone,) = truth.questions[0].relevant
        next(image.path for image in index.images() if image.id == gone).unlink()
        index.add(folder)
        found = tune(index, truth, labelled=False)
        assert found.queries == len(truth.questions)

    def test_what_an_earlier_version_measured_is_kept(self, index: Index) -> None:
        index.tune("expansion", by="labels", queries=9, plain=0.5, ranked=0.6, reason="because")
        before = index.info().ranking
        assert not tune(index, of_itself(index, count=3), labelled=False).decided
        assert index.info().ranking == before

    @pytest.mark.parametrize("in_force", [None, "none", "expansion"])
    def test_too_few_pictures_change_nothing(self, tmp_path: Path, in_force: str | None) -> None:
        with Index.create(tmp_path / "few", encoder=ColourEncoder()) as index:
            for count in (1, 2):
                put(tmp_path / f"pictures/a/{count}.png", picture((200, 90 * count, 0)))
                index.add(tmp_path / "pictures")
                if in_force is not None:
                    index.tune(in_force, by="hand")
                before = index.info().ranking
                found = tune(index, of_itself(index), labelled=False)
                assert (found.decided, found.ranking) == (False, in_force or "none")
                assert found.reason.startswith(f"on {'1 picture' if count == 1 else '2 pictures'}, too few to tell")
                assert index.info().ranking == before
            found = tune(index, by_folders(index, tmp_path / "pictures"), labelled=True)
            assert (found.decided, found.ranking) == (False, in_force or "none")

    def test_all_matches_that_score_enough_are_found(self, index: Index, folder: Path) -> None:
        plain = index.search(folder / "red/3.png", 59)
        least = plain[20].score
        for k in (1, 5, 21, 40):
            found = index.search(folder / "red/3.png", k, options=SearchOptions(min_score=least, ranking="expansion"))
            assert len(found) == min(k, 21)
            assert all(match.score >= least for match in found)

    def test_a_copy_of_the_query_does_not_count_as_its_neighbour(self, index: Index, folder: Path) -> None:
        """So the others have the same order if the query is left out, is a match, or only looks like an image."""
        query = folder / "red/3.png"
        known = [match.id for match in index.search(query, 59, options=SearchOptions(ranking="expansion"))]
        with_itself = [
            match.id for match in index.search(query, 60, options=SearchOptions(include_self=True, ranking="expansion"))
        ]
        looks_the_same = [
            match.id for match in index.search(Image.open(query), 60, options=SearchOptions(ranking="expansion"))
        ]
        assert with_itself == looks_the_same
        assert [id_ for id_ in with_itself if id_ != index.id_of(query)] == known

    def test_an_empty_index_can_go_back_to_ranking_by_score(self, index: Index, folder: Path) -> None:
        index.tune("expansion")
        index.remove(folder)
        index.tune("none")
        assert index.info().ranking == {"name": "none"}
