"""Which ranking is best for an index, measured on its own pictures."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from retrieval.index import Index
from retrieval.measuring.evaluate import CONFIDENCE, MEASURES, Estimate, Judged, Truth, asked, summed
from retrieval.searching.options import SearchOptions
from retrieval.searching.ranking import EXPANSION, NONE

LOST = 0.005
"""Of the precision at 1, what a ranking that finds more may lose."""
LOST_ALIKE = 0.02
"""Of both measures, what it may lose where the same pictures are searched for, and what must be told to decide that.
Half the interval of the difference, of 100 pictures, is 0.006 to 0.022; Caltech-101, of whose classes expansion finds
far more, loses 0.010 of precision at 1."""
DEVIATIONS = 1.96
"""Standard errors from a mean to the end of its interval of `CONFIDENCE`, 95 %."""
NAMES = {"map": "mAP", "p@1": "P@1"}


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was measured, and what it decided."""

    ranking: str
    """The ranking in force from now on: `none` or `expansion`."""
    by: str
    """What was known: `labels`, or nothing, so that changed pictures were searched for: `changes`."""
    queries: int
    plain: float
    """Mean average precision by score alone."""
    ranked: float
    """Mean average precision by expansion."""
    decided: bool
    """Whether that was enough to tell. If not, the ranking is the one that was in force before."""
    reason: str
    """What was compared, and why it was decided so: a sentence."""

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON knows them."""
        return asdict(self)


def tune(index: Index, truth: Truth, *, labelled: bool, progress: Callable[[int], None] | None = None) -> Tuned:
    """Measure whether expansion finds better than scores alone, and make what is better the ranking of the index.

    Where `truth` is `labelled`, expansion is kept if mean average precision rises and precision at 1 does not fall by
    more than `LOST`. Else it is of changed pictures (`evaluate.of_itself`). That tells whether the same thing is found
    as well as before, not whether its like is found better, which expansion is for; so there it is kept unless one of
    the two falls by more than `LOST_ALIKE`. Where the pictures are too few to tell (`_by_labels`, `_by_changes`), the
    ranking stays as it is. `progress` is told how many queries have been asked, of twice as many. Raises what
    `Index.search` and `Index.tune` raise, the latter before anything is asked.
    """
    before = dict(index.info().ranking or {"name": NONE})
    index.tune(before.pop("name"), **before)  # the mean as it is now
    total = len(truth.questions)
    later = None if progress is None else lambda done: progress(total + done)
    judged = [
        asked(index, truth, SearchOptions(ranking=name), progress=told)
        for name, told in ((NONE, progress), (EXPANSION, later))
    ]
    better, reason = (_by_labels if labelled else _by_changes)(rise(truth, *judged))
    plain, ranked = (summed(truth, some, 0).measures["map"].value for some in judged)
    name = (index.info().ranking or {"name": NONE})["name"] if better is None else EXPANSION if better else NONE
    by = "labels" if labelled else "changes"
    found = Tuned(name, by, total, plain, ranked, better is not None, reason)
    if found.decided:
        index.tune(name, by=by, queries=total, plain=plain, ranked=ranked, reason=reason)
    return found


@dataclass(frozen=True, slots=True)
class Rise:
    """By how much the two measures rose, and of how many pictures that is known."""

    of: dict[str, Estimate]
    pictures: int


def rise(truth: Truth, before: Sequence[Judged], after: Sequence[Judged]) -> Rise:
    """Return by how much mean average precision and precision at 1 rose, with the interval of that difference.

    The interval is that of pairs. Half a picture that gains all and half a one that loses all are added, with one that
    stays the same (Agresti & Min 2005, Simple improved confidence intervals for comparing matched proportions): else
    one picture that is found both ways would tell all that there is to know.
    """
    _, unit = np.unique(truth.units(), return_inverse=True)
    found = {}
    for name in NAMES:
        rose = np.array([MEASURES[name](one) for one in after]) - [MEASURES[name](one) for one in before]
        each = np.bincount(unit, rose) / np.bincount(unit)
        many, mean = len(each) + 2, float(each.mean())
        half = DEVIATIONS * math.sqrt((each**2).sum() + 1 - each.sum() ** 2 / many) / many
        found[name] = Estimate(mean, mean - half, mean + half)
    return Rise(found, int(unit.max()) + 1)


def _by_labels(rose: Rise) -> tuple[bool | None, str]:
    """Tell whether expansion is better, None where that cannot be told, and why.

    It cannot where the interval of the rise of mean average precision has 0 within.
    """
    gain, first = rose.of["map"], rose.of["p@1"]
    if gain.low <= 0 <= gain.high:
        return None, f"{_pictures(rose)} too few to tell: expansion changes {_said('map', gain)}"
    better = gain.low > 0 and first.value >= -LOST
    if gain.high < 0:
        why = "expansion finds less"
    elif better:
        why = "expansion finds more"
    else:
        why = f"expansion finds more, but loses more than {LOST} of P@1"
    return better, f"{why}: it changes {_said('map', gain)}, and {_said('p@1', first)}"


def _by_changes(rose: Rise) -> tuple[bool | None, str]:
    """Tell likewise; it cannot be told where half an interval is more than `LOST_ALIKE`."""
    worst = min(rose.of, key=lambda name: rose.of[name].value)
    what = " and ".join(_said(name, estimate) for name, estimate in rose.of.items())
    if max(estimate.value - estimate.low for estimate in rose.of.values()) > LOST_ALIKE:
        return None, f"{_pictures(rose)} too few to tell a loss of {LOST_ALIKE}: expansion changes {what}"
    if rose.of[worst].value < -LOST_ALIKE:
        why = f"expansion loses more than {LOST_ALIKE} of {NAMES[worst]}, so the same picture is found less well"
        return False, f"{why}: it changes {what}"
    why = f"the same picture is found as well as before, as a loss of up to {LOST_ALIKE} is accepted"
    return True, (
        f"{why}: expansion changes {what}. It is for finding more of the same kind. Whether it does, "
        "changed pictures cannot show; labels can"
    )


def _pictures(rose: Rise) -> str:
    return "1 picture is" if rose.pictures == 1 else f"{rose.pictures} pictures are"


def _said(name: str, rise: Estimate) -> str:
    return (
        f"{NAMES[name]} by {rise.value:+.4f} ({rise.low:+.4f} to {rise.high:+.4f}, {100 * CONFIDENCE:.0f} % interval)"
    )
