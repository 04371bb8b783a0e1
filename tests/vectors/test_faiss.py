"""Which structures are built, tuned and refused."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import BadInput
from retrieval.types import EXACT, SearchForm
from retrieval.vectors import faiss as module
from retrieval.vectors.indexed import StructuredVectors
from retrieval.vectors.options import FLAT, StructureOptions
from retrieval.vectors.refs import files_of, structured
from tests.contracts.vectors import expected, normalised, same, some
from tests.vectors.clusters import COUNT, DIM, clustered


class TestForms:
    """Which structures can be built, which recall they reach, and which options are refused."""

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
            ("nonsense", "FAISS cannot make an index of the form nonsense for 40 dimensions"),
            ("PQ7", "FAISS cannot make an index of the form PQ7 for 40 dimensions"),
            ("IVF4096,SQ8", "IVF4096,SQ8 needs 4096 vectors to learn from, there are 3000"),
            ("IVF8,PQ8x12", "IVF8,PQ8x12 needs 4096 vectors to learn from, there are 3000"),
            ("PQ8x8", "an index of the form PQ8x8 cannot be stored and tuned"),
            ("NSG32", "an index of the form NSG32 cannot be stored and tuned"),
            ("IVF16(IVF4,Flat),SQ8", r"an index of the form IVF16\(IVF4,Flat\),SQ8 cannot be stored and tuned"),
            ("HNSW32_16+PQ8", r"an index of the form HNSW32_16\+PQ8 cannot be stored and tuned"),
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
        """The test uses another process, which may die."""
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
        """Where more vectors are equal than are asked for, any of them are right."""
        ids, vectors = some(2000)
        vectors[1000:] = vectors[0]
        (form,) = store.snapshot([store.merge([store.append(ids, vectors)], None, {})]).forms
        assert form.recall >= 0.99
