"""The grid that outlines are drawn on: of the picture beside them, the labels they were made of, or their extent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import DataError, ReadError
from napari_medseg.image import FRAME, PIXEL, Image
from napari_medseg.io import plain, slide
from napari_medseg.io.geometry import FIRST, LEVEL, PART, STEP, matrix_of
from napari_medseg.io.outlines.polygons import Drawing, Region
from napari_medseg.io.pairs import IMAGE_FOLDERS, inner_folder
from napari_medseg.io.pictures import ON_ITS_SIDE, PICTURES, UPRIGHT, picture_size
from napari_medseg.io.sidecar import load
from napari_medseg.io.tiff.files import TIFF_SUFFIXES
from napari_medseg.io.tiff.ome import Place, Steps
from napari_medseg.io.tiff.pages import main_page
from napari_medseg.io.tiff.stack import turn_of, turned_steps
from napari_medseg.io.tiff.steps import affine_of, place_of, steps_of, with_units

PICTURED = (*PICTURES, ".ome.tif", ".ome.tiff", *slide.SUFFIXES)  # suffixes of pictures that outlines may lie beside
MAX_PIXELS = 2**31  # of a label map in memory
MAX_EXTENT = 2**28  # of outlines without a picture: a larger one is a wrong coordinate more often than a slide
PLACES = (FRAME, LEVEL, PART)  # what metadata say of a part of a picture


def drawn_grid(path: Path, drawing: Drawing, on: Image | tuple[int, int] | None = None) -> Image:
    """Return empty labels (Y, X) with the size and pixel size that outlines are drawn on.

    The size is that of `on`, of the picture beside `path`, that which the file was written with, or the outlines'
    extent; place and pixel size those of `on`, else of the picture or the written labels, else of the outlines.
    """
    given = on if isinstance(on, Image) else None
    shape = given.spatial_shape if given is not None else on if isinstance(on, tuple) else None
    beside = _picture_grid(path)
    written = written_grid(path, drawing)
    known = beside or written
    size = shape or (known.spatial_shape if known else extent_of(drawing.regions))
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
    """Say that nothing states the size of the picture, where that is so."""
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


def written_grid(path: Path, drawing: Drawing) -> Image | None:
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
        extent = extent_of(drawing.regions, border=0) if drawing.regions else (1, 1)
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
        return drawn_grid(path, drawing).replace(name=path.stem, metadata={"source_file": str(path)})
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


def extent_of(regions: Sequence[Region], border: int = 1) -> tuple[int, int]:
    """Return the size (Y, X) that outlines need, with a border of so many pixels at the end of each axis."""
    if not regions:
        return 1, 1
    high = np.max([ring.max(0) for region in regions for ring in (*region.rings, *region.around)], axis=0)
    return max(int(np.ceil(high[0])) + border, 1), max(int(np.ceil(high[1])) + border, 1)
