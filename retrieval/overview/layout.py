"""Coordinates in which near neighbours stay near: t-SNE, with the forces between all points computed on a grid.

The method is van der Maaten & Hinton 2008 (Visualizing data using t-SNE). The affinity of two vectors is the same for
all edges of the graph of nearest neighbours, as in Böhm et al. 2022 (Attraction-repulsion spectrum in neighbor
embeddings, arXiv 2007.08902), so no perplexity is searched for. The repulsion is a convolution, which the Fourier
transform computes in a time that grows with the number of points: Linderman et al. 2019 (FIt-SNE, arXiv 1712.09005).
The schedule is that of Kobak & Berens 2019 (The art of using t-SNE for single-cell transcriptomics): it begins with the
principal components, and no chance is in it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(n, 2)."""

EARLY, LATE = 250, 500
"""Numbers of steps with and without exaggeration."""
EXAGGERATION = 12.0
"""Factor of the attraction in the early steps, in which the large groups find their places."""
SLOW, FAST = 0.5, 0.8
"""Momentum in the early and in the late steps."""
LEAST_RATE = 5.0
"""Least learning rate. It is otherwise the number of points per `EXAGGERATION` (Belkina et al. 2019). With 50, few
points fly apart."""
GROWTH, SHRINKAGE, LEAST_GAIN = 0.2, 0.8, 0.01
"""How the gain of a coordinate changes: it grows while the coordinate moves the same way (van der Maaten 2008)."""
BEGINNING = 1e-4
"""Standard deviation of the first coordinate at the beginning."""
CELL = 0.5
"""Width of a cell of the grid; the forces change over a distance of 1."""
LEAST_CELLS, MOST_CELLS = 64, 1024
"""Least and largest number of cells along an axis. With the largest, a step needs 150 MB."""


def laid_out(rows: NDArray[np.int64], begin: Points, progress: Callable[[float], None] | None = None) -> Points:
    """Return the coordinates of n vectors, (n, 2).

    `rows` are the nearest others of each vector, (n, k), and `begin` the coordinates to begin with, (n, 2). `progress`
    is called with the share of the work that is done.
    """
    pull, points = _affinities(rows), begin.copy()
    points *= BEGINNING / (points[:, 0].std() or 1.0)
    speed, gain, rate = np.zeros_like(points), np.ones_like(points), max(len(points) / EXAGGERATION, LEAST_RATE)
    for step in range(EARLY + LATE):
        is_early = step < EARLY
        force = (EXAGGERATION if is_early else 1.0) * _attraction(points, pull) - _repulsion(points)
        goes_on = (force > 0) != (speed > 0)
        gain = np.maximum(np.where(goes_on, gain + GROWTH, gain * SHRINKAGE), LEAST_GAIN)
        speed = (SLOW if is_early else FAST) * speed - rate * gain * force
        points += speed
        points -= points.mean(axis=0)
        if progress is not None:
            progress((step + 1) / (EARLY + LATE))
    return points


def _affinities(rows: NDArray[np.int64]) -> Any:  # noqa: ANN401 - scipy is imported when it is needed
    """Return the affinities as a symmetric sparse matrix, (n, n), whose sum is 1; a mutual neighbour counts twice."""
    from scipy import sparse

    count, k = rows.shape
    ones = np.full(count * k, 1 / (2 * count * k))
    half = sparse.csr_array((ones, (np.repeat(np.arange(count), k), rows.ravel())), shape=(count, count))
    return (half + half.T).tocsr()


def _attraction(points: Points, pull: Any) -> Points:  # noqa: ANN401 - a sparse matrix
    """Return the force by which each point is drawn to its neighbours, (n, 2): the sum of p / (1 + d²) * difference."""
    from scipy import sparse

    first = np.repeat(np.arange(len(points)), np.diff(pull.indptr))
    apart = points[first] - points[pull.indices]
    weights = pull.data / (1 + np.square(apart).sum(axis=1))
    drawn = sparse.csr_array((weights, pull.indices, pull.indptr), shape=pull.shape)
    force: Points = np.asarray(drawn.sum(axis=1))[:, None] * points - drawn @ points
    return force


def _repulsion(points: Points) -> Points:
    """Return the force by which each point is pushed away by all others, (n, 2): the sum of difference / (1 + d²)² / Z.

    Z is the sum of 1 / (1 + d²) over all pairs. Each point is shared out to the four corners of its cell; the
    convolution gives the forces at all corners, from which those at the points are interpolated.
    """
    from scipy import fft

    low = points.min(axis=0)
    extent = float((points.max(axis=0) - low).max())
    cells = fft.next_fast_len(min(max(LEAST_CELLS, int(extent / CELL) + 2), MOST_CELLS))
    width = max(extent, np.finfo(np.float32).tiny) / (cells - 2)
    corners, shares = _shared_out((points - low) / width, cells)
    mass = np.bincount(corners.ravel(), shares.ravel(), cells * cells).reshape(cells, cells)
    size = (2 * cells, 2 * cells)
    along = np.arange(2 * cells)
    offset = np.where(along <= cells, along, along - 2 * cells) * width
    kernel = 1 / (1 + np.square(offset)[:, None] + np.square(offset))
    spectrum = fft.rfft2(mass, size)

    def at_points(of: NDArray[np.float64]) -> NDArray[np.float64]:
        field = fft.irfft2(spectrum * fft.rfft2(of), size)[:cells, :cells].ravel()
        sums: NDArray[np.float64] = (field[corners] * shares).sum(axis=1)
        return sums

    pairs = max(float(at_points(kernel).sum()) - len(points), 1.0)  # without each point with itself
    strong = np.square(kernel)
    pushed = [at_points(strong * offset[:, None]), at_points(strong * offset)]
    return np.stack(pushed, axis=1) / pairs


def _shared_out(places: Points, cells: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the four corners of the cell of each place, and the share of each corner, both (n, 4)."""
    cell = places.astype(np.int64)
    right, up = (places - cell).T
    shares = np.stack([(1 - right) * (1 - up), (1 - right) * up, right * (1 - up), right * up], axis=1)
    corners = (cell[:, 0] * cells + cell[:, 1])[:, None] + np.array([0, 1, cells, cells + 1])
    return corners, shares
