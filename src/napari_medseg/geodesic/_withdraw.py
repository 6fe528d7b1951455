"""Compiled removal of seeds: withdraw every value that may rest on them."""

from __future__ import annotations

import numpy as np

from napari_medseg.geodesic._simd import BIG, LANES, edge
from napari_medseg.geodesic._sweep import Field, State
from napari_medseg.geodesic.compiled import compiled

_BIG = np.float32(BIG)
_ALL = (1 << LANES) - 1


@compiled
def _withdraw_around(field: Field, state: State, cells: np.ndarray, old: np.ndarray, index: int, count: int) -> int:
    """Withdraw the neighbours whose value may rest on ``cells[index]``; return the number of cells, -1 if too many."""
    distance, stride, cell = state.distance, state.lanes.shape[1] * LANES, cells[index]
    row = (cell - LANES) // stride
    z, y = row // field.height, row % field.height
    state.touched[row, (cell - LANES - row * stride) // LANES] = 1
    state.touched_rows[row] = 1
    for dz in range(-1, 2):
        for dy in range(-1, 2):
            if not (0 <= z + dz < field.depth and 0 <= y + dy < field.height):
                continue
            for dx in range(-1, 2):
                to, kind = cell + (dz * field.height + dy) * stride + dx, (abs(dz), abs(dy), abs(dx))
                if distance[to] >= _BIG:
                    continue
                reach = old[index] + edge(distance, field.image, cell, to, field.a[kind], field.b[kind], field.eps)
                if reach <= distance[to] * np.float32(1.00001):
                    if count == cells.size:
                        return -1
                    cells[count], old[count], distance[to] = to, distance[to], _BIG
                    count += 1
    return count


@compiled
def withdraw(field: Field, state: State, cells: np.ndarray, count: int) -> bool:
    """Set to `BIG` all values that may rest on the first `count` of `cells`; have those around passed on.

    `cells` (capacity,) int64 is overwritten. Returns False when more cells are withdrawn than fit; the
    distances are then unusable and must be computed anew.
    """
    old = np.empty(cells.size, np.float32)
    for i in range(count):
        old[i], state.distance[cells[i]] = state.distance[cells[i]], _BIG
    i = 0
    while i < count:
        count = _withdraw_around(field, state, cells, old, i, count)
        i += 1
    if count < 0:
        return False
    for row in range(state.keys.size):
        if not state.touched_rows[row]:
            continue
        for chunk in range(state.touched.shape[1]):
            if state.touched[row, chunk]:
                _pass_on_around(field, state, row, chunk)
    return True


@compiled
def _pass_on_around(field: Field, state: State, row: int, chunk: int) -> None:
    z, y = row // field.height, row % field.height
    for dz in range(max(0, z - 1), min(z + 2, field.depth)):
        for dy in range(max(0, y - 1), min(y + 2, field.height)):
            state.keys[dz * field.height + dy] = 0
            for c in range(max(0, chunk - 1), min(chunk + 2, state.lanes.shape[1])):
                state.lanes[dz * field.height + dy, c] = _ALL
