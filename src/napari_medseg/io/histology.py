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

from napari_medseg.errors import DataError, ReadError
from napari_medseg.image import FACTS, FRAME, PIXEL, Image, um_per
from napari_medseg.io import plain, slide
from napari_medseg.io.geometry import FIRST, LEVEL, PART, STEP, in_picture, matrix_of
from napari_medseg.io.outlines import geojson, imagej, imagescope
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
from napari_medseg.io.pairs import IMAGE_FOLDERS, REGIONS, inner_folder
from napari_medseg.io.pictures import ON_ITS_SIDE, PICTURES, UPRIGHT, picture_size
from napari_medseg.io.sidecar import load
from napari_medseg.io.tiff.files import TIFF_SUFFIXES
from napari_medseg.io.tiff.ome import Place, Steps
from napari_medseg.io.tiff.pages import main_page
from napari_medseg.io.tiff.stack import turn_of, turned_steps
from napari_medseg.io.tiff.steps import affine_of, place_of, steps_of, with_units

DRAWN = (".xml", ".geojson", ".json", *REGIONS)
PATTERNS = ("*.xml", "*.geojson", *(f"*{suffix}" for suffix in REGIONS), *(f"*{suffix}" for suffix in slide.SUFFIXES))
PICTURED = (*PICTURES, ".ome.tif", ".ome.tiff", *slide.SUFFIXES)  # suffixes of pictures that outlines may lie beside
OBJECTS = ("detection", "cell")  # QuPath's kinds of objects, and of regions that hold such
CONTAINERS = ("annotation", "tile", "tma core", "tmaCore", "root")
IGNORED = "*"  # end of the names of classes that QuPath leaves out of what it counts
MAX_PIXELS = 2**31
MAX_EXTENT = 2**28  # of outlines without a picture: a larger one is a wrong coordinate more often than a slide
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
    grid = _grid(path, drawing, on)
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
        fits = bool((np.array(_extent(drawing.regions, 0)) <= np.add(grid.spatial_shape, 1)).all())
        of_whole = _written_grid(path, drawing) is not None or (not fits and _touches(whole.regions, grid))
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


PLACES = (FRAME, LEVEL, PART)  # what metadata say of a part of a picture


def _grid(path: Path, drawing: Drawing, on: Image | tuple[int, int] | None = None) -> Image:
    """Return empty labels (Y, X) with the size and pixel size that outlines are drawn on.

    The size is that of `on`, of the picture beside `path`, that which the file was written with, or the outlines'
    extent; place and pixel size those of `on`, else of the picture or the written labels, else of the outlines.
    """
    given = on if isinstance(on, Image) else None
    shape = given.spatial_shape if given is not None else on if isinstance(on, tuple) else None
    beside = _picture_grid(path)
    written = _written_grid(path, drawing)
    known = beside or written
    size = shape or (known.spatial_shape if known else _extent(drawing.regions))
    if size[0] * size[1] > (MAX_PIXELS if shape or known else MAX_EXTENT):
        raise ReadError(
            f"{path.name} outlines an area of {size[0]}x{size[1]} pixels, too large for one label map. Cut tiles of "
            "the slide and annotate these."
        )
    fitting = [grid for grid in (given, beside, written) if grid and grid.spatial_shape == size]
    measured = [grid for grid in fitting if _states_place(grid)]
    scale, units = (measured[0].scale, measured[0].units) if measured else ((1.0, 1.0), (PIXEL, PIXEL))
    affine = measured[0].affine if measured else None
    if drawing.microns and not measured:
        scale, units = (drawing.microns,) * 2, ("micrometer",) * 2
    nothing = np.broadcast_to(np.uint8(0), size)
    about: dict[str, Any] = {"source_file": str(path)}
    about |= {name: measured[0].metadata[name] for name in PLACES if measured and name in measured[0].metadata}
    about |= {"notes": said} if (said := [*_said_of_size(path, shape, known), *_said_of_others(path, shape)]) else {}
    return Image(nothing, "YX", scale, units, affine, kind="labels", name=path.stem, metadata=about)


def _said_of_size(path: Path, shape: tuple[int, ...] | None, known: Image | None) -> list[str]:
    if shape or known:
        return []
    return [
        f"{path.name} does not state the size of its picture: the labels reach as far as its outlines, and density "
        "and covered share count that area. Lay the picture beside it, or give it too."
    ]


def _said_of_others(path: Path, shape: tuple[int, ...] | None) -> list[str]:
    """Say on which of several pictures of its name outlines are drawn, if these differ in size."""
    found = (
        {} if shape or len(pictures_beside(path)) < 2 else {picture.name: grid for picture, grid in _grids_beside(path)}
    )
    if len({grid.spatial_shape for grid in found.values()}) < 2:
        return []
    first, *others = found
    return [f"{path.name}: the outlines are drawn on {first}, which is larger than {', '.join(others)}."]


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
    """Return empty labels with the size, pixel size and place of the picture beside `path`, so that outlines lie on it.

    Without a picture they have the pixel size that the outlines state, or were written with.
    """
    beside = _picture_grid(path)
    if beside is None:
        return _grid(path, drawing).replace(name=path.stem, metadata={"source_file": str(path)})
    known = {name: beside.metadata[name] for name in PLACES if name in beside.metadata}
    return beside.replace(kind="labels", name=path.stem, metadata={"source_file": str(path), **known})


def pictures_beside(path: Path) -> list[Path]:
    """Return the pictures of the same stem in the folder of `path`, or in the folder of images beside that one."""
    places = path.parent, inner_folder(path.parent.parent, IMAGE_FOLDERS)
    for place in places:
        named = [place / f"{path.stem}{suffix}" for suffix in PICTURED] if place else []
        if found := [picture for picture in named if picture.is_file()]:
            return found
    return []


def _picture_grid(path: Path) -> Image | None:
    """Return the grid (Y, X) of the largest picture beside `path`, ``None`` where there is none.

    Outlines count pixels of full resolution, of which thumbnails may lie there too.
    """
    return next((grid for _, grid in _grids_beside(path)), None)


def _grids_beside(path: Path) -> list[tuple[Path, Image]]:
    """Return the pictures beside `path` whose header can be read, and their grids (Y, X), the largest first."""
    found = [(picture, grid) for picture in pictures_beside(path) if (grid := _grid_of(picture)) is not None]
    return sorted(found, key=lambda one: -math.prod(one[1].spatial_shape))


def _grid_of(picture: Path) -> Image | None:
    """Return the grid (Y, X) of a picture by its header."""
    affine = None
    if slide.is_slide(picture):
        known = slide.read_slide(picture)
        shape, scale, units, affine = known.spatial_shape, known.scale, known.units, known.affine
    elif (saved := load(picture)) is not None and "YX" in saved.get("axes", ""):
        known = plain.read(picture)[0]
        if known.spatial_axes == "YX":
            nothing = np.broadcast_to(np.uint8(0), known.spatial_shape)
            return known.replace(data=nothing, axes="YX", kind="labels", channels=())
        shape, scale, units = known.spatial_shape[-2:], known.scale[-2:], known.units[-2:]
    else:
        try:
            shape, steps, place = _header(picture)
        except (OSError, ValueError, KeyError, IndexError):
            return None
        scale, units = with_units(steps, "YX")
        affine = affine_of(place, scale, units, "YX")
    return Image(np.broadcast_to(np.uint8(0), shape), "YX", scale, units, affine)


def _header(picture: Path) -> tuple[tuple[int, int], Steps, Place]:
    """Return size, pixel size and place of a picture, upright, by its header."""
    if picture.suffix.lower() not in TIFF_SUFFIXES:
        return picture_size(picture), {}, {}
    import tifffile

    try:
        with tifffile.TiffFile(picture) as file:
            page = main_page(file)
            turn, steps = turn_of(file, page), steps_of(file)
            sides = (page.imagelength, page.imagewidth)
            place, _ = place_of(file, 0, steps) if turn == UPRIGHT else (Place(), ())
            return sides[::-1] if turn in ON_ITS_SIDE else sides, turned_steps(steps, turn), place
    except tifffile.TiffFileError as error:
        raise ValueError(str(error)) from error


def _extent(regions: Sequence[Region], border: int = 1) -> tuple[int, int]:
    if not regions:
        return 1, 1
    high = np.max([ring.max(0) for region in regions for ring in (*region.rings, *region.around)], axis=0)
    return max(int(np.ceil(high[0])) + border, 1), max(int(np.ceil(high[1])) + border, 1)
