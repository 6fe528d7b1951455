"""Compiled Gauss-Seidel sweeps over the rows of a volume, restricted to what changed.

A visit of a row first carries its drops along the row, then lowers the eight neighbour rows. Values
only fall and each fall is passed on, so a state without pending drops is the exact distance. With a
finite ``delta`` only values below a rising bound are passed on: where paths are crooked (weight near
1) this spares most corrections of values that were set too early. Where seeds go, every value that may rest on them
is withdrawn, and those around pass theirs on.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from napari_medseg.geodesic._simd import BIG, LANES, edge, lowest, relax, scan_backward, scan_forward
from napari_medseg.geodesic.compiled import compiled


class Field(NamedTuple):
    """What the cost of an edge depends on.

    Rows lie one after the other, each a whole number of chunks of `LANES` cells, with `LANES` spare
    cells before the first and after the last row; cells outside the grid hold an infinite image.
    """

    image: np.ndarray  # (n,) or (C, n) float32
    a: np.ndarray  # (2, 2, 2) float32, cost coefficients by |dz|, |dy|, |dx|
    b: np.ndarray
    eps: np.float32 | None  # regulariser of the harmonic cost
    depth: int  # row = z * height + y
    height: int


class State(NamedTuple):
    """A distance map and the drops that have not been passed on yet."""

    distance: np.ndarray  # (n,) float32, laid out as the image; `BIG` outside the grid
    lanes: np.ndarray  # (rows, chunks) uint16, one bit per voxel with a pending drop
    keys: np.ndarray  # (rows,) float32, lower bound of the pending values, else `BIG`
    touched: np.ndarray  # (rows, chunks) uint8, 1 where values changed
    touched_rows: np.ndarray  # (rows,) uint8, 1 where a chunk of the row may be touched


_BIG = np.float32(BIG)
_LAST = 1 << (LANES - 1)
_ALL = (1 << LANES) - 1


@compiled
def _carry(field: Field, state: State, row: int, key: np.ndarray, bound: np.float32) -> None:
    """Pass the drops of one row along it, both ways; fill `key` per chunk (`BIG`: nothing to pass on)."""
    distance, image, lanes, eps = state.distance, field.image, state.lanes, field.eps
    a, b, chunks = field.a[0, 0, 1], field.b[0, 0, 1], lanes.shape[1]
    base = LANES + row * chunks * LANES
    for c in range(chunks):
        key[c] = _BIG
        if lanes[row, c]:
            key[c] = lowest(distance, image, base + c * LANES, lanes[row, c], eps) if bound < _BIG else np.float32(0)
    again = True
    while again:
        again = False
        for c in range(chunks):
            if key[c] < bound or (c > 0 and lanes[row, c - 1] & _LAST and key[c - 1] < bound):
                dropped = scan_forward(distance, image, base + c * LANES, a, b, eps)
                if dropped:
                    lanes[row, c] |= dropped
                    key[c] = 0
        for c in range(chunks - 1, -1, -1):
            if key[c] < bound or (c < chunks - 1 and lanes[row, c + 1] & 1 and key[c + 1] < bound):
                dropped = scan_backward(distance, image, base + c * LANES, a, b, eps)
                if dropped:
                    again |= key[c] >= bound  # its waiting drops have not gone forward
                    lanes[row, c] |= dropped
                    key[c] = 0


@compiled
def _relax_cell(field: Field, distance: np.ndarray, source: int, to: int, a: float, b: float) -> bool:
    new = distance[source] + edge(distance, field.image, source, to, a, b, field.eps)
    if new < distance[to]:
        distance[to] = new
        return True
    return False


@compiled
def _push(field: Field, state: State, row: int, dz: int, dy: int, key: np.ndarray, bound: np.float32) -> bool:
    """Lower one neighbour row from the chunks of `row` with keys below `bound`; return whether it changed."""
    distance, lanes, eps = state.distance, state.lanes, field.eps
    a0, b0 = field.a[abs(dz), abs(dy), 0], field.b[abs(dz), abs(dy), 0]
    a1, b1 = field.a[abs(dz), abs(dy), 1], field.b[abs(dz), abs(dy), 1]
    other, chunks = row + dz * field.height + dy, lanes.shape[1]
    hit = np.int64(0)
    for c in range(chunks):
        if key[c] >= bound:
            continue
        at, to = LANES + (row * chunks + c) * LANES, LANES + (other * chunks + c) * LANES
        dropped = relax(distance, field.image, at, to, a0, b0, a1, b1, eps)
        lanes[other, c] |= dropped
        hit |= dropped
        left = c > 0 and lanes[row, c] & 1 and key[c - 1] >= bound
        if left and _relax_cell(field, distance, at, to - 1, a1, b1):
            lanes[other, c - 1] |= _LAST
            hit |= 1
        right = c < chunks - 1 and lanes[row, c] & _LAST and key[c + 1] >= bound
        if right and _relax_cell(field, distance, at + LANES - 1, to + LANES, a1, b1):
            lanes[other, c + 1] |= 1
            hit |= 1
    return bool(hit)


@compiled
def _visit(field: Field, state: State, z: int, y: int, key: np.ndarray, bound: np.float32) -> None:
    row = z * field.height + y
    _carry(field, state, row, key, bound)
    for dz in range(-1, 2):
        for dy in range(-1, 2):
            inside = 0 <= z + dz < field.depth and 0 <= y + dy < field.height
            if inside and (dz != 0 or dy != 0) and _push(field, state, row, dz, dy, key, bound):
                state.keys[row + dz * field.height + dy] = 0
    waiting = _BIG
    for c in range(key.size):
        if key[c] < bound:
            state.lanes[row, c] = 0
            state.touched[row, c] = 1
            state.touched_rows[row] = 1
        else:
            waiting = min(waiting, key[c])
    state.keys[row] = waiting


@compiled
def _sweep_plane(field: Field, state: State, z: int, key: np.ndarray, bound: np.float32) -> bool:
    """Visit the pending rows of one plane, up and down; return whether there were any."""
    visited = False
    for turn in range(2):
        for step in range(field.height):
            y = field.height - 1 - step if turn else step
            if state.keys[z * field.height + y] < bound:
                _visit(field, state, z, y, key, bound)
                visited = True
        if not visited:
            break
    return visited


@compiled
def _pending(field: Field, state: State) -> tuple[int, int, np.float32]:
    """Return the first and last plane with pending rows, and the least key."""
    low, high, least = field.depth, -1, _BIG
    for row in range(state.keys.size):
        if state.keys[row] < _BIG:
            low, high, least = min(low, row // field.height), row // field.height, min(least, state.keys[row])
    return low, high, least


@compiled
def converge(field: Field, state: State, delta: np.float32) -> None:
    """Pass on all drops of `state` until nothing changes; distances up to `delta` further out at a time."""
    key = np.empty(state.lanes.shape[1], np.float32)
    bound = delta
    low, high, least = _pending(field, state)
    while least < _BIG:
        if least >= bound:
            bound = max(least + delta, least * np.float32(1.00001))
        z = low
        while z < field.depth and (_sweep_plane(field, state, z, key, bound) or z < high):
            z += 1
        z = min(z, field.depth - 1)
        while z >= 0 and (_sweep_plane(field, state, z, key, bound) or z > low):
            z -= 1
        low, high, least = _pending(field, state)


@compiled
def plant(state: State, cells: np.ndarray) -> None:
    """Make `cells` (m,) seeds."""
    chunks = state.lanes.shape[1]
    for cell in cells:
        if state.distance[cell] > 0:
            state.distance[cell] = 0
            row, x = (cell - LANES) // (chunks * LANES), (cell - LANES) % (chunks * LANES)
            state.lanes[row, x // LANES] |= 1 << (x % LANES)
            state.keys[row] = 0


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


@compiled
def take_touched(field: Field, state: State) -> tuple[int, int, int, int, int, int]:
    """Return first and last z, y and chunk that were touched (first > last: none), and forget them."""
    touched = state.touched
    z0, z1, y0, y1, c0, c1 = field.depth, -1, field.height, -1, touched.shape[1], -1
    for row in range(touched.shape[0]):
        if not state.touched_rows[row]:
            continue
        state.touched_rows[row] = 0
        for c in range(touched.shape[1]):
            if touched[row, c]:
                touched[row, c] = 0
                z, y = row // field.height, row % field.height
                z0, z1, y0, y1, c0, c1 = min(z0, z), max(z1, z), min(y0, y), max(y1, y), min(c0, c), max(c1, c)
    return z0, z1, y0, y1, c0, c1


def empty_state(field: Field, chunks: int) -> State:
    """Return the state without seeds of a grid with `chunks` chunks per row."""
    rows = field.depth * field.height
    return State(
        np.full(field.image.shape[-1], _BIG, np.float32),
        np.zeros((rows, chunks), np.uint16),
        np.full(rows, _BIG, np.float32),
        np.zeros((rows, chunks), np.uint8),
        np.zeros(rows, np.uint8),
    )
