"""Outlines of objects as Shapes layers, and back as regions of QuPath's kind or as labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Image as ImageLayer
from napari.layers import Layer, Shapes

from napari_medseg._napari.colours import ORANGE
from napari_medseg._napari.layers import AXES, FLAT, OPEN, geometry, image_from_layer, like, metadata
from napari_medseg._napari.world import in_other, world_of
from napari_medseg.errors import WriteError
from napari_medseg.image import Image
from napari_medseg.io import histology
from napari_medseg.io.files import parse_json
from napari_medseg.io.outlines.beside import grid_beside
from napari_medseg.io.outlines.polygons import Overlap, Region, ellipse, number_of, rasterise

LayerData = tuple[Any, dict[str, Any], str]  # data, attributes and kind of a layer, as napari takes it
EDGE_PX = 2.0
MANY = 20_000  # napari draws no more polygons at a bearable pace
TABLE = ("name", "class", "id", "type", "measurements", "cell")  # of what features say of an object


def outlines_data(path: Path) -> LayerData | None:
    """Return the Shapes layer of an annotation file; ``None`` if it holds too many or no outlines.

    Every ring is a polygon; the features say which object it belongs to, so that holes are kept.
    """
    drawing = histology.read_regions(path)
    grid = grid_beside(path, drawing)
    drawing = histology.onto(path, drawing, grid)
    rings = [(k, region, ring) for k, region in enumerate(drawing.regions, 1) for ring in region.rings]
    if not 0 < len(rings) <= MANY or len({region.plane for region in drawing.regions}) > 1:
        return None
    columns = ["object", *TABLE]
    table = [(region.number or k, region.name, region.group, *_facts(region)) for k, region, _ in rings]
    kwargs = {
        **geometry(grid),
        "name": path.stem,
        "shape_type": "polygon",
        "edge_width": EDGE_PX,
        "edge_color": ORANGE,
        "face_color": "transparent",
        "features": pd.DataFrame(table, columns=columns),
        "feature_defaults": {"object": 0, **dict.fromkeys(columns[1:], "")},
        "metadata": {**metadata(grid), "medseg_shape": grid.spatial_shape},
    }
    return [np.asarray(ring, float) for _, _, ring in rings], kwargs, "shapes"


def _facts(region: Region) -> tuple[str, str, str, str]:
    """Return id, kind, measurements and the cell around a region as text for the table of a layer."""
    numbers = region.properties.get("measurements")
    cell = [ring.tolist() for ring in region.around]
    return region.identity, region.kind, json.dumps(numbers) if numbers else "", json.dumps(cell) if cell else ""


def _region(rings: Sequence[np.ndarray], facts: dict[str, str], plane: tuple[int, int]) -> Region:
    """Return the object of some rings in a plane, with what the table says of it."""
    properties = {"objectType": facts["type"]} if facts["type"] else {}
    known = {}
    for column in ("measurements", "cell"):
        with suppress(ValueError):
            known[column] = parse_json(facts[column]) if facts[column] else None
    properties |= {"measurements": known["measurements"]} if known.get("measurements") else {}
    around = tuple(np.asarray(ring, float) for ring in known.get("cell") or ())
    number = number_of(facts["name"])
    return Region(
        tuple(np.asarray(ring)[:, -2:] for ring in rings), facts["name"], facts["class"], properties,
        number=number, plane=plane, around=around, identity=facts["id"],
    )  # fmt: skip


def regions_of(
    data: Sequence[np.ndarray], kinds: Sequence[str], features: pd.DataFrame, name: str, axes: str = AXES
) -> list[Region]:
    """Return the objects of closed shapes; polygons of one ``object`` (other than 0) are one, with its holes.

    Parameters
    ----------
    data
        Corners (n, k) in pixels, k = 2 to 4.
    kinds, features, name
        Of the layer that holds them.
    axes
        Letters of the axes, of which the last k count.

    Raises
    ------
    WriteError
        If there are lines or paths, or a shape lies in several planes.
    """
    if set(kinds) & OPEN:
        raise WriteError(f"{name} holds paths or lines; outlines are polygons, rectangles and ellipses. Remove these.")
    rings = [ellipse(points) if kind == "ellipse" else points for points, kind in zip(data, kinds, strict=True)]
    planes = [_plane(np.asarray(ring, float), axes, name) for ring in rings]
    n = len(rings)
    column = {key: list(features[key]) if key in features else [""] * n for key in ("object", *TABLE)}
    groups: dict[Any, list[int]] = {}
    for k, key in enumerate(column["object"]):
        one = ("drawn", k) if key in ("", 0) or pd.isna(key) else key
        groups.setdefault((one, planes[k]), []).append(k)
    return [
        _region([rings[k] for k in group], {key: _text(column[key][group[0]]) for key in TABLE}, plane)
        for (_, plane), group in groups.items()
    ]


def _plane(ring: np.ndarray, axes: str, name: str) -> tuple[int, int]:
    """Return the frame and slice (t, z) that a ring lies in."""
    before = ring[:, :-2]
    if np.ptp(before, axis=0).max(initial=0) > FLAT:
        raise WriteError(f"{name} holds a shape that reaches through several planes; outlines are flat. Remove it.")
    at = dict(zip(axes[-ring.shape[1] :], np.rint(before[0]).astype(int), strict=False))
    return int(at.get("T", 0)), int(at.get("Z", 0))


def _text(value: Any) -> str:
    return "" if value is None or value is pd.NA or value != value else str(value)


def outlines_to_labels(outlines: Shapes, image: ImageLayer, overlap: Overlap = "first") -> LayerData:
    """Draw outlines as labels of an image's size; `overlap` says whether the first or last outline keeps a pixel.

    Outlines without depth or time, over a volume or a movie, become labels of one plane.
    """
    source: Image = image_from_layer(image)
    shape = source.spatial_shape[-2:]
    counted = _counts_pixels(outlines, shape)
    whole = outlines.ndim >= image.ndim > 2 and not counted
    drawn = outlines.data
    if not counted:
        drawn = [in_other(outlines, ring, image)[:, 0 if whole else -2 :] for ring in drawn]
    regions = regions_of(drawn, list(outlines.shape_type), outlines.features, outlines.name, source.spatial_axes)
    name = {"name": f"{outlines.name} · labels"}
    if whole:
        return _in_planes(regions, source, overlap), {**like(image), **name}, "labels"
    labels = rasterise(regions, (shape[0], shape[1]), overlap)
    return labels, {**(like(image) if image.ndim == 2 else _last_two(image)), **name}, "labels"


def _in_planes(regions: Sequence[Region], source: Image, overlap: Overlap) -> np.ndarray:
    """Return labels of the size of an image whose regions lie in its planes; no two planes share a number."""
    labels = np.zeros(source.spatial_shape, np.uint32)
    height, width = source.spatial_shape[-2:]
    for plane in sorted({region.plane for region in regions}):
        at = dict(zip("TZ", plane, strict=True))
        index = tuple(at[axis] for axis in source.spatial_axes[:-2])
        if all(0 <= k < n for k, n in zip(index, labels.shape, strict=False)):
            found = rasterise([r for r in regions if r.plane == plane], (height, width), overlap)
            labels[index] = np.where(found, found + labels.max(), 0)
    return labels


def _last_two(layer: Layer) -> dict[str, Any]:
    """Return the layer arguments that put a picture onto the last two axes of a layer."""
    scale = np.asarray(layer.scale)[-2:]
    affine = world_of(layer)[-3:, -3:] @ np.diag([*(1 / scale), 1.0])
    return {"scale": scale, "affine": affine, "units": layer.units[-2:], "axis_labels": layer.axis_labels[-2:]}


def _counts_pixels(outlines: Shapes, shape: tuple[int, ...]) -> bool:
    """Whether outlines are of a file, which count the pixels of a picture of this size."""
    return tuple(outlines.metadata.get("medseg_shape", ()))[-2:] == shape
