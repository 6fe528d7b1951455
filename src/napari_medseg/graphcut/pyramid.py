"""Coarser grids: blocks of voxels as cells, and the way back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_medseg.geodesic.compiled import compiled

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
    """Return the mean of each block of (..., *spatial), float32 (..., *cells); blocks over the end are smaller."""
    if max(factors) == 1:
        return np.asarray(array, np.float32)
    values = array.view(np.uint8) if array.dtype == bool else array
    ndim, lead = len(factors), (1,) * (3 - len(factors))  # the kernel knows volumes only
    means = _block_means(np.ascontiguousarray(values).reshape(-1, *lead, *array.shape[-ndim:]), *lead, *factors)
    return np.asarray(means.reshape(*array.shape[:-ndim], *means.shape[-ndim:]))


def block_any(array: np.ndarray, factors: Factors) -> np.ndarray:
    """Return which blocks hold a true voxel, bool (*cells)."""
    return array if max(factors) == 1 else block_mean(array, factors) > 0


@compiled
def _block_means(arrays: np.ndarray, deep: int, high: int, wide: int) -> np.ndarray:
    count, depth, height, width = arrays.shape
    out = np.zeros((count, -(-depth // deep), -(-height // high), -(-width // wide)), np.float32)
    sums = np.empty(width, np.float32)  # of the rows of a block: whole rows are added fast
    for n in range(count):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                sums[:] = 0
                for z in range(i * deep, min(depth, (i + 1) * deep)):
                    for y in range(j * high, min(height, (j + 1) * high)):
                        for x in range(width):
                            sums[x] += arrays[n, z, y, x]
                rows = (min(depth, (i + 1) * deep) - i * deep) * (min(height, (j + 1) * high) - j * high)
                for k in range(out.shape[3]):
                    end = min(width, (k + 1) * wide)
                    for x in range(k * wide, end):
                        out[n, i, j, k] += sums[x]
                    out[n, i, j, k] /= np.float32(rows * (end - k * wide))
    return out


def nearest(cells: np.ndarray, factors: Factors, finer: Factors, shape: Sequence[int]) -> np.ndarray:
    """Return values (*cells) of one level on a `finer` one of `shape`, each from the cell that holds the middle."""
    for axis, (n, f, g) in enumerate(zip(shape, factors, finer, strict=True)):
        if f != g or n != cells.shape[axis]:
            cells = np.take(cells, np.minimum((np.arange(n) * g + g // 2) // f, cells.shape[axis] - 1), axis)
    return np.asarray(cells)


def linear(cells: np.ndarray, factors: Factors, finer: Factors, shape: Sequence[int]) -> np.ndarray:
    """Return the same by linear interpolation between the middles of cells, float32."""
    for axis, (n, f, g) in enumerate(zip(shape, factors, finer, strict=True)):
        if f == g and n == cells.shape[axis]:
            continue
        place = np.clip((np.arange(n) * g + (g - f) / 2) / f, 0, cells.shape[axis] - 1)
        low = place.astype(int)
        high = np.minimum(low + 1, cells.shape[axis] - 1)
        sides = int(np.prod(cells.shape[:axis])), int(np.prod(cells.shape[axis + 1 :]))
        flat = np.ascontiguousarray(cells, np.float32).reshape(sides[0], -1, sides[1])
        made = _between(flat, low, high, (place - low).astype(np.float32))
        cells = made.reshape(*cells.shape[:axis], n, *cells.shape[axis + 1 :])
    return np.asarray(cells, np.float32)


@compiled
def _between(cells: np.ndarray, low: np.ndarray, high: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return float32 (a, n, b): values (a, m, b) at the places `low` and `high`, mixed by the share of the latter."""
    out = np.empty((cells.shape[0], low.size, cells.shape[2]), np.float32)
    for i in range(out.shape[0]):
        for j in range(low.size):
            near, far, other = cells[i, low[j]], cells[i, high[j]], np.float32(1) - share[j]
            for k in range(out.shape[2]):
                out[i, j, k] = near[k] * other + far[k] * share[j]
    return out
