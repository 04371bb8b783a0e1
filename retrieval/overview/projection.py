"""Coordinates by principal components."""

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Vectors

BLOCK = 4096
"""Number of vectors that are added up at once."""


def components(vectors: Vectors, count: int = 2) -> NDArray[np.float64]:
    """Return the first principal components of `vectors`, (n, dim), as columns of coordinates, (n, count).

    The sign of a component is such that its largest coefficient is positive. Columns beyond `dim` are 0.
    """
    number, dim = vectors.shape
    mean = vectors.mean(axis=0, dtype=np.float64) if number else np.zeros(dim)
    spread = np.zeros((dim, dim))
    for start in range(0, number, BLOCK):
        centred = vectors[start : start + BLOCK] - mean
        spread += centred.T @ centred
    directions = np.linalg.eigh(spread)[1][:, ::-1][:, :count]
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.where(directions[largest, np.arange(directions.shape[1])] < 0, -1, 1)
    points = np.zeros((number, count))
    for start in range(0, number, BLOCK):
        part = slice(start, start + BLOCK)
        points[part, : directions.shape[1]] = (vectors[part] - mean) @ directions
    return points


def fitted(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points, (n, 2), moved and scaled into the square from -1 to 1; both axes have the same scale.

    The middle of the range of each axis becomes 0. If all points are the same, they are at 0.
    """
    if not len(points):
        return np.zeros((0, 2))
    low, high = points.min(axis=0), points.max(axis=0)
    half = (high - low).max() / 2
    placed: NDArray[np.float64] = np.round((points - (low + high) / 2) / (half if half > ROUNDING else 1), DECIMALS)
    return placed


ROUNDING = 1e-6
"""Points that are nearer than this are the same: float32 rounds so."""
DECIMALS = 6
"""Number of decimals of a coordinate: a millionth of the width of a map is less than a screen shows."""
