"""Measure which ranking is better for an index, by score or by expansion, on the images of that index."""

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
"""Largest loss of precision at 1 that is accepted if labels show that expansion finds more."""
LOST_ALIKE = 0.02
"""Largest loss of either measure that is accepted if the queries are changed pictures. An interval decides only if half
of its width is at most this number too. With 100 pictures, half the width of the interval of a difference is 0.006 to
0.022. On Caltech-101, where expansion finds far more images of the same class, the loss of precision at 1 is 0.010."""
DEVIATIONS = 1.96
"""Number of standard errors between a mean and either end of its 95 % interval (see `CONFIDENCE`)."""
NAMES = {"map": "mAP", "p@1": "P@1"}
"""The measures that decide: JSON name -> name in papers."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What `tune` measured and decided."""

    ranking: str
    """The ranking that searches use from now on: "none" (by score) or "expansion"."""
    by: str
    """Source of the right answers: "labels", or "changes" if changed pictures had to find their originals."""
    queries: int
    """Number of queries."""
    plain: float
    """Mean average precision of the ranking by score."""
    ranked: float
    """Mean average precision of the ranking by expansion."""
    decided: bool
    """Whether there were enough pictures to decide. If not, the ranking stays as it was."""
    reason: str
    """What was compared, and the reason of the decision: a sentence."""

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON can hold them."""
        return asdict(self)

    def measured(self) -> Measured:
        """Return what the index keeps of the measurement."""
        return Measured(by=self.by, queries=self.queries, plain=self.plain, ranked=self.ranked, reason=self.reason)


def tune(index: Index, truth: Truth, *, labelled: bool, progress: Callable[[int], None] | None = None) -> Tuned:
    """Measure whether ranking by expansion finds more than ranking by score, and let searches use the better ranking.

    `labelled` says whether `truth` comes from labels. If so, expansion is chosen if mean average precision rises and
    precision at 1 falls by at most `LOST`. Otherwise `truth` must ask about changed pictures (`evaluate.of_itself`).
    These show whether the same picture is found as well as before, but not whether more of the same kind is found,
    which is the purpose of expansion. So expansion is chosen unless one of the two measures falls by more than
    `LOST_ALIKE`. If there are too few pictures to decide, the ranking stays as it is.

    Each question is asked twice, once for each ranking; `progress` is called with the number of queries asked so far.
    Raises what `Index.tune` raises, before anything is asked, and what `Index.search` raises.
    """
    in_force, measured = _ranking_of(index)
    index.tune(in_force, **measured)  # stores the mean of the vectors as it is now, which expansion subtracts
    count = len(truth.questions)
    by_score = ask(index, truth, SearchOptions(ranking=NONE), progress=progress)
    second_half = None if progress is None else lambda done: progress(count + done)
    by_expansion = ask(index, truth, SearchOptions(ranking=EXPANSION), progress=second_half)
    decide = _by_labels if labelled else _by_changes
    is_better, reason = decide(differences(truth, by_score, by_expansion))
    ranking = in_force
    if is_better is not None:
        ranking = EXPANSION if is_better else NONE
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
    """Return the ranking that searches use now, and what was measured for it."""
    ranking = index.info().ranking
    if ranking is None:
        return NONE, {}
    measured: Any = {name: value for name, value in ranking.items() if name != "name"}
    return ranking["name"], measured


# -- differences of two rankings ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Differences:
    """The measures of ranking by expansion minus the measures of ranking by score."""

    of: Mapping[str, Estimate]
    """JSON name of a measure, as in `NAMES` -> the mean difference; positive where expansion is better."""
    pictures: int
    """Number of pictures on which the differences were measured."""


def differences(truth: Truth, before: Sequence[JudgedAnswer], after: Sequence[JudgedAnswer]) -> Differences:
    """Return the mean differences of two lists of answers to the questions of `truth`, with their intervals.

    The difference is taken question by question, as the measure in `after` minus the measure in `before`. Then two
    pictures are added for the interval: one without a difference, half a picture that gains 1, and half a picture that
    loses 1 (Agresti & Min 2005, Simple improved confidence intervals for comparing matched proportions). Without these
    two, a single picture that both rankings find would seem to prove that there is no difference.
    """
    groups = np.array(truth.groups(), dtype=np.int64)
    estimates = {}
    for name in NAMES:
        measure = MEASURES[name]
        by_question = np.array([measure(answer) for answer in after]) - [measure(answer) for answer in before]
        by_picture = means_by_group(by_question, groups)
        count, mean = len(by_picture) + 2, float(by_picture.mean())
        half = DEVIATIONS * math.sqrt((by_picture**2).sum() + 1 - by_picture.sum() ** 2 / count) / count
        estimates[name] = Estimate(mean, mean - half, mean + half)
    return Differences(estimates, len(np.unique(groups)))


# -- decisions ----------------------------------------------------------------------------------------------------


def _by_labels(found: Differences) -> tuple[bool | None, str]:
    """Return whether expansion is better, judged by labels, and the reason.

    The first value is None if that cannot be decided: the interval of the difference in mean average precision
    contains 0.
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

    The first value is None if that cannot be decided: half the width of an interval is more than `LOST_ALIKE`.
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
