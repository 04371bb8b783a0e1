"""The pictures among which copies are looked for: each content once, with its files, its vector and its look."""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from retrieval.comparing import looks
from retrieval.comparing.looks import Grey, Look
from retrieval.comparing.relation import Subject
from retrieval.errors import UnreadableImage, one_line
from retrieval.pictures import thumbnails
from retrieval.types import Failure, IndexedImage, Vectors, displayed

AT_A_TIME = 256
"""Number of thumbnails that are read or made at a time."""
REMEMBERED = 1024
"""Number of pictures whose thumbnails stay in memory: 200 kB each."""
Step = Callable[[str, int, int], None]
"""Is told the name of a step, how much of it is done, and how much it is in all."""


def unwatched(_step: str, _done: int, _total: int) -> None:
    """Take the steps of a run that nobody watches."""


@dataclass(frozen=True)
class Gallery:
    """Pictures, each content once, in the order in which they were given. A picture that cannot be read has no parts.

    A part is a whole picture, or what lies within its border; see `looks`.
    """

    images: Sequence[IndexedImage]
    """The first file of each content."""
    files: Mapping[int, Sequence[IndexedImage]]
    """Id of an image -> all of its files that were given."""
    vectors: Vectors
    """(n, dim), in the order of `images`."""
    grey: Grey
    """(m, GRID, GRID), all parts."""
    signatures: Vectors
    """(m, SIGNATURE), their signatures."""
    owners: NDArray[np.int64]
    """(m,), the number of the picture that each part belongs to."""
    unreadable: Sequence[Failure]
    """Files that could not be read, or have changed since they were indexed."""
    within: Path | None = None
    """The folder of the thumbnails; None for the cache of the user."""
    _subjects: OrderedDict[int, Subject] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def of(
        cls,
        given: Iterable[IndexedImage],
        vectors_of: Callable[[Sequence[int]], Vectors],
        step: Step = unwatched,
        *,
        within: Path | None = None,
    ) -> "Gallery":
        """Return the gallery of these files. `vectors_of` returns the vectors of images.

        Thumbnails that are not in the cache of the user are made. `within` is a folder that is the cache instead.
        `step` is told how many pictures were looked at.
        """
        files: dict[int, list[IndexedImage]] = {}
        for image in given:
            files.setdefault(image.id, []).append(image)
        images = [places[0] for places in files.values()]
        seen, unreadable = _seen(list(files.values()), step, within)
        parts = [look.grey for look in seen if look is not None]
        counts = [0 if look is None else len(look.grey) for look in seen]
        grey = np.concatenate([np.zeros((0, looks.GRID, looks.GRID), np.uint8), *parts])
        return cls(
            images,
            files,
            vectors_of([image.id for image in images]),
            grey,
            _signatures(grey),
            np.repeat(np.arange(len(images)), counts),
            unreadable,
            within,
        )

    def __len__(self) -> int:
        return len(self.images)

    def frame(self, number: int) -> float:
        """Return the share of the area of a picture that a border of one colour takes, 0 to 1."""
        subject = self.subject(number)
        if subject is None or len(subject.look.boxes) == 1:
            return 0.0
        whole, inner = ((box.right - box.left) * (box.bottom - box.top) for box in subject.look.boxes)
        return 1 - inner / whole

    def colour(self, number: int) -> float:
        """Return the mean difference of the channels of a picture from its luminance, in levels."""
        subject = self.subject(number)
        if subject is None:
            return 0.0
        grey = looks.luminance(subject.picture).astype(np.int16)
        return float(np.abs(subject.picture - grey[..., None]).mean())

    def subject(self, number: int) -> Subject | None:
        """Return a picture ready to be compared, None if it can no longer be read. The latest ones are remembered."""
        with self._lock:
            found = self._subjects.pop(number, None)
            if found is not None:
                self._subjects[number] = found
                return found
        image = self.images[number]
        picture = _thumbnail(self.files[image.id], self.within)
        if isinstance(picture, Failure):
            return None
        subject = Subject.of(picture, image.width, image.height, image.taken)
        with self._lock:
            self._subjects[number] = subject
            while len(self._subjects) > REMEMBERED:
                self._subjects.popitem(last=False)
        return subject


def _seen(
    places: Sequence[Sequence[IndexedImage]], step: Step, within: Path | None
) -> tuple[list[Look | None], list[Failure]]:
    """Return the look of each picture, None for one that cannot be read; and these files, with the reasons."""
    seen: list[Look | None] = []
    unreadable: list[Failure] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for start in range(0, len(places), AT_A_TIME):
            for look in threads.map(partial(_look, within), places[start : start + AT_A_TIME]):
                if isinstance(look, Failure):
                    unreadable.append(look)
                seen.append(look if isinstance(look, Look) else None)
            step("looking", len(seen), len(places))
    return seen, unreadable


def _look(within: Path | None, files: Sequence[IndexedImage]) -> Look | Failure:
    picture = _thumbnail(files, within)
    return picture if isinstance(picture, Failure) else looks.look_of(picture)


def _thumbnail(files: Sequence[IndexedImage], within: Path | None) -> NDArray[np.uint8] | Failure:
    """Return the thumbnail of the first file that can be read; why the last one cannot, if none can."""
    failure = Failure(files[0].path, "")
    for image in files:
        try:
            return thumbnails.kept_pixels(image.sha256, image.path, image.width, image.height, within)
        except UnreadableImage as error:
            failure = Failure(image.path, str(error))
        except Exception as error:  # noqa: BLE001 - one file never stops a run
            failure = Failure(image.path, f"{displayed(image.path)} cannot be looked at: {one_line(error)}")
    return failure


def _signatures(grey: Grey) -> Vectors:
    found = np.empty((len(grey), looks.SIGNATURE), dtype=np.float32)
    for start in range(0, len(grey), AT_A_TIME):
        found[start : start + AT_A_TIME] = looks.signatures(grey[start : start + AT_A_TIME])
    return found
