"""Nerve tracings as Shapes layers of paths coloured by class, in and out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_medseg._napari.colours import ORANGE, SKY_BLUE, YELLOW
from napari_medseg._napari.drawn import in_pixels
from napari_medseg._napari.layers import OPEN, geometry, metadata, refuse_planes
from napari_medseg.errors import WriteError
from napari_medseg.image import Image, um_per
from napari_medseg.io.outlines.tracings import write_tracings

COLOURS = {"main": ORANGE, "branch": SKY_BLUE, "nerve": YELLOW}
WIDTH_PX = 2.0
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
    DataError
        If its paths lie in several planes.
    """
    kinds = attributes.get("shape_type", "path")
    closed = {*([kinds] if isinstance(kinds, str) else kinds)} - OPEN
    if closed:
        raise WriteError(
            f"{attributes.get('name')} holds {', '.join(sorted(closed))}; a tracing takes paths and lines."
        )
    features = attributes.get("features", pd.DataFrame())
    classes = [str(kind) for kind in features["class"]] if "class" in features else []
    refuse_planes(data, str(attributes.get("name")))
    points, grid = in_pixels(data, attributes)
    write_tracings(path, [one[:, -2:] for one in points], classes, microns_of(grid))
    return [str(Path(path))]


def microns_of(image: Image) -> tuple[float, float] | None:
    """Return the size (y, x) of a pixel in micrometres, ``None`` where it is not known."""
    sizes = [um_per(unit) for unit in image.units]
    if not image.calibrated or None in sizes:
        return None
    y, x = (step * (size or 0.0) for step, size in zip(image.scale, sizes, strict=True))
    return y, x
