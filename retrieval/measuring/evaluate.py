"""How good the answers of an index are: what is relevant to which query, and the measures of the field over that.

Each measure is the mean over the queries of what one query scores; the query itself is no result of its own, as in
INRIA Holidays (Jegou et al. 2008, Hamming embedding and weak geometric consistency). A query without anything relevant
tells nothing and is left out.
"""

import hashlib
import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from retrieval.arguments import call, integer, text_path
from retrieval.errors import BadInput, UnreadableImage, reason_of
from retrieval.index import PLAIN, Index
from retrieval.measuring import labels
from retrieval.pictures import decode, reading
from retrieval.searching.options import SearchOptions
from retrieval.searching.query import Query
from retrieval.types import EXACT, Ids, Vectors, displayed, image_id

DEPTH = 10_000
"""Answers to a query that are looked at, at least, and twice as many as are right; what is right and stands behind them
counts as not found. Each would add less than its share of the precision there."""
TRIED = 4
"""Times as many pictures as are asked about, that are tried to be read."""
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


def measured(groups: Sequence[Sequence[Judged]]) -> Mapping[str, Estimate]:
    """Return the means of all `MEASURES` over groups of queries that stand or fall together, mostly of one each.

    The intervals are percentiles of the means of as many groups drawn again (Efron & Tibshirani 1993, An introduction
    to the bootstrap, chapter 13), from a fixed seed. Each group counts the same; there must be one at least.
    """
    scores = np.array([np.mean([[of(one) for of in MEASURES.values()] for one in group], axis=0) for group in groups])
    chance = np.random.default_rng(0)
    means = np.stack([scores[chance.integers(len(scores), size=len(scores))].mean(axis=0) for _ in range(RESAMPLES)])
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    found = zip(scores.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Estimate(*numbers) for name, numbers in zip(MEASURES, found, strict=True)}


def gained(before: Sequence[float], after: Sequence[float], units: Ids) -> Estimate:
    """Return by how much a measure of the same queries rose, with the interval of that difference.

    It is that of pairs, as queries differ among each other by more than two answers to one do. `units`, a number a
    query, tells which stand or fall together: they are the groups of `measured`, which see for the rest.
    """
    rose = np.array(after) - np.array(before)
    _, place = np.unique(units, return_inverse=True)
    each = np.bincount(place, rose) / np.bincount(place)
    chance = np.random.default_rng(0)
    means = [each[chance.integers(len(each), size=len(each))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    return Estimate(float(each.mean()), low, high)


def among(vectors: Vectors, labels: Ids) -> list[Judged]:
    """Ask about each vector among the others, of which those with the same label are right; in their order.

    Equal scores stand in the order of the vectors. What is the only one of its label is not asked about.
    """
    found = []
    for at, (vector, label) in enumerate(zip(vectors, labels, strict=True)):
        order = np.argsort(-(vectors @ vector), kind="stable")
        right = labels[order[order != at]] == label
        if right.any():
            found.append(Judged(np.flatnonzero(right) + 1, int(right.sum())))
    return found


# -- what is relevant ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """A query, and the indexed images that are right answers to it."""

    query: Query | Callable[[], Image.Image]
    """A picture that takes much memory is made when it is asked about."""
    relevant: frozenset[int]
    """Ids; the query's own counts for nothing. Shared by all questions of a class."""
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
        if len(self.questions) <= integer(count, "count", 1):
            return self
        drawn = np.sort(np.random.default_rng(0).choice(len(self.questions), count, replace=False))
        return Truth([self.questions[at] for at in drawn], self.left_out)

    def units(self) -> list[int]:
        """Return a number for each question: those with the same stand or fall together, as one picture was changed."""
        if len({question.kind for question in self.questions}) <= 1:
            return list(range(len(self.questions)))
        numbers: dict[frozenset[int], int] = {}
        return [numbers.setdefault(question.relevant, len(numbers)) for question in self.questions]


def by_folders(index: Index, folder: str | os.PathLike[str]) -> Truth:
    """Ask about every indexed picture in a subfolder of `folder`: others of that subfolder, at any depth, are right.

    Copies of one picture are one, of the classes of all its places. Raises `BadInput` where nothing there is indexed,
    or where there are no two pictures in one subfolder.
    """
    classes = labels.classes_of(index, folder)
    if max(map(len, classes.values()), default=0) <= 1:
        sentence = f"no subfolder of {displayed(os.fsencode(folder))} has two pictures"
        raise BadInput(sentence, hint="a class is a subfolder; see also: --ground-truth, --self")
    return _grouped(classes.values())


def by_holidays(index: Index, folder: str | os.PathLike[str]) -> Truth:
    """Ask as the names of INRIA Holidays' files say: those of a scene differ in the last two digits, 00 is the query.

    https://lear.inrialpes.fr/~jegou/data.php. Raises `BadInput` where no two files have such names.
    """
    scenes: dict[int, set[int]] = defaultdict(set)
    queries = set()
    for image in index.images(folder):
        if image.path.stem.isdecimal():
            number = int(image.path.stem)
            scenes[number // 100].add(image.id)
            if number % 100 == 0:
                queries.add(image.id)
    truth = _grouped(scenes.values(), queries)
    if not truth.questions:
        sentence = f"no files of {displayed(os.fsencode(folder))} are named as Holidays' are"
        raise BadInput(sentence, hint="as in 100000.jpg, which is asked about, and 100001.jpg, which is right")
    return truth


def _grouped(groups: Iterable[set[int]], queries: set[int] | None = None) -> Truth:
    """Ask about `queries`, None for all: what shares a group with one is right."""
    relevant: dict[int, frozenset[int]] = {}
    for group in map(frozenset, groups):
        for image in group if queries is None else group & queries:
            relevant[image] = relevant[image] | group if image in relevant else group
    return Truth([Question(image, right) for image, right in sorted(relevant.items()) if len(right) > 1])


def by_table(index: Index, table: str | os.PathLike[str]) -> Truth:
    """Ask what a CSV says that has columns `query` and `relevant`: paths, from its own folder; a row for each pair.

    A query need not be in the index, what is relevant has to be. Raises `BadInput` for a file that is no such table, or
    of which nothing can be asked.
    """
    table = Path(text_path(table, "the table"))
    home, pairs, left_out = table.absolute().parent, list(labels.rows(table, ("query", "relevant"), _TABLE)), []
    ids = {name: index.id_of(home / name) for name in {name for pair in pairs for name in pair}}
    relevant: dict[int | Path, set[int]] = defaultdict(set)
    for query, right in pairs:
        own, image = ids[query], ids[right]
        if image is None:
            left_out.append(f"{displayed(os.fsencode(home / right))} is not in the index")
        elif own != image:
            relevant[Path(os.path.realpath(home / query)) if own is None else own].add(image)
    for path in [query for query in relevant if isinstance(query, Path)]:
        try:
            decode.decode(reading.read_regular(path), (1, 1), path=os.fsencode(path))
        except (OSError, UnreadableImage) as error:
            left_out.append(_unusable(path, error))
            del relevant[path]
    if not relevant:
        why = f": {left_out[0]}" if left_out else ""
        raise BadInput(f"nothing of {displayed(os.fsencode(table))} can be asked{why}", hint=_TABLE)
    return Truth([Question(query, frozenset(right)) for query, right in relevant.items()], tuple(left_out))


def _unusable(path: Path, error: OSError | UnreadableImage) -> str:
    why = reason_of(error) if isinstance(error, OSError) else error
    return f"{displayed(os.fsencode(path))} cannot be used: {why}"


_TABLE = "its first line is query,relevant, and then comes a pair of paths a line"


def of_itself(index: Index, folder: str | os.PathLike[str] | None = None, count: int = 300) -> Truth:
    """Ask whether pictures are found again that were changed: `count` of them, drawn at random, in each of `CHANGES`.

    Raises `BadInput` where none of them can be read.
    """
    count = integer(count, "count", 1)
    ids = np.unique(np.fromiter((image.id for image in index.images(folder)), dtype=np.int64))
    drawn = np.random.default_rng(0).permutation(ids)[: TRIED * count].tolist()
    places: dict[int, list[Path]] = {image: [] for image in drawn}
    for image in index.images(folder):
        if image.id in places:
            places[image.id].append(image.path)
    questions: list[Question] = []
    left_out: list[str] = []
    for image in drawn:
        if len(questions) < count * len(CHANGES) and (whole := _read(image, places[image], left_out)) is not None:
            right = frozenset({image})
            questions += [Question(partial(change, whole), right, kind) for kind, change in CHANGES.items()]
    if not questions:
        raise BadInput("no picture of the index can be read", hint="bring it up to date with: retrieval index")
    return Truth(questions, tuple(left_out))


def _read(image: int, places: Sequence[Path], left_out: list[str]) -> Image.Image | None:
    """Return an indexed picture from the first place that still has it; else say why not."""
    for path in places:
        try:
            data = reading.read_regular(path)
            if image_id(hashlib.sha256(data).digest()) == image:
                return picture(data)
            left_out.append(f"{displayed(os.fsencode(path))} has changed since it was indexed")
        except (OSError, UnreadableImage) as error:
            left_out.append(_unusable(path, error))
    return None


def picture(data: bytes) -> Image.Image:
    """Return the picture in `data` as it is asked about, `SIDE` pixels long; `UnreadableImage`."""
    found = decode.decode(data, (SIDE, SIDE))
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
    index: Index,
    truth: Truth,
    options: SearchOptions = PLAIN,
    *,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Ask all questions, as `Index.search` answers them with these `options`, and measure.

    `progress` is told how many have been asked.

    What a search structure leaves out of the first 10 and 100 answers, mean average precision counts where it stands
    among all: behind those. Raises what `Index.search` raises.
    """
    judged = asked(index, truth, options, progress=call(progress, "progress"))
    return summed(truth, judged, index.coverage().images)


def asked(
    index: Index,
    truth: Truth,
    options: SearchOptions = PLAIN,
    *,
    progress: Callable[[int], None] | None = None,
) -> list[Judged]:
    """Ask all questions as `evaluate` does, and return what became of each."""
    found = []
    answers = _answers(index, truth, options)
    for done, (question, ids) in enumerate(zip(truth.questions, answers, strict=True), 1):
        found.append(_judged(ids, question))
        if progress is not None:
            progress(done)
    return found


def summed(truth: Truth, judged: Sequence[Judged], images: int) -> Evaluation:
    """Return the measures of questions that were asked of an index of so many images."""
    kinds: dict[str, list[list[Judged]]] = defaultdict(list)
    units: dict[int, list[Judged]] = defaultdict(list)
    for question, unit, one in zip(truth.questions, truth.units(), judged, strict=True):
        kinds[question.kind].append([one])
        units[unit].append(one)
    by_kind = {kind: measured(some) for kind, some in kinds.items()} if len(kinds) > 1 else {}
    return Evaluation(len(judged), images, measured(list(units.values())), by_kind)


def _answers(index: Index, truth: Truth, options: SearchOptions) -> Iterator[Ids]:
    """Yield the ids of the answers to each question, the best first: those of the first page, the second, the rest."""
    depth = max(DEPTH, 2 * max(len(one.relevant) for one in truth.questions))
    pages: tuple[int, ...] = (depth,)
    if not options.exact and any(part.form != EXACT for part in index.info().search):
        pages = (10, 100, depth)  # a search structure finds more where more is asked for
    queries = [(one.query() if callable(one.query) else one.query for one in truth.questions) for _ in pages]
    answers = [index.neighbours(some, page, options) for some, page in zip(queries, pages, strict=True)]
    for found in zip(*answers, strict=True):
        ids = np.concatenate([near.ids for near in found])
        _, first = np.unique(ids, return_index=True)
        yield ids[np.sort(first)]


def _judged(ids: Ids, question: Question) -> Judged:
    right = np.fromiter(question.relevant, dtype=np.int64, count=len(question.relevant))
    return Judged(np.flatnonzero(np.isin(ids, right)) + 1, len(question.relevant - {question.query}))
