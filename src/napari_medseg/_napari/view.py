"""Where the picture looks: places are brought into view, and what is in view already stays where it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def bring_into_view(viewer: Any, layer: Any, place: Sequence[float]) -> None:
    """Go to the slice of a place in the pixels of `layer`, and centre the picture on it where it is out of view."""
    world, dims = layer.data_to_world(place), viewer.dims
    first = dims.ndim - len(world)
    for axis in dims.not_displayed:
        if axis >= first:
            dims.set_point(axis, world[axis - first])
    if not in_view(viewer, layer, place):
        viewer.camera.center = tuple(world[axis - first] for axis in dims.displayed if axis >= first)


def in_view(viewer: Any, layer: Any, place: Sequence[float]) -> bool:
    """Whether a place in the pixels of `layer` lies within the canvas; in 3D nobody knows what hides it."""
    if viewer.dims.ndisplay > 2:
        return False
    world, first = layer.data_to_world(place), viewer.dims.ndim - layer.ndim
    size = viewer.canvas.size if hasattr(viewer, "canvas") else viewer._canvas_size  # napari up to 0.8
    half = np.array(size) / viewer.camera.zoom / 2
    sides = zip(viewer.dims.displayed, viewer.camera.center[-2:], half, strict=True)
    return all(abs(world[axis - first] - centre) <= reach for axis, centre, reach in sides if axis >= first)


def present_slice(viewer: Any, layer: Any) -> tuple[Any, ...]:
    """Return the index of the slice in view in the data of `layer`; of axes that are seen whole all of it."""
    point = layer.world_to_data(viewer.dims.point[-layer.ndim :])
    seen = [axis - viewer.dims.ndim + layer.ndim for axis in viewer.dims.displayed]
    return tuple(slice(None) if axis in seen else round(value) for axis, value in enumerate(point))
