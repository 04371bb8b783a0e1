"""The result of a training: its quality on the held-out pictures, the verdict in a sentence, and the plot."""

import itertools
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from retrieval import extras
from retrieval.measuring.changes import CHANGES, SIDE
from retrieval.measuring.metrics import Estimate, JudgedAnswer, average_precision, estimate, leave_one_out
from retrieval.pictures import decode
from retrieval.training.dataset import Dataset
from retrieval.training.recipe import CLASSES
from retrieval.types import Ids, Pixels, Vectors

FACTS = "training.json"
"""The member of a `.keras` file that says how the network was trained."""
Embed = Callable[[Iterable[Pixels]], Vectors]
"""Batches of pictures -> their vectors, (n, dim)."""

log = logging.getLogger("retrieval")


@dataclass(frozen=True, slots=True)
class NetworkQuality:
    """How well a network answers queries among the held-out pictures."""

    name: str
    """Name of the network, as users see it."""
    measures: Mapping[str, Estimate]
    """Name of each measure -> its value, with an interval."""
    precisions: Sequence[float] = field(repr=False)
    """Average precision of each query."""

    def as_dict(self) -> dict[str, Any]:
        """Return the quality as JSON can hold it."""
        return {"network": self.name} | {name: asdict(estimate) for name, estimate in self.measures.items()}


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The result of a training."""

    path: Path
    """The file of the network."""
    queries: int
    """Number of queries among the held-out pictures."""
    best_epoch: int
    """The epoch that was kept; 0 for the network before training."""
    epochs: int
    """Number of epochs that were trained."""
    before: Sequence[NetworkQuality]
    """The networks that the result is compared with; `gain` is against the last one."""
    after: NetworkQuality
    gain: Estimate
    """Mean average precision after training minus before."""
    left_out: Sequence[str] = ()
    """One sentence for each file that was not used."""

    @property
    def sentence(self) -> str:
        """Whether training helped: the interval of the gain decides."""
        name, gain = self.before[-1].name, self.gain
        figures = f"mAP {gain.value:+.4f} (95 % interval {gain.low:+.4f} to {gain.high:+.4f}) against {name}"
        if gain.low > 0:
            return f"it was worth it: {figures}"
        if gain.high < 0:
            return f"it was not worth it, {name} is better: {figures}"
        return f"whether it was worth it cannot be told from these pictures: {figures}"

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON can hold it."""
        return {
            "path": str(self.path),
            "queries": self.queries,
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "before": [quality.as_dict() for quality in self.before],
            "after": self.after.as_dict(),
            "gain": asdict(self.gain),
            "sentence": self.sentence,
        }


def dependent_groups(dataset: Dataset, split: str, rows: Ids) -> Ids:
    """Return the number of a group for each query about the pictures `rows`; queries of one group are not independent.

    If whole classes are held out, the queries of a class are a group: more pictures of the same classes say nothing
    about other classes. Without labels, the two queries about a picture are a group. Otherwise each query is a group of
    its own.
    """
    if not dataset.labelled:
        return np.tile(rows, 2)
    return dataset.labels[rows] if split == CLASSES else rows


def answers_among(embed: Embed, dataset: Dataset, rows: Ids, size: tuple[int, int]) -> list[JudgedAnswer]:
    """Search for each of the pictures `rows` among the others, with a network of the input size `size`.

    Pictures of the same class are right answers. Without labels there are two queries per picture: the picture, whose
    right answer is a changed copy of it, and the copy, whose right answer is the picture.
    """
    vectors = embed(dataset.decoded(rows, size))
    if dataset.labelled:
        return leave_one_out(vectors, dataset.labels[rows])
    with_copies = np.concatenate([vectors, embed(_changed(dataset, rows, size))])
    return leave_one_out(with_copies, np.tile(np.arange(len(rows)), 2))


def _changed(dataset: Dataset, rows: Ids, size: tuple[int, int]) -> Iterator[Pixels]:
    """Yield changed copies of the pictures, at the same size; the changes of `retrieval evaluate --self` take turns."""
    changes = itertools.cycle(CHANGES.values())
    for batch in dataset.decoded(rows, (SIDE, SIDE)):
        copies = [next(changes)(Image.fromarray(pixels)) for pixels in batch]
        yield np.stack([decode.fit(copy, size) for copy in copies])


def quality_of(
    name: str, embed: Embed, size: tuple[int, int], *, dataset: Dataset, rows: Ids, split: str
) -> NetworkQuality:
    """Return how well a network of the input size `size` answers queries among the pictures `rows`."""
    answers = answers_among(embed, dataset, rows, size)
    groups: defaultdict[int, list[JudgedAnswer]] = defaultdict(list)
    for answer, group in zip(answers, dependent_groups(dataset, split, rows).tolist(), strict=True):
        groups[group].append(answer)
    return NetworkQuality(name, estimate(list(groups.values())), [average_precision(answer) for answer in answers])


def plot(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw the loss, and recall@1 and mAP of the validation, over the epochs in `rows`; nothing if there are none.

    Without Matplotlib nothing is drawn, and a note says so: a training of hours does not fail for want of its plot.
    """
    if not rows:
        return
    try:
        from matplotlib.figure import Figure  # without pyplot, which would open windows and keep state
    except ImportError as error:
        hint = extras.hint("draw them", "train")
        log.warning("the curves are not drawn, because Matplotlib is missing (%s); %s", extras.reason(error), hint)
        return
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    left = figure.add_subplot(xlabel="epoch", ylabel="loss")
    right = left.twinx()
    right.set_ylabel("validation")
    epochs = [row["epoch"] for row in rows]
    lines = left.plot(epochs, [row["loss"] for row in rows], "C7", label="loss")
    for name, label, colour in (("recall@1", "recall@1", "C0"), ("map", "mAP", "C1")):
        lines += right.plot(epochs, [row[name] for row in rows], colour, label=label)
    left.legend(handles=lines, loc="best")
    figure.savefig(path, dpi=100)
