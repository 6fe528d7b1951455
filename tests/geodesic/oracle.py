"""Reference: Dijkstra's algorithm in float64 on the explicit grid graph."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra


def cost(step: float, gap: np.ndarray, weight: float, metric: str) -> np.ndarray:
    if metric == "linear":
        return (1 - weight) * step + weight * gap
    if metric == "product":
        return step * gap
    return step / ((1 - weight) + weight / (gap + 1e-5))


def dijkstra_distance(
    image: np.ndarray, seeds: np.ndarray, spacing: float | tuple[float, ...] = 1.0, weight: float = 0.9,
    metric: str = "linear",
) -> np.ndarray:  # fmt: skip
    """Distance (*spatial) float64; seeds must not be empty. An extra node joins all seeds at cost 0."""
    channels = np.asarray(image, float).reshape(-1, *seeds.shape)
    steps = np.broadcast_to(np.asarray(spacing, float), seeds.ndim)
    index = np.arange(seeds.size, dtype=np.int32).reshape(seeds.shape)
    rows, columns, values = (
        [np.full(int(seeds.sum()), seeds.size, np.int32)],
        [index[seeds]],
        [np.full(int(seeds.sum()), 1e-30)],
    )
    for offset in product((-1, 0, 1), repeat=seeds.ndim):
        if offset > (0,) * seeds.ndim:
            here = tuple(slice(max(0, -o), min(n, n - o)) for o, n in zip(offset, seeds.shape, strict=True))
            there = tuple(slice(max(0, o), min(n, n + o)) for o, n in zip(offset, seeds.shape, strict=True))
            gap = np.sqrt(((channels[(slice(None), *here)] - channels[(slice(None), *there)]) ** 2).sum(0))
            step = float(np.sqrt(((np.asarray(offset) * steps) ** 2).sum()))
            rows.append(index[here].ravel())
            columns.append(index[there].ravel())
            values.append(np.maximum(cost(step, gap, weight, metric), 1e-30).ravel())
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    graph = coo_array(entries, shape=(seeds.size + 1,) * 2).tocsr()
    return dijkstra(graph, directed=False, indices=seeds.size)[:-1].reshape(seeds.shape)
