"""Where layers lie: between indices of a layer, the world of its window and other layers, whatever their units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.layers import Layer

from napari_medseg.image import seconds_per, um_per

TINY = 1e-12  # share of the largest entry of a matrix below which an entry is rounding


def world_of(layer: Layer) -> np.ndarray:
    """Return the (n+1, n+1) matrix from a layer's indices to the world, all its transforms together."""
    n = layer.ndim
    origin, *steps = (np.asarray(layer.data_to_world(tuple(corner)), float) for corner in (np.zeros(n), *np.eye(n)))
    matrix = np.eye(n + 1)
    matrix[:-1, -1] = origin
    matrix[:-1, :-1] = (np.array(steps) - origin).T
    return np.asarray(np.where(np.abs(matrix) < TINY * np.abs(matrix).max(), 0.0, matrix))


def unit_factors(units: Sequence[Any], others: Sequence[Any] | None) -> np.ndarray:
    """Return how many of another unit one unit is, (n,), last axis to last; 1 unless both are lengths, or times."""
    known = list(zip(reversed(units), reversed(others or ()), strict=False))[::-1]
    factors = np.ones(len(units))
    for k, (unit, other) in enumerate(known, len(units) - len(known)):
        for per in (um_per, seconds_per):
            mine, theirs = per(str(unit)), per(str(other))
            if mine and theirs:
                factors[k] = mine / theirs
    return factors


def in_units_of(viewer: Any, layer: Layer, point: Sequence[float]) -> np.ndarray:
    """Return a point of a window's world, whose units may be those of another layer, in the units of a layer."""
    point = np.array(point, float)
    point[-layer.ndim :] /= unit_factors(layer.units, _world_units(viewer))
    return point


def to_world(viewer: Any, layer: Layer, index: Sequence[float]) -> np.ndarray:
    """Return where an index of a layer lies in the world of its window."""
    return np.asarray(layer.data_to_world(index)) * unit_factors(layer.units, _world_units(viewer))


def to_data(viewer: Any, layer: Layer, point: Sequence[float]) -> np.ndarray:
    """Return the index of a layer that lies at a point of its window's world, whose last axes are its own."""
    return np.asarray(layer.world_to_data(in_units_of(viewer, layer, point)))


def in_other(layer: Layer, points: np.ndarray, other: Layer) -> np.ndarray:
    """Return where points (n, axes of a layer) lie in the indices of another layer, (n, axes of the other)."""
    corners = (np.zeros(layer.ndim), *np.eye(layer.ndim))  # by which the affine map is known
    factors = unit_factors(layer.units, other.units)
    origin, *ends = (np.asarray(other.world_to_data(layer.data_to_world(corner) * factors)) for corner in corners)
    return np.asarray(origin + points @ (np.array(ends) - origin))


def _world_units(viewer: Any) -> Any:
    return getattr(viewer.dims, "units", None)  # napari up to 0.8 shows numbers of several units side by side


def moved_to(layer: Layer, offset: tuple[int, ...]) -> np.ndarray:
    """Return the ``translate`` of a part of `layer` that begins at the index `offset`."""
    begin = np.append(np.asarray(layer.data_to_world(offset), float), 1.0)
    return np.asarray(np.linalg.solve(np.asarray(layer.affine.affine_matrix), begin)[:-1])


def put_onto(mark: Layer, layer: Layer, offset: tuple[int, ...] = ()) -> None:
    """Put a layer onto another one, or onto the part of it that begins at the index `offset`."""
    for name in ("scale", "rotate", "shear", "affine", "units"):
        setattr(mark, name, getattr(layer, name))
    mark.translate = moved_to(layer, offset) if offset else layer.translate
