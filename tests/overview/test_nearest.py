"""The nearest others of every vector are those of a plain sort, whatever the sizes of the blocks."""

import numpy as np
import pytest

from retrieval.overview import nearest as module
from retrieval.overview.nearest import nearest
from retrieval.types import Vectors
from tests.overview.conftest import blobs


def plain(vectors: Vectors, k: int) -> np.ndarray:
    products = vectors @ vectors.T
    np.fill_diagonal(products, -np.inf)
    return np.argsort(-products, axis=1, kind="stable")[:, :k]


def test_they_are_those_of_a_sort_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 32)
    monkeypatch.setattr(module, "COLUMNS", 45)
    vectors, _ = blobs([70, 50, 30])
    for k in (1, 10, 60):
        found = nearest(vectors, k)
        assert (found.rows == plain(vectors, k)).mean() > 0.999, "but where rounding decides"
        assert np.allclose(found.scores, np.take_along_axis(vectors @ vectors.T, found.rows, axis=1), atol=1e-6)


def test_equal_ones_stand_in_the_order_of_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 16)
    monkeypatch.setattr(module, "COLUMNS", 24)
    same = np.tile(np.array([0.5, 0.5, 0.5, 0.5], dtype=np.float32), (100, 1))
    assert np.array_equal(nearest(same, 5).rows, plain(same, 5))
    exact = np.eye(8, dtype=np.float32)[np.arange(100) % 8]  # products are 0 or 1 without rounding
    assert np.array_equal(nearest(exact, 20).rows, plain(exact, 20))


@pytest.mark.parametrize(("count", "k", "width"), [(0, 5, 0), (1, 5, 0), (2, 5, 1), (6, 5, 5), (6, 0, 0)])
def test_there_are_no_more_than_all_others(count: int, k: int, width: int) -> None:
    vectors, _ = blobs([6])
    assert nearest(vectors[:count], k).rows.shape == (count, width)


def test_long_vectors_are_compared_by_components_first(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = blobs([100] * 5, dim=96)
    whole = nearest(vectors, 10)
    monkeypatch.setattr(module, "COMPONENTS", 24)
    monkeypatch.setattr(module, "COLUMNS", 200)
    found = nearest(vectors, 10)
    kept = [len({*one} & {*other}) / 10 for one, other in zip(found.rows.tolist(), whole.rows.tolist(), strict=True)]
    assert np.mean(kept) > 0.9
    assert np.allclose(found.scores, np.take_along_axis(vectors @ vectors.T, found.rows, axis=1), atol=1e-6)


def test_progress_ends_at_the_whole_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 40)
    shares: list[float] = []
    nearest(blobs([90])[0], 3, shares.append)
    assert shares == [40 / 90, 80 / 90, 1]
