"""The FAISS store: the contract, answers through structures, their files and damage to them, float16 vectors."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.disk import files
from retrieval.types import EXACT, Hits, SearchForm
from retrieval.vectors import VectorStore
from retrieval.vectors import faiss as module
from retrieval.vectors.indexed import StructuredVectors
from retrieval.vectors.refs import files_of, structured
from retrieval.vectors.segment import Segment
from tests.contracts.vectors import NOW, SegmentFilesTests, expected, normalised, same, some
from tests.vectors.clusters import COUNT, DIM, clustered, recall


class TestStructuredVectors(SegmentFilesTests):
    @pytest.fixture
    def store(self, tmp_path: Path) -> VectorStore:
        return StructuredVectors(tmp_path)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a folder with one segment that has a structure, and the ref of the segment."""
    store = StructuredVectors(tmp_path_factory.mktemp("structure"))
    return store.folder, store.merge([store.append(*clustered())], None, {})


class TestStructures:
    """A structure proposes ids and the vectors rank them; without a whole one, all vectors are scanned."""

    @pytest.fixture
    def store(self, sample: tuple[Path, str], tmp_path: Path) -> StructuredVectors:
        shutil.copytree(sample[0], tmp_path / "store")
        return StructuredVectors(tmp_path / "store")

    @pytest.fixture
    def ref(self, sample: tuple[Path, str]) -> str:
        return sample[1]

    def test_its_files_say_what_they_are(self, store: StructuredVectors, ref: str) -> None:
        vectors, facts, structure = files_of(ref)
        assert structured(ref)
        assert sorted(os.listdir(store.folder)) == sorted([vectors, facts, structure])
        said = json.loads((store.folder / facts).read_text())
        assert (said["factory"], said["vectors"], said["dim"]) == ("HNSW32,SQ8", COUNT, DIM)
        assert (said["target"], said["queries"]) == (0.99, COUNT // 10)
        assert said["recall"] >= 0.995, "more than the target, for harder queries"
        (form,) = store.snapshot([ref]).forms
        assert form == SearchForm("HNSW32,SQ8", COUNT, said["recall"], 0.99)

    def test_it_finds_what_it_promises_with_exact_scores(self, store: StructuredVectors, ref: str) -> None:
        ids, vectors = clustered()
        queries = normalised(vectors[:200] + 0.05 * np.random.default_rng(4).standard_normal((200, DIM)))
        right = expected(ids, vectors, queries, 10)
        snapshot = store.snapshot([ref])
        found = snapshot.search(queries, 10)
        recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(found.ids, right.ids, strict=True)])
        assert recall >= 0.985, "the target, less what 200 queries tell it to"
        full = expected(ids, vectors, queries[:20], COUNT)
        for query in range(20):
            scores = dict(zip(full.ids[query].tolist(), full.scores[query].tolist(), strict=True))
            assert found.scores[query].tolist() == [scores[id_] for id_ in found.ids[query].tolist()]
        same(snapshot.search(queries[:20], 10, exact=True), Hits(right.ids[:20], right.scores[:20]))

    def test_only_candidates_are_read(self, store: StructuredVectors, ref: str) -> None:
        class Watched(np.ndarray):
            """An array that counts the rows that are read from it."""

            taken = 0

            def __getitem__(self, key: object) -> np.ndarray:
                found = np.asarray(self)[key]
                Watched.taken += len(found)
                return found

        (part,) = store.snapshot([ref]).parts
        assert part.facts is not None
        watched = Segment(part.segment.ids, part.segment.vectors.view(Watched))
        assert (part.structure.search(watched, clustered()[1][:1], 10).ids >= 0).all()
        assert 10 <= Watched.taken <= 10 * part.facts.refine + 20, "its candidates, and of those the best once more"

    @pytest.mark.parametrize("k", [1, 10, 300, COUNT, COUNT + 5])
    def test_there_are_k_where_k_exist(self, store: StructuredVectors, ref: str, k: int) -> None:
        ids, vectors = clustered()
        snapshot = store.snapshot([ref])
        for only in (None, ids[::2], ids[::50]):
            found = snapshot.search(vectors[:5], k, only)
            there = min(k, COUNT if only is None else len(only))
            assert ((found.ids >= 0).sum(axis=1) == there).all()
            assert all(len({*row[:there]}) == there for row in found.ids.tolist())

    @pytest.mark.parametrize("step", [2, 3, 50])
    def test_only_some_are_found_and_as_well(self, store: StructuredVectors, ref: str, step: int) -> None:
        ids, vectors = clustered()
        only = ids[::step]
        right = expected(ids, vectors, vectors[:100], 10, only)
        found = store.snapshot([ref]).search(vectors[:100], 10, only)
        assert np.isin(found.ids, only).all()
        assert np.mean([len({*a} & {*b}) / 10 for a, b in zip(found.ids, right.ids, strict=True)]) >= 0.985

    @pytest.mark.parametrize("factory", ["auto", "IVF16,SQ8", "SQ8", "PCA20,SQ8"])
    @pytest.mark.parametrize("step", [2, 20])
    def test_ids_and_bitmaps_are_searched_alike(self, tmp_path: Path, factory: str, step: int) -> None:
        ids, vectors = clustered()
        store = StructuredVectors(tmp_path)
        ref = store.merge([store.append(ids, vectors)], None, {"factory": factory, "recall": 0.9})
        snapshot = store.snapshot([ref, store.append(*some(50, dim=DIM, seed=8))])
        assert snapshot.forms[0].form != EXACT
        only = np.append(ids[::step], some(50, seed=8)[0][:5])
        found = snapshot.search(vectors[:60], 10, only)
        same(snapshot.search(vectors[:60], 10, snapshot.mask(only)), found)
        assert np.isin(found.ids, only).all()
        assert recall(found, snapshot.search(vectors[:60], 10, only, exact=True)) >= 0.9

    @pytest.mark.parametrize("factory", ["SQ8", "PCA20,SQ8"])
    def test_codes_that_are_all_compared_are_not_asked_for_rows_that_may_not_be_found(
        self, tmp_path: Path, factory: str
    ) -> None:
        """However few rows are allowed, the candidates are among them."""
        ids, vectors = clustered()
        store = StructuredVectors(tmp_path)
        options = {"factory": factory, "recall": 0.9}
        (part,) = store.snapshot([store.merge([store.append(ids, vectors)], None, options)]).parts
        allowed = np.arange(COUNT) % 30 == 7
        for queries in (vectors[:2], vectors[:9]):
            rows = module.proposals(part.structure.index, queries, 12, 1, allowed)
            assert allowed[rows].all()

    def test_asking_where_everything_was_removed_finds_what_is_left(self, tmp_path: Path) -> None:
        """The removed vectors are near the queries, and a search must not end among them."""
        generator = np.random.default_rng(5)
        centres = generator.standard_normal((60, DIM))
        of = generator.integers(60, size=6000)
        vectors = normalised(centres[of] + 0.5 * generator.standard_normal((6000, DIM)))
        queries = normalised(np.repeat(centres[:20], 5, axis=0) + 0.5 * generator.standard_normal((100, DIM)))
        ids = np.arange(6000)
        store = StructuredVectors(tmp_path)
        for factory in ("auto", "IVF32,SQ8"):
            snapshot = store.snapshot([store.merge([store.append(ids, vectors)], None, {"factory": factory})])
            for gone in (2, 20):
                only = ids[of >= gone]
                right = expected(ids, vectors, queries, 10, only)
                assert recall(snapshot.search(queries, 10, only), right) >= 0.985

    def test_what_is_unlike_all_finds_its_nearest_too(self, tmp_path: Path) -> None:
        """Each vector has seven others like it, which held-out vectors find at once; other queries have none."""
        generator = np.random.default_rng(3)
        plane = np.linspace(2, 0.3, 24)[:, None] * generator.standard_normal((24, 96)) / np.sqrt(24)

        def drawn(groups: int, size: int) -> np.ndarray:
            centres = np.repeat(generator.standard_normal((groups, 24)) @ plane + 1, size, axis=0)
            return normalised(generator.permutation(centres + 0.15 * generator.standard_normal(centres.shape)))

        vectors, queries = drawn(2400, 8), drawn(300, 1)
        ids = np.arange(len(vectors))
        store = StructuredVectors(tmp_path)
        snapshot = store.snapshot([store.merge([store.append(ids, vectors)], None, {})])
        assert snapshot.forms[0].form != EXACT
        assert recall(snapshot.search(queries, 10), snapshot.search(queries, 10, exact=True)) >= 0.985

    def test_recall_is_that_of_the_ten_that_are_harder_to_find(self) -> None:
        """The first ten are the first candidates; the second ten come later, each behind four other candidates."""
        scores = np.tile(np.linspace(1, 0.81, 20, dtype=np.float32), (4, 1))
        near = np.zeros((4, 70), dtype=np.float32)
        near[:, :10], near[:, 19:69:5] = scores[:, :10], scores[:, 10:]
        recalls, surely = module._recalls(near, scores)
        assert recalls.shape == (60,)
        assert [round(float(recalls[count - 1]), 6) for count in (9, 10, 15, 60)] == [0, 0.1, 0.2, 1]
        np.testing.assert_allclose(surely, recalls, atol=1e-6)  # all four queries are the same
        near[:2, 60:] = 0
        recalls, surely = module._recalls(near, scores)
        assert round(float(recalls[-1]), 6) == 0.95, "two of the four find nine"
        assert round(float(surely[-1]), 6) == 0.9, "their deviation is 0.05, and the error of the mean half of that"

    @pytest.mark.parametrize("factory", ["auto", "IVF32,PQ20x4"])
    def test_the_recall_holds_for_any_k(self, tmp_path: Path, factory: str) -> None:
        """Structures are tuned for ten neighbours. In clusters of 200, a hundred are about as near as ten."""
        generator = np.random.default_rng(6)
        centres = np.repeat(generator.standard_normal((20, DIM)), 210, axis=0)
        drawn = normalised(centres + 0.5 * generator.standard_normal(centres.shape))
        ids, vectors = some(4000)[0], generator.permutation(drawn[np.arange(4200) % 210 < 200])
        queries = drawn[np.arange(4200) % 210 >= 200]
        store = StructuredVectors(tmp_path)
        snapshot = store.snapshot([store.merge([store.append(ids, vectors)], None, {"factory": factory})])
        assert snapshot.forms[0].form != EXACT
        for k in (1, 2, 10, 100):
            assert recall(snapshot.search(queries, k), expected(ids, vectors, queries, k)) >= 0.985, k

    def test_what_was_appended_since_is_found_at_once(self, store: StructuredVectors, ref: str) -> None:
        more = some(20, dim=DIM, seed=9)
        snapshot = store.snapshot([ref, store.append(*more)])
        assert snapshot.count == COUNT + 20
        assert [form.vectors for form in snapshot.forms] == [COUNT, 20]
        assert snapshot.forms[1] == SearchForm(EXACT, 20)
        assert snapshot.search(more[1], 3).ids[:, 0].tolist() == more[0].tolist()

    def test_any_number_of_threads_may_search(self, store: StructuredVectors, ref: str) -> None:
        _, vectors = clustered()
        snapshot = store.snapshot([ref])
        together = snapshot.search(vectors[:64], 10)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda at: snapshot.search(vectors[at : at + 1], 10), range(64)))
        same(together, Hits(np.concatenate([a.ids for a in answers]), np.concatenate([a.scores for a in answers])))

    # -- damage --------------------------------------------------------------------------------------------------------

    def is_done_without(self, store: StructuredVectors, ref: str) -> None:
        ids, vectors = clustered()
        snapshot = store.snapshot([ref])
        assert snapshot.damaged == [ref]
        assert snapshot.forms == [SearchForm(EXACT, COUNT)]
        same(snapshot.search(vectors[:4], 12), expected(ids, vectors, vectors[:4], 12))
        same(snapshot.search(vectors[:4], 12, ids[::3]), expected(ids, vectors, vectors[:4], 12, ids[::3]))

    @pytest.mark.parametrize("file", [1, 2])
    def test_a_missing_file_is_noticed_and_done_without(self, store: StructuredVectors, ref: str, file: int) -> None:
        (store.folder / files_of(ref)[file]).unlink()
        self.is_done_without(store, ref)

    @pytest.mark.parametrize("file", [1, 2])
    def test_a_flipped_byte_anywhere_is_noticed_and_never_given_to_faiss(
        self, store: StructuredVectors, ref: str, file: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = store.folder / files_of(ref)[file]
        data = path.read_bytes()
        given: list[str] = []
        read = module.faiss.read_index
        monkeypatch.setattr(module.faiss, "read_index", lambda reader: given.append("read") or read(reader))
        for place in [*range(64), *range(64, len(data), max(97, len(data) // 300)), len(data) - 1]:
            path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
            assert store.snapshot([ref]).damaged == [ref]
        assert given == []
        self.is_done_without(store, ref)
        path.write_bytes(data)
        assert store.snapshot([ref]).damaged == []
        assert given == ["read"]

    def test_a_piece_for_each_of_many_is_checked(
        self, store: StructuredVectors, ref: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("retrieval.vectors.facts.PIECE", 10_000)
        made = store.merge([ref], None, {})
        assert len(json.loads((store.folder / files_of(made)[1]).read_text())["pieces"]) > 10
        assert store.snapshot([made]).damaged == []
        path = store.folder / files_of(made)[2]
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        self.is_done_without(store, made)

    @pytest.mark.parametrize("length", [0, 1, 44, 45, 100, -1])
    @pytest.mark.parametrize("file", [1, 2])
    def test_a_file_cut_short_is_noticed(self, store: StructuredVectors, ref: str, file: int, length: int) -> None:
        path = store.folder / files_of(ref)[file]
        path.write_bytes(path.read_bytes()[:length])
        self.is_done_without(store, ref)

    @pytest.mark.parametrize(
        "said",
        [
            lambda facts: facts | {"pieces": None},
            lambda facts: {name: value for name, value in facts.items() if name != "dim"},
            lambda facts: [facts],
        ],
    )
    def test_facts_of_another_version_are_done_without(
        self, store: StructuredVectors, ref: str, said: Callable[[Any], Any]
    ) -> None:
        self.is_done_without(store, self.told(store, ref, said))

    def told(self, store: StructuredVectors, ref: str, said: Callable[[Any], Any]) -> str:
        """Return a ref with other facts, those that `said` makes of the facts of `ref`."""
        vectors, facts, structure = ref.split("+")
        other = said(json.loads((store.folder / files_of(ref)[1]).read_text()))
        facts = files.write_durably(store.folder, ".structure", [json.dumps(other).encode()])
        return f"{vectors}+{facts}+{structure}"

    def test_facts_that_say_more_are_understood(self, store: StructuredVectors, ref: str) -> None:
        assert store.snapshot([self.told(store, ref, lambda facts: facts | {"new": 1})]).damaged == []

    def test_what_this_version_of_faiss_cannot_read_is_done_without(self, store: StructuredVectors, ref: str) -> None:
        vectors, facts, structure = files_of(ref)
        other = b"IxXX" + (store.folder / structure).read_bytes()[4:]
        digest = files.write_durably(store.folder, ".faiss", [other])
        pieces = [hashlib.sha256(other).hexdigest()]
        facts = self.told(store, ref, lambda facts: facts | {"pieces": pieces}).split("+")[1]
        self.is_done_without(store, "+".join([vectors.partition(".")[0], facts, digest]))

    def test_the_structure_of_other_vectors_is_noticed(self, store: StructuredVectors, ref: str) -> None:
        other = store.append(*some(40, dim=DIM))
        mixed = "+".join([other, *ref.split("+")[1:]])
        assert store.snapshot([mixed]).damaged == [mixed]

    def test_a_damaged_structure_is_built_anew_over_the_same_vectors(self, store: StructuredVectors, ref: str) -> None:
        (store.folder / files_of(ref)[2]).write_bytes(b"garbage")
        made = store.merge([ref], None, {})
        assert made.split("+")[0] == ref.split("+", maxsplit=1)[0]
        assert store.snapshot([made]).damaged == []
        store.sweep([made], NOW)
        assert sorted(os.listdir(store.folder)) == sorted(files_of(made))

    def test_a_flat_structure_of_version_0_1_is_done_without(self, store: StructuredVectors, ref: str) -> None:
        ids, vectors = clustered()
        digest = files.write_durably(store.folder, ".faiss", [b"IxFI, and all the vectors once more"])
        old = f"{ref.split('+', maxsplit=1)[0]}+{digest}"
        for _ in range(2):
            snapshot = store.snapshot([old])
            assert snapshot.damaged == []
            same(snapshot.search(vectors[:4], 12), expected(ids, vectors, vectors[:4], 12))
            assert store.sweep([old, ref], NOW) == 0
            (store.folder / files_of(old)[1]).unlink(missing_ok=True)
        assert structured(store.merge([old], ids, {}))

    # -- opening -------------------------------------------------------------------------------------------------------

    def test_what_is_open_and_unchanged_is_not_opened_again(self, store: StructuredVectors, ref: str) -> None:
        first = store.snapshot([ref])
        second = store.snapshot([ref, store.append(*some(5, dim=DIM))])
        assert second.parts[0] is first.parts[0]
        os.utime(store.folder / files_of(ref)[2], ns=(0, 0))
        assert store.snapshot([ref]).parts[0] is not first.parts[0]


class TestFloat16:
    """Vectors in half the bytes: scores are computed from the stored numbers."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> StructuredVectors:
        return StructuredVectors(tmp_path, float16=True)

    @pytest.fixture
    def stored(self) -> tuple[np.ndarray, np.ndarray]:
        ids, vectors = clustered()
        return ids, vectors.astype(np.float16).astype(np.float32)

    def test_it_takes_half_and_answers_from_that(
        self, store: StructuredVectors, stored: tuple[np.ndarray, np.ndarray]
    ) -> None:
        ids, vectors = clustered()
        ref = store.append(ids, vectors)
        assert (store.folder / files_of(ref)[0]).stat().st_size < COUNT * (8 + 2 * DIM) + 600
        snapshot = store.snapshot([ref])
        same(snapshot.search(vectors[:9], 10), expected(ids, stored[1], vectors[:9], 10))
        back = snapshot.get(ids)
        assert back.dtype == np.float32
        np.testing.assert_array_equal(back, stored[1])
        assert np.abs(np.linalg.norm(back, axis=1) - 1).max() < 1e-3

    def test_merging_and_structures_go_on_from_that(
        self, store: StructuredVectors, stored: tuple[np.ndarray, np.ndarray]
    ) -> None:
        ids, vectors = clustered()
        refs = [store.append(ids[:1000], vectors[:1000]), store.append(ids[1000:], vectors[1000:])]
        snapshot = store.snapshot([store.merge(refs, ids, {})])
        assert snapshot.forms[0].recall >= 0.99
        np.testing.assert_array_equal(snapshot.get(ids), stored[1])
        same(snapshot.search(vectors[:9], 10, exact=True), expected(ids, stored[1], vectors[:9], 10))

    def test_segments_of_both_kinds_are_read(self, store: StructuredVectors) -> None:
        ids, vectors = clustered()
        wide = StructuredVectors(store.folder).append(ids[:10], vectors[:10])
        np.testing.assert_array_equal(store.snapshot([wide]).get(ids[:10]), vectors[:10])
