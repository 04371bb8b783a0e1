"""What pictures are called: labels from folders or a table, and the label of a picture by its nearest neighbours."""

import csv
import io
import itertools
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.arguments import call, integer, text_path
from retrieval.errors import BadInput, UnreadableImage, reason_of
from retrieval.index import Index
from retrieval.pictures import reading
from retrieval.searching.options import SearchOptions
from retrieval.searching.ranking import NONE
from retrieval.types import Scored, displayed

if TYPE_CHECKING:
    from retrieval.searching.answer import Neighbours
    from retrieval.searching.query import Query

NEIGHBOURS = 10
"""Labelled neighbours that vote, at most."""
BY_SCORE = SearchOptions(ranking=NONE)
"""Neighbours vote in the order of their scores."""
TEMPERATURE = 0.07
"""A neighbour's vote is exp(score / this): Wu et al. 2018, Unsupervised feature learning via non-parametric instance
discrimination (arXiv 1805.01978), section 3.4."""
FURTHER = 50
"""Neighbours that are looked at for `NEIGHBOURS` with a label, at first; ten times as many as long as that is not
enough."""
MOST = 100_000
"""Neighbours that are looked at in the end."""
NOBODY = ""
"""What a picture is taken for that has no labelled neighbour."""
TABLE = "its first line is path,label, and then comes a picture a line, with its path from the table's own folder"


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of indexed pictures."""

    of: Mapping[int, str]
    """Id -> label."""
    left_out: tuple[str, ...] = ()
    """A sentence for each picture that has several, and for each that is named and not in the index."""


@dataclass(frozen=True, slots=True)
class Voter:
    """A neighbour that took part in a vote."""

    path: Path
    label: str
    score: float
    """Cosine, as everywhere."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the neighbours of a picture say of it."""

    classes: tuple[Scored, ...]
    """Best first, equal ones by label; empty where no neighbour has a label."""
    neighbours: tuple[Voter, ...]
    """Those that voted for the first of the classes, nearest first."""

    @property
    def margin(self) -> float:
        """How far the first class is ahead of the second: 0 to 1."""
        first, second = (self.classes[at].score if len(self.classes) > at else 0.0 for at in (0, 1))
        return first - second

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        voters = [asdict(one) | {"path": str(one.path)} for one in self.neighbours]
        return {"classes": [asdict(one) for one in self.classes], "margin": self.margin, "neighbours": voters}


# -- where labels come from ---------------------------------------------------------------------------------------


def read(index: Index, source: str | os.PathLike[str]) -> Labels:
    """Return the labels that `source` gives: a folder, whose subfolders are labels, or a CSV of `path` and `label`."""
    source = text_path(source, "the source of labels")
    table = os.path.exists(source) and not os.path.isdir(source)
    return by_table(index, source) if table else by_folders(index, source)


def classes_of(index: Index, folder: str | os.PathLike[str]) -> dict[str, set[int]]:
    """Return the indexed pictures in each subfolder of `folder`, at any depth; `BadInput` where nothing is indexed."""
    depth = len(Path(os.path.realpath(text_path(folder, "the folder"))).parts)
    classes: dict[str, set[int]] = defaultdict(set)
    for image in index.images(folder):
        if len(image.path.parts) > depth + 1:
            classes[image.path.parts[depth]].add(image.id)
    return classes


def by_folders(index: Index, folder: str | os.PathLike[str]) -> Labels:
    """Label every indexed picture below `folder` with the name of its subfolder; `BadInput` where there is none."""
    found: dict[int, set[str]] = defaultdict(set)
    for label, images in classes_of(index, folder).items():
        for image in images:
            found[image].add(label)
    if not found:
        raise BadInput(f"no subfolder of {displayed(os.fsencode(folder))} has indexed pictures", hint=_FOLDER)
    return _unambiguous(index, found, ())


_FOLDER = "a label is a subfolder; or give a CSV with path,label"


def by_table(index: Index, table: str | os.PathLike[str]) -> Labels:
    """Label what a CSV with `path` and `label` names; `BadInput` where it is none, or nothing of it is indexed."""
    table = text_path(table, "the table")
    home, found, left_out = Path(table).absolute().parent, defaultdict(set), []
    for path, label in rows(Path(table), ("path", "label"), TABLE):
        image = index.id_of(home / path)
        if image is None:
            left_out.append(f"{displayed(os.fsencode(home / path))} is not in the index")
        else:
            found[image].add(label)
    if not found:
        raise BadInput(f"nothing that {displayed(os.fsencode(table))} names is in the index", hint=TABLE)
    return _unambiguous(index, found, left_out)


def _unambiguous(index: Index, found: Mapping[int, set[str]], left_out: Iterable[str]) -> Labels:
    sure = {image: next(iter(labels)) for image, labels in found.items() if len(labels) == 1}
    unsure = {image: sorted(labels) for image, labels in found.items() if len(labels) > 1}
    places = _places(index, unsure) if unsure else {}
    several = [
        f"{displayed(places[image])} is labelled {', '.join(map(displayed, labels))}"
        for image, labels in unsure.items()
    ]
    return Labels(sure, (*several, *left_out))


def rows(table: Path, columns: Sequence[str], hint: str) -> Iterator[tuple[str, ...]]:
    """Yield what a CSV has in these `columns`; `BadInput`, with the `hint`, where it is no such table."""
    shown = displayed(os.fsencode(table))
    try:
        file = io.BytesIO(reading.read_regular(table, reading.TABLE))
        with io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            lines = csv.DictReader(text)
            if not set(columns) <= set(lines.fieldnames or ()):
                raise BadInput(f"{shown} has no columns {' and '.join(columns)}", hint=hint)
            for line in lines:
                if not all(line[column] for column in columns):
                    lacking = next(column for column in columns if not line[column])
                    raise BadInput(f"line {lines.line_num} of {shown} has no {lacking}", hint=hint)
                found = tuple(line[column] for column in columns)
                if any("\0" in value for value in found):
                    raise BadInput(f"line {lines.line_num} of {shown} has a NUL in it", hint=hint)
                yield found
    except OSError as error:
        raise BadInput(f"{shown} cannot be read: {reason_of(error)}", hint=hint) from error
    except UnreadableImage as error:
        raise BadInput(f"{shown} cannot be read: {error}", hint=hint) from error
    except csv.Error as error:
        raise BadInput(f"{shown} is no CSV: {error}", hint=hint) from error


def _places(index: Index, images: Iterable[int]) -> dict[int, Path]:
    """Return the first place of each image."""
    wanted = set(images)
    found: dict[int, Path] = {}
    for image in index.images():
        if image.id in wanted:
            found.setdefault(image.id, image.path)
    return found


# -- votes --------------------------------------------------------------------------------------------------------


def classify(index: Index, labels: Labels, query: "Query", k: int = NEIGHBOURS) -> Verdict:
    """Return what the `k` nearest labelled pictures say of `query`, of which a copy has no vote.

    A vote weighs exp(score / `TEMPERATURE`), so near ones decide. Raises what `Index.search` raises, and `BadInput` for
    a `k` below 1.
    """
    k = integer(k, "k", 1)
    depth = min(k + FURTHER, MOST)
    while True:
        near = next(index.neighbours([query], depth, BY_SCORE))
        voters = [match for match in index.matches(near) if match.id in labels.of][:k]
        if len(voters) == k or len(near.ids) < depth or depth == MOST:
            break
        depth = min(10 * depth, MOST)
    classes = _counted([(match.id, match.score) for match in voters], labels)
    first = classes[0].label if classes else None
    deciding = [match for match in voters if labels.of[match.id] == first]
    return Verdict(classes, tuple(Voter(match.path, labels.of[match.id], match.score) for match in deciding))


def _counted(votes: Sequence[tuple[int, float]], labels: Labels) -> tuple[Scored, ...]:
    """Return what images, with their scores, vote for."""
    best = max((score for _, score in votes), default=0.0)
    weights: dict[str, float] = defaultdict(float)
    for image, score in votes:
        weights[labels.of[image]] += math.exp((score - best) / TEMPERATURE)
    total = sum(weights.values())
    ordered = sorted(weights.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(Scored(label, weight / total) for label, weight in ordered)


# -- looking at labels --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OfClass:
    """How well a label is told."""

    pictures: int
    precision: float
    """Share of what is taken for it that is labelled so; 0 where nothing is."""
    recall: float
    """Share of what is labelled so that is taken for it."""


@dataclass(frozen=True, slots=True)
class Suspicious:
    """A picture whose neighbours speak against its label."""

    path: Path
    label: str
    suggested: str
    score: float
    """Share of the votes for what is suggested, less that for its label: 0 to 1, 1 where all speak against it."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What the neighbours of all labelled pictures say of their labels."""

    pictures: int
    accuracy: float
    classes: Mapping[str, OfClass]
    confusion: Mapping[str, Mapping[str, int]]
    """Label -> what its pictures are taken for -> how many; in the order of the labels."""
    suspicious: tuple[Suspicious, ...]
    """Worst first, equal ones by path."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        rows = [asdict(one) | {"path": str(one.path)} for one in self.suspicious]
        return asdict(self) | {"suspicious": rows}


def examine(
    index: Index, labels: Labels, k: int = NEIGHBOURS, progress: Callable[[int], None] | None = None
) -> Examined:
    """Hold the label of each picture against its neighbours, itself left out; `progress` is told how many are done.

    Raises `BadInput` where all have one label, and what `classify` raises.
    """
    k = integer(k, "k", 1, MOST)
    call(progress, "progress")
    if len(set(labels.of.values())) <= 1:
        raise BadInput("all labelled pictures have one label", hint="there must be two to tell apart")
    images, confusion, doubtful = sorted(labels.of), _empty(labels), []
    places = _places(index, images)
    thin = index.coverage().images / len(images)
    depth = min(round(k * thin) + FURTHER, MOST)
    for done, (image, near) in enumerate(zip(images, index.neighbours(images, depth, BY_SCORE), strict=True), 1):
        votes = _labelled(near, labels, k)
        if len(votes) < k and len(near.ids) == depth < MOST:
            votes = _labelled(next(index.neighbours([image], MOST, BY_SCORE)), labels, k)
        own, classes = labels.of[image], _counted(votes, labels)
        best = classes[0] if classes else Scored(NOBODY, 0.0)
        confusion[own][best.label] += 1
        if best.label != own:
            lead = best.score - sum(one.score for one in classes if one.label == own)
            doubtful.append(Suspicious(places[image], own, best.label, lead))
        if progress is not None:
            progress(done)
    doubtful.sort(key=lambda one: (-one.score, os.fsencode(one.path)))
    told = {label: dict(row) for label, row in confusion.items()}
    right = sum(row.get(label, 0) for label, row in told.items())
    return Examined(len(images), right / len(images), _by_class(told), told, tuple(doubtful))


def _empty(labels: Labels) -> dict[str, dict[str, int]]:
    return {label: defaultdict(int) for label in sorted(set(labels.of.values()))}


def _labelled(near: "Neighbours", labels: Labels, k: int) -> list[tuple[int, float]]:
    pairs = zip(near.ids.tolist(), near.scores.tolist(), strict=True)
    return list(itertools.islice((pair for pair in pairs if pair[0] in labels.of), k))


def _by_class(confusion: Mapping[str, Mapping[str, int]]) -> dict[str, OfClass]:
    taken: dict[str, int] = defaultdict(int)
    for row in confusion.values():
        for label, count in row.items():
            taken[label] += count
    found = {}
    for label, row in confusion.items():
        count, right = sum(row.values()), row.get(label, 0)
        found[label] = OfClass(count, right / taken[label] if taken[label] else 0.0, right / count)
    return found
