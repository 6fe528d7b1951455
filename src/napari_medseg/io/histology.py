"""Histology files: ImageScope XML and QuPath GeoJSON as label maps, whole slides as lazy pyramids.

RGB tiles and instance maps (png, tif, bmp, jpg) are plain pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import DataError, ReadError
from napari_medseg.image import FRAME, PIXEL, Image
from napari_medseg.io import plain, slide, tiff
from napari_medseg.io.geometry import FIRST, STEP, matrix_of
from napari_medseg.io.outlines import geojson, imagescope
from napari_medseg.io.outlines.polygons import NAMED, Drawing, Overlap, Region, contains, draw, outlines_left_out
from napari_medseg.io.pairs import IMAGE_FOLDERS, inner_folder
from napari_medseg.io.pictures import picture_size
from napari_medseg.io.sidecar import load

PATTERNS = ("*.xml", "*.geojson", *(f"*{suffix}" for suffix in slide.SUFFIXES))
PICTURES = (".png", ".tif", ".tiff", ".ome.tif", ".ome.tiff", ".bmp", ".jpg", ".jpeg", *slide.SUFFIXES)
OBJECTS = ("detection", "cell")  # QuPath's kinds of objects, and of regions that hold such
CONTAINERS = ("annotation", "tile", "tma core", "tmaCore", "root")
MAX_PIXELS = 2**31
MAX_EXTENT = 2**28  # of outlines without a picture: a larger one is a wrong coordinate more often than a slide


def matches(path: Path) -> bool:
    """Whether this reader takes `path`."""
    if not path.is_file():
        return False
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return imagescope.is_imagescope(path)
    if suffix in (".geojson", ".json"):
        return suffix == ".geojson" or geojson.is_geojson(path)
    return slide.is_slide(path)


def read(path: Path) -> list[Image]:
    """Read a slide, or the label map of an annotation file; of cells their nuclei first, then the cells."""
    if path.suffix.lower() not in (".xml", ".geojson", ".json"):
        return [slide.read_slide(path)]
    drawing = read_regions(path)
    labels = _labels(path, drawing)
    if not any(region.around for region in drawing.regions):
        return [labels]
    cells = tuple(replace(region, rings=region.around or region.rings, around=()) for region in drawing.regions)
    return [labels, _labels(path, replace(drawing, regions=cells)).replace(name=f"{path.stem}_cells")]


def read_regions(path: Path) -> Drawing:
    """Return the outlines of an annotation file."""
    return imagescope.read_regions(path) if path.suffix.lower() == ".xml" else geojson.read_regions(path)


def read_annotation(path: Path, shape: tuple[int, int] | None = None, overlap: Overlap = "first") -> Image:
    """Draw an annotation file as labels (16 bit, 32 bit above 65,535): the ids of the file, or 1 .. N.

    Regions of QuPath that hold detections are no objects, and what gets no pixel is named in the notes. Outlines on
    several planes become a stack. ``metadata["objects"]`` keeps class, id and measurements by label.

    Parameters
    ----------
    path
        ImageScope ``.xml`` or QuPath ``.geojson``.
    shape
        Height and width of the image; by default those of the picture of the same stem (`picture_beside`), else those
        it was written with, else the extent of the outlines.
    overlap
        Whether the first or the last outline keeps the pixels of an overlap.

    Raises
    ------
    ReadError
        If the file is damaged, outlines too large an area, or several planes where `shape` is one.
    """
    return _labels(path, read_regions(path), shape, overlap)


def _labels(path: Path, drawing: Drawing, shape: tuple[int, int] | None = None, overlap: Overlap = "first") -> Image:
    regions, held = _objects(drawing.regions)
    grid = _grid(path, drawing, shape)
    planes = sorted({region.plane for region in regions})
    if len(planes) > 1 and shape is not None:
        raise ReadError(
            f"{path.name} holds outlines on {len(planes)} planes (t, z: {', '.join(map(str, planes[:NAMED]))}), but "
            "the image is one plane. Export the outlines of that plane."
        )
    size = grid.spatial_shape
    drawn = {plane: draw([r for r in regions if r.plane == plane], (size[0], size[1]), overlap) for plane in planes}
    notes = [*drawing.notes]
    if held:
        notes.append(f"{path.name}: {outlines_left_out(held, len(drawing.regions), 'hold other objects, no object')}")
    lost = [region.name or region.group or "without a name" for _, _, missing in drawn.values() for region in missing]
    if lost:
        notes.append(f"{path.name}: {outlines_left_out(lost, len(regions), 'got no pixel')}")
    notes += grid.metadata.get("notes", [])
    data, axes = _stacked({plane: labels for plane, (labels, _, _) in drawn.items()}, (size[0], size[1]))
    owners = {label: region for _, kept, _ in drawn.values() for label, region in kept.items()}
    metadata: dict[str, Any] = {"source_file": str(path), "regions": len(drawing.regions)}
    metadata |= {"notes": notes} if notes else {}
    metadata |= {"objects": kept} if (kept := _kept(owners)) and len(planes) == 1 else {}
    more = len(axes) - 2
    scale, units = (*(1.0,) * more, *grid.scale), (*(PIXEL,) * more, *grid.units)
    affine = None if more else grid.affine
    return Image(data, axes, scale, units, affine, kind="labels", name=path.stem, metadata=metadata)


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


def _grid(path: Path, drawing: Drawing, shape: tuple[int, int] | None = None) -> Image:
    """Return empty labels (Y, X) with the size and pixel size that outlines are drawn on.

    The size is `shape`, that of the picture beside `path`, that which the file was written with, or the outlines'
    extent; the pixel size that of the outlines, else of the picture or the written labels.
    """
    beside = _picture_grid(path)
    written = _written_grid(path, drawing)
    known = beside or written
    size = shape or (known.spatial_shape if known else _extent(drawing.regions))
    if size[0] * size[1] > (MAX_PIXELS if shape or known else MAX_EXTENT):
        raise ReadError(
            f"{path.name} outlines an area of {size[0]}x{size[1]} pixels, too large for one label map. Cut tiles of "
            "the slide and annotate these."
        )
    measured = [grid for grid in (beside, written) if grid and _states_place(grid) and grid.spatial_shape == size]
    scale, units = (measured[0].scale, measured[0].units) if measured else ((1.0, 1.0), (PIXEL, PIXEL))
    affine = measured[0].affine if measured else None
    if drawing.microns and not measured:
        scale, units = (drawing.microns,) * 2, ("micrometer",) * 2
    nothing = np.broadcast_to(np.uint8(0), size)
    about: dict[str, Any] = {"source_file": str(path)}
    if not (shape or known):
        about["notes"] = [
            f"{path.name} does not state the size of its picture: the labels reach as far as its outlines, and density "
            "and covered share count that area. Lay the picture beside it, or give it too."
        ]
    return Image(nothing, "YX", scale, units, affine, kind="labels", name=path.stem, metadata=about)


def _states_place(grid: Image) -> bool:
    return grid.calibrated or grid.affine is not None or grid.scale != (1.0, 1.0)


def _written_grid(path: Path, drawing: Drawing) -> Image | None:
    """Return the grid of the labels that `path` was written from, if its outlines still lie on it."""
    saved = load(path)
    try:
        if saved is None or saved["axes"] != "YX":
            return None
        known = saved["metadata"]
        first = known.get(FIRST, (0, 0))
        steps = known.get(STEP, (1, 1))
        sizes = zip(saved["shape"], steps, first, strict=True)
        shape = tuple(int(np.ceil(at + (n - 0.5) * step + 0.5)) for n, step, at in sizes)
        extent = _extent(drawing.regions, border=0) if drawing.regions else (1, 1)
        if extent[0] > shape[0] + 1 or extent[1] > shape[1] + 1:
            return None
        nothing = np.broadcast_to(np.uint8(0), shape)
        grid = Image(nothing, "YX", tuple(saved["scale"]), tuple(saved["units"]))
        frame = np.array(known[FRAME], float) if FRAME in known else matrix_of(grid)
        return grid if np.allclose(frame, matrix_of(grid)) else grid.replace(affine=frame)
    except (KeyError, TypeError, ValueError, IndexError, DataError):
        return None


def grid_beside(path: Path, drawing: Drawing) -> Image:
    """Return empty labels with the size and pixel size of the picture beside `path`, so that outlines lie on it.

    Without a picture they have the pixel size that the outlines state, or were written with.
    """
    beside = _picture_grid(path)
    grid = beside or _grid(path, drawing)
    return grid.replace(kind="labels", name=path.stem, metadata={"source_file": str(path)})


def picture_beside(path: Path) -> Path | None:
    """Return the picture of the same stem in the folder of `path`, or in the folder of images beside that one."""
    places = path.parent, inner_folder(path.parent.parent, IMAGE_FOLDERS)
    candidates = (place / f"{path.stem}{suffix}" for place in places if place for suffix in PICTURES)
    return next((p for p in candidates if p.is_file()), None)


def _picture_grid(path: Path) -> Image | None:
    """Return the grid (Y, X) of the picture beside `path` by its header, ``None`` where there is none."""
    picture = picture_beside(path)
    if picture is None:
        return None
    if slide.is_slide(picture):
        known = slide.read_slide(picture)
        shape, scale, units = known.spatial_shape, known.scale, known.units
    elif (saved := load(picture)) is not None and "YX" in saved.get("axes", ""):
        known = plain.read(picture)[0]
        shape, scale, units = known.spatial_shape[-2:], known.scale[-2:], known.units[-2:]
    else:
        try:
            shape, steps = _header(picture)
        except (OSError, ValueError, KeyError, IndexError):
            return None
        scale, units = tiff.with_units(steps, "YX")
    return Image(np.broadcast_to(np.uint8(0), shape), "YX", scale, units)


def _header(picture: Path) -> tuple[tuple[int, int], tiff.Steps]:
    """Return size and pixel size of a picture by its header."""
    if picture.suffix.lower() not in tiff.SUFFIXES:
        return picture_size(picture), {}
    import tifffile

    try:
        with tifffile.TiffFile(picture) as file:
            page = file.pages[0]
            return (page.imagelength, page.imagewidth), tiff.steps_of(file)
    except tifffile.TiffFileError as error:
        raise ValueError(str(error)) from error


def _extent(regions: Sequence[Region], border: int = 1) -> tuple[int, int]:
    if not regions:
        return 1, 1
    high = np.max([ring.max(0) for region in regions for ring in (*region.rings, *region.around)], axis=0)
    return max(int(np.ceil(high[0])) + border, 1), max(int(np.ceil(high[1])) + border, 1)
