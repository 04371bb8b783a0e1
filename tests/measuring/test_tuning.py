"""The choice of a ranking: what the differences of two rankings decide, and what is gained on real pictures."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval import Index, SearchOptions
from retrieval.measuring import tuning
from retrieval.measuring.evaluate import Question, Truth, by_folders, evaluate, of_itself
from retrieval.measuring.metrics import JudgedAnswer
from retrieval.measuring.tuning import tune
from tests.fakes import put


def answers(*ranks: int) -> list[JudgedAnswer]:
    """Answers to queries with one right image: the rank of that image, 0 if it was not found."""
    found = [[rank] if rank else [] for rank in ranks]
    return [JudgedAnswer(np.array(of_query, dtype=np.int64), 1) for of_query in found]


def questions(count: int, changes: int = 1) -> Truth:
    """Questions about `count` pictures, each in `changes` changes."""
    return Truth(
        [Question(number, frozenset({number}), str(change)) for number in range(count) for change in range(changes)]
    )


@pytest.mark.parametrize(("count", "decided"), [(1, False), (10, False), (95, False), (97, True), (1000, True)])
def test_about_a_hundred_pictures_are_needed_to_see_that_nothing_is_lost(count: int, decided: bool) -> None:
    """It makes no difference how many changes of each picture are asked about, as these depend on one another."""
    for changes in (1, 7):
        same = answers(*[1] * count * changes)
        is_better, _ = tuning._by_changes(tuning.differences(questions(count, changes), same, same))
        assert is_better is (True if decided else None)


@pytest.mark.parametrize(("lost", "better"), [(0, True), (3, True), (30, False)])
def test_the_loss_decides(lost: int, better: bool) -> None:
    after = answers(*[2] * lost, *[1] * (1000 - lost))
    is_better, reason = tuning._by_changes(tuning.differences(questions(1000), answers(*[1] * 1000), after))
    assert is_better is better
    assert f"P@1 by {-lost / 1000:+.4f} (" in reason
    assert ("a loss of up to 0.02 is accepted" in reason) is better


@pytest.mark.parametrize(
    ("before", "after", "better", "why"),
    [
        ([2] * 5, [1] * 5, True, "expansion finds more"),
        ([1] * 5, [2] * 5, False, "expansion finds less"),
        ([1] * 400 + [9] * 600, [2] * 400 + [2] * 600, False, "loses more than 0.005 of P@1"),
        ([1, 2] * 50, [2, 1] * 50, None, "100 pictures are too few to tell"),
        ([1] * 10, [1] * 10, None, "10 pictures are too few to tell"),
    ],
)
def test_labels_decide_if_the_interval_does_not_contain_0(
    before: list[int], after: list[int], better: bool | None, why: str
) -> None:
    found = tuning.differences(questions(len(before)), answers(*before), answers(*after))
    is_better, reason = tuning._by_labels(found)
    assert is_better is better
    assert why in reason


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5])
def test_the_interval_contains_the_true_difference(share: float) -> None:
    """It does for at least 93 % of all samples of 100 pictures, also if hardly any picture differs.

    The share is computed, not drawn: the number of pictures that differ is binomial.
    """
    covered = 0.0
    for worse in range(101):
        after = [2] * worse + [1] * (100 - worse)
        difference = tuning.differences(questions(100), answers(*[1] * 100), answers(*after)).of["p@1"]
        if difference.low <= -share <= difference.high:
            covered += math.comb(100, worse) * share**worse * (1 - share) ** (100 - worse)
    assert covered >= 0.93


@pytest.mark.slow
def test_the_chosen_ranking_finds_more_of_a_kind(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """With MobileNetV2, tuned without labels; asked about all pictures, and about a fifth that is not in the index."""
    gains, held_out = [], []
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
            assert (found.decided, found.ranking) == (True, "expansion")
            assert "changed pictures cannot show" in found.reason
            plain, better = (
                evaluate(index, by_folders(index, tmp_path / name), options=SearchOptions(ranking=how)).measures
                for how in ("none", "auto")
            )
            assert better["p@1"].value >= plain["p@1"].value - 0.005
            gains.append((plain["map"].value, better["map"].value))
            held_out.append(_gain_of_a_fifth(index, tmp_path / name))
    assert np.mean([better for _, better in gains]) >= 0.83
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
