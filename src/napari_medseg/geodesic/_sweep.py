"""Compiled Gauss-Seidel sweeps over the rows of a volume, restricted to what changed.

A visit of a row first carries its drops along the row, then lowers the eight neighbour rows. Values
only fall and each fall is passed on, so a state without pending drops is the exact distance. With a
finite ``delta`` only values below a rising bound are passed on: where paths are crooked (weight near
1) this spares most corrections of values that were set too early.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit

from napari_medseg.geodesic._simd import BIG, LANES, edge, lowest, relax, scan_backward, scan_forward


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


_BIG = np.float32(BIG)
_LAST = 1 << (LANES - 1)
_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])


def _compiled(kernel: _Kernel) -> _Kernel:
    return njit(nogil=True, cache=True)(kernel)  # type: ignore[no-any-return]


@_compiled
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


@_compiled
def _relax_cell(field: Field, distance: np.ndarray, source: int, to: int, a: float, b: float) -> bool:
    new = distance[source] + edge(distance, field.image, source, to, a, b, field.eps)
    if new < distance[to]:
        distance[to] = new
        return True
    return False


@_compiled
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


@_compiled
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
        else:
            waiting = min(waiting, key[c])
    state.keys[row] = waiting


@_compiled
def converge(field: Field, state: State, delta: np.float32) -> None:
    """Pass on all drops of `state` until nothing changes; distances up to `delta` further out at a time."""
    depth, height, keys = field.depth, field.height, state.keys
    key = np.empty(state.lanes.shape[1], np.float32)
    bound = delta
    while True:
        for sweep in range(min(depth, 2)):
            for step in range(depth):
                z = depth - 1 - step if sweep else step
                for y in range(height):
                    if keys[z * height + y] < bound:
                        _visit(field, state, z, y, key, bound)
                for y in range(height - 1, -1, -1):
                    if keys[z * height + y] < bound:
                        _visit(field, state, z, y, key, bound)
        least = keys.min()
        if least >= _BIG:
            return
        if least >= bound:
            bound = max(least + delta, least * np.float32(1.00001))


@_compiled
def mark(state: State, cell: int) -> None:
    """Have the value of `cell` passed on."""
    chunks = state.lanes.shape[1]
    row, x = (cell - LANES) // (chunks * LANES), (cell - LANES) % (chunks * LANES)
    state.lanes[row, x // LANES] |= 1 << (x % LANES)
    state.keys[row] = 0


@_compiled
def plant(state: State, cells: np.ndarray) -> None:
    """Make `cells` (m,) seeds."""
    for cell in cells:
        if state.distance[cell] > 0:
            state.distance[cell] = 0
            mark(state, cell)


@_compiled
def _neighbours(field: Field, row: int, stride: int, out: np.ndarray) -> int:
    """Write offset, |dz|, |dy|, |dx| of the neighbours of the cells of `row`; return their number."""
    n = 0
    for dz in range(-1, 2):
        for dy in range(-1, 2):
            if 0 <= row // field.height + dz < field.depth and 0 <= row % field.height + dy < field.height:
                for dx in range(-1, 2):
                    out[n, 0] = (dz * field.height + dy) * stride + dx
                    out[n, 1], out[n, 2], out[n, 3] = abs(dz), abs(dy), abs(dx)
                    n += dz != 0 or dy != 0 or dx != 0
    return n


@_compiled
def withdraw(field: Field, state: State, cells: np.ndarray, count: int) -> bool:
    """Set to `BIG` all values that may rest on the first `count` of `cells`, and mark their rim.

    `cells` (capacity,) int64 receives the withdrawn cells. Returns False when there are more than
    fit; the distances are then unusable and must be computed anew.
    """
    distance, stride = state.distance, state.lanes.shape[1] * LANES
    around, old = np.empty((27, 4), np.int64), np.empty(cells.size, np.float32)
    for i in range(count):
        old[i], distance[cells[i]] = distance[cells[i]], _BIG
    done = 0
    while done < count:
        cell = cells[done]
        row, x = (cell - LANES) // stride, (cell - LANES) % stride
        state.touched[row, x // LANES] = 1
        for k in range(_neighbours(field, row, stride, around)):
            to, kind = cell + around[k, 0], (around[k, 1], around[k, 2], around[k, 3])
            if distance[to] >= _BIG:
                continue
            reach = old[done] + edge(distance, field.image, cell, to, field.a[kind], field.b[kind], field.eps)
            if reach <= distance[to] * np.float32(1.00001):
                if count == cells.size:
                    return False
                cells[count], old[count], distance[to] = to, distance[to], _BIG
                count += 1
        done += 1
    for cell in cells[:count]:
        for k in range(_neighbours(field, (cell - LANES) // stride, stride, around)):
            if distance[cell + around[k, 0]] < _BIG:
                mark(state, cell + around[k, 0])
    return True


def empty_state(field: Field, chunks: int) -> State:
    """Return the state without seeds of a grid with `chunks` chunks per row."""
    rows = field.depth * field.height
    return State(
        np.full(field.image.shape[-1], _BIG, np.float32),
        np.zeros((rows, chunks), np.uint16),
        np.full(rows, _BIG, np.float32),
        np.zeros((rows, chunks), np.uint8),
    )
