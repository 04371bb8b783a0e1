"""Answers to several queries: each query has its own answer or error, and the coverage is of the same state."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval import BadInput, Index, IndexBusy, SearchOptions, UnreadableImage
from retrieval.disk.locks import is_writing
from retrieval.types import Answers, Coverage, Match
from tests.fakes import ColourEncoder, colour, picture, put


@pytest.fixture
def filled(index: Index, photos: Path) -> Index:
    put(photos / "broken.png", b"\x89PNG\r\n\x1a\n")
    index.add(photos)
    return index


def test_a_query_that_cannot_be_used_costs_no_other_its_answer(filled: Index, photos: Path) -> None:
    good = [photos / "03.png", picture((1, 2, 3)), np.full((9, 9, 3), 7, np.uint8)]
    wrong = [photos / "broken.png", "nowhere.jpg", b"words", 2**70, "a\0b", None, ""]
    kinds = [UnreadableImage] * 3 + [BadInput] * 4
    mixed = [one for pair in zip(wrong, [*good, *good, good[0]], strict=True) for one in pair]
    found = filled.search_many(mixed, k=3)
    assert found[1::2] == [filled.search(one, k=3) for one in [*good, *good, good[0]]]
    assert [type(one) for one in found[::2]] == kinds
    for query, error in zip(wrong, found[::2], strict=True):
        with pytest.raises(type(error)) as raised:
            filled.search(query)  # type: ignore[arg-type]
        assert str(raised.value) == str(error)


def test_a_picture_without_features_costs_no_other_its_answer(tmp_path: Path, photos: Path) -> None:
    class Blind(ColourEncoder):
        def images(self, batch):
            return np.where(batch[:, :1, 0, 0] == 9, np.nan, super().images(batch)).astype(np.float32)

    with Index.create(tmp_path / "blind", encoder=Blind()) as index:
        index.add(photos)
        found = index.search_many([picture((9, 9, 9)), picture((1, 2, 3))], k=2)
        assert isinstance(found[0], UnreadableImage)
        assert found[1] == index.search(picture((1, 2, 3)), k=2)


def test_answers_have_a_coverage(filled: Index, photos: Path) -> None:
    answers = filled.answers([photos / "03.png", b"words"], k=2)
    assert answers.results[0] == filled.search(photos / "03.png", k=2)
    assert isinstance(answers.results[1], UnreadableImage)
    assert answers.coverage == Coverage(images=12, unreadable=1, offline=0, updating=False) == filled.coverage()


def test_answers_and_their_coverage_are_of_one_state(tmp_path: Path) -> None:
    """Images that are committed while a query is embedded are neither in the answer nor in the coverage."""
    folder, seen = tmp_path / "photos", []
    put(folder / "0.png", picture(colour(0)))

    class Slow(ColourEncoder):
        def images(self, batch):
            if len(batch) == 1 and batch[0, 0, 0, 0] == 250:  # the query
                put(folder / "1.png", picture(colour(1)))
                writer = threading.Thread(target=lambda: seen.append(index.add(folder).added))
                writer.start()
                writer.join()
            return super().images(batch)

    with Index.create(tmp_path / "index", encoder=Slow()) as index:
        index.add(folder)
        answers = index.answers([picture((250, 0, 0))])
        assert seen == [1]
        assert [len(found) for found in answers.results if isinstance(found, list)] == [1]
        assert answers.coverage.images == 1
        assert index.coverage().images == 2


def test_an_exact_search_tells_what_the_structures_find(tmp_path: Path, photos: Path) -> None:
    """The comparison is by score, whatever ranking is in force, and uses the views of the query."""
    seen: list[int] = []

    class Watching(ColourEncoder):
        def images(self, batch):
            seen.append(len(batch))
            return super().images(batch)

    with Index.create(tmp_path / "index", encoder=Watching(), faiss="HNSW8,SQ8") as index:
        index._store.choose(flat=0)
        index.add(photos)
        index.tune("expansion")
        seen.clear()
        options = SearchOptions(exact=True, views=["mirror"], offset=1, likely=True, tags=True)
        answers = index.answers([picture((1, 2, 3))], 5, options)
        assert seen == [2, 2, 2]
        assert answers.structures is not None
        found, total = answers.structures
        assert 0 < found <= total == 5
        assert index.answers([picture((1, 2, 3))], 5).structures is None
    with Index.create(tmp_path / "plain", encoder=ColourEncoder()) as index:
        index.add(photos)
        assert index.answers([picture((1, 2, 3))], 5, SearchOptions(exact=True)).structures is None


class TestUpdating:
    """Whether a process is writing to the index now."""

    def test_it_is_true_while_an_update_runs(self, filled: Index, photos: Path) -> None:
        seen = []
        put(photos / "new.png", picture((9, 8, 7)))
        filled.add(photos, progress=lambda _: seen.append(filled.coverage().updating))
        assert seen
        assert all(seen) is (sys.platform == "linux")
        assert not filled.coverage().updating

    @pytest.mark.skipif(sys.platform != "linux", reason="known on Linux only")
    def test_another_process_is_noticed_until_it_dies(self, filled: Index) -> None:
        code = """
import sys
from pathlib import Path
from retrieval.storage.commit import Store
with Store(Path(sys.argv[1])).writing():
    print("writing", flush=True)
    sys.stdin.read()
"""
        folder = filled._store.folder
        writer = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            answers: Answers = filled.answers([picture((1, 2, 3))], k=1)
            assert answers.coverage.updating
            with pytest.raises(IndexBusy):
                filled.compact()
            writer.kill()
        assert not filled.coverage().updating

    def test_asking_never_makes_a_writer_fail(self, filled: Index, photos: Path) -> None:
        """If readers tried to take the lock, a writer would end in `IndexBusy`."""
        done = threading.Event()

        def ask() -> None:
            while not done.is_set():
                is_writing(filled._store.folder / "writer.lock")

        readers = [threading.Thread(target=ask) for _ in range(3)]
        for reader in readers:
            reader.start()
        try:
            for _ in range(40):
                with filled._store.writing():
                    pass
        finally:
            done.set()
            for reader in readers:
                reader.join()

    def test_a_folder_without_a_lock_has_no_writer(self, tmp_path: Path) -> None:
        assert not is_writing(tmp_path / "writer.lock")
        assert not list(tmp_path.iterdir())


def test_a_match_says_whether_it_is_offline(filled: Index, photos: Path, tmp_path: Path) -> None:
    before: list[Match] = filled.search(picture(colour(3)), k=1)
    photos.rename(tmp_path / "away")
    filled.add(photos)
    after = filled.search(picture(colour(3)), k=1)
    assert [match.offline for match in before + after] == [False, True]
    assert after[0].as_dict()["offline"] is True


def test_a_copy_has_the_score_1_in_spite_of_rounding(tmp_path: Path) -> None:
    chance, photos = np.random.default_rng(0), tmp_path / "photos"
    photos.mkdir()
    for number in range(30):
        noise = chance.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).save(photos / f"{number}.png")
    with Index.create(tmp_path / "index", backbone="mini") as index:
        index.add(photos)
        for path in sorted(photos.iterdir()):
            (found,) = index.search(path.read_bytes(), options=SearchOptions(min_score=1))
            assert (found.path, found.score) == (path, 1)
