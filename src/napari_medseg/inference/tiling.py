"""Where tiles lie and how much each counts: any image size, seam-free, memory bounded by the tile.

A tile's outer `halo` pixels count nothing (their answer depends on padding), then its weight rises linearly across
the rest of the overlap. Weights of one axis are normalised to sum to one at every position, and because the grid is a
product of axes, so do the products: tiles are simply added into the output.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

PARTS, PART_EDGE = 3, 192  # blocks along each axis that batch norm adapts to, and their edge in pixels


@dataclass(frozen=True)
class Axis:
    """Tiling of one axis: padded `size`, `tile` length, `starts` and normalised `weights` (n_tiles, tile)."""

    size: int
    tile: int
    starts: tuple[int, ...]
    weights: np.ndarray


def tile_axis(length: int, tile: int, overlap: int, halo: int, multiple: int = 1) -> Axis:
    """Plan one axis of `length` pixels; every size and start is a multiple of `multiple`.

    Tiles are as small as their number allows, which is that of tiles of `tile` pixels.
    """
    size = rounded_up(length, multiple)
    tile = min(size, rounded_up(tile, multiple))
    overlap = min(overlap, tile - multiple)
    n = len(_starts(size, tile, overlap, multiple))
    least = rounded_up(overlap + math.ceil((size - overlap) / n), multiple)
    tile = next(t for t in range(min(least, tile), tile + 1, multiple) if len(_starts(size, t, overlap, multiple)) <= n)
    starts = _starts(size, tile, overlap, multiple)
    stride = starts[1] if len(starts) > 2 else max((tile - overlap) // multiple * multiple, multiple)
    rise = tile_ramp(tile, tile - stride, halo)
    flat = np.ones(tile)
    weights = np.stack([np.minimum(flat if s == 0 else rise, flat if s == size - tile else rise[::-1]) for s in starts])
    total = np.zeros(size)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + tile] += weight
    for start, weight in zip(starts, weights, strict=True):
        weight /= total[start : start + tile]
    return Axis(size, tile, starts, weights.astype(np.float32))


def _starts(size: int, tile: int, overlap: int, multiple: int) -> tuple[int, ...]:
    stride = max((tile - overlap) // multiple * multiple, multiple)
    return (*range(0, size - tile, stride), size - tile)


def tile_ramp(tile: int, overlap: int, halo: int) -> np.ndarray:
    """Weight by distance from a tile's near edge: 0 in the halo, then a linear rise to 1 over the overlap's rest."""
    halo = min(halo, overlap // 2)
    rise = overlap - 2 * halo + 1
    return np.clip((np.arange(tile) - halo + 1) / rise, 0.0, 1.0)


def grid(axes: Sequence[Axis]) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Yield each tile's starts and its weight array (*tile)."""
    for index in product(*(range(len(axis.starts)) for axis in axes)):
        weight = np.ones((), np.float32)
        for axis, i in zip(axes, index, strict=True):
            weight = weight[..., None] * axis.weights[i]
        yield tuple(axis.starts[i] for axis, i in zip(axes, index, strict=True)), weight


def count(axes: Sequence[Axis]) -> int:
    """Count the tiles of a grid."""
    return math.prod(len(axis.starts) for axis in axes)


def read_block(array: Any, starts: Sequence[int], tile: Sequence[int]) -> np.ndarray:
    """Read (C, *tile) from `array` (C, *spatial), reflecting what lies beyond its far edges."""
    sizes = array.shape[1:]
    inside = tuple(slice(s, min(s + t, n)) for s, t, n in zip(starts, tile, sizes, strict=True))
    block = np.asarray(array[(slice(None), *inside)], np.float32)
    return pad_to(block, tile)


def pad_to(block: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Reflect-pad (C, *spatial) at the far edges to `shape`; a size of one repeats its value."""
    for axis, wanted in enumerate(shape, start=1):
        missing = wanted - block.shape[axis]
        if missing:
            pad = [(0, missing if a == axis else 0) for a in range(block.ndim)]
            block = np.pad(block, pad, mode="reflect" if block.shape[axis] > 1 else "edge")
    return block


def rounded_up(length: int, multiple: int) -> int:
    """Return the least multiple of `multiple` that is not below `length`."""
    return -(-length // multiple) * multiple
