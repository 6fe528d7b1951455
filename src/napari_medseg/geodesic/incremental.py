"""`GeodesicMap`: a distance map that is updated where seeds come and go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medseg.geodesic._inputs import check_problem, check_seeds

if TYPE_CHECKING:
    from napari_medseg.geodesic._grid import Grid

Box = tuple[slice, ...]
_MAX_WITHDRAWN = 16


class GeodesicMap:
    """Exact geodesic distance to a changing set of seeds.

    Adding seeds visits only what comes closer; removing seeds recomputes only what rested on them,
    or the whole map where that is more than a sixteenth of it. The result equals a new computation.

    Parameters
    ----------
    image
        (*spatial), or with `channels` (C, *spatial); 2D or 3D.
    spacing, weight, metric
        As for `geodesic_distance`.
    channels
        Whether the first axis of `image` is channels.

    Raises
    ------
    DataError, SettingsError
        As for `geodesic_distance`.
    """

    def __init__(
        self,
        image: Any,
        *,
        spacing: float | Sequence[float] = 1.0,
        weight: float = 0.9,
        metric: str = "linear",
        channels: bool = False,
    ) -> None:
        from napari_medseg.geodesic._grid import Grid

        self._start(Grid(check_problem(image, channels, spacing, weight, metric)))

    @classmethod
    def of(cls, grid: Grid) -> GeodesicMap:
        """Return a map without seeds on a `Grid`, which maps may share."""
        new = object.__new__(cls)
        new._start(grid)
        return new

    def _start(self, grid: Grid) -> None:
        self._grid = grid
        self._state = grid.empty()
        self._seeds = np.zeros(grid.shape, bool)

    def like(self) -> GeodesicMap:
        """Return a map without seeds of the same image, sharing its memory."""
        return self.of(self._grid)

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape."""
        return self._grid.shape

    @property
    def seeds(self) -> np.ndarray:
        """Present seeds, bool (*spatial); read only."""
        return _read_only(self._seeds)

    @property
    def distance(self) -> np.ndarray:
        """Distance to the nearest seed, float32 (*spatial), infinite without seeds.

        A read-only view that follows later changes (rows are padded: it is not contiguous).
        """
        view = self._grid.view(self._state.distance)
        corner = view[(0,) * view.ndim]
        return np.broadcast_to(np.float32(np.inf), self.shape) if _unreached(corner) else _read_only(view)

    def add(self, seeds: Any) -> Box | None:
        """Add `seeds`, bool (*spatial); return a box around the voxels that came closer.

        Raises
        ------
        DataError
            If the shape does not fit.
        """
        from napari_medseg.geodesic._sweep import plant

        new = np.flatnonzero(check_seeds(seeds, self.shape))
        plant(self._state, self._grid.cells(new))
        self._seeds.reshape(-1)[new] = True
        return self._converge()

    def remove(self, seeds: Any) -> Box | None:
        """Remove `seeds`, bool (*spatial), where they are seeds; return a box around what changed.

        Raises
        ------
        DataError
            If the shape does not fit.
        """
        from napari_medseg.geodesic._sweep import plant, withdraw

        removed = np.flatnonzero(check_seeds(seeds, self.shape) & self._seeds)
        gone = self._grid.cells(removed)
        self._seeds.reshape(-1)[removed] = False
        cells = np.empty(max(2 * gone.size, self._seeds.size // _MAX_WITHDRAWN), np.int64)
        cells[: gone.size] = gone
        if not withdraw(self._grid.field, self._state, cells, gone.size):
            self._state = self._grid.empty()
            self._state.touched[:] = self._state.touched_rows[:] = 1
        plant(self._state, self._grid.cells(np.flatnonzero(self._seeds)))
        return self._converge()

    def _converge(self) -> Box | None:
        from napari_medseg.geodesic._sweep import converge

        converge(self._grid.field, self._state, self._grid.delta)
        return self._grid.take_box(self._state)


def _unreached(value: float) -> bool:
    from napari_medseg.geodesic._simd import BIG

    return bool(value >= np.float32(BIG))


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view
