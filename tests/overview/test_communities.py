"""Communities in the graph of nearest neighbours."""

import numpy as np
import pytest

from retrieval.overview.communities import communities
from retrieval.overview.nearest import nearest
from tests.overview.conftest import blobs


def test_groups_that_lie_apart_are_found() -> None:
    vectors, labels = blobs([80, 40, 20, 12])
    found = communities(nearest(vectors, 10).rows, 1.0)
    assert sorted(set(found.tolist())) == list(range(found.max() + 1))
    pairs = set(zip(found.tolist(), labels, strict=True))
    assert len(pairs) == found.max() + 1, "no community mixes two groups"
    assert found.max() + 1 <= 6


def test_a_larger_resolution_makes_more_communities() -> None:
    rows = nearest(blobs([300], spread=2)[0], 10).rows
    counts = [int(communities(rows, resolution).max()) + 1 for resolution in (0.5, 2, 8, 100)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_the_same_neighbours_make_the_same_communities() -> None:
    rows = nearest(blobs([100, 100], spread=2)[0], 10).rows
    assert np.array_equal(communities(rows, 2.0), communities(rows, 2.0))


@pytest.mark.parametrize("count", [0, 1])
def test_without_others_there_is_nothing_to_join(count: int) -> None:
    assert communities(np.zeros((count, 0), dtype=np.int64), 2.0).tolist() == [0] * count


def test_two_that_are_each_others_neighbours_are_joined() -> None:
    assert communities(np.array([[1], [0]]), 1.0).tolist() == [0, 0]
