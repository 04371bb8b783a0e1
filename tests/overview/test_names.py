"""The names of clusters, from the tags of an index."""

import numpy as np

from retrieval import Index
from retrieval.networks.directions import Directions
from retrieval.overview import clusters
from retrieval.searching import tags


def test_a_name_tells_a_cluster_from_the_others(index: Index) -> None:
    """All pictures have the tag `colour`, so it names no cluster."""
    assert {one.name for one in clusters.cluster(index).clusters} == {""}
    corners = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]], dtype=np.float32)
    vectors = np.concatenate([np.tile(corners, 4), np.full((7, 1), 0.3, np.float32)], axis=1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = ["colour", "ruby", "emerald", "sapphire", "lemon", "teal", "plum"]
    with index._store.writing():
        tags.update(index._store, lambda: Directions(names, vectors))
    of_red = index.tags(image.id for image in index.images() if image.path.parent.name == "red")
    assert all("colour" in {tag.name for tag in some} for some in of_red.values())
    found = clusters.cluster(index).clusters
    assert [one.path.parent.name for one in found] == ["red", "green", "blue"]
    assert [one.name for one in found] == ["ruby", "emerald", "sapphire"]
    assert all(one.tags[0].score == 1 for one in found)
