"""Groups of vectors that share their neighbours: communities in the graph of nearest neighbours.

Two vectors are joined if one is among the nearest of the other. The weight of the edge is the share of neighbours that
both have (Jarvis & Patrick 1973, Clustering using a similarity measure based on shared near neighbors). The communities
are those of Louvain (Blondel et al. 2008, Fast unfolding of communities in large networks, arXiv 0803.0476), with the
resolution of Reichardt & Bornholdt 2006 (arXiv cond-mat/0603718), and with the queue of nodes of Traag et al. 2019
(From Louvain to Leiden, arXiv 1810.08473).
"""

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.overview.nearest import Nearest

SEED = 0
"""Seed of the order in which vectors are looked at first."""
ROUNDING = 1e-6
"""Cosines that differ by less are equal."""
LEAST_GAIN = 1e-12
"""Least gain for which a node moves: more than float64 rounds, so that the moves come to an end."""
EDGES = 65536
"""Number of edges whose weights are computed at once: 8 MB of comparisons for 10 neighbours."""


def communities(found: Nearest, resolution: float) -> NDArray[np.int64]:
    """Return the number of the community of each vector, (n,), from 0; -1 for a vector in no community.

    `found` has the nearest others of each vector. A larger `resolution`, over 0, makes more and smaller communities. A
    vector is in no community if it is among the nearest of none of its own nearest.
    """
    graph = _graph(found.rows)
    labels = np.arange(len(found.rows))
    while graph.shape[0]:
        moved = _moved(graph, resolution)
        count = int(moved.max()) + 1
        labels = moved[labels]
        if count == graph.shape[0]:
            break
        graph = _merged(graph, moved, count)
    return np.where(_returned(found), labels, -1)


def _returned(found: Nearest) -> NDArray[np.bool_]:
    """Return for each vector whether it is among the nearest of one of its nearest, (n,).

    A vector that is as near as the last one of them counts too: of many equal pictures, only some are in the lists.
    """
    if not found.scores.shape[1]:
        return np.zeros(len(found.scores), dtype=bool)
    last = found.scores[:, -1] - ROUNDING
    returned: NDArray[np.bool_] = np.any(found.scores >= last[found.rows], axis=1)
    return returned


def _graph(rows: NDArray[np.int64]) -> Any:  # noqa: ANN401 - scipy is imported when it is needed
    """Return the graph of neighbours as a symmetric sparse matrix, (n, n), of weights."""
    from scipy import sparse

    count, k = rows.shape
    first, second = np.repeat(np.arange(count), k), rows.ravel()
    low, high = np.minimum(first, second), np.maximum(first, second)
    low, high = np.divmod(np.unique(low * count + high), count) if count else (low, high)
    sets = np.concatenate([np.arange(count)[:, None], rows], axis=1)
    weights = np.empty(len(low), dtype=np.float64)
    for start in range(0, len(low), EDGES):
        part = slice(start, start + EDGES)
        shared = (sets[low[part], :, None] == sets[high[part], None, :]).sum(axis=(1, 2))
        weights[part] = shared / (2 * (k + 1) - shared)
    half = sparse.csr_array((weights, (low, high)), shape=(count, count))
    return (half + half.T).tocsr()


def _moved(graph: Any, resolution: float) -> NDArray[np.int64]:  # noqa: ANN401 - a sparse matrix
    """Move each node to the best community of a neighbour until nothing gains; return the communities, from 0.

    Of communities that are equally good, a node keeps its own, or else takes the one with the lowest number.
    """
    count = graph.shape[0]
    degrees: list[float] = graph.sum(axis=1).tolist()
    starts, ends, weights = graph.indptr.tolist(), graph.indices.tolist(), graph.data.tolist()
    total = sum(degrees) or 1.0
    label, strength = list(range(count)), degrees.copy()
    waiting = deque(np.random.default_rng(SEED).permutation(count).tolist())
    is_waiting = [True] * count
    while waiting:
        node = waiting.popleft()
        is_waiting[node] = False
        own = label[node]
        near = dict(zip(ends[starts[node] : starts[node + 1]], weights[starts[node] : starts[node + 1]], strict=True))
        near.pop(node, None)
        best = _best_label(near, label, strength, own, resolution * degrees[node] / total, degrees[node])
        if best != own:
            strength[own] -= degrees[node]
            strength[best] += degrees[node]
            label[node] = best
            for other in near:
                if label[other] != best and not is_waiting[other]:
                    is_waiting[other] = True
                    waiting.append(other)
    return np.unique(np.array(label, dtype=np.int64), return_inverse=True)[1]


def _best_label(
    near: dict[int, float], label: list[int], strength: list[float], own: int, price: float, degree: float
) -> int:
    """Return the community in which a node gains most. `price` is what a unit of strength of a community costs."""
    links: dict[int, float] = {own: 0.0}
    for other, weight in near.items():
        links[label[other]] = links.get(label[other], 0.0) + weight
    best, most = own, links[own] - price * (strength[own] - degree)
    for community, weight in sorted(links.items()):
        gain = weight - price * strength[community]
        if community != own and gain > most + LEAST_GAIN:
            best, most = community, gain
    return best


def _merged(graph: Any, labels: NDArray[np.int64], count: int) -> Any:  # noqa: ANN401 - sparse matrices
    """Return the graph whose nodes are the communities. The weight within a community is kept as a loop."""
    from scipy import sparse

    belongs = sparse.csr_array((np.ones(len(labels)), (np.arange(len(labels)), labels)), shape=(len(labels), count))
    return (belongs.T @ graph @ belongs).tocsr()
