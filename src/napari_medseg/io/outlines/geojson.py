"""QuPath GeoJSON annotations and detections, in and out.

QuPath's coordinates count from the outer corner of the first pixel, so a pixel's centre lies at (column + 0.5,
row + 0.5).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError, WriteError
from napari_medseg.image import Image
from napari_medseg.io.outlines.polygons import Region, outlines, signed_area

CENTRE = 0.5
TYPES = ("FeatureCollection", "Feature")
Feature = tuple[int, Sequence[np.ndarray], dict[str, Any], str, Mapping[str, float]]


def read_regions(path: Path) -> list[Region]:
    """Return the polygons and multi-polygons of a GeoJSON file; points and lines are left out.

    Raises
    ------
    ReadError
        If the file is no JSON, no GeoJSON, or a coordinate is missing or not finite.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ReadError(f"{path.name} is no valid JSON ({error}). Export it again from QuPath.") from error
    features = content if isinstance(content, list) else content.get("features", [content])
    try:
        regions = [_region(feature) for feature in features]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ReadError(f"{path.name} is no GeoJSON as QuPath writes it ({error!r}). Export it again.") from error
    return [region for region in regions if region is not None]


def _region(feature: Mapping[str, Any]) -> Region | None:
    geometry = feature["geometry"]
    coordinates = geometry["coordinates"]
    polygons = {"Polygon": [coordinates], "MultiPolygon": coordinates}.get(geometry["type"], [])
    rings = [np.asarray(ring, float)[:, 1::-1] - CENTRE for polygon in polygons for ring in polygon]
    rings = [ring[:-1] if np.array_equal(ring[0], ring[-1]) else ring for ring in rings]
    if any(not np.isfinite(ring).all() for ring in rings):
        raise ValueError("a coordinate is not finite")
    rings = [ring for ring in rings if len(ring) >= 3]
    properties = dict(feature.get("properties") or {})
    group = (properties.get("classification") or {}).get("name", "")
    return Region(tuple(rings), str(properties.get("name", "")), str(group), properties) if rings else None


def is_geojson(path: Path) -> bool:
    """Whether the file's beginning looks like GeoJSON."""
    with path.open("rb") as file:
        head = file.read(4096)
    return any(f'"{kind}"'.encode() in head for kind in TYPES)


def write_labels(
    path: Path,
    labels: Image | np.ndarray,
    *,
    group: str = "",
    measurements: Mapping[int, Mapping[str, float]] | None = None,
    object_type: str = "detection",
) -> None:
    """Write every object of a label map (H, W) as a QuPath object; reading it back gives the same pixels.

    Parameters
    ----------
    path
        A ``.geojson`` file.
    labels
        Label map.
    group
        Name of QuPath's classification, e.g. ``"Nucleus"``.
    measurements
        Named numbers per label.
    object_type
        ``"detection"`` or ``"annotation"``.

    Raises
    ------
    WriteError
        If the file cannot be written.
    """
    data = np.asarray(labels.data if isinstance(labels, Image) else labels)
    known = measurements or {}
    features = (
        (index, region.rings, {"objectType": object_type, "name": str(index)}, group, known.get(index, {}))
        for index, region in outlines(data)
    )
    _write(path, features)


def write_regions(path: Path, regions: Iterable[Region]) -> None:
    """Write outlines, however their rings wind, as QuPath annotations; a ring inside another is a hole, and so on.

    Raises
    ------
    WriteError
        If the file cannot be written.
    """
    features: Iterator[Feature] = (
        (index, _wound(region.rings), {"objectType": "annotation", "name": region.name}, region.group, {})
        for index, region in enumerate(regions, 1)
    )
    _write(path, features)


def _write(path: Path, features: Iterable[Feature]) -> None:
    content = []
    for index, rings, properties, group, measurements in features:
        if group:
            properties["classification"] = {"name": group}
        if measurements:
            properties["measurements"] = {k: float(v) for k, v in measurements.items()}
        identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{path.stem}/{index}"))
        content.append({"type": "Feature", "id": identity, "geometry": _geometry(rings), "properties": properties})
    try:
        path.write_text(json.dumps({"type": "FeatureCollection", "features": content}), encoding="utf-8")
    except OSError as error:
        raise WriteError(f"{path} could not be written: {error}. Choose another folder.") from error


def _wound(rings: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Turn rings so that outer ones wind one way and holes the other."""
    wound = []
    for k, ring in enumerate(rings):
        depth = sum(_contains(other, ring[0]) for j, other in enumerate(rings) if j != k)
        wanted = OUTER_SIGN if depth % 2 == 0 else -OUTER_SIGN
        wound.append(ring if signed_area(ring) * wanted > 0 else ring[::-1])
    return wound


def _geometry(rings: Sequence[np.ndarray]) -> dict[str, Any]:
    """Group rings into polygons: outer rings wind one way (object on the left), holes the other."""
    outer = [ring for ring in rings if signed_area(ring) * OUTER_SIGN > 0]
    holes = [ring for ring in rings if signed_area(ring) * OUTER_SIGN <= 0]
    polygons = [[_closed(ring)] for ring in outer]
    for hole in holes:
        inside = [k for k, ring in enumerate(outer) if _contains(ring, hole[0])]
        smallest = min(inside, key=lambda k: abs(signed_area(outer[k])), default=0)
        polygons[smallest].append(_closed(hole))
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


OUTER_SIGN = 1


def _closed(ring: np.ndarray) -> list[list[float]]:
    points = (ring[:, ::-1] + CENTRE).tolist()
    return [*points, points[0]]


def _contains(ring: np.ndarray, point: np.ndarray) -> bool:
    start, end = ring - point, np.roll(ring, -1, 0) - point
    crosses = (start[:, 0] > 0) != (end[:, 0] > 0)
    start, end = start[crosses], end[crosses]
    columns = start[:, 1] - start[:, 0] * (end[:, 1] - start[:, 1]) / (end[:, 0] - start[:, 0])
    return bool((columns > 0).sum() % 2)
