"""Whether an index has a picture: the same bytes, or a copy of it."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.arguments import path_of
from retrieval.comparing.relation import COPIES, Relation, Subject
from retrieval.errors import UnreadableImage
from retrieval.index import Index
from retrieval.organising.sameness import related
from retrieval.pictures import thumbnails
from retrieval.searching.neighbours import Neighbours
from retrieval.searching.options import SearchOptions
from retrieval.searching.ranking import NONE
from retrieval.types import Match, displayed

MOST = 20
"""Number of nearest images that are looked at, in any of the eight orientations of the picture. Turned copies are among
them in 85 of 100 cases by the picture alone, and in all by all orientations (MobileNetV2)."""
IN_ALL_ORIENTATIONS = SearchOptions(views=("all",), ranking=NONE, include_self=True)


@dataclass(frozen=True, slots=True)
class Known:
    """A file of an index that shows a picture that was asked for."""

    path: Path
    """Absolute path of the file."""
    relation: Relation
    """What the picture is to it."""
    score: float
    """Cosine of the vectors of both, -1 to 1."""
    reason: str
    """What was seen, in a few words."""

    def as_dict(self) -> dict[str, Any]:
        """Return the file as JSON can hold it."""
        facts = {"path": str(self.path), "relation": str(self.relation), "score": round(self.score, 6)}
        return facts | {"reason": self.reason}


def known(index: Index, picture: str | os.PathLike[str], relations: Collection[Relation] = COPIES) -> tuple[Known, ...]:
    """Return the files of an index that have a picture, the closest relation first, then the highest score.

    The picture is recognised by its bytes at once. Only if no file has the same bytes, the nearest images are looked
    at, and each is compared with it; those that cannot be read now are passed over. Raises `UnreadableImage` if
    the picture cannot be read.
    """
    place = path_of(picture, "the path of a picture")
    if not os.path.isfile(place):
        raise UnreadableImage(f"{displayed(place)} cannot be read: it is not a file")
    own = index.id_of(os.fsdecode(place))
    if Relation.SAME_BYTES in relations and own is not None:
        return _same_bytes(index, own)
    if set(relations) <= {Relation.SAME_BYTES}:
        return ()
    subject = _subject(place)
    found: list[Known] = []
    for match in index.search(os.fsdecode(place), MOST, IN_ALL_ORIENTATIONS):
        if match.id != own:
            found += _related(match, Path(os.fsdecode(place)), subject, relations)
    order = list(Relation)
    return tuple(sorted(found, key=lambda item: (order.index(item.relation), -item.score)))


def _same_bytes(index: Index, image: int) -> tuple[Known, ...]:
    (match,) = index.matches(Neighbours.of([(image, 1.0)]))
    return tuple(Known(path, Relation.SAME_BYTES, 1.0, "the same bytes") for path in (match.path, *match.copies))


def _related(match: Match, asked: Path, subject: Subject, relations: Collection[Relation]) -> Iterator[Known]:
    """Yield the files of a match if the picture at `asked` is a copy of it."""
    if match.offline:
        return
    try:
        other = _subject(os.fsencode(match.path), match.taken)
    except UnreadableImage:
        return
    verdict = related((match.path, asked), (other, subject))
    if verdict is not None and verdict.relation in relations:
        for path in (match.path, *match.copies):
            yield Known(path, verdict.relation, match.score, verdict.because)


def _subject(place: bytes, taken: str | None = None) -> Subject:
    """Return the picture in a file, ready to be compared."""
    read = thumbnails.of_file(place)
    return Subject.of(read.pixels, read.width, read.height, taken or read.metadata.taken)
