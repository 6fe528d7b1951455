"""Histology files: outlines of ImageScope, QuPath and ImageJ as label maps, whole slides as lazy pyramids.

RGB tiles and instance maps (png, tif, bmp, jpg) are plain pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.image import FACTS, FRAME, PIXEL, Image, um_per
from napari_medseg.io import slide
from napari_medseg.io.geometry import in_picture, matrix_of
from napari_medseg.io.outlines import geojson, imagej, imagescope
from napari_medseg.io.outlines.beside import MAX_PIXELS, PLACES, drawn_grid, extent_of, written_grid
from napari_medseg.io.outlines.polygons import (
    NAMED,
    Drawing,
    Overlap,
    Region,
    contains,
    draw,
    moved,
    outlines_left_out,
)
from napari_medseg.io.pairs import REGIONS

DRAWN = (".xml", ".geojson", ".json", *REGIONS)
PATTERNS = ("*.xml", "*.geojson", *(f"*{suffix}" for suffix in REGIONS), *(f"*{suffix}" for suffix in slide.SUFFIXES))
OBJECTS = ("detection", "cell")  # QuPath's kinds of objects, and of regions that hold such
CONTAINERS = ("annotation", "tile", "tma core", "tmaCore", "root")
IGNORED = "*"  # end of the names of classes that QuPath leaves out of what it counts
OTHER_LEVEL = 1.5  # two stated pixel sizes that differ more are of two levels of a slide; less, of two calibrations
BEYOND = 0.05  # share of a picture's side by which outlines may reach beyond it without a word


def matches(path: Path) -> bool:
    """Whether this reader takes `path`."""
    if not path.is_file():
        return False
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return imagescope.is_imagescope(path)
    if suffix in REGIONS:
        return imagej.is_imagej(path)
    if suffix in (".geojson", ".json"):
        return suffix == ".geojson" or geojson.is_geojson(path)
    return slide.is_slide(path)


def read(path: Path) -> list[Image]:
    """Read a slide, or the label map of an annotation file; of cells their nuclei first, then the cells."""
    if path.suffix.lower() not in DRAWN:
        return [slide.read_slide(path)]
    drawing = read_regions(path)
    labels = _labels(path, drawing)
    if not any(region.around for region in drawing.regions):
        return [labels]
    cells = tuple(replace(region, rings=region.around or region.rings, around=()) for region in drawing.regions)
    return [labels, _labels(path, replace(drawing, regions=cells)).replace(name=f"{path.stem}_cells")]


def read_regions(path: Path) -> Drawing:
    """Return the outlines of an annotation file."""
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return imagescope.read_regions(path)
    return imagej.read_regions(path) if suffix in REGIONS else geojson.read_regions(path)


def read_annotation(path: Path, on: Image | tuple[int, int] | None = None, overlap: Overlap = "first") -> Image:
    """Draw an annotation file as labels (16 bit, 32 bit above 65,535): the ids of the file, or 1 .. N.

    Regions of QuPath that hold detections are no objects, and what gets no pixel is named in the notes. Outlines on
    several planes become a stack. ``metadata["objects"]`` keeps class, id and measurements by label.

    Parameters
    ----------
    path
        ImageScope ``.xml`` or QuPath ``.geojson``.
    on
        The image (Y, X), or its height and width; by default the largest picture of the same stem
        (`pictures_beside`), else what it was written from, else the extent of the outlines. Outlines of another level
        of a slide, or of a picture that the image is a part of, are brought onto its pixels, with a note.
    overlap
        Whether the first or the last outline keeps the pixels of an overlap.

    Raises
    ------
    ReadError
        If the file is damaged, outlines too large an area, or several planes where `on` is one.
    """
    return _labels(path, read_regions(path), on, overlap)


def _labels(
    path: Path, drawing: Drawing, on: Image | tuple[int, int] | None = None, overlap: Overlap = "first"
) -> Image:
    """Draw outlines as labels (Y, X), or (T, Z, Y, X) where they lie on several planes; say what is left out."""
    grid = drawn_grid(path, drawing, on)
    drawing = onto(path, drawing, grid)
    counted, ignored = _not_ignored(drawing.regions)
    regions, held = _objects(counted)
    planes = sorted({region.plane for region in regions})
    if len(planes) > 1 and on is not None:
        raise ReadError(
            f"{path.name} holds outlines on {len(planes)} planes (t, z: {', '.join(map(str, planes[:NAMED]))}), but "
            "the image is one plane. Export the outlines of that plane."
        )
    size = grid.spatial_shape
    drawn = {plane: draw([r for r in regions if r.plane == plane], (size[0], size[1]), overlap) for plane in planes}
    notes = [*drawing.notes]
    if ignored:
        why = "are of a class that QuPath ignores (its name ends in *), no object"
        notes.append(f"{path.name}: {outlines_left_out(ignored, len(drawing.regions), why)}")
    if held:
        notes.append(f"{path.name}: {outlines_left_out(held, len(drawing.regions), 'hold other objects, no object')}")
    lost = [region.name or region.group or "without a name" for _, _, missing in drawn.values() for region in missing]
    if lost:
        notes.append(f"{path.name}: {outlines_left_out(lost, len(regions), 'got no pixel')}")
    owners = {label: region for _, kept, _ in drawn.values() for label, region in kept.items()}
    notes += [*_said_beyond(path, list(owners.values()), grid), *grid.metadata.get("notes", [])]
    data, axes = _stacked({plane: labels for plane, (labels, _, _) in drawn.items()}, (size[0], size[1]))
    metadata: dict[str, Any] = {"source_file": str(path), "regions": len(drawing.regions)}
    metadata |= {"notes": notes} if notes else {}
    metadata |= {FACTS: kept} if (kept := _kept(owners)) and len(planes) == 1 else {}
    more = len(axes) - 2
    metadata |= {} if more else {name: grid.metadata[name] for name in PLACES if name in grid.metadata}
    scale, units = (*(1.0,) * more, *grid.scale), (*(PIXEL,) * more, *grid.units)
    affine = None if more else grid.affine
    return Image(data, axes, scale, units, affine, kind="labels", name=path.stem, metadata=metadata)


def onto(path: Path, drawing: Drawing, grid: Image) -> Drawing:
    """Return outlines in the pixels of a grid (Y, X), with a note where these are not the pixels they were drawn on.

    Outlines that state another pixel size than the grid's picture were drawn on another level of the slide. On a part
    of a picture they count its own pixels where they fit into it, and the pixels of the whole picture where these lie
    on the part, or where the file was written here.
    """
    matrix, notes = in_picture(grid), [*drawing.notes]
    part = not np.array_equal(matrix, np.eye(3))
    steps = np.linalg.norm((np.asarray(grid.metadata[FRAME]) if part else matrix_of(grid))[:2, :2], axis=0)
    steps = steps * (um_per(grid.units[-1]) or 0.0)
    if drawing.microns and steps.all() and np.abs(np.log(drawing.microns / steps)).max() > math.log(OTHER_LEVEL):
        notes.append(
            f"{path.name}: the outlines count pixels of {drawing.microns:.4g} um, those of the picture have "
            f"{steps[0]:.4g} um; they were brought onto these."
        )
        factors = drawing.microns / steps
        drawing = moved(drawing, np.diag([*factors, 1.0]), (factors - 1) / 2)
    if part and drawing.regions:
        whole = moved(drawing, np.linalg.inv(matrix))
        fits = bool((np.array(extent_of(drawing.regions, 0)) <= np.add(grid.spatial_shape, 1)).all())
        of_whole = written_grid(path, drawing) is not None or (not fits and _touches(whole.regions, grid))
        drawing = whole if of_whole else drawing
        what = "the whole picture" if of_whole else "the part of the picture alone"
        notes.append(f"{path.name}: the outlines are taken to count the pixels of {what}.")
    return replace(drawing, notes=tuple(notes))


def _touches(regions: Sequence[Region], grid: Image) -> bool:
    """Whether the box of an outline shares a place with a grid."""
    boxes = [np.concatenate(region.rings) for region in regions]
    return any((box.max(0) > -0.5).all() and (box.min(0) < np.array(grid.spatial_shape) - 0.5).all() for box in boxes)


def _said_beyond(path: Path, regions: Sequence[Region], grid: Image) -> list[str]:
    """Say which outlines reach far beyond a whole picture, maybe a smaller copy of the one they were drawn on."""
    most = np.array(grid.spatial_shape) * (1 + BEYOND)
    over = [region for region in regions if (np.concatenate(region.rings).max(0) > most).any()]
    if not over or FRAME in grid.metadata:
        return []
    height, width = grid.spatial_shape
    names = [region.name or region.group or "without a name" for region in over]
    said = outlines_left_out(names, len(regions), f"reach beyond the picture of {width} x {height} pixels")
    return [f"{path.name}: {said} If it is a smaller copy of the one they were drawn on, all lie in wrong places."]


def _not_ignored(regions: Sequence[Region]) -> tuple[list[Region], list[str]]:
    """Return regions without those of classes as ``Ignore*`` and ``Region*``, and these's names; alone they count."""
    counted = [region for region in regions if not region.group.endswith(IGNORED)]
    if not counted:
        return list(regions), []
    return counted, [region.name or region.group for region in regions if region.group.endswith(IGNORED)]


def _objects(regions: Sequence[Region]) -> tuple[list[Region], list[str]]:
    """Return the objects among QuPath's regions, and the names of those that only hold objects."""
    cells = [region for region in regions if region.kind in OBJECTS]
    corners = np.array([region.rings[0][0] for region in cells]).reshape(-1, 2)
    found, held = [], []
    for region in regions:
        if cells and region.kind in CONTAINERS and _holds(region, corners):
            held.append(region.name or region.group or region.kind)
        else:
            found.append(region)
    return found, held


def _holds(region: Region, points: np.ndarray) -> bool:
    low, high = (getattr(np.concatenate(region.rings), end)(0) for end in ("min", "max"))
    near = points[((points >= low) & (points <= high)).all(1)]
    return any(contains(region.rings, point) for point in near)


def _stacked(drawn: dict[tuple[int, int], np.ndarray], shape: tuple[int, int]) -> tuple[np.ndarray, str]:
    """Return the labels of one plane (Y, X), or of several as a stack along T, Z or both."""
    if len(drawn) < 2:
        return next(iter(drawn.values()), np.zeros(shape, np.uint16)), "YX"
    size = np.max(list(drawn), axis=0) + 1
    if math.prod((*size, *shape)) > MAX_PIXELS:
        raise ReadError(
            f"The outlines lie on planes up to t {size[0] - 1}, z {size[1] - 1}, too many for one stack. Export fewer."
        )
    stack = np.zeros((*size, *shape), np.result_type(*drawn.values()))
    for plane, labels in drawn.items():
        stack[plane] = labels
    axes = "".join(axis for axis, n in zip("TZ", size, strict=True) if n > 1) + "YX"
    return stack.reshape([n for n in size if n > 1] + list(shape)), axes


def _kept(owners: dict[int, Region]) -> dict[str, dict[str, Any]]:
    """Return what is known of the objects besides their outlines, by label."""
    known = {}
    for label, region in owners.items():
        facts: dict[str, Any] = {
            "name": region.name,
            "class": region.group,
            "id": region.identity,
            "objectType": region.kind,
        }
        facts |= {"measurements": region.properties.get("measurements")}
        known[str(label)] = {key: value for key, value in facts.items() if value}
    return known if any(known.values()) else {}
