"""Where the picture looks: places are brought into view, what is in view stays where it is, or is taken to work on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from napari_medseg._napari.world import to_data, to_world
from napari_medseg.batch.settings import SlideSettings
from napari_medseg.errors import DataError

SETTLED_MS = 100  # after which a new dock has its place
MARGIN = 0.95  # of the canvas that is filled
ALIKE = 0.1  # relative difference of zooms, as where the sliders below a stack came after it
CONTEXT = SlideSettings().reach  # pixels around the view that are taken too, so that objects at its edge are whole


def bring_into_view(viewer: Any, layer: Any, place: Sequence[float]) -> None:
    """Go to the slice of a place in the pixels of `layer`, and centre the picture on it where it is out of view."""
    world, dims = to_world(viewer, layer, place), viewer.dims
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
    world, first = to_world(viewer, layer, place), viewer.dims.ndim - layer.ndim
    sides = _sides(viewer)
    return all(abs(world[axis - first] - centre) <= reach for axis, centre, reach in sides if axis >= first)


def show_part(viewer: Any, layer: Any) -> None:
    """Show all of a layer that is a part of a picture, as large as the canvas has room for, in its slice."""
    shape = layer.data.shape[: layer.ndim]
    low, high = (to_world(viewer, layer, corner) for corner in (np.zeros(layer.ndim), np.array(shape) - 1))
    first = viewer.dims.ndim - layer.ndim
    seen = [axis - first for axis in viewer.dims.displayed if axis >= first]
    room = np.array([2 * reach * viewer.camera.zoom for axis, _, reach in _sides(viewer) if axis >= first])
    extent = np.maximum(np.abs(high - low)[seen][-2:], np.finfo(float).tiny)
    viewer.camera.zoom = float((MARGIN * room / extent).min())
    viewer.camera.center = tuple((low + high)[seen] / 2)


def _sides(viewer: Any) -> list[tuple[int, float, float]]:
    """Return for each axis of the picture in view its number, the middle, and how far the canvas reaches from there."""
    size = viewer.canvas.size if hasattr(viewer, "canvas") else viewer._canvas_size  # napari up to 0.8
    half = np.array(size) / viewer.camera.zoom / 2
    return list(zip(viewer.dims.displayed, viewer.camera.center[-2:], half, strict=True))


def view_box(viewer: Any, layer: Any, level: int = 0) -> tuple[slice, ...]:
    """Return what is in view of the last two axes of a layer, and `CONTEXT` pixels around it, in pixels of a level.

    Raises
    ------
    DataError
        If nothing of the layer is in view.
    """
    first = viewer.dims.ndim - layer.ndim
    sides = [(axis - first, centre, reach) for axis, centre, reach in _sides(viewer) if axis >= first]
    point = np.array(viewer.dims.point[first:], float)
    corners = []  # of the canvas, in pixels of full resolution
    for signs in product((-1, 1), repeat=len(sides)):
        for sign, (axis, centre, reach) in zip(signs, sides, strict=True):
            point[axis] = centre + sign * reach
        corners.append(to_data(viewer, layer, point))
    low, high = np.min(corners, 0), np.max(corners, 0)
    levels = layer.data if getattr(layer, "multiscale", False) else [layer.data]
    factors, drawn = np.ones((len(levels), layer.ndim)), layer.corner_pixels.astype(float)
    if len(levels) > 1:
        factors = layer.downsample_factors[:, : layer.ndim]
        drawn = drawn * factors[layer.data_level]
    box = []
    for axis in range(layer.ndim - 2, layer.ndim):
        n, factor = levels[level].shape[axis], factors[level][axis]
        if axis not in [k for k, _, _ in sides]:  # of an axis that the view is turned away from all is taken
            box.append(slice(0, n))
            continue
        if high[axis] < 0 or low[axis] > levels[0].shape[axis] - 1:
            raise DataError(f"Nothing of {layer.name} is in view. Bring it there (Home shows all of it).")
        begin = int(max(low[axis], drawn[0, axis]) / factor) - CONTEXT
        end = int(min(high[axis], drawn[1, axis]) / factor) + CONTEXT
        box.append(slice(min(max(begin, 0), n - 1), max(min(end + 1, n), 1)))
    return tuple(box)


def present_slice(viewer: Any, layer: Any) -> tuple[Any, ...]:
    """Return the index of the slice in view in the data of `layer`; of axes that are seen whole all of it."""
    point = to_data(viewer, layer, viewer.dims.point)
    seen = [axis - viewer.dims.ndim + layer.ndim for axis in viewer.dims.displayed]
    return tuple(slice(None) if axis in seen else round(value) for axis, value in enumerate(point))


def seen_whole(viewer: Any) -> bool:
    """Whether all of a picture is seen, as napari shows it at first."""
    camera = viewer.camera
    if viewer.dims.ndisplay > 2 or not len(viewer.layers):
        return False
    zoom, centre = camera.zoom, camera.center
    viewer.reset_view()
    whole = np.allclose(camera.center, centre) and abs(camera.zoom / zoom - 1) < ALIKE
    camera.zoom, camera.center = zoom, centre
    return bool(whole)


def keep_whole(viewer: Any, dock: QWidget) -> None:
    """Fit the picture again once `dock` has taken its room beside it."""
    before = viewer.camera.zoom, viewer.camera.center

    def fit() -> None:
        if isalive(dock) and (viewer.camera.zoom, viewer.camera.center) == before:
            viewer.reset_view()

    QTimer.singleShot(SETTLED_MS, fit)
