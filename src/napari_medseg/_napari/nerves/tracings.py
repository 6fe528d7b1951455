"""Nerve tracings as Shapes layers of paths coloured by class, in and out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Shapes

from napari_medseg._napari.layers import geometry, grid_of_shapes, metadata
from napari_medseg.errors import WriteError
from napari_medseg.image import Image, um_per
from napari_medseg.io.geometry import in_picture
from napari_medseg.io.outlines.tracings import write_tracings

COLOURS = {"main": "#E69F00", "branch": "#56B4E9", "nerve": "#F0E442"}  # Okabe and Ito: told apart by everyone
WIDTH_PX = 2.0
OPEN = {"path", "line"}
Paths = Sequence[np.ndarray]


def shapes_data(paths: Paths, classes: Sequence[str], labels: Image, name: str) -> tuple[Any, dict[str, Any], str]:
    """Return the Shapes layer of paths (N, 2) of (y, x) pixels on the grid of `labels`, coloured by class."""
    drawn = [(p, c) for p, c in zip(paths, classes, strict=True) if len(p) > 1]
    kinds = [c for _, c in drawn]
    kwargs = {
        **geometry(labels),
        "name": name,
        "ndim": 2,
        "shape_type": "path",
        "edge_width": WIDTH_PX,
        "edge_color": [colour(kind) for kind in kinds] or colour("main"),
        "face_color": "transparent",
        "features": pd.DataFrame({"class": kinds}, dtype=object),
        "feature_defaults": {"class": "main"},
        "metadata": {**metadata(labels), "medseg_shape": labels.spatial_shape},
    }
    return [np.asarray(p, float) for p, _ in drawn], kwargs, "shapes"


def colour(kind: str) -> str:
    """Return the colour of a class."""
    return COLOURS.get(kind, COLOURS["nerve"])


def recolour(layer: Any) -> None:
    """Give every path the colour of its class, where it has another."""
    from napari.utils.colormaps.standardize_color import transform_color

    wanted = [colour(kind) for kind in layer.features["class"]]
    if wanted and not np.allclose(transform_color(wanted), layer.edge_color, atol=0.01):
        layer.edge_color = wanted


def write_paths(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Shapes layer of paths as SWC (in micrometres, where its pixel size is known) or NeuronJ tracing.

    Raises
    ------
    WriteError
        If the layer holds closed shapes, or the place is not writable.
    """
    kinds = attributes.get("shape_type", "path")
    closed = {*([kinds] if isinstance(kinds, str) else kinds)} - OPEN
    if closed:
        raise WriteError(
            f"{attributes.get('name')} holds {', '.join(sorted(closed))}; a tracing takes paths and lines."
        )
    features = attributes.get("features", pd.DataFrame())
    classes = [str(kind) for kind in features["class"]] if "class" in features else []
    layer, matrix = picture_of(data, attributes)
    points = [np.asarray(path, float)[:, -2:] @ matrix[:2, :2].T + matrix[:2, 2] for path in data]
    write_tracings(path, points, classes, microns_of(layer))
    return [str(Path(path))]


def picture_of(data: Any, attributes: dict[str, Any]) -> tuple[Image, np.ndarray]:
    """Return the grid of a Shapes layer, and the matrix (3, 3) from its points to the pixels of its picture."""
    names = ("name", "metadata", "scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    kept = {name: attributes[name] for name in names if name in attributes}
    shapes = [np.asarray(points, float) for points in data]
    grid = grid_of_shapes(Shapes(shapes or None, shape_type="path", ndim=shapes[0].shape[1] if shapes else 2, **kept))
    return grid, in_picture(grid)


def microns_of(image: Image) -> tuple[float, float] | None:
    """Return the size (y, x) of a pixel in micrometres, ``None`` where it is not known."""
    sizes = [um_per(unit) for unit in image.units]
    if not image.calibrated or None in sizes:
        return None
    y, x = (step * (size or 0.0) for step, size in zip(image.scale, sizes, strict=True))
    return y, x
