"""Communities in the graph of nearest neighbours."""

import numpy as np
import pytest

from retrieval.overview.communities import communities
from retrieval.overview.nearest import nearest
from tests.overview.conftest import blobs


def test_groups_that_lie_apart_are_found() -> None:
    vectors, labels = blobs([80, 40, 20, 12])
    found = communities(nearest(vectors, 10), 1.0)
    pairs = {(one, label) for one, label in zip(found.tolist(), labels, strict=True) if one >= 0}
    assert {one for one, _ in pairs} == set(range(found.max() + 1))
    assert len(pairs) == found.max() + 1, "no community mixes two groups"
    assert found.max() + 1 <= 6


def test_a_larger_resolution_makes_more_communities() -> None:
    found = nearest(blobs([300], spread=2)[0], 10)
    counts = [int(communities(found, resolution).max()) + 1 for resolution in (0.5, 2, 8, 100)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_the_same_neighbours_make_the_same_communities() -> None:
    found = nearest(blobs([100, 100], spread=2)[0], 10)
    assert np.array_equal(communities(found, 2.0), communities(found, 2.0))


@pytest.mark.parametrize("count", [0, 1])
def test_without_others_there_is_nothing_to_join(count: int) -> None:
    assert communities(nearest(blobs([2])[0][:count], 10), 2.0).tolist() == [-1] * count


def test_two_are_each_others_neighbours() -> None:
    assert communities(nearest(blobs([2])[0], 10), 1.0).tolist() == [0, 0]


def test_what_is_among_the_nearest_of_no_other_is_in_no_community() -> None:
    vectors, _ = blobs([60, 60], spread=0.3)
    far = np.concatenate([vectors, -vectors.mean(axis=0, keepdims=True)])
    found = communities(nearest(far, 10), 1.0)
    assert found[-1] == -1
    assert (found[:-1] >= 0).mean() > 0.9


def test_equal_vectors_are_in_one_community_although_lists_of_neighbours_hold_only_some() -> None:
    vectors, _ = blobs([60], spread=0.3)
    same = np.tile(-vectors[:1], (40, 1))
    found = communities(nearest(np.concatenate([vectors, same]), 10), 1.0)
    assert len(set(found[60:].tolist())) == 1
    assert found[60] >= 0
