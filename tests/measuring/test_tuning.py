"""The choice of a ranking: what the differences of two rankings decide, and what is gained on real pictures."""

import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from retrieval import Index, SearchOptions
from retrieval.measuring import tuning
from retrieval.measuring.evaluate import Question, Truth, by_folders, of_itself
from retrieval.measuring.tuning import Asked, Judge, Verdict, tune
from tests.fakes import put


def asked(name: str, ranks: Sequence[int], agreement: float | Sequence[float] = 0.5, changes: int = 1) -> Asked:
    """Answers of a ranking: the rank of the one right image of each question, and the agreement of its neighbours."""
    count = len(ranks) // changes
    questions = [Question(at, frozenset({at}), str(change)) for at in range(count) for change in range(changes)]
    agreements = [agreement] * len(ranks) if isinstance(agreement, float) else agreement
    rows = [[1 / rank, float(rank == 1), agrees] for rank, agrees in zip(ranks, agreements, strict=True)]
    return tuning.measured(name, Truth(questions), rows)


def verdict(judge: Judge, by_score: Asked, in_force: str = "none", **others: Asked) -> Verdict:
    return tuning.decide([by_score, *others.values()], judge, in_force)


@pytest.mark.parametrize(("count", "decided"), [(1, False), (10, False), (95, False), (97, True), (1000, True)])
def test_about_a_hundred_pictures_are_needed_to_see_that_nothing_is_lost(count: int, decided: bool) -> None:
    """It makes no difference how many changes of each picture are asked about, as these depend on one another."""
    for changes in (1, 7):
        same = [1] * count * changes
        plain, mixed = asked("none", same, 0.1, changes), asked("mixed", same, 0.9, changes)
        found = verdict(tuning._by_changes, plain, mixed=mixed)
        assert found.ranking == ("mixed" if decided else None)
        assert found.reason.startswith(f"on {count} picture")


@pytest.mark.parametrize(("lost", "better"), [(0, True), (3, True), (30, False)])
def test_a_ranking_that_loses_the_same_picture_is_not_taken(lost: int, better: bool) -> None:
    """It is compared with the order by score, also if another ranking is the best one so far."""
    plain, mixed = asked("none", [1] * 1000, 0.3), asked("mixed", [1] * 1000, 0.5)
    expansion = asked("expansion", [2] * lost + [1] * (1000 - lost), 0.9)
    found = verdict(tuning._by_changes, plain, mixed=mixed, expansion=expansion)
    assert found.ranking == ("expansion" if better else "mixed")
    assert f"P@1 {-lost / 1000:+.4f} ±" in found.reason
    assert ("expansion loses more than 0.02 of P@1 against the order by score" in found.reason) is not better


@pytest.mark.parametrize(
    ("by_score", "mixed", "expansion", "chosen"),
    [
        (0.5, 0.6, 0.7, "expansion"),
        (0.5, 0.6, 0.6, "mixed"),
        (0.5, 0.6, 0.5, "mixed"),
        (0.5, 0.4, 0.6, "expansion"),
        (0.5, 0.4, 0.3, "none"),
        (0.5, 0.5, 0.5, None),
        (0.5, 0.4, 0.5, None),
    ],
)
def test_the_agreement_of_neighbours_decides_where_nothing_is_lost(
    by_score: float, mixed: float, expansion: float, chosen: str | None
) -> None:
    found = verdict(
        tuning._by_changes,
        asked("none", [1] * 400, by_score),
        mixed=asked("mixed", [1] * 400, mixed),
        expansion=asked("expansion", [1] * 400, expansion),
    )
    assert found.ranking == chosen
    assert found.reason.count(" finds changed pictures as well as the order by score") == 2


@pytest.mark.parametrize(
    ("before", "after", "better", "why"),
    [
        ([2] * 5, [1] * 5, True, "mixed finds more than the order by score"),
        ([1] * 5, [2] * 5, False, "mixed finds less than the order by score"),
        ([1] * 400 + [9] * 600, [2] * 400 + [2] * 600, False, "loses more than 0.005 of P@1"),
        ([1, 2] * 50, [2, 1] * 50, None, "on 100 pictures, mixed and the order by score do not differ enough"),
        ([1] * 10, [1] * 10, None, "on 10 pictures, mixed and the order by score do not differ enough"),
        ([2] * 100 + [3] * 900, [1] * 100 + [4] * 550 + [3] * 350, True, "mixed is right first more often"),
    ],
)
def test_labels_decide_if_the_interval_does_not_contain_0(
    before: list[int], after: list[int], better: bool | None, why: str
) -> None:
    found = verdict(tuning._by_labels, asked("none", before), mixed=asked("mixed", after))
    assert found.ranking == {True: "mixed", False: "none", None: None}[better]
    assert why in found.reason


def test_labels_choose_between_more_than_two() -> None:
    """Each ranking is compared with the best one before it."""
    plain, good, best = ([rank] * 50 for rank in (3, 2, 1))
    for mixed, expansion, chosen in (
        (good, best, "expansion"),
        (best, good, "mixed"),
        (good, good, "mixed"),
        (plain, best, "expansion"),
        (plain, plain, None),
        ([4] * 50, [4] * 50, "none"),
        ([4] * 50, best, "expansion"),
    ):
        others = {"mixed": asked("mixed", mixed), "expansion": asked("expansion", expansion)}
        assert verdict(tuning._by_labels, asked("none", plain), **others).ranking == chosen


def test_a_ranking_in_force_that_is_worse_does_not_stay() -> None:
    """Also if another one cannot be judged."""
    for judge, plain, mixed, expansion in (
        (tuning._by_labels, asked("none", [1] * 50), asked("mixed", [2] * 50), asked("expansion", [1, 1] * 25)),
        (
            tuning._by_changes,
            asked("none", [1] * 400, 0.5),
            asked("mixed", [2] * 400),
            asked("expansion", [1] * 400, 0.5),
        ),
    ):
        for in_force, chosen in (("none", None), ("mixed", "none"), ("expansion", None)):
            assert verdict(judge, plain, in_force, mixed=mixed, expansion=expansion).ranking == chosen


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_labelled_queries_decide_nothing(count: int) -> None:
    worst, best = asked("none", [1000] * count), asked("expansion", [1] * count)
    for before, after in ((worst, best), (best, worst)):
        assert verdict(tuning._by_labels, before, mixed=after).ranking is None


def test_a_clear_loss_is_no_lack_of_pictures() -> None:
    """Of pictures found again, in spite of wide intervals; and of first answers that are right."""
    lost = verdict(tuning._by_changes, asked("none", [1] * 60), mixed=asked("mixed", [9] * 30 + [1] * 30))
    assert (lost.ranking, "loses more than 0.02 of P@1" in lost.reason) == ("none", True)
    rows = [[0.5, 1.0, 0.0]] * 300, [[0.5, float(at >= 60), 0.0] for at in range(300)]
    truth = Truth([Question(at, frozenset({at})) for at in range(300)])
    plain, mixed = (tuning.measured(name, truth, part) for name, part in zip(("none", "mixed"), rows, strict=True))
    found = verdict(tuning._by_labels, plain, mixed=mixed)
    assert (found.ranking, "mixed is right first less often" in found.reason) == ("none", True)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5])
def test_the_interval_contains_the_true_difference(share: float) -> None:
    """It does for at least 93 % of all samples of 100 pictures, also if hardly any picture differs.

    The share is computed, not drawn: the number of pictures that differ is binomial.
    """
    covered = 0.0
    for worse in range(101):
        after = [2] * worse + [1] * (100 - worse)
        difference = asked("mixed", after).minus(asked("none", [1] * 100), "p@1")
        if difference.low <= -share <= difference.high:
            covered += math.comb(100, worse) * share**worse * (1 - share) ** (100 - worse)
    assert covered >= 0.93


@pytest.mark.slow
def test_the_chosen_ranking_finds_more_of_a_kind(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """With MobileNetV2, tuned without and with labels; and asked about a fifth that is not in the index."""
    gains, tuned, held_out = [], [], []
    for name in ("corel1k", "caltech101"):
        for path in sorted(shared(f"images/{name}").glob("*/*")):
            put(tmp_path / name / path.parent.name / path.name, path.read_bytes())
        with Index.create(
            tmp_path / f"{name}-index",
            backbone="mobilenet_v2",
            weights=shared("weights/mobilenet_v2_1.0_224_no_top.weights.h5"),
        ) as index:
            index.add(tmp_path / name)
            found = tune(index, of_itself(index), labelled=False)
            assert (found.decided, found.ranking) == (True, "mixed")
            assert found.map["mixed"] >= found.map["none"] - 0.01
            labelled = tune(index, by_folders(index, tmp_path / name), labelled=True)
            assert (labelled.decided, labelled.ranking) == (True, "expansion")
            tuned.append(labelled.map["expansion"])
            index.tune("mixed")
            gains.append((labelled.map["none"], labelled.map["mixed"]))
            held_out.append(_gain_of_a_fifth(index, tmp_path / name))
    assert np.mean([better for _, better in gains]) >= 0.855
    assert np.mean(tuned) >= 0.86
    assert np.mean(held_out) >= 2 / 3 * np.mean([better - plain for plain, better in gains])


def _gain_of_a_fifth(index: Index, folder: Path) -> float:
    """Remove every fifth picture from the index, and return how much expansion gains in the answers to these."""
    taken = sorted(folder.glob("*/*"))[::5]
    aside = folder.with_name(f"{folder.name}-aside")
    for path in taken:
        put(aside / path.parent.name / path.name, path.read_bytes())
        path.unlink()
    index.add(folder)
    labels = {image.id: image.path.parent.name for image in index.images()}

    def mean(ranking: str) -> float:
        asked = [aside / path.parent.name / path.name for path in taken]
        precisions = []
        for path, near in zip(
            taken, index.neighbours(asked, len(labels), options=SearchOptions(ranking=ranking)), strict=True
        ):
            ranks = np.flatnonzero([labels[image] == path.parent.name for image in near.ids.tolist()]) + 1
            precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
        return float(np.mean(precisions))

    gain = mean("auto") - mean("none")
    shutil.rmtree(aside)
    return gain
