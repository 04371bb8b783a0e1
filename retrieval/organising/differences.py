"""What one folder has that another one lacks: by the bytes, and then by looking.

A folder that is indexed is taken as the index knows it. Another one is indexed for the moment, in a temporary folder
that also gets the thumbnails, and leaves nothing.
"""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from retrieval.arguments import path_of
from retrieval.comparing.relation import COPIES, Relation, Verdict, compare
from retrieval.errors import BadInput
from retrieval.index import Index
from retrieval.organising.candidates import candidates
from retrieval.organising.gallery import Gallery
from retrieval.types import Failure, IndexedImage, displayed

Folder = str | os.PathLike[str]
Step = Callable[[str, int, int], None]
"""Is told the name of a step, how much of it is done, and how much it is in all."""


class State(StrEnum):
    """What a file of one of two folders is to the other folder."""

    MISSING = "missing"
    """A file of the first folder whose picture the second one does not have."""
    NEARLY = "nearly"
    """A file of the first folder of which the second one has a copy with other bytes."""
    COMMON = "common"
    """A file of the first folder of which the second one has the same bytes."""
    ONLY_THERE = "only_there"
    """A file of the second folder whose picture the first one does not have."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A file of one of two folders."""

    state: State
    path: Path
    """Absolute path of the file."""
    other: Path | None = None
    """Absolute path of its copy in the other folder; None if there is none."""
    relation: Relation | None = None
    """What the file is to its copy."""
    score: float | None = None
    """Cosine of the vectors of both, -1 to 1."""

    def as_dict(self) -> dict[str, Any]:
        """Return the file as JSON can hold it."""
        return {
            "state": str(self.state),
            "path": str(self.path),
            "other": None if self.other is None else str(self.other),
            "relation": None if self.relation is None else str(self.relation),
            "score": None if self.score is None else round(self.score, 6),
        }


@dataclass(frozen=True, slots=True)
class Differences:
    """What two folders are to each other."""

    files: tuple[Difference, ...]
    """In the order of the states, and of the paths within a state."""
    unreadable: tuple[Failure, ...]
    """Files that could not be compared, because they are damaged or cannot be read."""


def differences(
    first: Folder,
    second: Folder,
    index: Index | None = None,
    relations: Collection[Relation] = COPIES,
    progress: Step | None = None,
) -> Differences:
    """Return what the first folder has that the second one lacks, what both have, and what only the second one has.

    A folder that `index` knows is taken from it; others are looked at now. Raises `BadInput` if one is no folder, or if
    one lies in the other.
    """
    step = progress or (lambda *_: None)
    places = _apart(first, second)
    with ExitStack() as stack:
        sides = [stack.enter_context(_side(place, index, step)) for place in places]
        one, other = sides
        found = _compared(one, other, frozenset(relations), step)
        return Differences(tuple(found), (*one.unreadable, *other.unreadable))


@dataclass(frozen=True)
class _Side:
    """A folder with its pictures."""

    index: Index
    files: Sequence[IndexedImage]
    unreadable: Sequence[Failure]
    within: Path | None
    """Where its thumbnails are kept; None for the cache of the user."""

    def gallery(self, progress: Callable[[int], None]) -> Gallery:
        """Return its pictures."""
        files = [image for image in self.files if not image.offline]
        return Gallery.of(files, self.index.vectors, progress, within=self.within)


def _apart(first: Folder, second: Folder) -> list[str]:
    places = []
    for folder in (first, second):
        place = os.path.realpath(os.fsdecode(path_of(folder, "a folder")))
        if not os.path.isdir(place):
            raise BadInput(f"{displayed(folder)} is not a folder")
        places.append(place)
    if os.path.commonpath(places) in places:
        raise BadInput(f"{displayed(places[0])} and {displayed(places[1])} overlap", hint="give two separate folders")
    return places


@contextmanager
def _side(place: str, index: Index | None, step: Step) -> Iterator[_Side]:
    """Yield a folder as the index knows it, or as it is now."""
    if index is not None and _knows(index, place):
        failures = [failure for failure in index.failures() if _is_below(failure.path, place)]
        yield _Side(index, list(index.images(place)), failures, None)
        return
    with TemporaryDirectory(prefix="retrieval-") as folder:
        where = Path(folder) / "index"
        made = Index.create(where) if index is None else index.empty_like(where)
        with made as looked:
            looked.add(place, progress=lambda now: step("reading", now.done, now.total))
            files = list(looked.images()) if len(looked) else []
            yield _Side(looked, files, list(looked.failures()), Path(folder))


def _knows(index: Index, place: str) -> bool:
    """Tell whether a folder lies in one that is indexed."""
    roots = [os.path.join(os.path.realpath(root.path), "") for root in index.folders()]
    return any(os.path.join(place, "").startswith(root) for root in roots)


def _is_below(path: Path, place: str) -> bool:
    return os.fspath(path).startswith(os.path.join(place, ""))


def _compared(one: _Side, other: _Side, relations: frozenset[Relation], step: Step) -> list[Difference]:
    ids = {image.id for image in one.files}, {image.id for image in other.files}
    common = ids[0] & ids[1]
    there = {image.id: image.path for image in reversed(other.files)}
    near = _near(one, other, relations, step)
    copied = {match.id for matches in near.values() for match, _, _ in matches}
    order, found = list(Relation), []
    for image in one.files:
        if image.id in common:
            found.append(Difference(State.COMMON, image.path, there[image.id], Relation.SAME_BYTES, 1.0))
        elif image.id in near:
            match, verdict, score = min(near[image.id], key=lambda item: order.index(item[1].relation))
            found.append(Difference(State.NEARLY, image.path, match.path, verdict.relation, score))
        else:
            found.append(Difference(State.MISSING, image.path))
    only_there = [image for image in other.files if image.id not in common and image.id not in copied]
    found += [Difference(State.ONLY_THERE, image.path) for image in only_there]
    states = list(State)
    return sorted(found, key=lambda item: states.index(item.state))


Near = tuple[IndexedImage, Verdict, float]
"""A picture of the other folder, what both are to each other, and the cosine of their vectors."""


def _near(one: _Side, other: _Side, relations: frozenset[Relation], step: Step) -> dict[int, list[Near]]:
    """Return id of a picture of one folder -> its copies among the pictures of the other folder."""
    if relations <= {Relation.SAME_BYTES}:
        return {}
    mine = one.gallery(lambda done: step("looking", done, len(one.files)))
    if not len(mine):
        return {}
    theirs = other.gallery(lambda done: step("looking", done, len(other.files)))
    proposed = candidates(mine, theirs)
    found: dict[int, list[Near]] = {}
    for done, (a, b, is_near) in enumerate(proposed, 1):
        subjects = mine.subject(a), theirs.subject(b)
        verdict = None
        if mine.images[a].id == theirs.images[b].id:
            continue
        if subjects[0] is not None and subjects[1] is not None:
            verdict = compare(subjects[0], subjects[1], parts=is_near)
        if verdict is not None and verdict.relation in relations:
            score = float(np.dot(mine.vectors[a], theirs.vectors[b]))
            found.setdefault(mine.images[a].id, []).append((theirs.images[b], verdict, score))
        step("comparing", done, len(proposed))
    return found
