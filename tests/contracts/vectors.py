"""The contract of a `VectorStore`. A test module subclasses one of these classes and makes its store in `store`."""

import errno
import hashlib
import io
import itertools
import os
import subprocess
import sys
import zlib
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from retrieval.errors import IndexDamaged, StorageError
from retrieval.types import Hits, Ids, Vectors
from retrieval.vectors import VectorSnapshot, VectorStore

PROJECT = Path(__file__).parents[2]
NOW = timedelta(0)
CONTRACT = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
"""Health checks that do not apply: a store may hold several examples, and a test method runs for several classes."""


def normalised(rows: NDArray[np.floating | np.integer]) -> Vectors:
    """Return the rows as vectors of length 1."""
    exactly = np.asarray(rows, dtype=np.float64)
    return (exactly / np.linalg.norm(exactly, axis=1, keepdims=True)).astype(np.float32)


def some(count: int, dim: int = 24, seed: int = 0) -> tuple[Ids, Vectors]:
    """Return random ids, in no order, with random vectors."""
    generator = np.random.default_rng(seed)
    ids = generator.choice(2**62, size=count, replace=False).astype(np.int64)
    return ids, normalised(generator.standard_normal((count, dim)))


def expected(ids: Ids, vectors: Vectors, queries: Vectors, k: int, only: Ids | None = None) -> Hits:
    """Return what a search has to find, computed in plain numpy."""
    rows = np.arange(len(ids)) if only is None else np.flatnonzero(np.isin(ids, only))
    found, scores = np.full((len(queries), k), -1), np.full((len(queries), k), -np.inf, dtype=np.float32)
    for number, query in enumerate(queries):
        cosines = (vectors[rows].astype(np.float64) * query.astype(np.float64)).sum(axis=1).astype(np.float32)
        ranked = sorted(zip(-cosines, ids[rows], strict=True))[:k]
        found[number, : len(ranked)] = [id_ for _, id_ in ranked]
        scores[number, : len(ranked)] = [-score for score, _ in ranked]
    return Hits(found, scores)


def same(one: Hits, other: Hits) -> None:
    """Assert that two answers are equal to the last bit."""
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.scores, other.scores)
    assert (one.ids.dtype, one.scores.dtype) == (np.int64, np.float32)


class VectorStoreTests(ABC):
    """What every store and its snapshots do."""

    @pytest.fixture
    @abstractmethod
    def store(self, tmp_path: Path) -> VectorStore:
        """Return the store under test, empty."""

    def in_segments(self, store: VectorStore, ids: Ids, vectors: Vectors, *cuts: int) -> VectorSnapshot:
        ends = [0, *cuts, len(ids)]
        return store.snapshot([store.append(ids[a:b], vectors[a:b]) for a, b in itertools.pairwise(ends)])

    # -- what is appended is what is there -----------------------------------------------------------------------------

    def test_what_was_appended_comes_back_bit_for_bit_in_the_order_asked(self, store: VectorStore) -> None:
        ids, vectors = some(100)
        snapshot = self.in_segments(store, ids, vectors, 30, 31)
        order = np.random.default_rng(1).permutation(100)
        back = snapshot.get(ids[order])
        assert snapshot.count == 100
        assert not snapshot.damaged
        assert back.dtype == np.float32
        np.testing.assert_array_equal(back, vectors[order])

    def test_an_id_can_be_asked_for_twice_and_none_at_all(self, store: VectorStore) -> None:
        ids, vectors = some(3)
        snapshot = self.in_segments(store, ids, vectors)
        np.testing.assert_array_equal(snapshot.get(ids[[2, 2, 0]]), vectors[[2, 2, 0]])
        assert snapshot.get(ids[:0]).shape == (0, 24)

    def test_an_id_that_is_not_there_is_a_key_error_that_names_it(self, store: VectorStore) -> None:
        ids, vectors = some(5)
        snapshot = self.in_segments(store, ids, vectors, 2)
        for unknown in (0, 2**63 - 1):
            with pytest.raises(KeyError, match=str(unknown)):
                snapshot.get(np.array([ids[0], unknown, ids[1]]))

    def test_the_smallest_and_the_largest_id_are_ids(self, store: VectorStore) -> None:
        ids = np.array([2**63 - 1, 0])
        _, vectors = some(2)
        snapshot = self.in_segments(store, ids, vectors)
        same(snapshot.search(vectors, 2), expected(ids, vectors, vectors, 2))
        np.testing.assert_array_equal(snapshot.get(ids), vectors)

    def test_the_same_content_has_the_same_ref(self, store: VectorStore) -> None:
        assert store.append(*some(4)) == store.append(*some(4)) != store.append(*some(4, seed=1))

    def test_arrays_that_are_not_contiguous_are_kept_as_well(self, store: VectorStore) -> None:
        ids, vectors = some(10)
        snapshot = store.snapshot([store.append(ids[::2], np.asfortranarray(vectors)[::2])])
        np.testing.assert_array_equal(snapshot.get(ids[::2]), vectors[::2])

    @pytest.mark.parametrize("wrong", ["none", "a vector too few", "an id twice"])
    def test_what_is_no_segment_is_refused(self, store: VectorStore, wrong: str) -> None:
        ids, vectors = some(3)
        ids, vectors = {
            "none": (ids[:0], vectors[:0]),
            "a vector too few": (ids, vectors[:2]),
            "an id twice": (ids[[0, 1, 0]], vectors),
        }[wrong]
        with pytest.raises(ValueError, match="ids"):
            store.append(ids, vectors)

    def test_no_segments_are_an_empty_snapshot(self, store: VectorStore) -> None:
        snapshot = store.snapshot([])
        hits = snapshot.search(some(2)[1], 3)
        assert snapshot.count == 0
        assert (hits.ids == -1).all()
        assert np.isneginf(hits.scores).all()
        assert len(snapshot.get(np.zeros(0, dtype=np.int64))) == 0
        with pytest.raises(KeyError):
            snapshot.get(np.array([1]))

    # -- search --------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("cuts", [(), (250,), (1, 2, 3, 100, 499)])
    @pytest.mark.parametrize("k", [1, 7, 60])
    def test_it_finds_what_plain_numpy_finds(self, store: VectorStore, k: int, cuts: tuple[int, ...]) -> None:
        ids, vectors = some(500)
        _, others = some(5, seed=1)
        queries = np.concatenate([vectors[:5], others])
        same(self.in_segments(store, ids, vectors, *cuts).search(queries, k), expected(ids, vectors, queries, k))

    @pytest.mark.parametrize("kept", [0, 1, 3, 40, 100])
    def test_it_finds_among_some_ids_only(self, store: VectorStore, kept: int) -> None:
        ids, vectors = some(100)
        only = np.append(ids[::-1][:kept], [2**62 + 1])  # in another order, with one that is not there
        found = self.in_segments(store, ids, vectors, 40).search(vectors[:4], 6, only)
        same(found, expected(ids, vectors, vectors[:4], 6, only))

    @pytest.mark.parametrize("kept", [0, 1, 3, 40, 100])
    def test_a_bitmap_of_rows_stands_for_their_ids(self, store: VectorStore, kept: int) -> None:
        ids, vectors = some(100)
        only = np.append(ids[::-1][:kept], [2**62 + 1])
        for cuts in ((), (40,), (1, 2, 99)):
            snapshot = self.in_segments(store, ids, vectors, *cuts)
            bitmap = snapshot.mask(only)
            assert (bitmap.dtype, bitmap.shape, np.count_nonzero(bitmap)) == (np.bool_, (100,), kept)
            right = expected(ids, vectors, vectors[:4], 6, only)
            same(snapshot.search(vectors[:4], 6, bitmap), right)
            same(snapshot.search(vectors[:4], 6, bitmap, exact=True), right)

    def test_bitmaps_are_combined(self, store: VectorStore) -> None:
        ids, vectors = some(90)
        snapshot = self.in_segments(store, ids, vectors, 30)
        one, other = snapshot.mask(ids[:50]), snapshot.mask(ids[40:])
        for bitmap, only in ((one & other, ids[40:50]), (one | other, ids), (~one, ids[50:]), (one & ~one, ids[:0])):
            same(snapshot.search(vectors[:4], 60, bitmap), expected(ids, vectors, vectors[:4], 60, only))

    def test_a_bitmap_that_is_changed_is_another_bitmap(self, store: VectorStore) -> None:
        ids, vectors = some(20)
        snapshot = self.in_segments(store, ids, vectors, 5)
        bitmap = snapshot.mask(ids)
        for gone in range(20):
            bitmap[gone] = False
            only = ids[bitmap]
            same(snapshot.search(vectors[:2], 20, bitmap), expected(ids, vectors, vectors[:2], 20, only))
            bitmap[gone] = True

    def test_a_bitmap_tells_the_rows_of_an_id_apart(self, store: VectorStore) -> None:
        ids, vectors = some(4)
        refs = [store.append(ids[:3], vectors[:3]), store.append(ids[:1], vectors[3:])]
        snapshot = store.snapshot(refs)
        np.testing.assert_array_equal(snapshot.mask(ids[:1]), [True, False, False, True])
        for bitmap, vector in (([True, False, False, False], vectors[:1]), ([False] * 3 + [True], vectors[3:])):
            found = snapshot.search(vectors[3:], 2, np.array(bitmap))
            same(found, expected(ids[:1], vector, vectors[3:], 2))

    @pytest.mark.parametrize("length", [0, 1, 19, 21])
    def test_a_bitmap_of_another_length_is_refused(self, store: VectorStore, length: int) -> None:
        ids, vectors = some(20)
        snapshot = self.in_segments(store, ids, vectors, 5)
        with pytest.raises(ValueError, match="bitmap"):
            snapshot.search(vectors[:2], 3, np.ones(length, dtype=bool))

    def test_an_empty_snapshot_has_an_empty_bitmap(self, store: VectorStore) -> None:
        snapshot = store.snapshot([])
        bitmap = snapshot.mask(some(2)[0])
        assert bitmap.shape == (0,)
        assert (snapshot.search(some(2)[1], 3, bitmap).ids == -1).all()

    def test_where_there_are_fewer_than_asked_the_rest_is_nobody(self, store: VectorStore) -> None:
        ids, vectors = some(6)
        hits = self.in_segments(store, ids, vectors, 2).search(vectors[:1], 50)
        same(hits, expected(ids, vectors, vectors[:1], 50))
        assert (hits.ids[0, 6:] == -1).all()
        assert np.isneginf(hits.scores[0, 6:]).all()

    def test_one_vector(self, store: VectorStore) -> None:
        ids, vectors = some(1)
        for k in (1, 3):
            same(self.in_segments(store, ids, vectors).search(vectors, k), expected(ids, vectors, vectors, k))

    def test_no_queries_have_no_answers(self, store: VectorStore) -> None:
        ids, vectors = some(3)
        assert self.in_segments(store, ids, vectors).search(vectors[:0], 2).ids.shape == (0, 2)

    def test_equal_vectors_stand_in_ascending_order_of_id(self, store: VectorStore) -> None:
        ids, vectors = some(40)
        equal = np.repeat(vectors[:2], 20, axis=0)
        for k in (1, 5, 20, 25, 40):
            found = self.in_segments(store, ids, equal, 7).search(vectors[:1], k)
            same(found, expected(ids, equal, vectors[:1], k))

    def test_many_equal_vectors_at_the_cut_off(self, store: VectorStore) -> None:
        """More vectors are equal than any store asks for beyond k: it has to notice that the order is not settled."""
        ids, vectors = some(700)
        equal = np.concatenate([vectors[:2], np.repeat(vectors[2:3], 600, axis=0), vectors[3:101]])
        for k in (1, 3, 10, 601, 650):
            found = self.in_segments(store, ids, equal, 350).search(vectors[2:3], k)
            same(found, expected(ids, equal, vectors[2:3], k))
        only = ids[100:]
        found = self.in_segments(store, ids, equal, 350).search(vectors[2:3], 5, only)
        same(found, expected(ids, equal, vectors[2:3], 5, only))

    @pytest.mark.parametrize("apart", [1e-8, 1e-5, 1e-3])
    def test_vectors_closer_than_float32_tells_apart(self, store: VectorStore, apart: float) -> None:
        """All products have one sign, so that a float32 sum has a larger error than the distance between neighbours."""
        generator = np.random.default_rng(2)
        ids, _ = some(600)
        close = normalised(generator.random(1280) * (1 + apart * generator.standard_normal((600, 1280))))
        snapshot = self.in_segments(store, ids, close, 200)
        for queries in (close[:3], close[:30]):
            for k in (1, 10):
                same(snapshot.search(queries, k), expected(ids, close, queries, k))

    @settings(max_examples=40, deadline=None, suppress_health_check=CONTRACT)
    @given(data=st.data())
    def test_any_vectors_of_small_integers(self, store: VectorStore, data: st.DataObject) -> None:
        """Many are tied or nearly: (1, 2, 2) and (2, 2, 1) are equally near (1, 1, 1), by sums in another order."""
        shape = data.draw(st.tuples(st.integers(1, 60), st.integers(1, 9)))
        numbers = data.draw(npst.arrays(np.int64, shape, elements=st.integers(-2, 2)))
        numbers[~numbers.any(axis=1), 0] = 1
        vectors = normalised(numbers)
        ids = np.array(data.draw(st.permutations(range(len(vectors)))), dtype=np.int64)
        cuts = sorted(data.draw(st.sets(st.integers(1, len(ids) - 1), max_size=3))) if len(ids) > 1 else []
        only = data.draw(st.none() | st.sets(st.sampled_from(list(ids))).map(lambda s: np.array([*s], dtype=np.int64)))
        k = data.draw(st.integers(1, 70))
        found = self.in_segments(store, ids, vectors, *cuts).search(vectors[:4], k, only)
        same(found, expected(ids, vectors, vectors[:4], k, only))

    def test_an_answer_does_not_depend_on_who_else_asks(self, store: VectorStore) -> None:
        """A matrix library computes many queries at once in another way than one."""
        ids, vectors = some(300, dim=1280)
        snapshot = self.in_segments(store, ids, vectors, 100)
        together = snapshot.search(vectors[:64], 9)
        backwards = snapshot.search(vectors[63::-1], 9)
        same(together, Hits(backwards.ids[::-1], backwards.scores[::-1]))
        for row in range(64):
            alone = snapshot.search(vectors[row : row + 1], 9)
            same(alone, Hits(together.ids[row : row + 1], together.scores[row : row + 1]))

    def test_segments_do_not_change_an_answer(self, store: VectorStore) -> None:
        ids, vectors = some(200)
        whole, cut = self.in_segments(store, ids, vectors), self.in_segments(store, ids, vectors, 50, 51, 120)
        same(whole.search(vectors[:9], 11), cut.search(vectors[:9], 11))

    def test_an_id_in_several_segments_counts_once(self, store: VectorStore) -> None:
        ids, vectors = some(30)
        refs = [store.append(ids[:20], vectors[:20]), store.append(ids[10:], vectors[10:])]
        snapshot = store.snapshot([*refs, refs[0]])
        assert snapshot.count == 60
        same(snapshot.search(vectors[:6], 25), expected(ids, vectors, vectors[:6], 25))

    def test_an_id_with_two_vectors_counts_with_the_better_one(self, store: VectorStore) -> None:
        ids, vectors = some(4)
        query = vectors[3:]
        refs = [store.append(ids[:3], vectors[:3]), store.append(ids[:1], query)]
        for snapshot in (store.snapshot(refs), store.snapshot(refs[::-1])):
            best = np.concatenate([query, vectors[1:3]])
            same(snapshot.search(query, 3), expected(ids[:3], best, query, 3))
        np.testing.assert_array_equal(store.snapshot(refs).get(ids[:1]), vectors[:1])

    def test_any_number_of_threads_may_search_a_snapshot(self, store: VectorStore) -> None:
        ids, vectors = some(400)
        snapshot = self.in_segments(store, ids, vectors, 150)
        right = expected(ids, vectors, vectors, 5)
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda row: snapshot.search(vectors[row : row + 1], 5, ids), range(100))
        for row, found in enumerate(answers):
            same(found, Hits(right.ids[row : row + 1], right.scores[row : row + 1]))

    # -- merge ---------------------------------------------------------------------------------------------------------

    def test_merging_keeps_what_lives_and_each_id_once(self, store: VectorStore) -> None:
        ids, vectors = some(50)
        refs = [store.append(ids[:30], vectors[:30]), store.append(ids[20:], vectors[20:])]
        live = np.append(ids[5:45], [2**62 + 1])
        snapshot = store.snapshot([store.merge(refs, live)])
        assert snapshot.count == 40
        np.testing.assert_array_equal(snapshot.get(ids[5:45]), vectors[5:45])
        same(snapshot.search(vectors[:5], 8), expected(ids, vectors, vectors[:5], 8, live))
        with pytest.raises(KeyError):
            snapshot.get(ids[:1])

    def test_merging_keeps_the_vector_that_get_gives(self, store: VectorStore) -> None:
        ids, vectors = some(2)
        refs = [store.append(ids[:1], vectors[:1]), store.append(ids[:1], vectors[1:])]
        for order in (refs, refs[::-1]):
            merged = store.snapshot([store.merge(order, ids)])
            np.testing.assert_array_equal(merged.get(ids[:1]), store.snapshot(order).get(ids[:1]))

    def test_merging_nothing_that_lives_is_no_segment(self, store: VectorStore) -> None:
        ids, vectors = some(3)
        ref = store.append(ids, vectors)
        assert store.merge([ref], np.zeros(0, dtype=np.int64)) == ""
        assert store.merge([ref], np.array([2**62 + 1])) == ""
        assert store.merge([], ids) == ""

    # -- sweep ---------------------------------------------------------------------------------------------------------

    def test_sweeping_keeps_what_is_named(self, store: VectorStore) -> None:
        ids, vectors = some(20)
        kept, rubbish = store.append(ids, vectors), store.append(ids[:5], vectors[:5])
        assert store.sweep([kept], NOW) >= 1
        np.testing.assert_array_equal(store.snapshot([kept]).get(ids), vectors)
        with pytest.raises(IndexDamaged):
            store.snapshot([rubbish])
        assert store.sweep([kept], NOW) == 0

    def test_sweeping_leaves_what_is_young(self, store: VectorStore) -> None:
        ref = store.append(*some(3))
        assert store.sweep([], timedelta(hours=1)) == 0
        assert store.snapshot([ref]).count == 3

    def test_a_snapshot_goes_on_after_its_segments_are_swept_and_merged(self, store: VectorStore) -> None:
        ids, vectors = some(300)
        refs = [store.append(ids[:100], vectors[:100]), store.append(ids[100:], vectors[100:])]
        snapshot = store.snapshot(refs)
        store.sweep([store.merge(refs, ids[:10])], NOW)
        same(snapshot.search(vectors[:20], 9), expected(ids, vectors, vectors[:20], 9))
        np.testing.assert_array_equal(snapshot.get(ids), vectors)

    def test_orphans_are_what_a_sweep_of_any_age_takes(self, store: VectorStore) -> None:
        kept, _ = store.append(*some(3)), store.append(*some(4))
        orphans = store.orphans([kept])
        assert orphans >= 1
        assert store.sweep([kept], NOW) == orphans
        assert store.orphans([kept]) == 0

    # -- search structures ---------------------------------------------------------------------------------------------

    def test_choosing_nothing_is_always_possible(self, store: VectorStore) -> None:
        for count in (0, 1, 10**6):
            store.check({}, 24, count)
        merged = store.merge([store.append(*some(40))], None, {})
        np.testing.assert_array_equal(store.snapshot([merged]).get(some(40)[0]), some(40)[1])

    def test_options_that_are_unknown_or_impossible_are_ignored_where_they_were_stored(
        self, store: VectorStore
    ) -> None:
        options = {"a later version": [1], "factory": 3, "recall": "x", "flat": -1}
        segments = [(store.append(*some(5)), 5)]
        assert store.wants_structure(5, 24, options) is store.wants_structure(5, 24, {}) is False
        assert store.worth_folding(segments, 24, options) == []
        assert store.count(store.merge([segments[0][0]], None, options)) == 5

    def test_what_was_appended_has_no_structure(self, store: VectorStore) -> None:
        ref = store.append(*some(5))
        assert store.without_structure(ref) == ref
        assert store.is_structured([(ref, 5)], None)
        assert store.damaged_structures([ref], thorough=True) == []
        assert [form.vectors for form in store.forms([(ref, 5)])] == [5]

    def test_the_vectors_of_a_merged_segment_have_a_ref_of_their_own(self, store: VectorStore) -> None:
        ids, vectors = some(40)
        bare = store.without_structure(store.merge([store.append(ids, vectors)], None, {}))
        assert store.without_structure(bare) == bare
        np.testing.assert_array_equal(store.snapshot([bare]).get(ids), vectors)

    def test_merging_what_is_worth_it_leaves_few_segments(self, store: VectorStore) -> None:
        segments = [(store.append(*some(count, seed=count)), count) for count in (1, 2, 3, 50, 4)]
        assert store.worth_merging(segments, 5) == []
        assert store.worth_merging(segments, 1, least_growth=10**9) == []
        while group := store.worth_merging(segments, 2):
            assert 1 < len(group) == len({*group} & {ref for ref, _ in segments})
            merged = store.merge(group)
            segments = [segment for segment in segments if segment[0] not in group]
            segments.append((merged, store.count(merged)))
        assert len(segments) <= 2
        assert sum(count for _, count in segments) == 60

    # -- damage --------------------------------------------------------------------------------------------------------

    def test_what_is_whole_has_no_damage_and_is_found(self, store: VectorStore) -> None:
        refs = [store.append(*some(3)), store.merge([store.append(*some(30, seed=1))], None, {})]
        for ref in refs:
            assert list(store.damage(ref)) == []
        assert {store.without_structure(ref) for ref in refs} <= {*store.whole_segments()}


class SegmentFilesTests(VectorStoreTests):
    """What stores do that keep segments in the files of a folder, each named by its SHA-256."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Return the folder of the store under test."""
        return tmp_path

    @pytest.fixture
    def vectors_file(self, store: VectorStore, folder: Path) -> tuple[str, Path]:
        """Append ten vectors; return the ref of the segment and the path of its vectors."""
        ref = store.append(*some(10))
        return ref, folder / (ref.split("+")[0] + ".vectors")

    def whole_files(self, folder: Path) -> int:
        """Return the number of files, after checking that each is named by its digest."""
        for path in folder.iterdir():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
        return len([*folder.iterdir()])

    def test_files_are_named_by_their_digests(self, store: VectorStore, folder: Path) -> None:
        ref = store.append(*some(10))
        assert {path.stem for path in folder.iterdir()} == set(ref.split("+"))
        assert self.whole_files(folder) == len(ref.split("+"))

    def test_a_person_can_read_a_segment_with_numpy(self, vectors_file: tuple[str, Path]) -> None:
        ids, vectors = some(10)
        with vectors_file[1].open("rb") as file:
            np.testing.assert_array_equal(np.load(file), ids)
            np.testing.assert_array_equal(np.load(file), vectors)
            end = file.tell()
            checksums = np.load(file)
            assert file.read() == b""
        data = vectors_file[1].read_bytes()
        assert checksums.tolist() == [zlib.crc32(data[at : min(at + 16_384, end)]) for at in range(0, end, 16_384)]

    # -- damage --------------------------------------------------------------------------------------------------------

    def test_missing_vectors_are_damage(self, store: VectorStore, vectors_file: tuple[str, Path]) -> None:
        vectors_file[1].unlink()
        with pytest.raises(IndexDamaged, match="missing"):
            store.snapshot([vectors_file[0]])
        with pytest.raises(IndexDamaged, match="missing"):
            store.merge([vectors_file[0]], some(10)[0])

    @pytest.mark.parametrize("length", [0, 1, 6, 9, 100, 128, 130, 208, 300, 336, 337, -1, -500])
    def test_vectors_cut_short_are_damage(
        self, store: VectorStore, vectors_file: tuple[str, Path], length: int
    ) -> None:
        ref, path = vectors_file
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(IndexDamaged, match="damaged"):
            store.snapshot([ref])

    def test_vectors_with_something_behind_them_are_damage(
        self, store: VectorStore, vectors_file: tuple[str, Path]
    ) -> None:
        ref, path = vectors_file
        path.write_bytes(path.read_bytes() + b"\0")
        with pytest.raises(IndexDamaged):
            store.snapshot([ref])

    def test_damage_is_told_for_each_file(self, store: VectorStore, vectors_file: tuple[str, Path]) -> None:
        ref, path = vectors_file
        data = path.read_bytes()
        path.write_bytes(data[:-1] + b"?")
        assert store.damage(ref) == [f"vectors: the file {path.name} is damaged"]
        assert [*store.whole_segments()] == []
        path.unlink()
        assert store.damage(ref) == [f"vectors: the file {path.name[:16]}… is missing"]

    @pytest.mark.parametrize(
        "ref", ["", "../../etc/passwd", "a" * 63, "A" * 64, "+".join(["a" * 64] * 4), "\x1b[31m", "é"]
    )
    def test_a_text_that_is_no_ref_is_damage_and_never_a_path(self, store: VectorStore, ref: str) -> None:
        for work in (
            lambda: store.snapshot([ref]),
            lambda: store.merge([ref]),
            lambda: store.count(ref),
            lambda: store.damage(ref),
            lambda: store.salvage(ref),
            lambda: store.sweep([ref], NOW),
            lambda: store.orphans([ref]),
        ):
            with pytest.raises(IndexDamaged) as error:
                work()
            assert str(error.value).isprintable()

    @settings(max_examples=60, deadline=None, suppress_health_check=CONTRACT)
    @given(garbage=st.binary(max_size=400), intact=st.sampled_from([0, 6, 8, 10, 128, 208, 218]))
    def test_garbage_is_damage(
        self, store: VectorStore, vectors_file: tuple[str, Path], garbage: bytes, intact: int
    ) -> None:
        ref, path = vectors_file
        data = path.read_bytes()
        path.write_bytes(data[:intact] + garbage)
        with pytest.raises(IndexDamaged):
            store.snapshot([ref])
        path.write_bytes(data)

    @pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning")
    def test_a_flip_in_a_header_is_damage_or_harmless(self, store: VectorStore, vectors_file: tuple[str, Path]) -> None:
        ref, path = vectors_file
        data = path.read_bytes()
        ids, vectors = some(10)
        opened = 0
        for place in [*range(128), *range(208, 336)]:
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            try:
                np.testing.assert_array_equal(store.snapshot([ref]).get(ids), vectors)
                opened += 1
            except IndexDamaged:
                pass
        assert opened < 128, "blanks only"

    def test_a_flip_anywhere_is_never_answered_with(self, store: VectorStore, folder: Path) -> None:
        """Scores, vectors and ids are what was written, or an error is raised."""
        ids, vectors = some(900, dim=24)
        ref = store.append(ids, vectors)
        path, right = folder / (ref.split("+")[0] + ".vectors"), expected(ids, vectors, vectors[:2], 5)
        data, chance = path.read_bytes(), np.random.default_rng(0)
        for bit in chance.integers(0, 8 * len(data), 60).tolist():
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            for ask in (lambda: store.snapshot([ref]).search(vectors[:2], 5), lambda: store.snapshot([ref]).get(ids)):
                with suppress(IndexDamaged):
                    found = ask()
                    if isinstance(found, Hits):
                        same(found, right)
                    else:
                        np.testing.assert_array_equal(found, vectors)

    def test_vectors_are_checked_where_they_are_touched(self, store: VectorStore, folder: Path) -> None:
        ids, vectors = some(900, dim=24)
        ref = store.append(ids, vectors)
        path = folder / (ref.split("+")[0] + ".vectors")
        data = bytearray(path.read_bytes())
        start = 128 + 8 * 900 + 128
        data[start + 96 * 800] ^= 1
        path.write_bytes(data)
        snapshot = store.snapshot([ref])
        np.testing.assert_array_equal(snapshot.get(ids[:90]), vectors[:90])
        with pytest.raises(IndexDamaged, match="damaged"):
            snapshot.get(ids[800:801])
        with pytest.raises(IndexDamaged, match="damaged"):
            snapshot.search(vectors[:1], 1)

    # -- what is sound of what is damaged ------------------------------------------------------------------------------

    def test_flipped_bits_are_put_right(self, store: VectorStore, folder: Path) -> None:
        ids, vectors = some(900, dim=24)
        ref = store.append(ids, vectors)
        path = folder / (ref.split("+")[0] + ".vectors")
        data, chance = path.read_bytes(), np.random.default_rng(1)
        for count in (*([1] * 30), 3):
            flipped = bytearray(data)
            for place in chance.choice(len(data) // 20_000, count, replace=False):
                bit = 8 * 20_000 * int(place) + int(chance.integers(0, 8 * 20_000))
                flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            assert store.salvage(ref) == ref.split("+")[0]
            assert path.read_bytes() == data

    @pytest.mark.parametrize(
        ("place", "whole", "lost"), [(132_256, range(5000), 173), (3000, range(3000, 9000), 2048), (50, range(0), 9000)]
    )
    def test_only_the_vectors_that_damage_has_touched_are_lost(
        self, store: VectorStore, folder: Path, place: int, whole: range, lost: int
    ) -> None:
        """Damage in a vector loses the vectors of its piece, in an id the vectors of those ids, in a header all."""
        ids, vectors = some(9000, dim=24)
        ref = store.append(ids, vectors)
        path = folder / (ref.split("+")[0] + ".vectors")
        data = bytearray(path.read_bytes())
        at = place if place < 132_256 else 256 + 8 * 9000 + 96 * 6000
        data[at : at + 50] = b"\xff" * 50
        path.write_bytes(data)
        made = store.salvage(ref)
        assert made != ref.split("+")[0]
        left = store.snapshot([made] if made else [])
        assert 0 < 9000 - left.count <= lost
        if made:
            np.testing.assert_array_equal(left.get(ids[whole]), vectors[whole])

    def test_a_file_of_an_earlier_version_is_read(self, store: VectorStore, folder: Path) -> None:
        """Version 0.1 wrote no checksums."""
        ids, vectors = some(50)
        buffer = io.BytesIO()
        for array in (ids, vectors):
            np.save(buffer, array)
        ref = hashlib.sha256(buffer.getvalue()).hexdigest()
        (folder / f"{ref}.vectors").write_bytes(buffer.getvalue())
        np.testing.assert_array_equal(store.snapshot([ref]).get(ids), vectors)
        same(store.snapshot([ref]).search(vectors[:3], 5), expected(ids, vectors, vectors[:3], 5))
        assert store.snapshot([store.merge([ref, store.append(*some(3, seed=4))])]).count == 53
        (folder / f"{ref}.vectors").write_bytes(buffer.getvalue()[:-1] + b"?")
        assert store.salvage(ref) == ""

    def test_no_pickle_is_opened(self, store: VectorStore, folder: Path, tmp_path: Path) -> None:
        marker = tmp_path / "marker"

        class Hostile:
            def __reduce__(self) -> tuple[object, ...]:
                return os.mkdir, (str(marker),)

        name = "0" * 64
        with (folder / (name + ".vectors")).open("wb") as file:
            np.save(file, np.array([Hostile()], dtype=object), allow_pickle=True)
        with pytest.raises(IndexDamaged):
            store.snapshot([name + "+" + name] if "+" in store.append(*some(1)) else [name])
        assert not marker.exists()

    def test_a_file_that_the_system_does_not_give_is_no_damage(
        self, store: VectorStore, vectors_file: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If it were damage, a repair would give up vectors that are there."""

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
        for work in (lambda ref: store.snapshot([ref]), lambda ref: store.merge([ref]), store.salvage, store.count):
            with pytest.raises(StorageError, match="permission denied"):
                work(vectors_file[0])

    @pytest.mark.parametrize("kind", ["a link", "not a regular file"])
    def test_what_is_no_file_of_its_own_is_neither_opened_nor_deleted(
        self, store: VectorStore, vectors_file: tuple[str, Path], tmp_path: Path, kind: str
    ) -> None:
        """A link leads to a file of somebody else, and opening a FIFO would wait for ever."""
        ref, path = vectors_file
        aside = path.rename(tmp_path.parent / "aside")
        path.symlink_to(aside) if kind == "a link" else os.mkfifo(path)
        for work in (lambda ref: store.snapshot([ref]), lambda ref: store.merge([ref]), store.salvage, store.count):
            with pytest.raises(StorageError, match=f"{path.name} in the index is {kind}"):
                work(ref)
        assert store.sweep([], NOW) == len(ref.split("+")) - 1
        assert aside.exists()
        assert path.is_symlink() or path.is_fifo()

    # -- writing -------------------------------------------------------------------------------------------------------

    def test_a_failed_flush_leaves_no_file_that_is_not_whole(
        self, store: VectorStore, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flush, calls = os.fsync, []
        monkeypatch.setattr(os, "fsync", calls.append)
        store.append(*some(5))
        flushes = len(calls)
        assert flushes > 1, "a file and its folder are flushed"
        store.sweep([], NOW)
        for at in range(flushes):
            calls.clear()

            def failing(descriptor: int, at: int = at) -> None:
                calls.append(descriptor)
                if len(calls) > at:
                    raise OSError(errno.ENOSPC, "No space left on device")
                flush(descriptor)

            monkeypatch.setattr(os, "fsync", failing)
            with pytest.raises(OSError, match="No space left"):
                store.append(*some(5))
            assert self.whole_files(folder) == (at + 1) // 2, "no more than what had been flushed before"
            assert len(calls) == at + 1, "a failed flush is not tried again"
            store.sweep([], NOW)

    def test_a_full_disk_leaves_nothing(
        self, store: VectorStore, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            store.append(*some(5))
        assert not [*folder.iterdir()]

    def test_an_interruption_leaves_nothing(
        self, store: VectorStore, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(_: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.append(*some(5))
        assert not [*folder.iterdir()]

    @pytest.mark.parametrize("at", [1, 2, 3])
    def test_a_kill_leaves_no_file_that_is_not_whole(self, store: VectorStore, folder: Path, at: int) -> None:
        """The process is killed at flush number `at`; a store that flushes less often ends by itself."""
        code = (
            "import itertools, os, pathlib, signal, sys\n"
            f"from {type(store).__module__} import {type(store).__name__} as Store\n"
            "from tests.contracts.vectors import some\n"
            "calls = itertools.count(1)\n"
            f"os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL) if next(calls) == {at} else None\n"
            "Store(pathlib.Path(sys.argv[1])).append(*some(5))\n"
        )
        killed = subprocess.run([sys.executable, "-c", code, str(folder)], check=False, cwd=PROJECT)
        assert killed.returncode in {-9, 0}
        for partial in folder.glob("*.partial"):
            partial.unlink()
        left = self.whole_files(folder)
        assert store.sweep([], NOW) == left
        assert not [*folder.iterdir()]

    def test_sweeping_looks_at_the_time_of_each_file(self, store: VectorStore, folder: Path) -> None:
        old, young = store.append(*some(3)), store.append(*some(4))
        for path in folder.iterdir():
            if path.stem in old:
                os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 3600))
        assert store.sweep([], timedelta(minutes=30)) == len(old.split("+"))
        assert store.snapshot([young]).count == 4

    def test_sweeping_takes_what_an_interruption_left(self, store: VectorStore, folder: Path) -> None:
        left = folder / "0123456789abcdef.partial"
        left.write_bytes(b"half a segm")
        assert store.sweep([], NOW) == 1
        assert not left.exists()

    def test_sweeping_leaves_alone_what_others_put_there(self, store: VectorStore, folder: Path) -> None:
        (folder / "@eaDir").mkdir()
        for name in ("drawing.svg", "notes.vectors", "a.partial", ".DS_Store"):
            (folder / name).write_bytes(b"someone else's")
        assert store.sweep([], NOW) == 0
        assert len([*folder.iterdir()]) == 5
