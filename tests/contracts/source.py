"""What every `pictures.Source` does. A test module subclasses it and says in `made` how a source is filled."""

import hashlib
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import pytest

from retrieval import BadInput, UnreadableImage
from retrieval.pictures.source import Source, State, contents, no_pictures
from retrieval.types import Found
from tests.fakes import colour, picture

PNG = picture(colour(1))
FILES = {
    b"b.png": PNG,
    b"a/deep/x.png": picture(colour(2)),
    b"a/y.png": picture(colour(3)),
    b"a-z.png": picture(colour(4)),
    b"notes.txt": b"not a picture",
}


class SourceTests(ABC):
    """The seam: `scan`, `open`, `state`, `identity`, `looks_empty`, `unmounted`."""

    @pytest.fixture
    @abstractmethod
    def made(self) -> Callable[[Mapping[bytes, bytes]], Source]:
        """A function that makes a source with those files, path -> bytes."""

    @pytest.fixture
    def source(self, made: Callable[[Mapping[bytes, bytes]], Source]) -> Source:
        return made(FILES)

    def paths(self, source: Source, *arguments: object) -> list[bytes]:
        return [seen.path for seen in source.scan(*arguments)]  # type: ignore[arg-type]

    def test_a_scan_gives_the_files_in_byte_order(self, source: Source) -> None:
        assert self.paths(source) == sorted(FILES)
        assert all(isinstance(seen, Found) and seen.size == len(FILES[seen.path]) for seen in source.scan())

    def test_a_scan_below_a_folder_gives_its_files(self, source: Source) -> None:
        assert self.paths(source, b"a/") == [b"a/deep/x.png", b"a/y.png"]

    def test_what_is_excluded_is_not_scanned(self, source: Source) -> None:
        assert self.paths(source, b"", ["a/", "*.txt"]) == [b"a-z.png", b"b.png"]
        with pytest.raises(BadInput):
            self.paths(source, b"", ["[a"])

    def test_an_opened_file_gives_its_bytes_and_what_the_scan_saw(self, source: Source) -> None:
        for seen in source.scan():
            with source.open(seen.path) as (found, file):
                assert found == seen
                assert hashlib.sha256(file.read()).digest() == hashlib.sha256(FILES[seen.path]).digest()

    def test_a_file_that_is_not_there_cannot_be_opened(self, source: Source) -> None:
        with pytest.raises(FileNotFoundError), source.open(b"c.png"):
            pass

    def test_a_folder_cannot_be_opened(self, source: Source) -> None:
        with pytest.raises((OSError, UnreadableImage)), source.open(b"a"):
            pass

    def test_the_state_of_a_path(self, source: Source) -> None:
        assert source.state(b"b.png") is State.THERE
        assert source.state(b"c.png") is State.GONE
        assert source.state(b"b.png/c.png") is State.GONE
        assert source.state(b"a") is State.REPLACED

    def test_a_source_knows_itself_and_is_another_than_a_copy(
        self, made: Callable[[Mapping[bytes, bytes]], Source]
    ) -> None:
        source, copy = made(FILES), made(FILES)
        assert isinstance(source.identity(), str)
        assert source.identity() == source.identity() != copy.identity()

    def test_a_source_without_files_looks_empty(self, made: Callable[[Mapping[bytes, bytes]], Source]) -> None:
        assert made({}).looks_empty()
        assert not made(FILES).looks_empty()

    def test_what_never_was_a_mount_point_is_none_now(self, source: Source) -> None:
        assert source.unmounted([b"a/"]) == {b"a/"}
        assert source.unmounted([]) == frozenset()

    def test_a_source_can_be_pickled(self, source: Source) -> None:
        assert self.paths(pickle.loads(pickle.dumps(source))) == sorted(FILES)

    def test_contents_are_those_of_pictures(self, source: Source) -> None:
        found, data = contents(source, b"b.png")
        assert (found.path, data) == (b"b.png", PNG)
        assert contents(source, b"notes.txt")[1] is None

    def test_why_no_file_is_a_picture(self, made: Callable[[Mapping[bytes, bytes]], Source]) -> None:
        assert no_pictures(made(FILES)) is None
        assert no_pictures(made({b"a.txt": b"text"})) == {}
        assert no_pictures(made({b"a.png": b"", b"b.png": b""})) == {"empty file": 2}
