"""Coarser grids: blocks of voxels as cells, and the way back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SHORT = 8  # an axis of so few cells is not made shorter
Factors = tuple[int, ...]


def block_sizes(shape: Sequence[int], steps: Sequence[float], cells: int) -> Factors:
    """Return how many voxels of each axis make a cell, so that at most about `cells` are left, as cubic as can be.

    `steps` are the sizes of a voxel. Axes that are down to `SHORT` cells stay.
    """
    factors, size, step = np.ones(len(shape), int), np.asarray(shape), np.asarray(steps, float)
    while np.prod(-(-size // factors)) > cells:
        edge = np.where(size > SHORT * factors, factors * step, np.inf)
        if not np.isfinite(edge).any():
            break
        factors[edge <= edge.min() * 1.01] += 1
    return tuple(int(f) for f in factors)


def finer(factors: Factors) -> Factors:
    """Return the cells of the next finer level: half as long."""
    return tuple((f + 1) // 2 for f in factors)


def block_mean(array: np.ndarray, factors: Factors) -> np.ndarray:
    """Return the mean of each block, float32 (*cells); blocks over the end repeat the last voxel."""
    if max(factors) == 1:
        return np.asarray(array, np.float32)
    padding = [(0, -n % f) for n, f in zip(array.shape, factors, strict=True)]
    padded = np.pad(array, padding, mode="edge") if any(p for _, p in padding) else array
    return np.asarray(_blocks(padded, factors).mean(tuple(range(1, 2 * len(factors), 2)), dtype=np.float32))


def block_any(array: np.ndarray, factors: Factors) -> np.ndarray:
    """Return which blocks hold a true voxel, bool (*cells)."""
    if max(factors) == 1:
        return array
    padding = [(0, -n % f) for n, f in zip(array.shape, factors, strict=True)]
    return np.asarray(_blocks(np.pad(array, padding), factors).any(tuple(range(1, 2 * len(factors), 2))))


def _blocks(array: np.ndarray, factors: Factors) -> np.ndarray:
    return array.reshape([k for n, f in zip(array.shape, factors, strict=True) for k in (n // f, f)])


def nearest(cells: np.ndarray, factors: Factors, finer: Factors, shape: Sequence[int]) -> np.ndarray:
    """Return values (*cells) of one level on a `finer` one of `shape`, each from the cell that holds the middle."""
    index = [
        np.minimum((np.arange(n) * g + g // 2) // f, m - 1)
        for n, f, g, m in zip(shape, factors, finer, cells.shape, strict=True)
    ]
    return np.asarray(cells[np.ix_(*index)])


def linear(cells: np.ndarray, factors: Factors, finer: Factors, shape: Sequence[int]) -> np.ndarray:
    """Return the same by linear interpolation between the middles of cells, float32."""
    for axis, (n, f, g) in enumerate(zip(shape, factors, finer, strict=True)):
        if f == g and n == cells.shape[axis]:
            continue
        place = np.clip((np.arange(n) * g + (g - f) / 2) / f, 0, cells.shape[axis] - 1)
        low = place.astype(int)
        high = np.minimum(low + 1, cells.shape[axis] - 1)
        share = (place - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(cells.ndim)])
        cells = np.take(cells, low, axis) * (1 - share) + np.take(cells, high, axis) * share
    return np.asarray(cells, np.float32)
