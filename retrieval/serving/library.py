"""The index that is served, with what the server remembers: pictures that were uploaded, and answers in the making."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from retrieval.errors import UnreadableImage
from retrieval.index import Index
from retrieval.pictures import reading, thumbnails
from retrieval.searching.options import SearchOptions
from retrieval.serving.jobs import Jobs
from retrieval.serving.problems import Problem
from retrieval.types import Blend, IndexedImage, Match

UPLOADS = 200_000_000
"""Size of the uploaded pictures that are remembered, the latest ones, in bytes."""
ANSWERS = 8
"""Number of answers that are remembered, so that the next page of results is there at once."""
GROWTH = 4
"""How many times as many matches are looked for when more are asked for than were found."""

Value = TypeVar("Value")


class Latest(Generic[Value]):
    """The latest values by their keys. Threads may share it."""

    def __init__(self, most: int, size_of: Callable[[Value], int] = lambda _: 1) -> None:
        """Remember values whose sizes are `most` or less together; without `size_of`, so many values."""
        self._most, self._size_of = most, size_of
        self._values, self._size, self._lock = OrderedDict[Hashable, Value](), 0, threading.Lock()

    def get(self, key: Hashable) -> Value | None:
        """Return a value, which is the latest one then; None if it is not remembered."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Hashable, value: Value) -> None:
        """Remember a value, and forget the oldest ones if all take too much."""
        with self._lock:
            before = self._values.pop(key, None)
            self._size += self._size_of(value) - (0 if before is None else self._size_of(before))
            self._values[key] = value
            while self._size > self._most:
                self._size -= self._size_of(self._values.popitem(last=False)[1])


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a question: an image of the index, or one that was uploaded."""

    id: int | None = None
    upload: str | None = None
    """SHA-256 of the uploaded bytes."""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, as a value: the same question has the same answer until the index changes."""

    like: tuple[Picture, ...]
    unlike: tuple[Picture, ...]
    options: SearchOptions


@dataclass(frozen=True, slots=True)
class _Answer:
    matches: Sequence[Match]
    asked: int
    """Number of matches that were looked for. If there are fewer, these are all."""


@dataclass
class Library:
    """An index that is served."""

    index: Index
    read_only: bool = False
    jobs: Jobs = field(default_factory=Jobs)
    _uploads: Latest[bytes] = field(default_factory=lambda: Latest(UPLOADS, len))
    _answers: Latest[_Answer] = field(default_factory=lambda: Latest(ANSWERS))

    def demand_writable(self) -> None:
        """Raise `Problem` if nothing may be changed."""
        if self.read_only:
            raise Problem(403, "this server changes nothing: it was started with --read-only")

    def upload(self, data: bytes) -> str:
        """Remember an uploaded picture, and return its name. Raises `UnreadableImage` if it is none."""
        thumbnails.of_data(data)
        name = hashlib.sha256(data).hexdigest()
        self._uploads.put(name, data)
        return name

    def uploaded(self, name: str) -> bytes:
        """Return an uploaded picture; raise `Problem` if it is forgotten."""
        data = self._uploads.get(name)
        if data is None:
            raise Problem(404, "this picture is no longer remembered", hint="give it again")
        return data

    def file_of(self, id_: int) -> IndexedImage:
        """Return the first file of an image; raise `Problem` if the index does not have it."""
        files = self.index.files_of([id_]).get(id_)
        if not files:
            raise Problem(404, f"the index has no image {id_}")
        return files[0]

    def search(self, question: Question, k: int) -> tuple[Sequence[Match], bool]:
        """Return up to `k` matches from the offset of the question on, and whether there are more behind them."""
        offset = question.options.offset
        key = replace(question, options=replace(question.options, offset=0)), self.index.generation
        answer = self._answers.get(key)
        while answer is None or (len(answer.matches) < offset + k + 1 and len(answer.matches) >= answer.asked):
            asked = max(offset + k + 1, 0 if answer is None else answer.asked * GROWTH)
            answer = _Answer(self._ask(question, asked), asked)
            self._answers.put(key, answer)
        return answer.matches[offset : offset + k], len(answer.matches) > offset + k

    def _ask(self, question: Question, k: int) -> Sequence[Match]:
        options = replace(question.options, offset=0)
        pictures = (*question.like, *question.unlike)
        if len(pictures) == 1:
            return self.index.search(self._query(pictures[0], cropped=options.crop is not None), k, options)
        asked = [self._query(picture, cropped=False) for picture in pictures]
        like, unlike = asked[: len(question.like)], asked[len(question.like) :]
        return self.index.search(Blend(like, unlike, [picture.weight for picture in pictures]), k, options)

    def _query(self, picture: Picture, *, cropped: bool) -> int | bytes:
        """Return what the index is asked: an id, or bytes. Of an image that is cropped, the bytes of its file."""
        if picture.upload is not None:
            return self.uploaded(picture.upload)
        assert picture.id is not None  # noqa: S101 - a picture has one of both
        image = self.file_of(picture.id)
        return self.original(image) if cropped else image.id

    def original(self, image: IndexedImage) -> bytes:
        """Return the bytes of the file of an image. Raises `UnreadableImage` if it has changed or cannot be read."""
        try:
            data = reading.read_regular(image.path)
        except OSError as error:
            raise UnreadableImage("the file cannot be read") from error
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise UnreadableImage("the file has changed since it was indexed")
        return data
