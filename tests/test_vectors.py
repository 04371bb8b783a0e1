"""The two stores against the contract, and what only the one with FAISS has: structures."""

from pathlib import Path

import numpy as np
import pytest

from retrieval.vectors import VectorStore
from retrieval.vectors import faiss as module
from retrieval.vectors.exact import ExactVectors
from retrieval.vectors.flat import margin
from retrieval.vectors.structures import StructuredVectors
from tests.contracts.vectors import NOW, SegmentFilesTests, expected, normalised, same, some


class TestExactVectors(SegmentFilesTests):
    @pytest.fixture
    def store(self, tmp_path: Path) -> VectorStore:
        return ExactVectors(tmp_path)


class TestStructuredVectors(SegmentFilesTests):
    @pytest.fixture
    def store(self, tmp_path: Path) -> VectorStore:
        return StructuredVectors(tmp_path)


class TestStructures:
    """A structure is derived: without it, or with a broken one, the answers are the same."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> StructuredVectors:
        return StructuredVectors(tmp_path)

    def structure(self, store: StructuredVectors, ref: str) -> Path:
        return store.folder / (ref.split("+")[1] + ".faiss")

    @pytest.fixture
    def refs(self, store: StructuredVectors) -> list[str]:
        ids, vectors = some(80)
        return [store.append(ids[:30], vectors[:30]), store.append(ids[30:], vectors[30:])]

    def test_a_missing_structure_is_noticed_and_done_without(self, store: StructuredVectors, refs: list[str]) -> None:
        ids, vectors = some(80)
        self.structure(store, refs[1]).unlink()
        snapshot = store.snapshot(refs)
        assert snapshot.damaged == [refs[1]]
        same(snapshot.search(vectors[:9], 12), expected(ids, vectors, vectors[:9], 12))
        same(snapshot.search(vectors[:9], 12, ids[::3]), expected(ids, vectors, vectors[:9], 12, ids[::3]))

    def test_a_flipped_byte_anywhere_is_noticed_and_never_given_to_faiss(
        self, store: StructuredVectors, refs: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids, vectors = some(80)
        path = self.structure(store, refs[0])
        data = path.read_bytes()
        given: list[str] = []
        read = module.faiss.read_index
        monkeypatch.setattr(module.faiss, "read_index", lambda reader: given.append("read") or read(reader))
        for place in [*range(64), *range(64, len(data), 97), len(data) - 1]:
            path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
            assert store.snapshot(refs[:1]).damaged == refs[:1]
        assert given == []
        same(store.snapshot(refs).search(vectors[:9], 12), expected(ids, vectors, vectors[:9], 12))

    @pytest.mark.parametrize("length", [0, 1, 44, 45, 100, -1])
    def test_a_structure_cut_short_is_noticed(self, store: StructuredVectors, refs: list[str], length: int) -> None:
        path = self.structure(store, refs[0])
        path.write_bytes(path.read_bytes()[:length])
        assert store.snapshot(refs).damaged == refs[:1]

    def test_the_structure_of_other_vectors_is_noticed(self, store: StructuredVectors, refs: list[str]) -> None:
        (vectors, _), (_, structure) = refs[0].split("+"), refs[1].split("+")
        assert store.snapshot([f"{vectors}+{structure}"]).damaged == [f"{vectors}+{structure}"]

    def test_a_ref_without_a_structure_is_one_that_lost_it(self, store: StructuredVectors, refs: list[str]) -> None:
        ids, vectors = some(80)
        bare = [ref.split("+")[0] for ref in refs]
        snapshot = store.snapshot(bare)
        assert snapshot.damaged == bare
        same(snapshot.search(vectors, 3), expected(ids, vectors, vectors, 3))

    def test_merging_a_damaged_segment_makes_it_whole(self, store: StructuredVectors, refs: list[str]) -> None:
        ids, vectors = some(80)
        self.structure(store, refs[0]).write_bytes(b"garbage")
        snapshot = store.snapshot([store.merge(refs, ids)])
        assert snapshot.damaged == []
        same(snapshot.search(vectors, 3), expected(ids, vectors, vectors, 3))

    def test_a_structure_is_swept_with_its_vectors(self, store: StructuredVectors, refs: list[str]) -> None:
        assert store.sweep(refs[:1], NOW) == 2
        assert not self.structure(store, refs[1]).exists()
        assert store.snapshot(refs[:1]).damaged == []

    def test_both_stores_read_the_same_vectors(self, store: StructuredVectors, refs: list[str]) -> None:
        ids, vectors = some(80)
        exact = ExactVectors(store.folder).snapshot([ref.split("+")[0] for ref in refs])
        same(exact.search(vectors[:5], 7), store.snapshot(refs).search(vectors[:5], 7))
        np.testing.assert_array_equal(exact.get(ids), store.snapshot(refs).get(ids))

    def test_a_folder_of_any_name(self, tmp_path: Path) -> None:
        folder = tmp_path / "b\udcffd\n🖼"
        folder.mkdir()
        store = StructuredVectors(folder)
        ids, vectors = some(5)
        snapshot = store.snapshot([store.append(ids, vectors)])
        assert snapshot.damaged == []
        same(snapshot.search(vectors, 2), expected(ids, vectors, vectors, 2))

    @pytest.mark.parametrize("dim", [1, 13, 1280, 4032])
    def test_faiss_is_within_the_margin(self, dim: int) -> None:
        """Of rows whose products all have one sign: where rounding errors add up."""
        generator = np.random.default_rng(0)
        rows = normalised(generator.random((200, dim)) + 0.01)
        index = module.faiss.IndexFlatIP(dim)
        index.add(rows)
        for queries in (rows[:1], rows[:40]):  # one is summed in lanes, many go through a matrix product
            scores, found = index.search(queries, 200)
            for query, score, row in zip(queries, scores, found, strict=True):
                exactly = (rows[row].astype(np.float64) * query).sum(axis=1)
                assert np.abs(score - exactly).max() <= margin(dim)
