"""A problem laid out in rows for the compiled sweeps."""

from __future__ import annotations

import numpy as np

from napari_medseg.geodesic._inputs import Problem, edge_cost
from napari_medseg.geodesic._simd import BIG, LANES
from napari_medseg.geodesic._sweep import Field, State, empty_state, take_touched

_STRAIGHT = 0.25
_BAND = 3.0


class Grid:
    """The padded image of a problem and the way between voxels and cells; shared by maps of one image.

    Parameters
    ----------
    problem
        Checked image and metric. The longest axis becomes the row axis where the last one is short.
    """

    def __init__(self, problem: Problem) -> None:
        self.shape = problem.shape
        ndim = len(self.shape)
        row = ndim - 1 if self.shape[-1] >= LANES else ndim - 1 - int(np.argmax(self.shape[::-1]))
        self._order = (*(axis for axis in range(ndim) if axis != row), row)
        self._size = (1,) * (3 - ndim) + tuple(self.shape[axis] for axis in self._order)
        self._chunks = self._size[2] // LANES + 1
        depth, height, width = self._size
        flat = np.empty((len(problem.image), depth * height * self._stride + 2 * LANES), np.float32)
        flat[:, :LANES] = flat[:, -LANES:] = np.inf
        rows = flat[:, LANES:-LANES].reshape(-1, depth, height, self._stride)
        rows[..., width:] = np.inf
        moved = problem.image.transpose(0, *(axis + 1 for axis in self._order))
        rows[..., :width] = moved.reshape(-1, *self._size) if ndim == 3 else moved[:, None]
        a, b = (self._arrange(c) for c in problem.coefficients())
        eps = None if problem.eps is None else np.float32(problem.eps)
        self.field = Field(flat[0] if len(flat) == 1 else flat, a, b, eps, depth, height)
        self.delta = self._band(rows[..., :width])

    @property
    def _stride(self) -> int:
        return self._chunks * LANES

    def _arrange(self, table: np.ndarray) -> np.ndarray:
        table = table.transpose(self._order)
        return np.ascontiguousarray(table if table.ndim == 3 else np.stack([table, table]))

    def _band(self, rows: np.ndarray) -> np.float32:
        """Width of the band of distances to pass on together.

        Paths are nearly straight, and all distances go at once, where the length makes up a good
        share of the mean edge cost; otherwise the band is a few mean edges wide.
        """
        _, depth, height, _ = rows.shape
        sample = rows[:, :: max(1, depth // 16), :: max(1, height // 16)]
        gap = np.sqrt((np.diff(sample) ** 2).sum(axis=0))
        a, b = self.field.a[0, 0, 1], self.field.b[0, 0, 1]
        eps = None if self.field.eps is None else float(self.field.eps)
        mean = float(edge_cost(gap, a, b, eps).mean()) if gap.size else 0.0
        straight = float(edge_cost(np.float32(0), a, b, eps)) >= _STRAIGHT * mean
        return np.float32(BIG if straight or mean == 0 else _BAND * mean)

    def empty(self) -> State:
        """Return a state without seeds."""
        return empty_state(self.field, self._chunks)

    def cells(self, voxels: np.ndarray) -> np.ndarray:
        """Return the cells (m,) int64 of `voxels` (m,), given as places in the raveled image."""
        index = np.unravel_index(voxels, self.shape)
        z, y, x = (*([np.zeros_like(index[0])] * (3 - len(index))), *(index[axis] for axis in self._order))
        return LANES + (z * self._size[1] + y) * self._stride + x

    def view(self, cells: np.ndarray) -> np.ndarray:
        """Return the view (*spatial) of values laid out like the image."""
        depth, height, width = self._size
        rows = cells[LANES:-LANES].reshape(depth, height, self._stride)[..., :width]
        return (rows if len(self.shape) == 3 else rows[0]).transpose(np.argsort(self._order))

    def take_box(self, state: State) -> tuple[slice, ...] | None:
        """Return the box around the touched chunks of `state`, None when there are none, and forget them."""
        z0, z1, y0, y1, c0, c1 = take_touched(self.field, state)
        if z1 < 0:
            return None
        ranges = [slice(z0, z1 + 1), slice(y0, y1 + 1), slice(c0 * LANES, min((c1 + 1) * LANES, self._size[2]))]
        return tuple(ranges[-len(self.shape) :][axis] for axis in np.argsort(self._order))
