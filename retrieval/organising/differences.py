"""What one folder has that another one lacks: by the bytes, and then by looking.

A folder that is indexed is taken as the index knows it. Another one is indexed for the moment, in a temporary folder
that also gets the thumbnails, and leaves nothing.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from retrieval.comparing.relation import COPIES, Relation, Verdict
from retrieval.errors import BadInput, ShortMemory, UnreadableImage
from retrieval.index import Index
from retrieval.organising import places
from retrieval.organising.candidates import candidates
from retrieval.organising.gallery import Gallery, Step, unwatched
from retrieval.organising.places import Folder
from retrieval.organising.sameness import related
from retrieval.pictures.source import Folder as Source
from retrieval.pictures.source import contents
from retrieval.types import Failure, Found, IndexedImage, RootInfo


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
    not_indexed: int = 0
    """Number of files in folders of the index that are new or have changed since its latest update, so that they were
    not compared."""


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
    step = progress or unwatched
    with ExitStack() as stack:
        one, other = (stack.enter_context(_side(place, index, step)) for place in places.apart(first, second))
        near, unreadable = _near(one, other, frozenset(relations), step)
        found = _compared(one, other, near)
        failures = (*one.unreadable, *other.unreadable, *unreadable)
        return Differences(tuple(found), failures, one.not_indexed + other.not_indexed)


@dataclass(frozen=True)
class _Side:
    """A folder with its pictures."""

    index: Index
    files: Sequence[IndexedImage]
    unreadable: Sequence[Failure]
    within: Path | None = None
    """Where its thumbnails are kept; None for the cache of the user."""
    not_indexed: int = 0

    def gallery(self, step: Step) -> Gallery:
        """Return its pictures."""
        files = [image for image in self.files if not image.offline]
        return Gallery.of(files, self.index.vectors, step, within=self.within)


@contextmanager
def _side(place: bytes, index: Index | None, step: Step) -> Iterator[_Side]:
    """Yield a folder as the index knows it, or as it is now."""
    folder = os.fsdecode(place)
    if index is not None and _knows(index, place):
        failures = [failure for failure in index.failures() if places.is_below(failure.path, [place])]
        images = _images(index, folder)
        yield _Side(index, images, failures, not_indexed=_not_indexed(index, place, images, failures))
        return
    with TemporaryDirectory(prefix="retrieval-") as aside:
        where = Path(aside) / "index"
        made = Index.create(where) if index is None else index.empty_like(where)
        with made as looked:
            looked.add(folder, progress=lambda now: step("reading", now.done, now.total))
            yield _Side(looked, _images(looked, folder), list(looked.failures()), Path(aside))


def _knows(index: Index, place: bytes) -> bool:
    """Tell whether a folder lies in one that is indexed."""
    return any(_holds(root, place) for root in index.folders())


def _images(index: Index, folder: str) -> list[IndexedImage]:
    """Return the images below a folder, none if the index knows none there."""
    try:
        return list(index.images(folder))
    except BadInput:
        return []


def _not_indexed(index: Index, place: bytes, images: Sequence[IndexedImage], failures: Sequence[Failure]) -> int:
    """Return the number of pictures below a folder of an index that are new or have changed since its latest update."""
    known = {os.fsencode(image.path): (image.bytes, image.modified_ns) for image in images}
    failed = {os.fsencode(failure.path) for failure in failures}
    root = max((root for root in index.folders() if _holds(root, place)), key=lambda root: len(str(root.path)))
    source = Source(os.path.realpath(os.fsencode(root.path)))
    below = os.path.join(place, b"")[len(os.path.join(source.place, b"")) :]
    count = 0
    for seen in source.scan(below, root.exclude, skip=os.path.realpath(os.fsencode(index.folder))):
        path = os.path.join(source.place, seen.path)
        if isinstance(seen, Found) and path not in failed:
            stored = seen.storable()
            count += known.get(path) != (stored.size, stored.mtime_ns) and _is_picture(source, seen.path)
    return count


def _holds(root: RootInfo, place: bytes) -> bool:
    return places.is_below(os.path.join(place, b""), [os.path.realpath(os.fsencode(root.path))])


def _is_picture(source: Source, path: bytes) -> bool:
    """Tell whether a file begins like a picture; True also if it cannot be read, because then nobody knows."""
    try:
        return contents(source, path)[1] is not None
    except FileNotFoundError:
        return False
    except (OSError, UnreadableImage, ShortMemory):
        return True


Near = tuple[IndexedImage, Verdict, float]
"""A picture of the other folder, what both are to each other, and the cosine of their vectors."""


def _compared(one: _Side, other: _Side, near: Mapping[int, Sequence[Near]]) -> list[Difference]:
    """Return what each file is. `near` has the copies of pictures of the first folder, by id."""
    ids = {image.id for image in one.files}, {image.id for image in other.files}
    common = ids[0] & ids[1]
    there = {image.id: image.path for image in reversed(other.files)}
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


def _near(
    one: _Side, other: _Side, relations: frozenset[Relation], step: Step
) -> tuple[dict[int, list[Near]], list[Failure]]:
    """Return id of a picture of the first folder -> its copies in the other one; and files that cannot be looked at."""
    if relations <= {Relation.SAME_BYTES} or not one.files:
        return {}, []
    mine, theirs = one.gallery(step), other.gallery(step)
    found: dict[int, list[Near]] = {}
    proposed = candidates(mine, theirs)
    for done, (a, b, is_near) in enumerate(proposed, 1):
        verdict = _verdict(mine, a, theirs, b, parts=is_near)
        if verdict is not None and verdict.relation in relations:
            score = float(np.dot(mine.vectors[a], theirs.vectors[b]))
            found.setdefault(mine.images[a].id, []).append((theirs.images[b], verdict, score))
        step("comparing", done, len(proposed))
    return found, [*mine.unreadable, *theirs.unreadable]


def _verdict(mine: Gallery, a: int, theirs: Gallery, b: int, *, parts: bool) -> Verdict | None:
    """Return what two pictures are to each other, None if nothing or if they have the same bytes."""
    one, other = mine.images[a], theirs.images[b]
    subjects = mine.subject(a), theirs.subject(b)
    if one.id == other.id or subjects[0] is None or subjects[1] is None:
        return None
    return related((one.path, other.path), (subjects[0], subjects[1]), parts=parts)
