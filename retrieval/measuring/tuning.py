"""Which ranking is better for an index, by score or by expansion: measured on its own images."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from retrieval.index import Index
from retrieval.measuring.evaluate import Truth, ask, summarise
from retrieval.measuring.metrics import CONFIDENCE, MEASURES, Estimate, JudgedAnswer, means_by_group
from retrieval.searching.options import SearchOptions
from retrieval.searching.ranking import EXPANSION, NONE
from retrieval.types import Measured

LOST = 0.005
"""Largest loss of precision at 1 that is accepted for a ranking that finds more."""
LOST_ALIKE = 0.02
"""Largest loss of either measure that is accepted where changed pictures are searched for; and the largest half of an
interval with which that can be decided. With 100 pictures, half an interval of the difference is 0.006 to 0.022.
Caltech-101, of whose classes expansion finds far more, loses 0.010 of precision at 1."""
DEVIATIONS = 1.96
"""Number of standard errors from the mean to an end of its interval of `CONFIDENCE`, 95 %."""
NAMES = {"map": "mAP", "p@1": "P@1"}
"""The measures that decide: JSON name -> name in papers."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was measured, and what was decided."""

    ranking: str
    """The ranking that is in force from now on: "none" or "expansion"."""
    by: str
    """What was known of the pictures: "labels", or "changes" if changed pictures had to find their originals."""
    queries: int
    """Number of queries."""
    plain: float
    """Mean average precision of the ranking by score."""
    ranked: float
    """Mean average precision of the ranking by expansion."""
    decided: bool
    """Whether the pictures were enough to decide. If not, the ranking stays as it was."""
    reason: str
    """What was compared, and why it was decided so: a sentence."""

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON can hold them."""
        return asdict(self)

    def measured(self) -> Measured:
        """Return what the index keeps of the measurement."""
        return Measured(by=self.by, queries=self.queries, plain=self.plain, ranked=self.ranked, reason=self.reason)


def tune(index: Index, truth: Truth, *, labelled: bool, progress: Callable[[int], None] | None = None) -> Tuned:
    """Measure whether ranking by expansion finds more than ranking by score, and put the better one in force.

    If `truth` comes from labels (`labelled`), expansion is kept if mean average precision rises, and precision at 1
    falls by at most `LOST`. Else `truth` asks about changed pictures (`evaluate.of_itself`). These show whether the
    same picture is found as well as before, but not whether more of the same kind is found, which is the purpose of
    expansion. So expansion is kept there unless one of the two measures falls by more than `LOST_ALIKE`. If there are
    too few pictures to decide, the ranking stays as it is.

    `progress` is called with the number of queries that have been asked, of two times the number of questions. Raises
    what `Index.tune` raises, before anything is asked, and what `Index.search` raises.
    """
    in_force, measured = _ranking_of(index)
    index.tune(in_force, **measured)  # keeps the mean of the vectors as it is now
    count = len(truth.questions)
    by_score = ask(index, truth, SearchOptions(ranking=NONE), progress=progress)
    second_half = None if progress is None else lambda done: progress(count + done)
    by_expansion = ask(index, truth, SearchOptions(ranking=EXPANSION), progress=second_half)
    decide = _by_labels if labelled else _by_changes
    is_better, reason = decide(differences(truth, by_score, by_expansion))
    ranking = {None: in_force, True: EXPANSION, False: NONE}[is_better]
    tuned = Tuned(
        ranking=ranking,
        by="labels" if labelled else "changes",
        queries=count,
        plain=summarise(truth, by_score, 0).measures["map"].value,
        ranked=summarise(truth, by_expansion, 0).measures["map"].value,
        decided=is_better is not None,
        reason=reason,
    )
    if tuned.decided:
        index.tune(ranking, **tuned.measured())
    return tuned


def _ranking_of(index: Index) -> tuple[str, Measured]:
    """Return the ranking in force, and what was measured for it."""
    ranking = index.info().ranking
    if ranking is None:
        return NONE, {}
    measured: Any = {name: value for name, value in ranking.items() if name != "name"}
    return ranking["name"], measured


# -- differences of two rankings ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Differences:
    """How much the measures of expansion differ from those of ranking by score."""

    of: Mapping[str, Estimate]
    """JSON name of a measure, as in `NAMES` -> the mean difference; positive where expansion is better."""
    pictures: int
    """Number of pictures on which that was measured."""


def differences(truth: Truth, before: Sequence[JudgedAnswer], after: Sequence[JudgedAnswer]) -> Differences:
    """Return the mean differences of two lists of answers to the questions of `truth`, with their intervals.

    The difference is taken question by question. Before its interval is computed, two pictures are added: half of one
    that gains all and half of one that loses all, with one that stays the same (Agresti & Min 2005, Simple improved
    confidence intervals for comparing matched proportions). Without them, a single picture that is found in both
    rankings would seem to prove that there is no difference.
    """
    groups = np.array(truth.groups(), dtype=np.int64)
    found = {}
    for name in NAMES:
        measure = MEASURES[name]
        difference = np.array([measure(answer) for answer in after]) - [measure(answer) for answer in before]
        each = means_by_group(difference, groups)
        count, mean = len(each) + 2, float(each.mean())
        half = DEVIATIONS * math.sqrt((each**2).sum() + 1 - each.sum() ** 2 / count) / count
        found[name] = Estimate(mean, mean - half, mean + half)
    return Differences(found, len(np.unique(groups)))


# -- decisions ----------------------------------------------------------------------------------------------------


def _by_labels(found: Differences) -> tuple[bool | None, str]:
    """Return whether expansion is better, by labels, and the reason.

    None if the interval of the difference in mean average precision contains 0: then it cannot be decided.
    """
    mean, first = found.of["map"], found.of["p@1"]
    if mean.low <= 0 <= mean.high:
        return None, f"{_pictures(found)} too few to tell: expansion changes {_shown('map', mean)}"
    is_better = mean.low > 0 and first.value >= -LOST
    if mean.high < 0:
        why = "expansion finds less"
    elif is_better:
        why = "expansion finds more"
    else:
        why = f"expansion finds more, but loses more than {LOST} of P@1"
    return is_better, f"{why}: it changes {_shown('map', mean)}, and {_shown('p@1', first)}"


def _by_changes(found: Differences) -> tuple[bool | None, str]:
    """Return whether expansion finds changed pictures as well as before, and the reason.

    None if half of an interval is more than `LOST_ALIKE`: then it cannot be decided.
    """
    worst = min(found.of, key=lambda name: found.of[name].value)
    changes = " and ".join(_shown(name, difference) for name, difference in found.of.items())
    if max(difference.value - difference.low for difference in found.of.values()) > LOST_ALIKE:
        return None, f"{_pictures(found)} too few to tell a loss of {LOST_ALIKE}: expansion changes {changes}"
    if found.of[worst].value < -LOST_ALIKE:
        why = f"expansion loses more than {LOST_ALIKE} of {NAMES[worst]}, so the same picture is found less well"
        return False, f"{why}: it changes {changes}"
    return True, (
        f"the same picture is found as well as before, as a loss of up to {LOST_ALIKE} is accepted: expansion changes "
        f"{changes}. Expansion is for finding more of the same kind; changed pictures cannot show whether it does, but "
        "labels can"
    )


def _pictures(found: Differences) -> str:
    return "1 picture is" if found.pictures == 1 else f"{found.pictures} pictures are"


def _shown(name: str, difference: Estimate) -> str:
    """Return a difference with its interval, for a person."""
    interval = f"{difference.low:+.4f} to {difference.high:+.4f}, {100 * CONFIDENCE:.0f} % interval"
    return f"{NAMES[name]} by {difference.value:+.4f} ({interval})"
