"""Layers of a part of another one: a time point, a level of a pyramid, a box. They follow where that layer is moved."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Layer

from napari_medseg._napari.layers import image_from_layer, kept_matrix, layer_data, like
from napari_medseg._napari.world import moved_to, world_of
from napari_medseg.image import FRAME, Image
from napari_medseg.io.geometry import LEVEL, matrix_of
from napari_medseg.io.volumes.space import at_time


def add_time_point(viewer: Any, layer: ImageLayer, index: int) -> ImageLayer:
    """Return a layer of one time point of `layer`, which is hidden; one that is there already is taken.

    Raises
    ------
    DataError
        If there is no such time point.
    """
    image = at_time(image_from_layer(layer), index)
    name = f"{layer.name} · time {index}"
    data, kwargs, _ = layer_data(image, name)
    layer.visible = False
    return _taken(viewer, data, {**kwargs, **_look(layer)})


def add_level(viewer: Any, layer: ImageLayer, image: Image) -> ImageLayer:
    """Return a hidden layer of `image`, a level of `layer` or a part of one; one that is there already is taken."""
    there = list(viewer.layers)
    data, kwargs, _ = layer_data(image, f"{layer.name} · level {image.metadata[LEVEL]}")
    made = _taken(viewer, data, {**kwargs, **_look(layer)})
    if made not in there:
        made.visible = False  # the pyramid below shows more when the view comes nearer
    return made


def add_part(viewer: Any, layer: ImageLayer, box: tuple[slice, ...]) -> ImageLayer:
    """Return a layer of the part of `layer` in `box`, at its place; one that is there already is taken."""
    place = like(layer)
    place["translate"] = moved_to(layer, tuple(s.start for s in box))
    return _taken(viewer, layer.data[box], {**place, **_look(layer), "name": f"{layer.name} · part"})


def _look(layer: ImageLayer) -> dict[str, Any]:
    """Return the colours of a layer as arguments of another one."""
    return {"rgb": True} if layer.rgb else {"colormap": layer.colormap, "contrast_limits": layer.contrast_limits}


def _taken(viewer: Any, data: Any, kwargs: dict[str, Any]) -> ImageLayer:
    """Return the layer of that name, place and size, or a new one."""
    for there in viewer.layers:
        same = isinstance(there, ImageLayer) and there.name == kwargs["name"] and there.data.shape == data.shape
        if same and np.array_equal(there.data, data):
            return there
    return viewer.add_image(data, **kwargs)


class Followed:
    """A layer of which another one is a part: `lead` moves the part as the layer was moved since it was last asked."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.before = self._places()

    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the matrix of the layer in the window, and that of its image in the world of its file."""
        return world_of(self.layer), matrix_of(image_from_layer(self.layer))

    def lead(self, part: Layer) -> None:
        """Move a part along, with what is known of its place and of its picture's."""
        n, before, self.before = part.ndim, self.before, self._places()
        shown, true = (
            (now @ np.linalg.inv(then))[-n - 1 :, -n - 1 :] for now, then in zip(self.before, before, strict=True)
        )
        units = tuple(self.layer.units)[-n:]
        if all(np.allclose(matrix, np.eye(n + 1)) for matrix in (shown, true)) and tuple(part.units) == units:
            return
        kept, place = dict(part.metadata.get("medseg_image", {})), matrix_of(image_from_layer(part))
        part.affine = shown @ np.asarray(part.affine.affine_matrix)[-n - 1 :, -n - 1 :]
        part.units = units
        if kept_matrix(kept, "affine", n) is not None:
            kept |= {"affine": true @ place, "shown": world_of(part), "units": tuple(map(str, units))}
        if (frame := kept_matrix(kept, FRAME, n)) is not None:
            kept[FRAME] = (true @ frame).tolist()
        part.metadata = {**part.metadata, "medseg_image": kept}
