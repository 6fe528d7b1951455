"""Regions of ImageJ (``.roi``, and ``.zip`` of the ROI Manager) as outlines.

ImageJ counts from the outer corner of the first pixel, and slices, frames and channels from 1; 0 is every one.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError, one_line, require, some_of
from napari_medseg.io.outlines.geojson import numbered
from napari_medseg.io.outlines.polygons import NAMED, Drawing, Region, ellipse, outlines_left_out

CORNER = 0.5
RECTANGLE, OVAL = 1, 2
AREAS = (0, RECTANGLE, OVAL, 7, 8)  # polygon, freehand and traced; others are lines, angles and points


def is_imagej(path: Path) -> bool:
    """Whether a file is a region of ImageJ by its first bytes, or an archive of some by the names in it."""
    if path.suffix.lower() == ".roi":
        with path.open("rb") as file:
            return file.read(4) == b"Iout"
    if path.suffix.lower() != ".zip":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.lower().endswith(".roi") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def read_regions(path: Path) -> Drawing:
    """Return the areas of a file of ImageJ, numbered by their names where all names are different numbers.

    Raises
    ------
    ReadError
        If the file is damaged, or holds no areas but lines or points.
    MissingDependencyError
        If ``roifile`` is not installed.
    """
    roifile = require("roifile", "export", "Reading regions of ImageJ")
    try:
        found = roifile.roiread(path)
        rois = found if isinstance(found, list) else [found]
        areas = [(roi, _rings(roi)) for roi in rois]
    except Exception as error:  # the library raises anything on damaged files
        raise ReadError(f"{path.name} is a damaged file of ImageJ regions ({one_line(error, 80)}).") from error
    regions = [
        Region(tuple(rings), roi.name or "", plane=_plane(roi))
        for roi, rings in areas
        if all(map(len, rings)) and rings
    ]
    left_out = [roi.name or f"region {k}" for k, (roi, rings) in enumerate(areas, 1) if not rings]
    if not regions:
        raise ReadError(
            f"{path.name}: none of its {len(areas)} regions encloses anything ({some_of(left_out, NAMED)}). Save "
            "outlines, not lines or points."
        )
    notes = (f"{path.name}: {outlines_left_out(left_out, len(areas))}",) if left_out else ()
    return Drawing(tuple(numbered(regions)), None, notes)


def _rings(roi: Any) -> list[np.ndarray]:
    """Return the rings (n, 2) of an area as (y, x), whose even-odd area it is; none of what has no area."""
    if roi.multi_coordinates is not None:
        rings = roi.coordinates(multi=True)
    elif int(roi.roitype) not in AREAS:
        return []
    elif int(roi.roitype) in (RECTANGLE, OVAL):
        top, left, bottom, right = _box(roi)
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
        rings = [corners if int(roi.roitype) == RECTANGLE else ellipse(corners)]
    else:
        rings = [roi.coordinates()]
    rings = [np.asarray(ring, float)[:, ::-1] - CORNER for ring in rings]
    return [ring for ring in rings if len(ring) >= 3]


def _box(roi: Any) -> tuple[float, float, float, float]:
    """Return the sides of a rectangle or oval, of fractions of pixels where it states them."""
    if roi.subpixelrect:
        return roi.yd, roi.xd, roi.yd + roi.heightd, roi.xd + roi.widthd
    return roi.top, roi.left, roi.bottom, roi.right


def _plane(roi: Any) -> tuple[int, int]:
    """Return frame and slice, from 0; of a plain stack the position is the slice."""
    return max(roi.t_position - 1, 0), max((roi.z_position or roi.position) - 1, 0)
