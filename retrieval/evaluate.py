"""How good the answers of an index are: what is relevant to which query, and the measures of the field over that.

Each measure is the mean over the queries of what one query scores; the query itself is no result of its own, as in
INRIA Holidays (Jegou et al. 2008, Hamming embedding and weak geometric consistency). A query without anything relevant
tells nothing and is left out.
"""

import csv
import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from retrieval import images
from retrieval.errors import BadInput, UnreadableImage, reason_of
from retrieval.index import Index
from retrieval.query import Query
from retrieval.types import Ids, displayed

DEPTH = 10_000
"""Results of a query that are looked at; what is relevant and stands behind them counts as not found. It would add at
most its share of 10,000 to an average precision."""
SIDE = 320
"""Pixels of the longer side of a picture that is changed, to be searched for."""
Ranks = NDArray[np.int64]
RESAMPLES = 1000
"""Of a bootstrap, as Efron & Tibshirani 1993 (chapter 14) advise for intervals."""
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of one query."""

    ranks: Ranks
    """Where relevant results stand in the answer, from 1, ascending."""
    relevant: int
    """How many there are, found or not."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure, and the interval that would hold it for other queries of the same kind in 95 of 100 cases."""

    value: float
    low: float
    high: float


def average_precision(one: Judged) -> float:
    """Return the mean of the precisions at the ranks of what is relevant; what was not found counts as 0.

    Not interpolated (Manning et al. 2008, Introduction to Information Retrieval, section 8.4), which is what
    `sklearn.metrics.average_precision_score` gives; INRIA's script for Holidays interpolates by trapezoids.
    """
    return float((np.arange(1, len(one.ranks) + 1) / one.ranks).sum() / one.relevant)


def precision(one: Judged, k: int) -> float:
    """Return the share of the first `k` results that is relevant; where there are fewer, of `k` all the same."""
    return float(np.searchsorted(one.ranks, k, side="right") / k)


def recall(one: Judged, k: int) -> float:
    """Return 1 if anything relevant is among the first `k`, else 0.

    So where one thing is sought (Jegou et al. 2011, Product quantization, "recall@R") and where classes are (Song et
    al. 2016, Deep metric learning via lifted structured feature embedding, "Recall@K").
    """
    return float(len(one.ranks) > 0 and one.ranks[0] <= k)


def ndcg(one: Judged, k: int) -> float:
    """Return the discounted gain of the first `k`, of that of the best order of what is relevant.

    Gains of 0 and 1, discounted by log2(1 + rank): Jarvelin & Kekalainen 2002, Cumulated gain-based evaluation of IR
    techniques, with the discount of Burges et al. 2005.
    """
    gain = (1 / np.log2(1 + one.ranks[one.ranks <= k])).sum()
    best = (1 / np.log2(1 + np.arange(1, min(k, one.relevant) + 1))).sum()
    return float(gain / best)


MEASURES: dict[str, Callable[[Judged], float]] = {
    "map": average_precision,
    "p@1": lambda one: precision(one, 1),
    "p@10": lambda one: precision(one, 10),
    "recall@1": lambda one: recall(one, 1),
    "recall@10": lambda one: recall(one, 10),
    "recall@100": lambda one: recall(one, 100),
    "ndcg@10": lambda one: ndcg(one, 10),
}


def measured(judged: Sequence[Judged]) -> Mapping[str, Estimate]:
    """Return all `MEASURES` of the queries that have something relevant, which must be one at least.

    The intervals are percentiles of the means of as many queries drawn again (Efron & Tibshirani 1993, An introduction
    to the bootstrap, chapter 13), from a fixed seed.
    """
    telling = [one for one in judged if one.relevant]
    scores = np.array([[measure(one) for measure in MEASURES.values()] for one in telling])
    drawn = np.random.default_rng(0).multinomial(len(telling), np.full(len(telling), 1 / len(telling)), RESAMPLES)
    means = drawn @ scores / len(telling)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    found = zip(scores.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Estimate(*numbers) for name, numbers in zip(MEASURES, found, strict=True)}


# -- what is relevant ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """A query, and the indexed images that are right answers to it."""

    query: Query
    relevant: frozenset[int]
    """Ids; the query's own is none of them."""
    kind: str = ""
    """What was done to the picture that is searched for."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Questions, and why others cannot be asked."""

    questions: Sequence[Question]
    left_out: tuple[str, ...] = ()
    """A sentence for each file that is named and cannot be used."""

    def sampled(self, count: int) -> "Truth":
        """Return `count` of the questions, drawn without replacement, always the same; all where there are fewer."""
        if len(self.questions) <= count:
            return self
        drawn = np.sort(np.random.default_rng(0).choice(len(self.questions), count, replace=False))
        return Truth([self.questions[at] for at in drawn], self.left_out)


def by_folders(index: Index, folder: str | os.PathLike[str]) -> Truth:
    """Ask about every indexed picture in a subfolder of `folder`: others of that subfolder, at any depth, are right.

    Copies of one picture are one, of the classes of all its places. Raises `BadInput` where nothing there is indexed,
    or where there are no two pictures in one subfolder.
    """
    top = Path(os.path.realpath(folder))
    classes: dict[str, set[int]] = defaultdict(set)
    for image, path in index.images(folder):
        below = Path(os.path.realpath(path.parent), path.name).relative_to(top).parts
        if len(below) > 1:
            classes[below[0]].add(image)
    return _grouped(classes.values(), None, f"no subfolder of {displayed(os.fsencode(folder))} has two pictures")


def by_holidays(index: Index, folder: str | os.PathLike[str]) -> Truth:
    """Ask as the names of INRIA Holidays' files say: those of a scene differ in the last two digits, 00 is the query.

    https://lear.inrialpes.fr/~jegou/data.php. Raises `BadInput` where no file has such a name.
    """
    scenes: dict[int, set[int]] = defaultdict(set)
    queries = set()
    for image, path in index.images(folder):
        if path.stem.isdecimal():
            number = int(path.stem)
            scenes[number // 100].add(image)
            queries |= {image} if number % 100 == 0 else set()
    return _grouped(
        scenes.values(), queries, f"no files of {displayed(os.fsencode(folder))} are named as Holidays' are"
    )


def _grouped(groups: Iterable[set[int]], queries: set[int] | None, nothing: str) -> Truth:
    """Ask about `queries`, None for all: what shares a group with one is right."""
    relevant: dict[int, set[int]] = defaultdict(set)
    for group in groups:
        for image in group if queries is None else group & queries:
            relevant[image] |= group
    questions = [Question(image, frozenset(right - {image})) for image, right in sorted(relevant.items())]
    if not any(question.relevant for question in questions):
        raise BadInput(
            nothing, hint="a class is a subfolder of two or more indexed pictures; see also: --ground-truth, --self"
        )
    return Truth([question for question in questions if question.relevant])


def by_table(index: Index, table: str | os.PathLike[str]) -> Truth:
    """Ask what a CSV says that has columns `query` and `relevant`: paths, from its own folder; a row for each pair.

    A query need not be in the index, what is relevant has to be. Raises `BadInput` for a file that is no such table, or
    of which nothing can be asked.
    """
    home = Path(table).absolute().parent
    known = {path: image for image, path in index.images()}
    relevant: dict[Path, set[int]] = defaultdict(set)
    left_out = []
    for query, right in _pairs(Path(table)):
        image = known.get(_indexed(home / right))
        if image is None:
            left_out.append(f"{displayed(os.fsencode(home / right))} is not in the index")
        else:
            relevant[home / query].add(image)
    questions = []
    for path, ids in relevant.items():
        own = known.get(_indexed(path))
        try:
            if own is None:
                images.decode(path.read_bytes(), (1, 1))
        except (OSError, UnreadableImage) as error:
            why = reason_of(error) if isinstance(error, OSError) else error
            left_out.append(f"{displayed(os.fsencode(path))} cannot be used: {why}")
        else:
            questions.append(Question(path if own is None else own, frozenset(ids - {own})))
    questions = [question for question in questions if question.relevant]
    if not questions:
        raise BadInput(f"nothing of {displayed(os.fsencode(table))} can be asked: {'; '.join(left_out[:1])}")
    return Truth(questions, tuple(left_out))


def _pairs(table: Path) -> Iterator[tuple[str, str]]:
    try:
        with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = csv.DictReader(file)
            if not {"query", "relevant"} <= set(rows.fieldnames or ()):
                raise BadInput(f"{displayed(os.fsencode(table))} has no columns query and relevant", hint=_TABLE)
            for row in rows:
                if not (row["query"] and row["relevant"]):
                    raise BadInput(f"line {rows.line_num} of {displayed(os.fsencode(table))} is no pair", hint=_TABLE)
                yield row["query"], row["relevant"]
    except OSError as error:
        raise BadInput(f"{displayed(os.fsencode(table))} cannot be read: {reason_of(error)}", hint=_TABLE) from error
    except csv.Error as error:
        raise BadInput(f"{displayed(os.fsencode(table))} is no CSV: {error}", hint=_TABLE) from error


_TABLE = "its first line is query,relevant, and then comes a pair of paths a line"


def _indexed(path: Path) -> Path:
    """Return `path` as an index knows it: its folder without symbolic links."""
    return Path(os.path.realpath(path.parent), path.name)


def of_itself(index: Index, folder: str | os.PathLike[str] | None = None, count: int = 100) -> Truth:
    """Ask whether pictures are found again that were changed: `count` of them, drawn at random, in each of `CHANGES`.

    Raises `BadInput` where none of them can be read.
    """
    places = dict(sorted(index.images(folder), reverse=True))  # of copies, the first place
    ids = np.array(sorted(places), dtype=np.int64)
    questions: list[Question] = []
    left_out = []
    for image in np.random.default_rng(0).permutation(ids).tolist():
        if len(questions) >= count * len(CHANGES):
            break
        try:
            whole = picture(places[image])
        except (OSError, UnreadableImage) as error:
            why = reason_of(error) if isinstance(error, OSError) else error
            left_out.append(f"{displayed(os.fsencode(places[image]))} cannot be used: {why}")
            continue
        changed = ((kind, np.asarray(change(whole))) for kind, change in CHANGES.items())
        questions += [Question(pixels, frozenset({image}), kind) for kind, pixels in changed]
    if not questions:
        raise BadInput("no picture of the index can be read", hint="bring it up to date with: retrieval index")
    return Truth(questions, tuple(left_out))


def picture(path: Path) -> Image.Image:
    """Return a picture as it is asked about, `SIDE` pixels long; `OSError`, `UnreadableImage`."""
    found = images.decode(path.read_bytes(), (SIDE, SIDE))
    scale = SIDE / max(found.width, found.height)
    size = max(1, round(found.width * scale)), max(1, round(found.height * scale))
    return Image.fromarray(found.pixels).resize(size, Image.Resampling.BILINEAR)


def _within(image: Image.Image, share: float) -> Image.Image:
    """Return the middle of a picture, that share of each side."""
    left, top = image.width * (1 - share) / 2, image.height * (1 - share) / 2
    return image.crop((round(left), round(top), round(image.width - left), round(image.height - top)))


def _compressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=10)
    return Image.open(file).convert("RGB")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "cropped": lambda image: _within(image, 0.6),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "rotated": lambda image: _within(image.rotate(10, Image.Resampling.BILINEAR), 0.8),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(SIDE / 100)),
    "recoloured": lambda image: ImageEnhance.Brightness(ImageEnhance.Color(image).enhance(0.3)).enhance(1.4),
    "compressed": _compressed,
    "shrunk": lambda image: image.resize((max(1, image.width // 5), max(1, image.height // 5))),
}
"""What is done to pictures that are to be found again: kinds of what image copy detection knows (Douze et al. 2021, The
2021 image similarity dataset and challenge, arXiv 2106.09672); how much of each is our choice."""


# -- asking -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good the answers of an index are."""

    queries: int
    images: int
    """Among which was searched."""
    measures: Mapping[str, Estimate]
    kinds: Mapping[str, Mapping[str, Estimate]]
    """The same of each kind of question, where there are several."""

    def as_dict(self) -> dict[str, Any]:
        """Return the measures by their names, each with `value`, `low` and `high`, and the counts."""
        named = {name: asdict(estimate) for name, estimate in self.measures.items()}
        kinds = {kind: {name: asdict(one) for name, one in found.items()} for kind, found in self.kinds.items()}
        return named | {"queries": self.queries, "images": self.images} | ({"kinds": kinds} if kinds else {})


def evaluate(
    index: Index, truth: Truth, *, exact: bool = False, progress: Callable[[int], None] | None = None
) -> Evaluation:
    """Ask all questions, as `Index.search` answers them (`exact` as there), and measure; `progress` is told how many.

    Raises what `Index.search` raises.
    """
    judged: dict[str, list[Judged]] = defaultdict(list)
    answers = index.neighbours((one.query for one in truth.questions), DEPTH, exact=exact)
    for done, (question, (ids, _)) in enumerate(zip(truth.questions, answers, strict=True), 1):
        judged[question.kind].append(_judged(ids, question.relevant))
        if progress is not None:
            progress(done)
    everything = [one for some in judged.values() for one in some]
    kinds = {kind: measured(some) for kind, some in judged.items()} if len(judged) > 1 else {}
    return Evaluation(len(everything), index.coverage().images, measured(everything), kinds)


def _judged(ids: Ids, relevant: frozenset[int]) -> Judged:
    right = np.fromiter(relevant, dtype=np.int64, count=len(relevant))
    return Judged(np.flatnonzero(np.isin(ids, right)) + 1, len(relevant))
