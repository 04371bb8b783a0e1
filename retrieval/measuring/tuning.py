"""Choose the ranking that is best for an index, measured on the images of that index.

Truth -> each ranking answers its questions -> `Asked`: measures by picture -> comparisons -> Tuned

The rankings are compared one after another, from the one by score to the one that changes the order most. Each is
compared with the best one before it, and takes its place if it is better.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import BadInput
from retrieval.index import Index
from retrieval.measuring.evaluate import Question, Truth, answers, judge, lengths_of
from retrieval.measuring.metrics import MEASURES, Estimate, means_by_group
from retrieval.networks.embedding import batches
from retrieval.searching.options import SearchOptions
from retrieval.searching.ranking import NAMES, NONE, by_default
from retrieval.types import Ids, Measured

LOST = 0.005
"""Largest loss of precision at 1 or of mean average precision that is accepted if the other one rises by labels."""
LOST_ALIKE = 0.02
"""Largest loss of either measure, against the ranking by score, that is accepted if the queries are changed pictures.
An interval decides only if half of its width is at most this number too, or if all of it shows a loss. With 100
pictures, half of the width is 0.019 if no picture differs, and more otherwise."""
COMPANY = 10
"""Number of first matches that are compared for the agreement: a page of results."""
AGREEMENT = "agreement"
"""Name of the measure that is the share of the first `COMPANY` matches of a picture that its changed version has too.
The picture itself does not count."""
DEVIATIONS = 1.96
"""Number of standard errors between a mean and either end of its 95 % interval."""
JUDGED = {"map": "mAP", "p@1": "P@1"}
"""The measures of the right answers: JSON name -> name in papers."""
SCORE = "the order by score"
"""The ranking `NONE` in a sentence."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What `tune` measured and decided."""

    ranking: str
    """Name of the ranking that searches use from now on, as in `SearchOptions.ranking`."""
    by: str
    """Source of the right answers: "labels", or "changes" if changed pictures had to find their originals."""
    queries: int
    """Number of queries."""
    map: Mapping[str, float]
    """Name of each ranking -> its mean average precision, 0 to 1."""
    agreement: Mapping[str, float]
    """Name of each ranking -> its agreement (see `AGREEMENT`), 0 to 1; empty if labels decided."""
    decided: bool
    """Whether there were enough pictures to decide. If not, the ranking stays as it was."""
    reason: str
    """What was compared, and the reason of the decision: a sentence."""

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON can hold them."""
        return asdict(self)

    def measured(self) -> Measured:
        """Return what the index keeps of the measurement."""
        return Measured(
            by=self.by,
            queries=self.queries,
            map=dict(self.map),
            agreement=dict(self.agreement),
            reason=self.reason,
        )


def tune(index: Index, truth: Truth, *, labelled: bool, progress: Callable[[int], None] | None = None) -> Tuned:
    """Measure which ranking is best for `index`, and let its searches use that one.

    `labelled` says whether `truth` comes from labels (see `_by_labels`). Otherwise `truth` must ask about changed
    pictures, as `evaluate.of_itself` does (see `_by_changes`). If there are too few pictures to decide, the ranking
    stays as it is.

    Each question is asked once for each ranking; `progress` is called with the number of queries asked so far. Raises
    what `Index.tune` raises, before anything is asked, and what `Index.search` raises.
    """
    info = index.info()
    in_force = by_default(info.images)
    if info.ranking is not None:
        measured: Any = {name: value for name, value in info.ranking.items() if name != "name"}
        in_force = info.ranking["name"]
        index.tune(in_force, **measured)  # stores the mean of the vectors as it is now, which expansion subtracts
    asked = _ask(index, truth, labelled=labelled, progress=progress)
    verdict = decide(asked, _by_labels if labelled else _by_changes, in_force)
    tuned = Tuned(
        ranking=verdict.ranking or in_force,
        by="labels" if labelled else "changes",
        queries=len(truth.questions),
        map=_means(asked, "map"),
        agreement={} if labelled else _means(asked, AGREEMENT),
        decided=verdict.ranking is not None,
        reason=verdict.reason,
    )
    if tuned.decided:
        index.tune(tuned.ranking, **tuned.measured())
    return tuned


# -- asking -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """What the answers by one ranking are worth."""

    ranking: str
    """Name of the ranking."""
    measures: Mapping[str, NDArray[np.float64]]
    """Name of a measure -> its mean for each picture, (n,). The pictures have the same order for all rankings."""

    def minus(self, other: "Asked", measure: str) -> Estimate:
        """Return the mean difference of a measure, `self` minus `other`, with its interval.

        The difference is taken picture by picture. Then two pictures are added for the interval: one without a
        difference, half a picture that gains 1, and half a picture that loses 1 (Agresti & Min 2005, Simple improved
        confidence intervals for comparing matched proportions). Without these two, a single picture that both rankings
        find would seem to prove that there is no difference.
        """
        by_picture = self.measures[measure] - other.measures[measure]
        count, total = len(by_picture) + 2, float(by_picture.sum())
        half = DEVIATIONS * math.sqrt((by_picture**2).sum() + 1 - total**2 / count) / count
        return Estimate(float(by_picture.mean()), total / count - half, total / count + half)


def _ask(index: Index, truth: Truth, *, labelled: bool, progress: Callable[[int], None] | None) -> list[Asked]:
    """Ask all questions by each of the rankings, and return the measures of the answers.

    A few questions at a time are asked by all rankings, so that a changed picture is made only once. The network embeds
    it once for each ranking.
    """
    ways = {name: SearchOptions(ranking=name) for name in NAMES}
    company = {name: {} for name in NAMES} if labelled else _company(index, truth, ways)
    lengths = lengths_of(index, truth, SearchOptions())
    rows: dict[str, list[list[float]]] = {name: [] for name in NAMES}
    for questions in batches(truth.questions):
        part = Truth([replace(question, query=question.made()) for question in questions])
        for name, options in ways.items():
            for question, ids in zip(part.questions, answers(index, part, options, lengths), strict=True):
                judged = judge(ids, question)
                agreement = 0.0 if labelled else _agreement(question, ids, company[name])
                rows[name].append([*(MEASURES[measure](judged) for measure in JUDGED), agreement])
            if progress is not None:
                progress(sum(map(len, rows.values())))
    return [measured(name, truth, of_ranking) for name, of_ranking in rows.items()]


def measured(ranking: str, truth: Truth, rows: Sequence[Sequence[float]]) -> Asked:
    """Return the measures by picture. A row has the measures `JUDGED` and the agreement of one question of `truth`."""
    groups = np.array(truth.groups(), dtype=np.int64)
    columns = np.array(rows, dtype=np.float64).T
    names = (*JUDGED, AGREEMENT)
    return Asked(ranking, {name: means_by_group(column, groups) for name, column in zip(names, columns, strict=True)})


Company = dict[str, dict[int, Ids]]
"""Name of a ranking -> id of an original -> its first matches."""


def _company(index: Index, truth: Truth, ways: Mapping[str, SearchOptions]) -> Company:
    """Return the first matches of the originals of all questions, by each of the rankings.

    Each question has one original, which is its only right answer. One that has left the index meanwhile is left out of
    all rankings, so that it makes no difference between them.
    """
    company: Company = {name: {} for name in ways}
    for original in sorted({_original(question) for question in truth.questions}):
        try:
            found = {name: next(index.neighbours([original], COMPANY, options)).ids for name, options in ways.items()}
        except BadInput:
            continue
        for name, ids in found.items():
            company[name][original] = ids
    return company


def _agreement(question: Question, ids: Ids, company: Mapping[int, Ids]) -> float:
    """Return the agreement of the answer to a question with the answer to its original, 0 to 1."""
    original = _original(question)
    expected = company.get(original, np.array([], dtype=np.int64))
    near = ids[ids != original][:COMPANY]
    return len(np.intersect1d(near, expected)) / max(1, len(expected))


def _original(question: Question) -> int:
    (original,) = question.relevant
    return original


def _means(asked: Sequence[Asked], measure: str) -> dict[str, float]:
    return {each.ranking: float(each.measures[measure].mean()) for each in asked}


# -- deciding -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision between several rankings."""

    ranking: str | None
    """Name of the best ranking; None if there are too few pictures to tell."""
    reason: str


Judge = Callable[[Asked, Asked, Asked], tuple[bool | None, str]]
"""Takes a ranking, the best one before it, and the one by score. Returns whether the first is better than the second,
None if that cannot be told, and a clause that says why, with the differences."""


def decide(asked: Sequence[Asked], judge: Judge, in_force: str) -> Verdict:
    """Return the best of some rankings, of which the first is by score.

    Each of the others is compared with the best one before it, and takes its place if it is better. If none is better
    than by score, but one might be, nothing is decided, unless the ranking `in_force` is worse than by score.
    """
    by_score, *others = asked
    best, unknown, worse, reasons = by_score, False, set(), []
    for each in others:
        is_better, why = judge(each, best, by_score)
        reasons.append(why)
        unknown |= is_better is None
        if is_better:
            best = each
        elif is_better is False:
            worse.add(each.ranking)
    reason = f"on {_pictures(by_score)}, {'; '.join(reasons)}"
    open_ = best is by_score and unknown and in_force not in worse
    return Verdict(None if open_ else best.ranking, reason)


def _by_labels(ranking: Asked, best: Asked, _by_score: Asked) -> tuple[bool | None, str]:
    """Return whether a ranking is better than the best one before it, judged by labels, and why.

    It is better if one of the two measures `JUDGED` rises, with its whole interval, and the other one falls by at most
    `LOST`. It cannot be told if both intervals contain 0.
    """
    mean, first = ranking.minus(best, "map"), ranking.minus(best, "p@1")
    this, other = ranking.ranking, _named(best)
    shown = f"({_shown('mAP', mean)}, {_shown('P@1', first)})"
    if mean.low > 0 and first.value >= -LOST:
        return True, f"{this} finds more than {other} {shown}"
    if first.low > 0 and mean.value >= -LOST:
        return True, f"{this} is right first more often than {other} {shown}"
    if mean.low > 0:
        return False, f"{this} finds more than {other}, but loses more than {LOST} of P@1 {shown}"
    if mean.high < 0:
        return False, f"{this} finds less than {other} {shown}"
    if first.high < 0:
        return False, f"{this} is right first less often than {other} {shown}"
    return None, f"{this} and {other} do not differ enough to tell {shown}"


def _by_changes(ranking: Asked, best: Asked, by_score: Asked) -> tuple[bool | None, str]:
    """Return whether a ranking is better than the best one before it, judged by changed pictures, and why.

    Changed pictures show whether the same picture is found as well as by score: neither measure may fall by more than
    `LOST_ALIKE`. They also show whether a picture and its changed version have the same neighbours: the agreement must
    rise, with its whole interval. A search for a kind of picture is better if it does not depend on the crop or the
    light, but only labels can show that it finds more of the kind.
    """
    alike = {name: ranking.minus(by_score, measure) for measure, name in JUDGED.items()}
    agreement = ranking.minus(best, AGREEMENT)
    this, other = ranking.ranking, _named(best)
    same = f"({', '.join(_shown(name, difference) for name, difference in alike.items())})"
    worst = min(alike, key=lambda name: alike[name].value)
    is_worse = any(difference.high < -LOST_ALIKE for difference in alike.values())
    if not is_worse and max(map(_half, alike.values())) > LOST_ALIKE:
        return None, f"too few to tell whether {this} loses {LOST_ALIKE} against {SCORE} {same}"
    if is_worse or alike[worst].value < -LOST_ALIKE:
        return False, f"{this} loses more than {LOST_ALIKE} of {worst} against {SCORE}, so it is not taken {same}"
    found = f"{this} finds changed pictures as well as {SCORE} {same}"
    agrees = f"than with {other} ({_shown(AGREEMENT, agreement)})"
    if agreement.low > 0:
        return True, f"{found}, and their neighbours agree more {agrees}"
    if agreement.high < 0:
        return False, f"{found}, but their neighbours agree less {agrees}"
    return None, f"{found}, but their neighbours do not clearly agree more or less {agrees}"


def _pictures(asked: Asked) -> str:
    count = len(asked.measures["map"])
    return "1 picture" if count == 1 else f"{count} pictures"


def _named(asked: Asked) -> str:
    return SCORE if asked.ranking == NONE else asked.ranking


def _shown(name: str, difference: Estimate) -> str:
    """Return a difference with half the width of its interval, for a person."""
    return f"{name} {difference.value:+.4f} ± {_half(difference):.4f}"


def _half(difference: Estimate) -> float:
    """Return half the width of an interval."""
    return (difference.high - difference.low) / 2
