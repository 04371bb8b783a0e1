"""Find the label of a picture by a vote of its nearest labelled neighbours, and labels that neighbours contradict."""

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.arguments import call, integer
from retrieval.errors import BadInput
from retrieval.index import Index
from retrieval.measuring.labels import Labels, first_paths
from retrieval.searching.options import SearchOptions
from retrieval.searching.ranking import NONE
from retrieval.types import Scored

if TYPE_CHECKING:
    from retrieval.searching.neighbours import Neighbours
    from retrieval.searching.query import Query

NEIGHBOURS = 10
"""Default number of labelled neighbours that vote."""
BY_SCORE = SearchOptions(ranking=NONE)
"""Options of the searches for neighbours. The nearest ones by score vote, whatever ranking the index uses."""
TEMPERATURE = 0.07
"""The vote of a neighbour has the weight exp(score / TEMPERATURE): Wu et al. 2018, Unsupervised feature learning via
non-parametric instance discrimination (arXiv 1805.01978), section 3.4."""
FURTHER = 50
"""Number of neighbours that are looked at in addition to those that vote, because some neighbours have no label."""
MOST = 100_000
"""Largest number of neighbours of a picture that are looked at."""
NOBODY = ""
"""Stands in place of a label if a picture has no labelled neighbours."""


# -- votes about one picture --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Voter:
    """A labelled neighbour that voted."""

    path: Path
    label: str
    score: float
    """Cosine between the vectors of the picture and of the neighbour, -1 to 1."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a vote about a picture."""

    classes: tuple[Scored, ...]
    """The labels with their shares of the votes, best first, equal ones in alphabetical order; empty if no neighbour
    has a label."""
    neighbours: tuple[Voter, ...]
    """The neighbours that voted for the first label, nearest first."""

    @property
    def margin(self) -> float:
        """Share of the first label minus the share of the second label, 0 to 1; a missing label has the share 0."""
        shares = [scored.score for scored in self.classes]
        first, second = (*shares, 0.0, 0.0)[:2]
        return first - second

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON can hold it."""
        voters = [asdict(voter) | {"path": str(voter.path)} for voter in self.neighbours]
        classes = [asdict(scored) for scored in self.classes]
        return {"classes": classes, "margin": self.margin, "neighbours": voters}


def classify(index: Index, labels: Labels, query: "Query", k: int = NEIGHBOURS) -> Verdict:
    """Let the `k` nearest labelled images vote about `query`, and return the result. A copy of `query` has no vote.

    If too few of the neighbours have a label, ten times as many neighbours are looked at, and so on up to `MOST`.

    Raises `BadInput` for a `k` below 1, and what `Index.search` raises.
    """
    k = integer(k, "k", 1)
    depth = min(k + FURTHER, MOST)
    while True:
        neighbours = next(index.neighbours([query], depth, BY_SCORE))
        voters = [match for match in index.matches(neighbours) if match.id in labels.of][:k]
        if len(voters) == k or len(neighbours.ids) < depth or depth == MOST:
            break
        depth = min(10 * depth, MOST)
    classes = _counted([(voter.id, voter.score) for voter in voters], labels)
    winner = classes[0].label if classes else None
    voters_for_winner = [
        Voter(voter.path, labels.of[voter.id], voter.score) for voter in voters if labels.of[voter.id] == winner
    ]
    return Verdict(classes, tuple(voters_for_winner))


def _counted(votes: Sequence[tuple[int, float]], labels: Labels) -> tuple[Scored, ...]:
    """Return the labels of the voters, given as (id, score), with their shares of the votes, best first.

    The weights are relative to the best score, so that their sum cannot overflow.
    """
    best = max((score for _, score in votes), default=0.0)
    weights: dict[str, float] = defaultdict(float)
    for image, score in votes:
        weights[labels.of[image]] += math.exp((score - best) / TEMPERATURE)
    total = sum(weights.values())
    ordered = sorted(weights.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(Scored(label, weight / total) for label, weight in ordered)


# -- votes about all labelled images ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LabelQuality:
    """How well a label is recognised. An image is recognised as the label with most votes."""

    pictures: int
    """Number of images that have the label."""
    precision: float
    """Of the images that are recognised as this label, the share that has it, 0 to 1; 0 if there are no such images."""
    recall: float
    """Of the images that have this label, the share that is recognised as it, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Suspicious:
    """An image whose neighbours contradict its label."""

    path: Path
    label: str
    suggested: str
    """The label with most votes; `NOBODY` if the image has no labelled neighbour."""
    score: float
    """Share of the votes for the suggested label minus the share for its own label, 0 to 1. It is 1 if all votes are
    for the suggested label, and 0 if no neighbour has a label."""


@dataclass(frozen=True, slots=True)
class Examined:
    """The votes about all labelled images."""

    pictures: int
    """Number of labelled images."""
    accuracy: float
    """Share of the images whose own label has most votes, 0 to 1."""
    classes: Mapping[str, LabelQuality]
    """Label -> how well it is recognised; labels in alphabetical order."""
    confusion: Mapping[str, Mapping[str, int]]
    """Label of images -> label with most votes -> number of images; the first labels in alphabetical order."""
    suspicious: tuple[Suspicious, ...]
    """Images whose label does not have most votes: highest score first, equal ones in byte order of their paths."""

    def as_dict(self) -> dict[str, Any]:
        """Return the votes as JSON can hold them."""
        rows = [asdict(suspicious) | {"path": str(suspicious.path)} for suspicious in self.suspicious]
        return asdict(self) | {"suspicious": rows}


def examine(
    index: Index, labels: Labels, k: int = NEIGHBOURS, progress: Callable[[int], None] | None = None
) -> Examined:
    """Let the `k` nearest labelled images vote about each labelled image, and return the results.

    An image and its copies have no vote about the image itself.

    `progress` is called with the number of images that are done. Raises `BadInput` if all images have the same label,
    for a `k` below 1 or above `MOST`, and what `Index.search` raises.
    """
    k = integer(k, "k", 1, MOST)
    call(progress, "progress")
    if len(set(labels.of.values())) <= 1:
        raise BadInput("all labelled pictures have the same label", hint="give pictures of at least two labels")
    images = sorted(labels.of)
    paths = first_paths(index, images)
    confusion: dict[str, dict[str, int]] = {label: defaultdict(int) for label in sorted(set(labels.of.values()))}
    suspicious = []
    for done, (image, votes) in enumerate(zip(images, _votes(index, labels, images, k), strict=True), 1):
        label, classes = labels.of[image], _counted(votes, labels)
        best = classes[0] if classes else Scored(NOBODY, 0.0)
        confusion[label][best.label] += 1
        if best.label != label:
            share_of_label = sum(scored.score for scored in classes if scored.label == label)
            suspicious.append(Suspicious(paths[image], label, best.label, best.score - share_of_label))
        if progress is not None:
            progress(done)
    suspicious.sort(key=lambda doubtful: (-doubtful.score, os.fsencode(doubtful.path)))
    return _examined({label: dict(row) for label, row in confusion.items()}, suspicious)


def _votes(index: Index, labels: Labels, images: Sequence[int], k: int) -> Iterator[list[tuple[int, float]]]:
    """Yield the `k` nearest labelled images of each image, as (id, score), nearest first.

    All images are asked about with the same number of neighbours, of which `k` or more have a label on average. If an
    image gets fewer than `k` votes, it is asked about again with `MOST` neighbours.
    """
    images_per_labelled = index.coverage().images / len(images)
    depth = min(round(k * images_per_labelled) + FURTHER, MOST)
    for image, neighbours in zip(images, index.neighbours(images, depth, BY_SCORE), strict=True):
        votes = _labelled(neighbours, labels, k)
        if len(votes) < k and len(neighbours.ids) == depth < MOST:
            (further,) = index.neighbours([image], MOST, BY_SCORE)
            votes = _labelled(further, labels, k)
        yield votes


def _labelled(neighbours: "Neighbours", labels: Labels, k: int) -> list[tuple[int, float]]:
    """Return the first `k` neighbours that have a label, as (id, score), nearest first."""
    pairs = zip(neighbours.ids.tolist(), neighbours.scores.tolist(), strict=True)
    return list(islice((pair for pair in pairs if pair[0] in labels.of), k))


def _examined(confusion: Mapping[str, Mapping[str, int]], suspicious: Sequence[Suspicious]) -> Examined:
    """Return the votes about all images, with the quality of each label, computed from `confusion`."""
    recognised_as: dict[str, int] = defaultdict(int)
    for row in confusion.values():
        for label, count in row.items():
            recognised_as[label] += count
    classes = {}
    for label, row in confusion.items():
        pictures, right = sum(row.values()), row.get(label, 0)
        precision = right / recognised_as[label] if recognised_as[label] else 0.0
        classes[label] = LabelQuality(pictures, precision, recall=right / pictures)
    pictures = sum(quality.pictures for quality in classes.values())
    right = sum(row.get(label, 0) for label, row in confusion.items())
    return Examined(pictures, right / pictures, classes, confusion, tuple(suspicious))
