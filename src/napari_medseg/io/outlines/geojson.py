"""QuPath GeoJSON annotations and detections, in and out.

QuPath's coordinates count from the outer corner of the first pixel, so a pixel's centre lies at (column + 0.5,
row + 0.5).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError, one_line, some_of
from napari_medseg.image import FACTS, Image
from napari_medseg.io.files import parse_json, write_text
from napari_medseg.io.geometry import to_picture
from napari_medseg.io.outlines.areas import carved, united
from napari_medseg.io.outlines.polygons import (
    NAMED,
    Drawing,
    Region,
    contains,
    number_of,
    outlines,
    outlines_left_out,
    signed_area,
)

CENTRE = 0.5
KINDS = {  # QuPath's names of kinds since 0.3, and those that 0.2 wrote as ids
    "PathAnnotationObject": "annotation", "PathDetectionObject": "detection", "PathCellObject": "cell",
    "PathTileObject": "tile", "TMACoreObject": "tmaCore", "PathRootObject": "root",
}  # fmt: skip
CHILDREN = ("childObjects", "children")
OF_CLASS = ": "  # between a class and those derived of it
COLOUR = [230, 159, 0]  # QuPath 0.4 reads no class without one
TYPES = ("FeatureCollection", "Feature")
GEOMETRIES = ("Polygon", "MultiPolygon", "GeometryCollection", "Point", "MultiPoint", "LineString", "MultiLineString")


def read_regions(path: Path) -> Drawing:
    """Return the areas of a GeoJSON file: polygons, multi-polygons and those of collections.

    Of a cell the nucleus is the object. Features without an area (points, lines, ``null``) are named in the notes.

    Raises
    ------
    ReadError
        If the file is no JSON, no GeoJSON, a coordinate is missing or not finite, or no feature has an area.
    """
    try:
        content = parse_json(path.read_bytes())
    except ValueError as error:
        raise ReadError(f"{path.name} is no valid JSON ({one_line(error)}). Export it again from QuPath.") from error
    try:
        features = _features(content)
        found = [_region(feature) for feature in features]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        reason = one_line(error)
        raise ReadError(f"{path.name} is no GeoJSON as QuPath writes it ({reason}). Export it again.") from error
    regions = numbered([region for region in found if region is not None])
    left_out = [_called(features[k], k) for k, region in enumerate(found) if region is None]
    if left_out and not regions:
        raise ReadError(
            f"{path.name}: none of its {len(left_out)} features has an area ({', '.join(left_out[:NAMED])}). Export "
            "outlines, not points or lines."
        )
    notes = (f"{path.name}: {outlines_left_out(left_out, len(found), 'have no area')}",) if left_out else ()
    return Drawing(tuple(regions), None, notes)


def _features(content: Any) -> list[Any]:
    """Return the features of a collection, of a list, or the one that a feature or geometry alone is, with children."""
    if isinstance(content, dict) and content.get("type") in GEOMETRIES:
        return [{"geometry": content}]
    if isinstance(content, dict) and not {"features", "geometry"} & content.keys():
        raise ValueError(f"an object of {some_of(list(map(str, content)))}")
    features = content if isinstance(content, list) else list(content.get("features", [content]))
    return [one for feature in features for one in _with_children(feature)]


def _with_children(feature: Mapping[str, Any]) -> list[Any]:
    """Return a feature and all below it, which QuPath writes among its properties on wish."""
    properties = feature.get("properties") or {}
    below = [child for name in CHILDREN for child in properties.get(name) or ()]
    if not below:
        return [feature]
    own = {key: value for key, value in properties.items() if key not in CHILDREN}
    return [{**feature, "properties": own}, *(one for child in below for one in _with_children(child))]


def _region(feature: Mapping[str, Any]) -> Region | None:
    rings = united(_polygons(feature.get("geometry")))
    nucleus = united(_polygons(feature.get("nucleusGeometry")))
    properties, identity = _properties(feature)
    plane = (feature.get("geometry") or {}).get("plane") or {}
    if not rings:
        return None
    return Region(
        tuple(nucleus or rings),
        str(properties.get("name") or ""),
        _class_of(properties.get("classification")),
        properties,
        plane=(max(int(plane.get("t", 0)), 0), max(int(plane.get("z", 0)), 0)),  # QuPath writes -1 for every plane
        around=tuple(rings) if nucleus else (),
        identity=identity,
    )


def _properties(feature: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return properties as QuPath has written them since 0.4, whatever version wrote these, and the object's id."""
    found = dict(feature.get("properties") or {})
    identity = str(feature.get("id") or "")
    kinds = (found.get("objectType"), found.pop("object_type", None), KINDS.get(identity), found.get("type"))
    kind = next((str(kind) for kind in kinds if kind), "")
    if kind in KINDS.values() or "objectType" in found:
        found["objectType"] = kind
    numbers = found.get("measurements")
    if isinstance(numbers, list):
        found["measurements"] = {str(number["name"]): number["value"] for number in numbers}
    return found, "" if identity in KINDS else identity


def _class_of(stated: Any) -> str:
    """Return the name of a class in any form that QuPath reads: text, one name, several, or one with its parent."""
    if isinstance(stated, str) or not stated:
        return stated or ""
    names = stated.get("names") or [name for name in (_class_of(stated.get("parentClass")), stated.get("name")) if name]
    return OF_CLASS.join(map(str, names))


def _polygons(geometry: Mapping[str, Any] | None) -> list[list[np.ndarray]]:
    """Return the rings of each area of a geometry."""
    if geometry is None:
        return []
    if geometry["type"] == "GeometryCollection":
        return [polygon for part in geometry["geometries"] for polygon in _polygons(part)]
    stated = {"Polygon": [geometry["coordinates"]], "MultiPolygon": geometry["coordinates"]}.get(geometry["type"], [])
    found = []
    for polygon in stated:
        rings = [np.asarray(ring, float)[:, 1::-1] - CENTRE for ring in polygon]
        rings = [ring[:-1] if np.array_equal(ring[0], ring[-1]) else ring for ring in rings]
        if any(not np.isfinite(ring).all() for ring in rings):
            raise ValueError("a coordinate is not finite")
        found.append([ring for ring in rings if len(ring) >= 3])
    return [rings for outer, *holes in filter(None, found) if (rings := carved(outer, holes))]


def numbered(regions: list[Region]) -> list[Region]:
    """Give each region the number that is its name, where all names are different numbers."""
    names = [region.name for region in regions]
    numbers = [number_of(name) for name in names]
    if not numbers or min(numbers) < 1 or len(set(numbers)) < len(numbers):
        return regions
    return [replace(region, number=number) for region, number in zip(regions, numbers, strict=True)]


def _called(feature: Mapping[str, Any], position: int) -> str:
    name = (feature.get("properties") or {}).get("name") or f"feature {position + 1}"
    return f"{name} ({(feature.get('geometry') or {}).get('type', 'no place')})"


def is_geojson(path: Path) -> bool:
    """Whether the file's beginning looks like GeoJSON."""
    with path.open("rb") as file:
        head = file.read(4096).replace(b"\0", b"")  # of UTF-16
    return any(f'"{kind}"'.encode() in head for kind in TYPES)


def write_labels(
    path: Path,
    labels: Image | np.ndarray,
    *,
    group: str = "",
    measurements: Mapping[int, Mapping[str, float]] | None = None,
    object_type: str = "detection",
) -> None:
    """Write every object of a label map (H, W) as a QuPath object; reading it back gives the same pixels and ids.

    What an image read from outlines knows of its objects (``metadata["objects"]``: class, id, measurements) is kept.

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
    image = labels if isinstance(labels, Image) else None
    data = np.asarray(image.data if image is not None else labels)
    known = image.metadata.get(FACTS, {}) if image is not None else {}
    regions = []
    for index, region in outlines(data):
        if image is not None:
            region = replace(region, rings=tuple(to_picture(image, ring) for ring in region.rings))
        kept = known.get(str(index), {})
        numbers = (measurements or {}).get(index) or kept.get("measurements") or {}
        properties = {"objectType": kept.get("objectType") or object_type}
        properties |= {"measurements": {k: float(v) for k, v in numbers.items()}} if numbers else {}
        named = {"name": str(index), "group": group or kept.get("class", ""), "identity": kept.get("id", "")}
        regions.append(replace(region, **named, properties=properties))
    _write(path, regions)


def write_regions(path: Path, regions: Iterable[Region]) -> None:
    """Write outlines, however their rings wind, as QuPath objects; a ring inside another is a hole, and so on.

    Ids, kinds and measurements that regions have are kept; new ones are annotations.

    Raises
    ------
    WriteError
        If the file cannot be written.
    """
    wound = (replace(r, rings=tuple(_wound(r.rings)), around=tuple(_wound(r.around))) for r in regions)
    _write(path, wound)


def _write(path: Path, regions: Iterable[Region]) -> None:
    content = []
    for index, region in enumerate(regions, 1):
        properties = {"objectType": "annotation", **region.properties, "name": region.name}
        if region.group:
            shown = properties.get("classification")
            kept = shown if isinstance(shown, Mapping) and _class_of(shown) == region.group else _class(region.group)
            properties["classification"] = {"color": COLOUR, **kept}
        own = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{path.stem}/{region.number or index}"))
        feature: dict[str, Any] = {"type": "Feature", "id": region.identity or own}
        feature |= {"geometry": _geometry(region.around or region.rings, region.plane)}
        feature |= {"nucleusGeometry": _geometry(region.rings, region.plane)} if region.around else {}
        content.append({**feature, "properties": properties})
    write_text(path, json.dumps({"type": "FeatureCollection", "features": content}))


def _class(name: str) -> dict[str, Any]:
    names = name.split(OF_CLASS)
    return {"names": names} if len(names) > 1 else {"name": name}


def _wound(rings: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Turn rings so that outer ones wind one way and holes the other."""
    wound = []
    for k, ring in enumerate(rings):
        depth = sum(contains([other], ring[0]) for j, other in enumerate(rings) if j != k)
        wanted = OUTER_SIGN if depth % 2 == 0 else -OUTER_SIGN
        wound.append(ring if signed_area(ring) * wanted > 0 else ring[::-1])
    return wound


def _geometry(rings: Sequence[np.ndarray], plane: tuple[int, int] = (0, 0)) -> dict[str, Any]:
    """Group rings into polygons: outer rings wind one way (object on the left), holes the other."""
    place: dict[str, Any] = {"plane": {"c": -1, "z": plane[1], "t": plane[0]}} if any(plane) else {}
    outer = [ring for ring in rings if signed_area(ring) * OUTER_SIGN > 0]
    holes = [ring for ring in rings if signed_area(ring) * OUTER_SIGN <= 0]
    polygons = [[_closed(ring)] for ring in outer]
    for hole in holes:
        inside = [k for k, ring in enumerate(outer) if contains([ring], hole[0])]
        smallest = min(inside, key=lambda k: abs(signed_area(outer[k])), default=0)
        polygons[smallest].append(_closed(hole))
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0], **place}
    return {"type": "MultiPolygon", "coordinates": polygons, **place}


OUTER_SIGN = 1


def _closed(ring: np.ndarray) -> list[list[float]]:
    points = (ring[:, ::-1] + CENTRE).tolist()
    return [*points, points[0]]
