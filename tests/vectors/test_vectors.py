"""The two stores against the contract, and what only the default one has: fast exact search, and structures."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from retrieval.disk import files
from retrieval.errors import BadInput
from retrieval.types import EXACT, Hits, SearchForm
from retrieval.vectors import SizedRef, VectorStore, merging, oracle, scan
from retrieval.vectors import faiss as module
from retrieval.vectors.hits import combined, no_hits
from retrieval.vectors.indexed import StructuredVectors
from retrieval.vectors.options import FLAT, StructureOptions
from retrieval.vectors.oracle import ExactVectors
from retrieval.vectors.refs import files_of, structured
from retrieval.vectors.scan import margin
from retrieval.vectors.segment import Segment
from tests.contracts.vectors import CONTRACT, NOW, SegmentFilesTests, expected, normalised, same, some


class TestExactVectors(SegmentFilesTests):
    @pytest.fixture
    def store(self, tmp_path: Path) -> VectorStore:
        return ExactVectors(tmp_path)


class TestStructuredVectors(SegmentFilesTests):
    @pytest.fixture
    def store(self, tmp_path: Path) -> VectorStore:
        return StructuredVectors(tmp_path)


class TestFlat:
    """Exact search by matrix products is that of the oracle to the last bit, cut into blocks wherever."""

    @pytest.fixture(autouse=True)
    def _small_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, size in {"BLOCK": 16, "ALONE": 8, "QUERIES": 3, "PAIRS": 5, "TOGETHER": 2}.items():
            monkeypatch.setattr(scan, name, size)

    @settings(max_examples=150, deadline=None, suppress_health_check=CONTRACT)
    @given(data=st.data())
    def test_it_is_the_oracle(self, data: st.DataObject) -> None:
        """With ties, near-ties and duplicates, at both precisions, among all rows and among some."""
        shape = data.draw(st.tuples(st.integers(1, 70), st.integers(1, 9)))
        numbers = data.draw(npst.arrays(np.int64, shape, elements=st.integers(-2, 2)))
        numbers[~numbers.any(axis=1), 0] = 1
        dtype = data.draw(st.sampled_from([np.float32, np.float16]))
        vectors = normalised(numbers)
        ids = np.array(data.draw(st.permutations(range(len(vectors)))), dtype=np.int64)
        segment = Segment(ids, vectors.astype(dtype))
        allowed = data.draw(st.none() | npst.arrays(np.bool_, len(ids)))
        k = data.draw(st.integers(1, 80))
        only = None if allowed is None else ids[allowed]
        same(scan.search(segment, vectors[:7], k, allowed), oracle.scan(segment, vectors[:7], k, only))

    @pytest.mark.parametrize("dtype", [np.float32, np.float16])
    @pytest.mark.parametrize("kept", [1.0, 0.9, 0.3, 0.0])
    def test_it_is_the_oracle_of_many_blocks(self, kept: float, dtype: type[np.floating]) -> None:
        ids, vectors = some(500, dim=200)
        vectors = np.concatenate([vectors[:480], vectors[:20]]).astype(dtype)
        allowed = np.random.default_rng(1).random(500) < kept
        found = scan.search(Segment(ids, vectors), some(9, dim=200, seed=2)[1], 12, allowed)
        same(found, oracle.scan(Segment(ids, vectors), some(9, dim=200, seed=2)[1], 12, ids[allowed]))

    @settings(max_examples=80, deadline=None, suppress_health_check=CONTRACT)
    @given(data=st.data())
    def test_what_is_known_already_changes_nothing(self, data: st.DataObject) -> None:
        """Segments one after another, with what the ones before have found, are as good as one."""
        shape = data.draw(st.tuples(st.integers(1, 70), st.integers(1, 9)))
        numbers = data.draw(npst.arrays(np.int64, shape, elements=st.integers(-2, 2)))
        numbers[~numbers.any(axis=1), 0] = 1
        vectors = normalised(numbers).astype(data.draw(st.sampled_from([np.float32, np.float16])))
        ids, queries = np.arange(len(vectors)), normalised(numbers[: data.draw(st.integers(1, 4))])
        k, cut = data.draw(st.integers(1, 12)), data.draw(st.integers(0, len(vectors)))
        hits = no_hits(len(queries), k)
        for part in (slice(0, cut), slice(cut, None)):
            if len(ids[part]):
                segment = Segment(ids[part], vectors[part])
                hits = combined([hits, scan.search(segment, queries, k, None, hits.scores[:, -1])])
        same(hits, oracle.scan(Segment(ids, vectors), queries, k, None))

    @settings(max_examples=150, deadline=None, suppress_health_check=CONTRACT)
    @given(data=st.data())
    def test_proposed_rows_are_ranked_as_the_oracle_does(self, data: st.DataObject) -> None:
        ids, vectors = some(30, dim=5)
        vectors[10:20] = vectors[:10]
        proposed = np.array([data.draw(st.permutations(range(30)))[:12] for _ in range(5)])
        proposed[:, data.draw(st.integers(0, 12)) :] = -1
        found = scan.refined(Segment(ids, vectors), vectors[:5], proposed, 8)
        for query, rows in enumerate(proposed):
            only = ids[rows[rows >= 0]]
            right = oracle.scan(Segment(ids, vectors), vectors[query : query + 1], 8, only)
            same(Hits(found.ids[query : query + 1], found.scores[query : query + 1]), right)

    @pytest.mark.parametrize("dtype", [np.float32, np.float16])
    @pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
    def test_a_vector_that_is_none_keeps_no_other_from_being_found(
        self, number: float, dtype: type[np.floating]
    ) -> None:
        ids, vectors = some(50)
        damaged = vectors.astype(dtype)
        damaged[7, 2] = number
        others = np.delete(np.arange(50), 7)
        right = scan.search(Segment(ids[others], damaged[others]), vectors[:3], 50)
        same(scan.search(Segment(ids, damaged), vectors[:3], 50), right)
        everything = np.tile(np.arange(50), (3, 1))
        same(scan.refined(Segment(ids, damaged), vectors[:3], everything, 50), right)

    def test_every_number_of_half_the_bytes_is_widened_exactly(self) -> None:
        numbers = np.arange(2**16, dtype=np.uint16).view(np.float16)
        finite = numbers[np.isfinite(numbers)]
        wide = scan.widened(finite)
        assert wide.dtype == np.float32
        np.testing.assert_array_equal(wide.view(np.uint32), finite.astype(np.float32).view(np.uint32))

    @pytest.mark.parametrize("dim", [1, 13, 1280, 4032])
    def test_products_are_within_the_margin(self, dim: int) -> None:
        """Of rows whose products all have one sign: where rounding errors add up."""
        rows = normalised(np.random.default_rng(0).random((200, dim)) + 0.01)
        exactly = rows.astype(np.float64) @ rows[:40].T.astype(np.float64)
        everything = np.tile(np.arange(200), (40, 1))
        for near in (
            rows @ rows[:40].T,  # a matrix product
            np.stack([rows @ query for query in rows[:40]], axis=1),  # summed in lanes
            scan.products(Segment(np.arange(200), rows), rows[:40], everything).T,
        ):
            assert np.abs(near - exactly).max() <= margin(dim)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
    def test_a_process_forked_from_one_that_has_searched_can_search(self) -> None:
        code = """
import os, numpy as np
from retrieval.vectors import scan, segment
segment = segment.Segment(np.arange(100), np.eye(100, dtype=np.float32))
scan.ALONE = 10
def nearest(): return scan.search(segment, segment.vectors[7:8], 1).ids.tolist()
assert nearest() == [[7]]
if os.fork() == 0:
    os._exit(0 if nearest() == [[7]] else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
        command = [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            code,
        ]  # of a fork that has threads: on purpose
        subprocess.run(command, check=True, timeout=60)

    def test_a_search_without_structures_does_not_import_faiss(self, tmp_path: Path) -> None:
        code = (
            "import pathlib, sys\n"
            "from retrieval.vectors.indexed import StructuredVectors as Store\n"
            "from tests.contracts.vectors import some\n"
            "store = Store(pathlib.Path(sys.argv[1]))\n"
            "ids, vectors = some(50)\n"
            "store.snapshot([store.merge([store.append(ids, vectors)], ids)]).search(vectors, 5)\n"
            "print('faiss' in sys.modules)\n"
        )
        command = [sys.executable, "-c", code, str(tmp_path)]
        assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "False\n"


COUNT, DIM = 3000, 40


def clustered(count: int = COUNT, dim: int = DIM) -> tuple[np.ndarray, np.ndarray]:
    """Return ids with vectors in clusters, as pictures are."""
    generator = np.random.default_rng(3)
    centres = generator.standard_normal((count // 20, dim))
    vectors = centres[generator.integers(len(centres), size=count)] + 0.5 * generator.standard_normal((count, dim))
    return np.sort(some(count)[0]), normalised(vectors)


def recall(found: Hits, right: Hits) -> float:
    """Return the share of the right neighbours that were found."""
    return float(np.mean([len({*a} & {*b}) / len(b) for a, b in zip(found.ids, right.ids, strict=True)]))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with one segment that has a structure, and its ref."""
    store = StructuredVectors(tmp_path_factory.mktemp("structure"))
    return store.folder, store.merge([store.append(*clustered())], None, {})


class TestStructures:
    """A structure is derived: what it proposes is ranked by the vectors; without it, or with a broken one, all are."""

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
            """Counts the rows that are taken out of it."""

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

    def test_asking_where_everything_was_removed_finds_what_is_left(self, tmp_path: Path) -> None:
        """The dead are where the queries are: a search must not end among them."""
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
        """Each vector has seven like it, as held-out vectors find at once; a query from elsewhere has none."""
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
        """The first ten come first, the second ten one by one among others; and the other way round."""
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
        """Tuned at ten, of vectors whose hundred nearest are as near one another as their ten: in clusters of 200."""
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
        """Return a ref whose facts are others."""
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


class TestForms:
    """Which structure is built, and what is refused."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> StructuredVectors:
        return StructuredVectors(tmp_path)

    @pytest.mark.parametrize(
        "factory",
        ["IVF16,Flat", "PCA20,IVF8,SQ8", "HNSW16", "SQ8", pytest.param("OPQ8,IVF8,PQ8x4", marks=pytest.mark.slow)],
    )
    def test_any_form_of_faiss_is_tuned_to_the_recall(self, store: StructuredVectors, factory: str) -> None:
        ids, vectors = clustered()
        snapshot = store.snapshot(
            [store.merge([store.append(ids, vectors)], None, {"factory": factory, "recall": 0.9})]
        )
        (form,) = snapshot.forms
        assert (form.form, form.target) == (factory, 0.9)
        assert form.recall >= 0.9
        right = expected(ids, vectors, vectors[:100], 10)
        found = snapshot.search(vectors[:100], 10)
        assert np.mean([len({*a} & {*b}) / 10 for a, b in zip(found.ids, right.ids, strict=True)]) >= 0.87
        alone = [snapshot.search(vectors[at : at + 1], 10) for at in range(100)]
        assert np.mean([len({*a.ids[0]} & {*b}) / 10 for a, b in zip(alone, found.ids, strict=True)]) >= 0.99

    def test_one_that_misses_the_recall_is_not_searched(self, store: StructuredVectors) -> None:
        ids, vectors = some(1000, dim=64)
        ref = store.merge([store.append(ids, vectors)], None, {"factory": "IVF1,PQ2x2"})
        snapshot = store.snapshot([ref])
        assert snapshot.damaged == []
        assert snapshot.forms == [SearchForm(EXACT, 1000)]
        same(snapshot.search(vectors[:5], 10), expected(ids, vectors, vectors[:5], 10))

    def test_a_query_looks_at_fewer_vectors_where_they_have_to_be_converted(self) -> None:
        assert StructureOptions().scan_limit(1280, float16=False) == 19_531
        assert StructureOptions().scan_limit(1280, float16=True) == 2441

    def test_flat_is_none(self, store: StructuredVectors) -> None:
        assert not structured(store.merge([store.append(*clustered())], None, {"factory": FLAT}))

    @pytest.mark.parametrize(
        ("factory", "sentence"),
        [
            ("nonsense", "FAISS makes nothing of nonsense for 40 dimensions"),
            ("PQ7", "FAISS makes nothing of PQ7 for 40 dimensions"),
            ("IVF4096,SQ8", "IVF4096,SQ8 needs 4096 vectors to learn from, there are 3000"),
            ("IVF8,PQ8x12", "IVF8,PQ8x12 needs 4096 vectors to learn from, there are 3000"),
            ("PQ8x8", "an index of the form PQ8x8 cannot be kept and tuned"),
            ("NSG32", "an index of the form NSG32 cannot be kept and tuned"),
            ("IVF16(IVF4,Flat),SQ8", r"an index of the form IVF16\(IVF4,Flat\),SQ8 cannot be kept and tuned"),
            ("HNSW32_16+PQ8", r"an index of the form HNSW32_16\+PQ8 cannot be kept and tuned"),
        ],
    )
    def test_what_cannot_be_made_is_said_before_any_work(
        self, store: StructuredVectors, factory: str, sentence: str
    ) -> None:
        with pytest.raises(BadInput, match=sentence):
            module.check(factory, DIM, COUNT)
        ref = store.append(*clustered())
        with pytest.raises(BadInput, match=sentence):
            store.merge([ref], None, {"factory": factory})
        assert os.listdir(store.folder) == files_of(ref)

    @pytest.mark.parametrize(
        "factory", ["HNSW0", "HNSW1", "HNSW999999999", "IVF16_HNSW0,SQ8", "IVF16_HNSW1,SQ8", "PCA50,HNSW32,SQ8"]
    )
    def test_what_faiss_would_die_of_is_refused(self, factory: str) -> None:
        """In a process of its own."""
        code = (
            "import sys\n"
            "from retrieval.errors import BadInput\n"
            "from retrieval.vectors.faiss import check\n"
            "try:\n    check(sys.argv[1], 40, 0)\n"
            "except BadInput as error:\n    print(type(error).__name__)\n"
        )
        command = [sys.executable, "-c", code, factory]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "BadInput\n"

    @pytest.mark.parametrize(("count", "dim"), [(300, 128), (520, 128), (520, 256)])
    def test_components_are_chosen_of_few_vectors(self, store: StructuredVectors, count: int, dim: int) -> None:
        snapshot = store.snapshot([store.merge([store.append(*some(count, dim=dim))], None, {})])
        assert snapshot.damaged == []

    @pytest.mark.parametrize("count", [1, 2, 9, 11, 25])
    def test_very_few_vectors_are_found_all_the_same(self, store: StructuredVectors, count: int) -> None:
        ids, vectors = some(count)
        snapshot = store.snapshot([store.merge([store.append(ids, vectors)], None, {})])
        assert snapshot.damaged == []
        assert {*snapshot.search(vectors[:1], count + 1).ids[0].tolist()} == {*ids.tolist(), -1}

    def test_vectors_of_few_dimensions_at_heart_are_compared_by_those(self, store: StructuredVectors) -> None:
        generator = np.random.default_rng(0)
        inner = generator.standard_normal((4000, 20)) @ generator.standard_normal((20, 256))
        vectors = normalised(inner + 0.05 * generator.standard_normal(inner.shape))
        (form,) = store.snapshot([store.merge([store.append(some(4000)[0], vectors)], None, {})]).forms
        assert form.form.startswith("PCA")
        assert form.recall >= 0.99

    def test_equal_vectors_are_no_loss(self, store: StructuredVectors) -> None:
        """Of more equal ones than are asked for, any are right."""
        ids, vectors = some(2000)
        vectors[1000:] = vectors[0]
        (form,) = store.snapshot([store.merge([store.append(ids, vectors)], None, {})]).forms
        assert form.recall >= 0.99


class TestFloat16:
    """Vectors of half the bytes: scores are those of what is stored."""

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


def folded(segments: list[SizedRef], most: int, **options: int) -> list[str]:
    """Return what is worth folding of segments with and without a structure."""
    parts: dict[bool, list[SizedRef]] = {False: [], True: []}
    for segment in segments:
        parts[structured(segment[0])].append(segment)
    return merging.worth_folding(parts[False], parts[True], most, **options)


class TestTiers:
    """Few segments to visit, no vector rewritten often."""

    def part(self, name: str, count: int) -> tuple[str, int]:
        return name, count

    def test_nothing_is_folded_while_a_query_can_look_at_it(self) -> None:
        assert folded([("a", 60), ("b+c+d", 1000), ("e", 40)], 100) == []
        assert folded([("a", 60), ("b+c+d", 1000), ("e", 41)], 100) == ["a", "e"]

    def test_runs_that_add_one_leave_a_dozen_segments_and_rewrite_a_vector_a_dozen_times(self) -> None:
        sizes: list[tuple[str, int]] = []
        written = most = 0
        for number in range(5000):
            sizes.append((f"{number}", 1))
            while group := merging.smallest(sizes, 1, least_growth=2):
                count = sum(size for ref, size in sizes if ref in group)
                sizes = [part for part in sizes if part[0] not in group] + [(f"{number}-{count}", count)]
                written += count
            most = max(most, len(sizes))
        assert most <= 13
        assert written <= 13 * 5000

    def test_what_is_comparable_is_folded_in(self) -> None:
        parts = [("big+x+y", 1000), ("a", 101), ("small+x+y", 200), ("middle+x+y", 603)]
        assert folded(parts, 100) == ["a", "small+x+y"]
        assert folded([*parts, ("b", 1)], 100) == ["a", "b", "small+x+y", "middle+x+y", "big+x+y"]

    def test_within_a_run_it_waits(self) -> None:
        assert folded([("a", 800)], 100, patience=8) == []
        assert folded([("a", 801)], 100, patience=8) == ["a"]
        assert folded([("a", 801), ("b+c+d", 802)], 100, patience=8) == []

    def test_growing_to_a_million_rebuilds_each_vector_a_few_times(self) -> None:
        segments: list[tuple[str, int]] = []
        built = most = 0
        for number in range(2000):
            segments.append((f"{number}", 500))
            if group := folded(segments, 20_000):
                count = sum(size for ref, size in segments if ref in group)
                segments = [part for part in segments if part[0] not in group] + [(f"{number}+a+b", count)]
                built += count
            most = max(most, sum(structured(ref) for ref, _ in segments))
        assert built <= 6 * 1_000_000
        assert most <= 6
