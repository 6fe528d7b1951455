"""Exact minimum cut of a two-class energy on a grid, by growing two search trees (Boykov and Kolmogorov 2004).

The energy of labels y is the sum over voxels p of ``-u_p y_p`` and over neighbours p, q of ``w_pq |y_p - y_q|`` with
``w_pq = weight exp(-beta |x_p - x_q|^2) / |p - q|``: 8 neighbours in 2D, 6 in 3D, steps in units of the smallest one
(Boykov and Jolly 2001, doi:10.1109/ICCV.2001.937505). Only voxels that are free take part; the others hold their label.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np

from napari_medseg.geodesic.compiled import compiled, inlined

PRECISION = 1000  # capacities are whole numbers: this many to a unit of energy
MOST = 100_000_000  # largest capacity to a terminal
LEAST_CONTRAST = 1e-6  # of an image without any

_NONE, _TERMINAL, _ORPHAN = -1, -2, -3
_FAR = 1 << 30
_HELD = -1
_ALONG = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


class _Graph(NamedTuple):
    near: np.ndarray  # (n, k) int32, neighbours or -1; the edge back from slot j is slot k - 1 - j there
    capacity: np.ndarray  # (n, k) int32, residual capacities
    terminal: np.ndarray  # (n,) int64, residual capacity from the source (> 0) or to the sink (< 0)


class _Trees(NamedTuple):
    side: np.ndarray  # (n,) int8, 1 tree of the source, -1 of the sink, 0 neither
    parent: np.ndarray  # (n,) int32, slot of the parent, or _NONE, _TERMINAL, _ORPHAN
    stamp: np.ndarray  # (n,) int32, when `depth` was right
    depth: np.ndarray  # (n,) int32, steps to the terminal
    queue: np.ndarray  # (n + 1,) int32, ring of nodes that may still grow
    queued: np.ndarray  # (n,) bool
    orphans: np.ndarray  # (2 n + 2,) int32, stack
    counts: np.ndarray  # (4,) int64: head and end of the queue, number of orphans, time


def mean_contrast(image: np.ndarray) -> float:
    """Return the mean of ``|x_p - x_q|^2`` over neighbours along the axes of an image (C, *spatial)."""
    features = np.ascontiguousarray(image).reshape(len(image), *(1,) * (4 - image.ndim), *image.shape[1:])
    gaps = [float(_gaps(features, *step).mean()) for n, step in zip(features.shape[1:], _ALONG, strict=True) if n > 1]
    return sum(gaps) / len(gaps) if gaps else 0.0


def minimum_cut(
    unary: np.ndarray,
    image: np.ndarray,
    free: np.ndarray,
    labels: np.ndarray,
    *,
    steps: Sequence[float] | None = None,
    weight: float = 4.0,
) -> np.ndarray:
    """Return the labels, bool (*spatial), of least energy.

    Parameters
    ----------
    unary
        How much each voxel is for the object, float (*spatial), 2D or 3D.
    image
        Intensities float32 (C, *spatial).
    free, labels
        Voxels to decide, and the labels that the others hold; bool (*spatial).
    steps
        Step of each axis (default: equal).
    weight
        Cost of a border of one face where the image is flat; beta is half the reciprocal of the mean contrast.
    """
    return Neighbourhood(image, free, labels, steps=steps, weight=weight).cut(unary)


class Neighbourhood:
    """What neighbours cost, for several cuts of the same voxels; parameters as for `minimum_cut`.

    `contrast` is the `mean_contrast` of the image, where that is known.
    """

    def __init__(
        self,
        image: np.ndarray,
        free: np.ndarray,
        labels: np.ndarray,
        *,
        steps: Sequence[float] | None = None,
        weight: float = 4.0,
        contrast: float | None = None,
    ) -> None:
        self._free, self._labels = free, labels
        offsets, lengths = _offsets(free.ndim, None if steps is None else tuple(steps))
        shares = np.float32(weight * PRECISION) / lengths
        beta = np.float32(0.5 / ((mean_contrast(image) if contrast is None else contrast) + LEAST_CONTRAST))
        count, lead = int(np.count_nonzero(free)), (1,) * (3 - free.ndim)  # the kernel knows volumes only
        self._graph = _Graph(
            np.full((count, len(offsets)), -1, np.int32),
            np.zeros((count, len(offsets)), np.int32),
            np.zeros(count, np.int64),
        )
        self._own = np.zeros(count, np.int64)
        grid = lead + free.shape
        features = np.ascontiguousarray(image).reshape(len(image), *grid)
        held = np.ascontiguousarray(labels).reshape(grid)
        _connect(self._graph, np.ascontiguousarray(free).reshape(grid), held, features, offsets, shares, beta)

    def cut(self, unary: np.ndarray) -> np.ndarray:
        """Return the labels, bool (*spatial), of least energy for a `unary`, float (*spatial).

        A further cut goes on from the flow of the one before (Kohli and Torr 2007, doi:10.1109/TPAMI.2007.1128): the
        labels are the same, for of all minima the one with the fewest voxels is found.
        """
        out = self._labels.copy()
        own = np.rint(np.clip(unary[self._free].astype(float) * PRECISION, -MOST, MOST)).astype(np.int64)
        if own.size:
            self._graph.terminal[:] += own - self._own
            self._own = own
            out[self._free] = _cut(self._graph)
        return out


@cache
def _offsets(ndim: int, steps: tuple[float, ...] | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps to all neighbours as in a volume, int64 (k, 3), and their lengths, float32 (k,)."""
    offsets = np.array([d for d in product((-1, 0, 1), repeat=ndim) if _neighbours(d)])
    size = np.ones(ndim) if steps is None else np.asarray(steps) / min(steps)
    lengths = np.linalg.norm(offsets * size, axis=1).astype(np.float32)
    return np.pad(offsets, ((0, 0), (3 - ndim, 0))), lengths


def _neighbours(offset: tuple[int, ...]) -> bool:
    return any(offset) if len(offset) == 2 else sum(map(abs, offset)) == 1


@compiled
def _numbers(free: np.ndarray) -> np.ndarray:
    """Return the numbers of the free voxels in their order, int32, and `_HELD` at the others."""
    out = np.full(free.size, _HELD, np.int32)
    flat, count = free.reshape(-1), 0
    for i in range(free.size):
        if flat[i]:
            out[i] = count
            count += 1
    return out.reshape(free.shape)


@compiled
def _gaps(image: np.ndarray, dz: int, dy: int, dx: int) -> np.ndarray:
    """Return the squared difference of all neighbours of a volume (C, *spatial) one step away, float32."""
    channels, depth, height, width = image.shape
    out = np.empty((depth - dz, height - dy, width - dx), np.float32)
    for z in range(depth - dz):
        for y in range(height - dy):
            for c in range(channels):
                for x in range(width - dx):
                    gap = image[c, z + dz, y + dy, x + dx] - image[c, z, y, x]
                    out[z, y, x] = gap * gap + (out[z, y, x] if c else np.float32(0))
    return out


@compiled
def _connect(
    graph: _Graph,
    free: np.ndarray,
    labels: np.ndarray,
    image: np.ndarray,
    offsets: np.ndarray,
    shares: np.ndarray,
    beta: np.float32,
) -> None:
    """Fill in neighbours and capacities; a held neighbour adds to the voxel's own terminal."""
    channels, depth, height, width = image.shape
    last = len(offsets) - 1
    number = _numbers(free)
    for j in range(len(offsets) // 2, len(offsets)):  # each edge once
        dz, dy, dx = offsets[j]
        for z in range(max(0, -dz), depth - max(0, dz)):
            for y in range(max(0, -dy), height - max(0, dy)):
                for x in range(max(0, -dx), width - max(0, dx)):
                    i, n = number[z, y, x], number[z + dz, y + dy, x + dx]
                    if i < 0 and n < 0:
                        continue
                    gap = np.float32(0)
                    for c in range(channels):
                        gap += (image[c, z, y, x] - image[c, z + dz, y + dy, x + dx]) ** 2
                    cost = np.int32(shares[j] * np.exp(-beta * gap)) + np.int32(1)
                    if i < 0:
                        graph.terminal[n] += cost if labels[z, y, x] else -cost
                    elif n < 0:
                        graph.terminal[i] += cost if labels[z + dz, y + dy, x + dx] else -cost
                    else:
                        graph.near[i, j], graph.near[n, last - j] = n, i
                        graph.capacity[i, j] = graph.capacity[n, last - j] = cost


@compiled
def _cut(graph: _Graph) -> np.ndarray:
    """Return which nodes are on the source's side, bool (n,)."""
    n = len(graph.near)
    trees = _Trees(
        np.sign(graph.terminal).astype(np.int8),
        np.where(graph.terminal != 0, _TERMINAL, _NONE).astype(np.int32),
        np.zeros(n, np.int32),
        np.ones(n, np.int32),
        np.empty(n + 1, np.int32),
        np.zeros(n, np.bool_),
        np.empty(2 * n + 2, np.int32),
        np.zeros(4, np.int64),
    )
    for i in range(n):
        if trees.side[i]:
            _enqueue(trees, i)
    while trees.counts[0] != trees.counts[1]:
        node = trees.queue[trees.counts[0]]
        trees.counts[0] = (trees.counts[0] + 1) % trees.queue.size
        trees.queued[node] = False
        while trees.parent[node] != _NONE:
            slot = _grow(graph, trees, node)
            if slot < 0:
                break
            trees.counts[3] += 1
            _augment(graph, trees, node, slot)
            while trees.counts[2] > 0:
                trees.counts[2] -= 1
                _adopt(graph, trees, trees.orphans[trees.counts[2]])
    return trees.side > 0


@inlined
def _enqueue(trees: _Trees, node: int) -> None:
    if not trees.queued[node]:
        trees.queued[node] = True
        trees.queue[trees.counts[1]] = node
        trees.counts[1] = (trees.counts[1] + 1) % trees.queue.size


@inlined
def _towards(graph: _Graph, side: int, node: int, slot: int) -> int:
    """Return the residual capacity of an edge in the direction in which the tree of `side` grows."""
    if side > 0:
        return graph.capacity[node, slot]  # type: ignore[no-any-return]
    return graph.capacity[graph.near[node, slot], graph.near.shape[1] - 1 - slot]  # type: ignore[no-any-return]


@compiled
def _grow(graph: _Graph, trees: _Trees, node: int) -> int:
    """Take free neighbours into the tree of `node`; return the slot of one in the other tree, -1 for none."""
    side, last = trees.side[node], graph.near.shape[1] - 1
    for slot in range(last + 1):
        other = graph.near[node, slot]
        if other < 0 or _towards(graph, side, node, slot) <= 0:
            continue
        if trees.side[other] == -side:
            return slot
        shorter = trees.stamp[other] <= trees.stamp[node] and trees.depth[other] > trees.depth[node]
        if trees.side[other] == 0 or shorter:
            if trees.side[other] == 0:
                trees.side[other] = side
                _enqueue(trees, other)
            trees.parent[other] = last - slot
            trees.stamp[other], trees.depth[other] = trees.stamp[node], trees.depth[node] + 1
    return -1


@compiled
def _augment(graph: _Graph, trees: _Trees, node: int, slot: int) -> None:
    """Push as much flow as fits along the path through the edge `slot` of `node`, which joins the trees."""
    last = graph.near.shape[1] - 1
    source, sink, edge = node, graph.near[node, slot], slot
    if trees.side[node] < 0:
        source, sink, edge = sink, source, last - slot
    flow = np.int64(graph.capacity[source, edge])
    for end in (source, sink):
        at = end
        while trees.parent[at] != _TERMINAL:
            up = trees.parent[at]
            # in the source's tree flow comes down to `at`, in the sink's it goes up from it
            flow = min(flow, np.int64(_towards(graph, -trees.side[at], at, up)))
            at = graph.near[at, up]
        flow = min(flow, abs(graph.terminal[at]))
    graph.capacity[source, edge] -= flow
    graph.capacity[sink, last - edge] += flow
    for end in (source, sink):
        at = end
        while trees.parent[at] != _TERMINAL:
            up = trees.parent[at]
            above = graph.near[at, up]
            sign = flow if trees.side[at] > 0 else -flow
            graph.capacity[above, last - up] -= sign
            graph.capacity[at, up] += sign
            if _towards(graph, -trees.side[at], at, up) == 0:
                _orphan(trees, at)
            at = above
        graph.terminal[at] -= flow if trees.side[at] > 0 else -flow
        if graph.terminal[at] == 0:
            _orphan(trees, at)


@inlined
def _orphan(trees: _Trees, node: int) -> None:
    trees.parent[node] = _ORPHAN
    trees.orphans[trees.counts[2]] = node
    trees.counts[2] += 1


@compiled
def _adopt(graph: _Graph, trees: _Trees, node: int) -> None:
    """Find `node` a new parent with a way to the terminal, or give it and its children up."""
    side, last = trees.side[node], graph.near.shape[1] - 1
    best, least = -1, _FAR
    for slot in range(last + 1):
        other = graph.near[node, slot]
        # _towards of the other side is the edge from the neighbour into this node's tree
        if other >= 0 and trees.side[other] == side and _towards(graph, -side, node, slot) > 0:
            way = _way_home(graph, trees, other)
            if way < least:
                best, least = slot, way
    if best >= 0:
        trees.parent[node] = best
        trees.stamp[node], trees.depth[node] = trees.counts[3], least + 1
        return
    for slot in range(last + 1):
        other = graph.near[node, slot]
        if other < 0 or trees.side[other] != side:
            continue
        if _towards(graph, -side, node, slot) > 0:
            _enqueue(trees, other)
        if trees.parent[other] == last - slot:
            _orphan(trees, other)
    trees.side[node], trees.parent[node] = 0, _NONE


@compiled
def _way_home(graph: _Graph, trees: _Trees, node: int) -> int:
    """Return the steps from `node` to its terminal, remembered along the way; `_FAR` where an orphan is between."""
    time, at, steps = trees.counts[3], node, 0
    while trees.stamp[at] != time:
        up = trees.parent[at]
        if up == _TERMINAL:
            trees.stamp[at], trees.depth[at] = time, 1
            break
        if up < 0:
            return _FAR
        steps += 1
        at = graph.near[at, up]
    if trees.parent[at] == _ORPHAN or trees.parent[at] == _NONE:
        return _FAR
    steps += trees.depth[at]
    at, left = node, steps
    while trees.stamp[at] != time:
        trees.stamp[at], trees.depth[at] = time, left
        left -= 1
        at = graph.near[at, trees.parent[at]]
    return steps  # type: ignore[no-any-return]
