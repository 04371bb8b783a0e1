"""How much of the detail of two pictures agrees, when one is laid on the other.

Both are divided into blocks of 8 x 8 pixels. In a block with detail, the pixels of both are correlated; so a change of
brightness or of contrast, everywhere or in parts, makes no difference. A copy agrees in nearly all blocks. Two pictures
of one thing do not, because their edges lie elsewhere. Blocks without detail say nothing: clear sky is like clear sky.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval.comparing.looks import GRID, Grey

Number = TypeVar("Number", bound=np.generic)
Counts = NDArray[np.int64]
Shares = NDArray[np.float32]

BLOCK = 8
"""Sides of a block, in pixels."""
BLOCKS = (GRID // BLOCK) ** 2
"""Number of blocks, 64."""
SMOOTHING = 1.0
"""Standard deviation of the Gaussian that both are smoothed with, in pixels. It removes the traces of JPEG, and errors
of a fraction of a pixel."""
DETAIL = 2.8
"""Least standard deviation of a smoothed block with detail, in levels; unsmoothed, `DETAIL_UNSMOOTHED`."""
DETAIL_UNSMOOTHED = 4.0
WHITE, BLACK, SEEN = 250, 5, 10
"""A pixel of this level or more, or of this level or less, may have lost what the other picture shows there: a level
that differs by more than `SEEN`."""
BRIGHT, DARK = 128, 64
"""Overexposure loses what was this bright or brighter, underexposure what was this dark or darker. White or black over
anything else is no exposure: something was covered."""
LOST = 0.25
"""Share of such pixels in a block from which on the block says nothing."""
BROKEN, RESIDUE = 0.8, 8.0
"""A block shows something else if its correlation is less than the first, and the mean difference that is left more
than the second, in levels. JPEG of quality 30 and scaling to a half stay clear of both."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How much of the detail of n pairs agrees."""

    detail: Counts
    """(n,), number of blocks with detail, at most `BLOCKS`."""
    near: Shares
    """(n,), share of the blocks with detail whose smoothed pixels have a correlation of 0.9 or more."""
    alike: Shares
    """(n,), share of those that have 0.7 or more."""
    exact: Shares
    """(n,), share of the blocks with detail whose pixels have a correlation of 0.98 or more, unsmoothed."""


def agreement(first: Grey, second: Grey, unseen: NDArray[np.bool_] | None = None) -> Agreement:
    """Return how much of the detail agrees in n pairs of squares, both (n, GRID, GRID), that lie on each other.

    `unseen` are blocks, (n, BLOCKS), that say nothing, because one of both shows nothing there.
    """
    lost = _lost(first, second)
    if unseen is not None:
        lost |= unseen
    one, other = first.astype(np.float32), second.astype(np.float32)
    exact = _correlations(one, other, DETAIL_UNSMOOTHED, lost)
    smooth = _correlations(smoothed(one), smoothed(other), DETAIL, lost)
    return Agreement(
        detail=np.isfinite(smooth).sum(axis=1),
        near=_share(smooth, 0.9),
        alike=_share(smooth, 0.7),
        exact=_share(exact, 0.98),
    )


def _smoother() -> Shares:
    """Return the matrix that smooths a column of GRID pixels by a Gaussian."""
    distance = np.arange(GRID)[:, None] - np.arange(GRID)[None, :]
    weights = np.exp(-0.5 * (distance / SMOOTHING) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


_SMOOTHER = _smoother()


def smoothed(squares: NDArray[np.generic]) -> Shares:
    """Return squares, (n, GRID, GRID), smoothed by the Gaussian."""
    return np.asarray(_SMOOTHER @ squares.astype(np.float32) @ _SMOOTHER.T, dtype=np.float32)


def blocks(squares: NDArray[Number]) -> NDArray[Number]:
    """Return the blocks of squares, (n, GRID, GRID) -> (n, BLOCKS, BLOCK * BLOCK), row by row."""
    side = GRID // BLOCK
    split = squares.reshape(-1, side, BLOCK, side, BLOCK).swapaxes(2, 3)
    return split.reshape(-1, BLOCKS, BLOCK * BLOCK)


def share_that_differs(first: Grey, second: Grey) -> float:
    """Return the share of the blocks in which one of two pictures shows something else, 0 to 1.

    Both are (n, side, side), luminance, n squares of each; the side is a multiple of GRID. Only what differs clearly
    counts: less than `BROKEN` is correlated, and more than `RESIDUE` is left.
    """
    one, other = (blocks(smoothed(_tiles(squares))).reshape(-1, BLOCK * BLOCK) for squares in (first, second))
    one, other = (part - part.mean(axis=1, keepdims=True) for part in (one, other))
    lengths = np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1)
    correlation = np.vecdot(one, other) / np.maximum(lengths[0] * lengths[1], 1e-3)
    residue = np.sqrt(np.square(one - other).mean(axis=1))
    return float(((correlation < BROKEN) & (residue > RESIDUE)).mean())


def _tiles(squares: Grey) -> Grey:
    """Return squares whose sides are a multiple of GRID as squares of GRID."""
    count = squares.shape[1] // GRID
    return squares.reshape(-1, count, GRID, count, GRID).swapaxes(2, 3).reshape(-1, GRID, GRID)


def _correlations(one: Shares, other: Shares, detail: float, lost: NDArray[np.bool_]) -> Shares:
    """Return the correlation in each block, (n, BLOCKS); NaN for a block without detail, or where it was lost."""
    first, second = blocks(one), blocks(other)
    first = first - first.mean(axis=2, keepdims=True)
    second = second - second.mean(axis=2, keepdims=True)
    spread = np.sqrt(np.vecdot(first, first)), np.sqrt(np.vecdot(second, second))
    found = np.vecdot(first, second) / np.maximum(spread[0] * spread[1], 1e-3)
    has_detail = np.maximum(*spread) >= detail * BLOCK
    return np.where(has_detail & ~lost, found, np.nan).astype(np.float32)


def _lost(first: Grey, second: Grey) -> NDArray[np.bool_]:
    """Return which blocks say nothing, (n, BLOCKS), because one of both is over- or underexposed there."""
    differs = np.abs(first.astype(np.int16) - second) > SEEN
    brightest, darkest = np.maximum(first, second), np.minimum(first, second)
    clipped = differs & (((brightest >= WHITE) & (darkest >= BRIGHT)) | ((darkest <= BLACK) & (brightest <= DARK)))
    return np.asarray(blocks(clipped).mean(axis=2) >= LOST)


def _share(correlations: Shares, least: float) -> Shares:
    detail = np.isfinite(correlations).sum(axis=1)
    return np.asarray((correlations >= least).sum(axis=1) / np.maximum(detail, 1), dtype=np.float32)
