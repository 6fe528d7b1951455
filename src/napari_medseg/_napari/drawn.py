"""Shapes in the pixels of the picture that they were drawn on, for formats that count pixels and know no place."""

from __future__ import annotations

from typing import Any

import napari
import numpy as np
from napari.layers import Layer, Shapes

from napari_medseg._napari.layers import grid_of_shapes, image_from_layer, image_layers, like
from napari_medseg._napari.world import in_other
from napari_medseg.errors import WriteError, some_of
from napari_medseg.image import FRAME, Image
from napari_medseg.io.geometry import in_picture

FIELDS = ("name", "metadata", "scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


def in_pixels(data: Any, attributes: dict[str, Any]) -> tuple[list[np.ndarray], Image]:
    """Return the shapes of a layer as points (n, k) in the pixels of its picture, and a grid of the size of these.

    The last axes are y and x; before them come those of time and depth that both layer and picture have. Layers that
    were read from a file or made here know their picture. Of others it is the image in view that they lie on; without
    an image, one of pixels of their scale that begins at the origin of the world.

    Raises
    ------
    WriteError
        If several images are in view that differ in where the shapes lie on them.
    """
    kept = {name: attributes[name] for name in FIELDS if name in attributes}
    shapes = [np.asarray(points, float) for points in data]
    points = np.concatenate(shapes) if shapes else np.zeros((1, 2))
    extent = np.stack([points.min(0), points.max(0)])  # napari is slow with thousands of shapes
    layer = Shapes([extent], shape_type="path", **kept)
    images = [] if "medseg_image" in layer.metadata else _images_under(str(kept.get("name", "")))
    if not images:
        grid = grid_of_shapes(layer)
        return [np.hstack([one[:, :-2], _mapped(one[:, -2:], in_picture(grid))]) for one in shapes], grid
    found = [
        [_mapped(in_other(layer, one, image), _picture_of(image))[:, -layer.ndim :] for one in shapes]
        for image in images
    ]
    if any(not _alike(*pair) for other in found[1:] for pair in zip(found[0], other, strict=True)):
        names = some_of([one.name for one in images])
        raise WriteError(
            f"{layer.name} lies at other pixels of each of the images in view ({names}), and the file counts those of "
            "one. Hide all but the image that it was drawn on, and save again."
        )
    return found[0], _grid(image_from_layer(images[0]))


def _alike(first: np.ndarray, second: np.ndarray) -> bool:
    return first.shape == second.shape and bool(np.allclose(first, second, atol=1e-3))


def _images_under(name: str) -> list[Layer]:
    """Return the images in view of the window that shows a layer of this name, else all of its images."""
    viewer = napari.current_viewer()
    if viewer is None or name not in viewer.layers:
        return []
    images = image_layers(viewer)
    return [one for one in images if one.visible] or images


def _picture_of(layer: Layer) -> np.ndarray:
    """Return the matrix from the indices of an image layer to those that labels made on it count (`like`)."""
    image, kept = image_from_layer(layer), like(layer)["metadata"]["medseg_image"]
    return in_picture(image.replace(metadata={**image.metadata, FRAME: kept.get(FRAME, image.metadata.get(FRAME, ()))}))


def _mapped(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return np.asarray(points @ matrix[:-1, :-1].T + matrix[:-1, -1])


def _grid(image: Image) -> Image:
    """Return labels (Y, X) without anything on the pixels of an image."""
    nothing = np.broadcast_to(np.uint8(0), image.spatial_shape[-2:])
    return Image(nothing, "YX", image.scale[-2:], image.units[-2:], kind="labels", name=image.name)
