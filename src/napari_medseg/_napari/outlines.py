"""Outlines of QuPath and ImageScope as Shapes layers, in and out, and as labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import napari.layers
import numpy as np
import pandas as pd
from napari.types import LayerDataTuple

from napari_medseg._napari.layers import geometry, image_from_layer, like, metadata
from napari_medseg.errors import WriteError
from napari_medseg.image import Image
from napari_medseg.io import histology
from napari_medseg.io.json_file import parse_json
from napari_medseg.io.outlines.geojson import write_regions
from napari_medseg.io.outlines.polygons import Overlap, Region, ellipse, rasterise

COLOUR = "#E69F00"
EDGE_PX = 2.0
MANY = 20_000  # napari draws no more polygons at a bearable pace
OPEN = {"path", "line"}
TABLE = ("name", "class", "id", "type", "measurements", "cell")


def outlines_data(path: Path) -> tuple[Any, dict[str, Any], str] | None:
    """Return the Shapes layer of an annotation file; ``None`` if it holds too many or no outlines.

    Every ring is a polygon; the features say which object it belongs to, so that holes are kept.
    """
    drawing = histology.read_regions(path)
    rings = [
        (k, region, ring) for k, region in enumerate(drawing.regions, 1) for ring in (*region.rings, *region.holes)
    ]
    if not 0 < len(rings) <= MANY or len({region.plane for region in drawing.regions}) > 1:
        return None
    grid = histology.grid_beside(path, drawing)
    columns = ["object", "name", "class", "id", "type", "measurements", "cell"]
    table = [(region.number or k, region.name, region.group, *_facts(region)) for k, region, _ in rings]
    kwargs = {
        **geometry(grid),
        "name": path.stem,
        "shape_type": "polygon",
        "edge_width": EDGE_PX,
        "edge_color": COLOUR,
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


def _region(rings: Sequence[np.ndarray], facts: dict[str, str]) -> Region:
    """Return the object of some rings with what the table says of it."""
    properties = {"objectType": facts["type"]} if facts["type"] else {}
    known = {}
    for column in ("measurements", "cell"):
        with suppress(ValueError):
            known[column] = parse_json(facts[column]) if facts[column] else None
    properties |= {"measurements": known["measurements"]} if known.get("measurements") else {}
    around = tuple(np.asarray(ring, float) for ring in known.get("cell") or ())
    number = int(facts["name"]) if facts["name"].isascii() and facts["name"].isdigit() else 0
    return Region(
        tuple(np.asarray(ring)[:, -2:] for ring in rings), facts["name"], facts["class"], properties,
        number=number, around=around, identity=facts["id"],
    )  # fmt: skip


def regions_of(data: Sequence[np.ndarray], kinds: Sequence[str], features: pd.DataFrame, name: str) -> list[Region]:
    """Return the objects of closed shapes; polygons of one ``object`` (other than 0) are one, with its holes.

    Raises
    ------
    WriteError
        If there are lines or paths.
    """
    if set(kinds) & OPEN:
        raise WriteError(f"{name} holds paths or lines; outlines are polygons, rectangles and ellipses. Remove these.")
    rings = [ellipse(points) if kind == "ellipse" else points for points, kind in zip(data, kinds, strict=True)]
    n = len(rings)
    column = {key: list(features[key]) if key in features else [""] * n for key in ("object", *TABLE)}
    groups: dict[Any, list[int]] = {}
    for k, key in enumerate(column["object"]):
        groups.setdefault(("drawn", k) if key in ("", 0) or pd.isna(key) else key, []).append(k)
    return [
        _region([rings[k] for k in group], {key: _text(column[key][group[0]]) for key in TABLE})
        for group in groups.values()
    ]


def _text(value: Any) -> str:
    return "" if value is None or value is pd.NA or value != value else str(value)


def write_outlines(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Shapes layer of closed shapes as QuPath annotations, in pixels.

    Raises
    ------
    WriteError
        If the layer holds paths, or the place is not writable.
    """
    kinds = attributes.get("shape_type", "polygon")
    kinds = [kinds] * len(data) if isinstance(kinds, str) else list(kinds)
    features = pd.DataFrame(attributes.get("features", {}))
    write_regions(Path(path), regions_of(data, kinds, features, str(attributes.get("name"))))
    return [str(Path(path))]


def outlines_to_labels(
    outlines: napari.layers.Shapes, image: napari.layers.Image, overlap: Overlap = "first"
) -> LayerDataTuple:
    """Draw outlines as labels of an image's size; `overlap` says whether the first or last outline keeps a pixel."""
    source: Image = image_from_layer(image)
    regions = regions_of(outlines.data, list(outlines.shape_type), outlines.features, outlines.name)
    shape = source.spatial_shape[-2:]
    labels = rasterise(regions, (shape[0], shape[1]), overlap)
    place = like(image)
    if image.ndim > 2:
        place = {key: place[key][-2:] for key in ("scale", "translate", "units", "axis_labels")}
    return labels, {**place, "name": f"{outlines.name} · labels"}, "labels"
