"""A scan of one segment returns what the oracle returns, to the last bit."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from retrieval.types import Hits
from retrieval.vectors import oracle, scan
from retrieval.vectors.hits import combined, no_hits
from retrieval.vectors.scan import margin
from retrieval.vectors.segment import Segment
from tests.contracts.vectors import CONTRACT, normalised, same, some


class TestScan:
    """Wherever blocks are cut, a scan returns what the oracle returns, to the last bit."""

    @pytest.fixture(autouse=True)
    def _small_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, size in {"BLOCK": 16, "ALONE": 8, "QUERIES": 3, "PAIRS": 5, "TOGETHER": 2}.items():
            monkeypatch.setattr(scan, name, size)

    @settings(max_examples=150, deadline=None, suppress_health_check=CONTRACT)
    @given(data=st.data())
    def test_it_is_the_oracle(self, data: st.DataObject) -> None:
        """The vectors have ties, near-ties and duplicates, in float32 and float16; all rows are allowed, or some."""
        shape = data.draw(st.tuples(st.integers(1, 70), st.integers(1, 9)))
        numbers = data.draw(npst.arrays(np.int64, shape, elements=st.integers(-2, 2)))
        numbers[~numbers.any(axis=1), 0] = 1
        dtype = data.draw(st.sampled_from([np.float32, np.float16]))
        vectors = normalised(numbers)
        ids = np.array(data.draw(st.permutations(range(len(vectors)))), dtype=np.int64)
        segment = Segment(ids, vectors.astype(dtype))
        allowed = data.draw(st.none() | npst.arrays(np.bool_, len(ids)))
        k = data.draw(st.integers(1, 80))
        same(scan.search(segment, vectors[:7], k, allowed), oracle.scan(segment, vectors[:7], k, allowed))

    @pytest.mark.parametrize("dtype", [np.float32, np.float16])
    @pytest.mark.parametrize("kept", [1.0, 0.9, 0.3, 0.0])
    def test_it_is_the_oracle_of_many_blocks(self, kept: float, dtype: type[np.floating]) -> None:
        ids, vectors = some(500, dim=200)
        vectors = np.concatenate([vectors[:480], vectors[:20]]).astype(dtype)
        allowed = np.random.default_rng(1).random(500) < kept
        found = scan.search(Segment(ids, vectors), some(9, dim=200, seed=2)[1], 12, allowed)
        same(found, oracle.scan(Segment(ids, vectors), some(9, dim=200, seed=2)[1], 12, allowed))

    @settings(max_examples=80, deadline=None, suppress_health_check=CONTRACT)
    @given(data=st.data())
    def test_what_is_known_already_changes_nothing(self, data: st.DataObject) -> None:
        """Scanning two segments, the second with the scores found in the first, is as good as scanning one."""
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
        same(hits, oracle.scan(Segment(ids, vectors), queries, k))

    @settings(max_examples=150, deadline=None, suppress_health_check=CONTRACT)
    @given(data=st.data())
    def test_proposed_rows_are_ranked_as_the_oracle_does(self, data: st.DataObject) -> None:
        ids, vectors = some(30, dim=5)
        vectors[10:20] = vectors[:10]
        proposed = np.array([data.draw(st.permutations(range(30)))[:12] for _ in range(5)])
        proposed[:, data.draw(st.integers(0, 12)) :] = -1
        found = scan.refined(Segment(ids, vectors), vectors[:5], proposed, 8)
        for query, rows in enumerate(proposed):
            allowed = np.isin(np.arange(30), rows)
            right = oracle.scan(Segment(ids, vectors), vectors[query : query + 1], 8, allowed)
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
        """All products of these rows have one sign, so that rounding errors add up."""
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
