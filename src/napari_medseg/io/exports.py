"""Labels in the formats of other programs: QuPath GeoJSON, ImageJ ROI archive, OME-Zarr."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import WriteError, require
from napari_medseg.image import FACTS, PIXEL, SEGMENT_COLOURS, SEGMENT_NAMES, Image
from napari_medseg.io.files import replacing
from napari_medseg.io.geometry import to_picture
from napari_medseg.io.outlines.polygons import objects_of, outlines

CORNER = 0.5  # ImageJ counts from the outer corner of the first pixel
IMAGEJ_EDGE = 60_535
MOVE, LINE, CLOSE = 0, 1, 4  # segments of an ImageJ shape
SMALLEST_LEVEL = 256
CHUNK = {1: 256, 2: 256, 3: 64}
SPACE = "ZYX"
OME_VERSION, ZARR_FORMAT = "0.5", 3


def write_geojson(path: Path, image: Image) -> str:
    """Write the objects of a 2D label map as QuPath detections; reading gives the same pixels and ids.

    A mask of one value has as many objects as it has pieces, as when it is measured.
    """
    from napari_medseg.io.outlines import geojson

    _check_labels(path, image)
    if image.axes != "YX":
        raise WriteError(f"{path.name}: GeoJSON holds flat outlines, not labels with axes {image.axes}. Give a plane.")
    geojson.write_labels(path, image.replace(data=objects_of(image)))
    return image.axes


def write_rois(path: Path, image: Image) -> str:
    """Write one ImageJ region per object and plane; holes and loose parts are kept (ImageJ's composite regions)."""
    roifile = require("roifile", "export", "An ImageJ ROI archive")
    _check_labels(path, image)
    far = to_picture(image, np.array([image.data.shape[-2:]], float))
    if len(image.axes) > 3 or far.max() > IMAGEJ_EDGE:
        raise WriteError(
            f"{path.name}: ImageJ regions lie in planes of at most {IMAGEJ_EDGE} pixels; these labels have axes "
            f"{image.axes}, shape {image.data.shape} and reach to row {far[0, 0]:.0f}, column {far[0, 1]:.0f}. Write "
            "them as .geojson or .ome.zarr."
        )
    with replacing(path) as part:
        roifile.roiwrite(part, list(_rois(roifile, image)), mode="w")
    return image.axes


def _rois(roifile: Any, image: Image) -> Iterator[Any]:
    labels = objects_of(image)
    stack = labels if labels.ndim == 3 else labels[None]
    first = int(to_picture(image, np.zeros((1, 3)))[0, 0]) if labels.ndim == 3 else 0
    for plane, part in enumerate(stack):
        for index, region in outlines(part):
            rings = [to_picture(image, ring)[:, ::-1] + CORNER for ring in region.rings]
            roi = _composite(roifile, rings) if len(rings) > 1 else roifile.ImagejRoi.frompoints(rings[0])
            position = plane + 1 + first if labels.ndim == 3 else 0
            roi.name = f"{position:04}-{index:04}" if position else str(index)
            roi.position = position
            yield roi


def _composite(roifile: Any, rings: Sequence[np.ndarray]) -> Any:
    """Return a region of several outlines (n, 2) of (x, y), filled by the even-odd rule."""
    points = np.concatenate(rings)
    left, top = np.floor(points.min(0)).astype(int)
    right, bottom = np.ceil(points.max(0)).astype(int)
    path: list[float] = []
    for ring in rings:
        for index, (x, y) in enumerate(ring):
            path += [LINE if index else MOVE, x, y]
        path.append(CLOSE)
    roi = roifile.ImagejRoi()
    roi.roitype = roifile.ROI_TYPE.RECT
    roi.left, roi.top, roi.right, roi.bottom = int(left), int(top), int(right), int(bottom)
    roi.multi_coordinates = np.array(path, np.float32)
    roi.shape_roi_size = len(path)
    return roi


def write_zarr(path: Path, image: Image) -> str:
    """Write labels as OME-Zarr 0.5 (``image-label``) with a pyramid by every second pixel of Y and X.

    Their axes ascend in the world (`napari_medseg.io.geometry.along_axes`); their place is kept as a translation.
    """
    zarr = require("zarr", "export", "OME-Zarr")
    _check_labels(path, image)
    if path.exists() and not ((path / ".zgroup").is_file() or (path / "zarr.json").is_file()):
        raise WriteError(f"{path} exists and is no Zarr store. Choose another name.")
    with replacing(path) as part:
        levels = _pyramid(np.asarray(image.data))
        group = zarr.create_group(str(part), zarr_format=ZARR_FORMAT, attributes=ome_attributes(image, len(levels)))
        for index, data in enumerate(levels):
            edge = CHUNK[min(3, len([a for a in image.axes if a in SPACE]))]
            chunks = tuple(min(n, edge if a in SPACE else 1) for n, a in zip(data.shape, image.axes, strict=True))
            group.create_array(str(index), data=data, chunks=chunks, dimension_names=list(image.axes.lower()))
    return image.axes


def _pyramid(labels: np.ndarray) -> list[np.ndarray]:
    levels = [labels]
    while max(levels[-1].shape[-2:]) > SMALLEST_LEVEL:
        levels.append(np.ascontiguousarray(levels[-1][..., ::2, ::2]))
    return levels


def ome_attributes(image: Image, levels: int) -> dict[str, Any]:
    """Return the OME-Zarr 0.5 attributes of a pyramid of `levels` by every second pixel of Y and X.

    Every level begins at the same pixel, so all have the translation that `image`'s affine states.
    """
    kinds = {"T": "time", "C": "channel"}
    steps = dict(zip(image.spatial_axes, zip(image.scale, image.units, strict=True), strict=True))
    axes = [
        {"name": a.lower(), "type": kinds.get(a, "space")}
        | ({"unit": steps[a][1]} if a in steps and steps[a][1] != PIXEL else {})
        for a in image.axes
    ]
    place = {} if image.affine is None else dict(zip(image.spatial_axes, image.affine[:-1, -1].tolist(), strict=True))
    moved = (
        [{"type": "translation", "translation": [place.get(a, 0.0) for a in image.axes]}] if any(place.values()) else []
    )
    datasets = []
    for level in range(levels):
        scale = [steps[a][0] * 2**level if a in "YX" else steps.get(a, (1.0,))[0] for a in image.axes]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}, *moved]})
    scales = {"name": image.name, "axes": axes, "datasets": datasets}
    label = {"image-label": {"version": OME_VERSION, **_labelled(image)}} if image.kind == "labels" else {}
    return {"ome": {"version": OME_VERSION, "multiscales": [scales], **label}}


def _labelled(image: Image) -> dict[str, Any]:
    """Return what ``image-label`` states of labels: their colours, and names, classes and numbers as properties."""
    names, facts, shown = (image.metadata.get(key, {}) for key in (SEGMENT_NAMES, FACTS, SEGMENT_COLOURS))
    properties = []
    for label in sorted({*names, *facts}, key=int):
        known = dict(facts.get(label, {}))
        numbers = known.pop("measurements", None) or {}
        named = {"name": names[label]} if label in names and names[label] != known.get("class") else {}
        properties.append({"label-value": int(label), **named, **known, **numbers})
    colours = [
        {"label-value": int(label), "rgba": [*map(int, shown[label][:3]), 255]} for label in sorted(shown, key=int)
    ]
    return {**({"colors": colours} if colours else {}), **({"properties": properties} if properties else {})}


def _check_labels(path: Path, image: Image) -> None:
    if image.kind != "labels":
        raise WriteError(f"{path.name}: this format is for labels, {image.name!r} is an image. Write it as .tif.")
