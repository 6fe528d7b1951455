"""Boxes and lassos of Shapes layers: one is drawn around an object, or says which part of an image is worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from napari.layers import Layer, Shapes

from napari_medseg._napari.colours import YELLOW
from napari_medseg._napari.layers import DERIVED, is_tracing, like
from napari_medseg._napari.refine.steps import timer
from napari_medseg._napari.world import in_other
from napari_medseg.io.outlines.polygons import Region, ellipse, rasterise
from napari_medseg.refinement.boxes import Box
from napari_medseg.refinement.state import outline_strokes

MODES = {"box": "add_rectangle", "lasso": "add_polygon_lasso"}
WIDTH = 1  # of the line, in pixels of the image
ROOM = 0.25  # of its size that a box is widened by, so that the object's surroundings are seen
FLAT = 0.5  # voxels: shapes that reach less far along an axis lie in a slice


class Outline:
    """One box or lasso being drawn on `image`; `done` gets the Shapes layer with it, Escape calls `cancel`."""

    def __init__(
        self, viewer: Any, image: Layer, kind: str, done: Callable[[Shapes], None], cancel: Callable[[], None]
    ) -> None:
        self.viewer, self.done = viewer, done
        viewer.dims.ndisplay = 2  # shapes are drawn in slices
        place = like(image)
        place["metadata"] = {**place["metadata"], **DERIVED}
        self.layer = viewer.add_shapes(
            ndim=image.ndim, name=f"{image.name} · {kind}", edge_color=YELLOW, face_color="transparent",
            edge_width=WIDTH, **place,
        )  # fmt: skip
        self.layer.mode = MODES[kind]
        self.look = timer(0, self._look)  # napari goes on with the shape after it has told of it
        self.layer.events.data.connect(self._changed)
        self.cancelled = timer(0, cancel)  # the layer may go then, not under its own key
        self.layer.bind_key("Escape", lambda _: self.cancelled.start(), overwrite=True)

    def _changed(self, event: Any) -> None:
        if str(event.action) == "added":
            self.look.start()

    def _look(self) -> None:
        """Hand the outline over once it is whole; one that was too small is gone by then."""
        if self.layer in self.viewer.layers and len(self.layer.data):
            self.layer.events.data.disconnect(self._changed)
            self.layer.bind_key("Escape", None)
            self.done(self.layer)

    def remove(self) -> None:
        """Take the layer away."""
        if self.layer in self.viewer.layers:
            self.layer.mode = "pan_zoom"
            self.viewer.layers.remove(self.layer)


def closed_shapes(viewer: Any) -> list[Shapes]:
    """Return the viewer's Shapes layers that may hold boxes or other closed shapes, last added first."""
    return [layer for layer in reversed(viewer.layers) if isinstance(layer, Shapes) and not is_tracing(layer)]


def planes_of(shapes: Shapes, layer: Layer) -> Iterator[tuple[tuple[Any, ...], np.ndarray]]:
    """Yield each closed shape as the index of its plane in the array of `layer`, and its corners (n, 2) there."""
    n = layer.ndim
    for points, kind in zip(shapes.data, shapes.shape_type, strict=True):
        if kind in ("path", "line"):
            continue
        corners = ellipse(points) if kind == "ellipse" else np.asarray(points)
        at = in_other(shapes, corners, layer)
        flat = [axis for axis in range(n) if np.ptp(at[:, axis]) < FLAT] if n > 2 else []
        if len(flat) == n - 2:
            plane = tuple(round(float(at[0, axis])) if axis in flat else slice(None) for axis in range(n))
            yield plane, at[:, [axis for axis in range(n) if axis not in flat]]


def strokes_around(shapes: Shapes, layer: Layer, value: int) -> np.ndarray:
    """Return the strokes, uint8 of the shape of `layer`, that boxes and lassos around an object stand for."""
    strokes = np.zeros(layer.data.shape[: layer.ndim], np.uint8)
    for plane, corners in planes_of(shapes, layer):
        if all(isinstance(p, slice) or 0 <= p < n for p, n in zip(plane, strokes.shape, strict=True)):
            part = strokes[plane]
            inside = rasterise([Region((corners,))], part.shape) > 0
            if inside.any():
                new = outline_strokes(inside, value)
                part[new > 0] = new[new > 0]
    return strokes


def part_around(shapes: Shapes, layer: Layer) -> Box | None:
    """Return the part of `layer` that holds its shapes with some room; a box in one slice is as deep as it is wide."""
    found = [(plane, corners) for plane, corners in planes_of(shapes, layer)]
    if not found:
        return None
    low, high = np.full(layer.ndim, np.inf), np.full(layer.ndim, -np.inf)
    for plane, corners in found:
        open_ = [axis for axis, p in enumerate(plane) if isinstance(p, slice)]
        low[open_], high[open_] = np.minimum(low[open_], corners.min(0)), np.maximum(high[open_], corners.max(0))
        for axis in set(range(layer.ndim)) - set(open_):
            low[axis], high[axis] = min(low[axis], plane[axis]), max(high[axis], plane[axis])
    steps = np.abs(np.asarray(layer.scale))[-layer.ndim :]
    size = (high - low) * steps
    room = np.where(high - low < 1, size.max() / 2, ROOM * size) / steps
    shape = layer.data.shape
    return tuple(
        slice(max(0, int(a - r)), min(n, int(np.ceil(b + r)) + 1))
        for a, b, r, n in zip(low, high, room, shape, strict=False)
    )
