"""What a training was worth: measured on pictures that were held out, drawn, and told in a sentence."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from retrieval.measuring.evaluate import CHANGES, SIDE, Estimate, Judged, among, average_precision, measured
from retrieval.pictures import decode
from retrieval.training.dataset import Lessons
from retrieval.training.recipe import CLASSES
from retrieval.types import Ids, Pixels, Vectors

FACTS = "training.json"
"""The member of a `.keras` file that says how it came about."""
Vectorise = Callable[[Iterable[Pixels]], Vectors]
"""Batches of pictures -> their vectors, (n, dim)."""


@dataclass(frozen=True, slots=True)
class Measured:
    """How good a network is on the pictures that were held out."""

    name: str
    measures: Mapping[str, Estimate]
    precisions: Sequence[float] = field(repr=False)
    """Average precision of each question."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        return {"network": self.name} | {name: asdict(one) for name, one in self.measures.items()}


@dataclass(frozen=True, slots=True)
class Trained:
    """What became of a training."""

    path: Path
    queries: int
    """Pictures that were held out and asked about."""
    best_epoch: int
    """That was kept; 0 for the head that it began with."""
    epochs: int
    """That were learnt."""
    before: Sequence[Measured]
    """What it is to be better than; the last is what it is held against."""
    after: Measured
    gain: Estimate
    """Mean average precision after, less that before."""
    left_out: Sequence[str] = ()

    @property
    def sentence(self) -> str:
        """Whether it was worth it."""
        name, gain = self.before[-1].name, self.gain
        told = f"mAP {gain.value:+.4f} (95 % interval {gain.low:+.4f} to {gain.high:+.4f}) against {name}"
        if gain.low > 0:
            return f"it was worth it: {told}"
        if gain.high < 0:
            return f"it was not worth it, {name} is better: {told}"
        return f"whether it was worth it cannot be told: {told}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        rows = {"before": [one.as_dict() for one in self.before], "after": self.after.as_dict()}
        counts = {name: getattr(self, name) for name in ("queries", "best_epoch", "epochs")}
        return {"path": str(self.path)} | counts | rows | {"gain": asdict(self.gain), "sentence": self.sentence}


def units(known: Lessons, split: str, rows: Ids) -> Ids:
    """Return which of the questions about pictures stand or fall together, a number each.

    Those of a class, where whole classes are held out: others of these classes tell nothing about other classes.
    Without labels, those about a picture.
    """
    if not known.labelled:
        return np.tile(rows, 2)
    return known.labels[rows] if split == CLASSES else rows


def judged(vectors: Vectorise, known: Lessons, rows: Ids, size: tuple[int, int]) -> list[Judged]:
    """Ask about pictures among one another; without labels, each in two ways, as it is and changed."""
    found = vectors(known.decoded(rows, size))
    if known.labelled:
        return among(found, known.labels[rows])
    both = np.concatenate([found, vectors(_changed(known, rows, size))])
    return among(both, np.tile(np.arange(len(rows)), 2))


def _changed(known: Lessons, rows: Ids, size: tuple[int, int]) -> Iterator[Pixels]:
    """Yield pictures as `retrieval evaluate --self` changes them, each in one way, at the same size."""
    ways = itertools.cycle(CHANGES.values())
    for batch in known.decoded(rows, (SIDE, SIDE)):
        yield np.stack([decode.fit(next(ways)(Image.fromarray(one)), size) for one in batch])


def measured_on(
    name: str, vectors: Vectorise, size: tuple[int, int], *, known: Lessons, rows: Ids, split: str
) -> Measured:
    """Return how good a network of that input size is on some pictures."""
    found, groups = judged(vectors, known, rows, size), defaultdict(list)
    for one, unit in zip(found, units(known, split, rows).tolist(), strict=True):
        groups[unit].append(one)
    return Measured(name, measured(list(groups.values())), [average_precision(one) for one in found])


def plotted(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw the loss, and the recall and mAP of the validation, over the epochs, if there are some."""
    if not rows:
        return
    from matplotlib.figure import Figure  # the figure by itself: no window, no state of the program's

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    left = figure.add_subplot(xlabel="epoch", ylabel="loss")
    right = left.twinx()
    right.set_ylabel("validation")
    epochs = [row["epoch"] for row in rows]
    lines = left.plot(epochs, [row["loss"] for row in rows], "C7", label="loss")
    for name, colour in (("recall@1", "C0"), ("map", "C1")):
        lines += right.plot(epochs, [row[name] for row in rows], colour, label="mAP" if name == "map" else name)
    left.legend(handles=lines, loc="best")
    figure.savefig(path, dpi=100)
