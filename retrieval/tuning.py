"""Which ranking is best for an index, measured on its own pictures."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from retrieval.evaluate import Truth, evaluate
from retrieval.index import Index
from retrieval.ranking import EXPANSION, NONE

LOST = 0.005
"""Of the precision at 1, what a ranking that finds more may lose."""
LOST_ALIKE = 0.02
"""Of both measures, what it may lose where the same pictures are searched for. Two standard errors of the difference,
of 100 pictures, are 0.006 to 0.022; Caltech-101, of whose classes expansion finds far more, loses 0.010 of precision
at 1."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was measured, and what it decided."""

    ranking: str
    by: str
    """What was known: `labels`, or nothing, so that changed pictures were searched for: `changes`."""
    queries: int
    plain: float
    """Mean average precision by score alone."""
    ranked: float
    """Mean average precision by expansion."""

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON knows them."""
        return asdict(self)


def tune(index: Index, truth: Truth, *, labelled: bool, progress: Callable[[int], None] | None = None) -> Tuned:
    """Measure whether expansion finds better than scores alone, and make what is better the ranking of the index.

    Where `truth` is `labelled`, expansion is kept if mean average precision rises and precision at 1 does not fall by
    more than `LOST`. Else it is of changed pictures (`evaluate.of_itself`). That tells whether the same thing is found
    as well as before, not whether its like is found better, which expansion is for; so there it is kept unless one of
    the two falls by more than `LOST_ALIKE`. `progress` is told how many queries have been asked, of twice as many.
    Raises what `Index.search` and `Index.tune` raise, the latter before anything is asked.
    """
    before = dict(index.info().ranking or {"name": NONE})
    index.tune(before.pop("name"), **before)  # the mean as it is now
    total = len(truth.questions)
    plain = evaluate(index, truth, ranking=NONE, progress=progress).measures
    later = None if progress is None else lambda done: progress(total + done)
    ranked = evaluate(index, truth, ranking=EXPANSION, progress=later).measures
    gained = {name: ranked[name].value - plain[name].value for name in ("map", "p@1")}
    better = min(gained.values()) >= -LOST_ALIKE
    if labelled:
        better = gained["map"] > 0 and gained["p@1"] >= -LOST
    name, by = EXPANSION if better else NONE, "labels" if labelled else "changes"
    found = Tuned(name, by, total, plain["map"].value, ranked["map"].value)
    index.tune(name, by=by, queries=total, plain=found.plain, ranked=found.ranked)
    return found
