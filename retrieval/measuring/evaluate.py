"""Measure how good the answers of an index are: collect questions with their right answers, ask them, and measure.

a folder, a CSV, file names, changed pictures -> Truth: questions -> `Index.neighbours` -> `metrics` -> Evaluation
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from retrieval.arguments import call, integer, text_path
from retrieval.errors import BadInput, UnreadableImage, reason_of
from retrieval.index import Index
from retrieval.measuring import labels
from retrieval.measuring.changes import CHANGES, picture_in
from retrieval.measuring.metrics import Estimate, JudgedAnswer, estimate
from retrieval.pictures import decode, reading
from retrieval.searching.options import PLAIN, SearchOptions
from retrieval.searching.query import Query
from retrieval.types import EXACT, Ids, Match, displayed, image_id

DEPTH = 10_000
"""Least number of answers to a query that are looked at. If twice the number of right answers is more, that many are
looked at. A right answer further down counts as not found; at rank r, it would add at most 1 / r to the average
precision."""
CANDIDATES = 4
"""Number of pictures that may be opened for each picture that is needed, because some can no longer be read."""
_TABLE = "the first line must be query,relevant; each further line is a pair of paths"


# -- which answers are right --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """A query with its right answers."""

    query: Query | Callable[[], Image.Image]
    """A query, or a function that makes a picture when the question is asked, so that few pictures are in memory."""
    relevant: frozenset[int]
    """Ids of the right answers. The id of the query itself does not count. Questions of a class share one set."""
    kind: str = ""
    """Name of the change that was made to a picture; empty if the query was not changed."""

    def made(self) -> Query:
        """Return the query. A changed picture is made now."""
        return self.query() if callable(self.query) else self.query


@dataclass(frozen=True, slots=True)
class Truth:
    """Questions with their right answers."""

    questions: Sequence[Question]
    left_out: tuple[str, ...] = ()
    """One sentence for each file that cannot be used."""

    def sampled(self, count: int) -> "Truth":
        """Return `count` of the questions, drawn at random from a fixed seed; all of them if there are fewer."""
        if len(self.questions) <= integer(count, "count", 1):
            return self
        drawn = np.sort(np.random.default_rng(0).choice(len(self.questions), count, replace=False))
        return Truth([self.questions[position] for position in drawn], self.left_out)

    def groups(self) -> list[int]:
        """Return for each question the number of its group. Questions about changes of one picture form a group.

        The answers to the questions of a group depend on one another, which makes confidence intervals wider.
        """
        kinds = {question.kind for question in self.questions}
        if len(kinds) <= 1:
            return list(range(len(self.questions)))
        numbers: dict[frozenset[int], int] = {}
        for question in self.questions:
            numbers.setdefault(question.relevant, len(numbers))
        return [numbers[question.relevant] for question in self.questions]


def by_folders(index: Index, folder: str | os.PathLike[str]) -> Truth:
    """Ask about every indexed image in a subfolder of `folder`. The other images of the same subfolder are right.

    A subfolder includes the folders below it. An image with copies in several subfolders belongs to all of them. Raises
    `BadInput` if the index knows no image below `folder`, or if no subfolder has two images.
    """
    classes = labels.classes_of(index, folder)
    if max(map(len, classes.values()), default=0) <= 1:
        sentence = f"no subfolder of {displayed(os.fsencode(folder))} has two indexed pictures"
        raise BadInput(sentence, hint="each subfolder is a class; without classes, give --ground-truth or --self")
    return _of_groups(classes.values())


def by_holidays(index: Index, folder: str | os.PathLike[str]) -> Truth:
    """Return the questions that the file names of INRIA Holidays define.

    The names of the images of a scene differ only in the last two digits. The image whose name ends in 00 is the query,
    the other images of the scene are right: https://lear.inrialpes.fr/~jegou/data.php. Raises `BadInput` if no two
    files have such names.
    """
    scenes: dict[int, set[int]] = defaultdict(set)
    queries = set()
    for image in index.images(folder):
        if image.path.stem.isdecimal():
            scene, number = divmod(int(image.path.stem), 100)
            scenes[scene].add(image.id)
            if number == 0:
                queries.add(image.id)
    truth = _of_groups(scenes.values(), queries)
    if not truth.questions:
        sentence = f"no two files in {displayed(os.fsencode(folder))} have names as in INRIA Holidays"
        raise BadInput(sentence, hint="for example, 100000.jpg is a query, and 100001.jpg is a right answer to it")
    return truth


def _of_groups(groups: Iterable[set[int]], queries: set[int] | None = None) -> Truth:
    """Ask about the images `queries`, or about all images if it is None.

    The right answers are the images that share a group with the query. A query that shares no group is left out.
    """
    relevant: dict[int, frozenset[int]] = {}
    for group in map(frozenset, groups):
        asked = group if queries is None else group & queries
        for image in asked:
            # Images of one group share its set, which saves memory; a union would be a new set for each of them.
            relevant[image] = relevant[image] | group if image in relevant else group
    return Truth([Question(image, right) for image, right in sorted(relevant.items()) if len(right) > 1])


def by_table(index: Index, table: str | os.PathLike[str]) -> Truth:
    """Return the questions in a CSV with the columns `query` and `relevant`.

    Each row is a pair of a query and a right answer to it. Paths are relative to the folder of the CSV. A query need
    not be in the index, but a right answer must be. Raises `BadInput` for a file without these columns, and if no row
    can be used.
    """
    table = Path(text_path(table, "the table"))
    home = table.absolute().parent
    pairs = list(labels.read_table(table, ("query", "relevant"), _TABLE))
    ids: dict[str, int | None] = {}
    for name in chain.from_iterable(pairs):
        if name not in ids:
            ids[name] = index.id_of(home / name)
    relevant: dict[int | Path, set[int]] = defaultdict(set)
    left_out = []
    for query, right in pairs:
        query_id, image = ids[query], ids[right]
        if image is None:
            left_out.append(f"{displayed(os.fsencode(home / right))} is not in the index")
        elif query_id != image:
            key = Path(os.path.realpath(home / query)) if query_id is None else query_id
            relevant[key].add(image)
    outside_queries = [query for query in relevant if isinstance(query, Path)]
    for path in outside_queries:
        if complaint := _complaint(path):
            left_out.append(complaint)
            del relevant[path]
    if not relevant:
        why = f": {left_out[0]}" if left_out else ""
        raise BadInput(f"no row of {displayed(os.fsencode(table))} can be used{why}", hint=_TABLE)
    return Truth([Question(query, frozenset(right)) for query, right in relevant.items()], tuple(left_out))


def _complaint(path: Path) -> str | None:
    """Return a sentence that says why the picture at `path` cannot be used; None if it can."""
    try:
        decode.decode(reading.read_regular(path), (1, 1), path=os.fsencode(path))
    except (OSError, UnreadableImage) as error:
        return _unusable(path, error)
    return None


def _unusable(path: Path, error: OSError | UnreadableImage) -> str:
    why = reason_of(error) if isinstance(error, OSError) else error
    return f"{displayed(os.fsencode(path))} cannot be used: {why}"


def of_itself(index: Index, folder: str | os.PathLike[str] | None = None, count: int = 300) -> Truth:
    """Ask whether changed pictures find their originals. `count` images are changed, each in all ways of `CHANGES`.

    The images are drawn at random, with a fixed seed, from the files below `folder`, or from the whole index if it is
    None. Raises `BadInput` if none of them can be read.
    """
    count = integer(count, "count", 1)
    ids = np.unique(np.fromiter((image.id for image in index.images(folder)), dtype=np.int64))
    candidates = np.random.default_rng(0).permutation(ids)[: CANDIDATES * count].tolist()
    files: dict[int, list[Path]] = {image: [] for image in candidates}
    for image in index.images(folder):
        if image.id in files:
            files[image.id].append(image.path)
    questions: list[Question] = []
    left_out: list[str] = []
    for image in candidates:
        if len(questions) == count * len(CHANGES):
            break
        picture = _read(image, files[image], left_out)
        if picture is not None:
            relevant = frozenset({image})
            questions += [Question(partial(change, picture), relevant, kind) for kind, change in CHANGES.items()]
    if not questions:
        raise BadInput(
            "no picture of the index can be read", hint="bring the index up to date with: retrieval index FOLDER"
        )
    return Truth(questions, tuple(left_out))


def _read(image: int, files: Sequence[Path], left_out: list[str]) -> Image.Image | None:
    """Return the indexed picture with the id `image` from the first of `files` that still has it; None if none has.

    A sentence is added to `left_out` for each file that was tried without success.
    """
    for path in files:
        try:
            data = reading.read_regular(path)
            if image_id(hashlib.sha256(data).digest()) == image:
                return picture_in(data)
            left_out.append(f"{displayed(os.fsencode(path))} has changed since it was indexed")
        except (OSError, UnreadableImage) as error:
            left_out.append(_unusable(path, error))
    return None


# -- asking -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good the answers of an index are."""

    queries: int
    """Number of queries."""
    images: int
    """Number of images in the index that was searched."""
    measures: Mapping[str, Estimate]
    """Name of a measure, as in `metrics.MEASURES` -> its mean over all queries."""
    kinds: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    """Kind of question, as in `Question.kind` -> the measures of its queries; empty if there is only one kind."""

    def as_dict(self) -> dict[str, Any]:
        """Return the evaluation as JSON can hold it.

        Each measure stands under its name, with `value`, `low` and `high`. The other keys are `queries`, `images` and,
        if there are several kinds of questions, `kinds`.
        """
        facts = _as_json(self.measures) | {"queries": self.queries, "images": self.images}
        if self.kinds:
            facts["kinds"] = {kind: _as_json(measures) for kind, measures in self.kinds.items()}
        return facts


def _as_json(measures: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: asdict(measure) for name, measure in measures.items()}


def evaluate(
    index: Index,
    truth: Truth,
    options: SearchOptions = PLAIN,
    *,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Ask all questions with `Index.neighbours` and `options`, and return the measures of the answers.

    `progress` is called with the number of questions that have been answered. Raises what `Index.search` raises.
    """
    judged = ask(index, truth, options, progress=call(progress, "progress"))
    return summarise(truth, judged, index.coverage().images)


def ask(
    index: Index,
    truth: Truth,
    options: SearchOptions = PLAIN,
    *,
    progress: Callable[[int], None] | None = None,
) -> list[JudgedAnswer]:
    """Ask all questions as `evaluate` does, and return the answers in the order of the questions."""
    found = answers(index, truth, options, lengths_of(index, truth, options))
    judged = []
    for question, ids in zip(truth.questions, found, strict=True):
        judged.append(judge(ids, question))
        if progress is not None:
            progress(len(judged))
    return judged


def summarise(truth: Truth, judged: Sequence[JudgedAnswer], images: int) -> Evaluation:
    """Return the measures of the answers, one per question of `truth`, in the same order.

    `images` is the number of images in the index that was asked.
    """
    by_kind: dict[str, list[list[JudgedAnswer]]] = defaultdict(list)
    by_group: dict[int, list[JudgedAnswer]] = defaultdict(list)
    for question, group, answer in zip(truth.questions, truth.groups(), judged, strict=True):
        by_kind[question.kind].append([answer])
        by_group[group].append(answer)
    kinds = {}
    if len(by_kind) > 1:
        kinds = {kind: estimate(groups) for kind, groups in by_kind.items()}
    return Evaluation(len(judged), images, estimate(list(by_group.values())), kinds)


def lengths_of(index: Index, truth: Truth, options: SearchOptions) -> list[int]:
    """Return the numbers of answers for which to ask about each question, ascending.

    A search structure finds more if it is asked for more. So it is asked for 10, for 100 and for all answers, and the
    first answers are those that users get on their pages.
    """
    depth = max(DEPTH, 2 * max(len(question.relevant) for question in truth.questions))
    if not options.exact and any(part.form != EXACT for part in index.info().search):
        return [10, 100, depth]
    return [depth]


def answers(index: Index, truth: Truth, options: SearchOptions, lengths: Sequence[int]) -> Iterator[Ids]:
    """Yield the ids of the answers to each question, best first, from searches for each of `lengths`.

    An image that only a longer search finds stands behind all images of the shorter searches.
    """
    searches = [index.neighbours(_queries(truth), length, options) for length in lengths]
    for neighbours in zip(*searches, strict=True):
        ids = np.concatenate([answer.ids for answer in neighbours])
        _, first_positions = np.unique(ids, return_index=True)
        yield ids[np.sort(first_positions)]


def _queries(truth: Truth) -> Iterator[Query]:
    """Yield the queries of all questions. A changed picture is made when its turn comes."""
    for question in truth.questions:
        yield question.made()


def judge(ids: Ids, question: Question) -> JudgedAnswer:
    """Return where the right answers to a question stand among `ids`."""
    relevant = np.fromiter(question.relevant, dtype=np.int64, count=len(question.relevant))
    ranks = np.flatnonzero(np.isin(ids, relevant)) + 1
    query = question.query.id if isinstance(question.query, Match) else question.query
    itself = int(query) if isinstance(query, int | np.integer) else None
    return JudgedAnswer(ranks, len(question.relevant - {itself}))
