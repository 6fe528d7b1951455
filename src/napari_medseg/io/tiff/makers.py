"""Pixel sizes that programs of makers state in places of their own: Aperio, MetaMorph, Olympus SIS, Micro-Manager."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from napari_medseg.image import um_per
from napari_medseg.io.tiff.ome import Steps, number_of
from napari_medseg.io.tiff.pages import main_page

MPP = re.compile(r"\|\s*MPP\s*=\s*([\d.]+)")
MICRO_MANAGER = 51123  # tag


def maker_steps(tiff: Any) -> Steps:
    """Return the steps along X and Y that a maker states in its own words, none where they are not known."""
    try:
        sizes = _sizes(tiff)
    except Exception:  # tifffile raises anything on odd tags of makers; the picture is there all the same
        return {}
    x, y = (number_of(size) for size in sizes)
    return {"X": (x, "micrometer"), "Y": (y or x, "micrometer")} if x > 0 else {}


def _sizes(tiff: Any) -> tuple[Any, Any]:
    """Return width and height of a pixel in micrometres, 0 where they are not stated."""
    page = main_page(tiff)
    if page.description.startswith("Aperio") and (found := MPP.search(page.description)):
        return found[1], found[1]
    if tiff.is_metaseries:
        return _calibrated(tiff.metaseries_metadata.get("PlaneInfo", {}))
    if known := tiff.sis_metadata:
        return 1e6 * number_of(known.get("pixelsizex")), 1e6 * number_of(known.get("pixelsizey"))
    stated = page.tags.valueof(MICRO_MANAGER)
    size = stated.get("PixelSizeUm", 0.0) if isinstance(stated, dict) else 0.0
    return size, size


def _calibrated(plane: Mapping[str, Any]) -> tuple[float, float]:
    """Return the size that MetaMorph states of a pixel, unless its calibration is off."""
    unit = um_per(plane.get("spatial-calibration-units", ""))
    if not unit or plane.get("spatial-calibration-state") is False:
        return 0.0, 0.0
    x, y = (unit * number_of(plane.get(f"spatial-calibration-{axis}")) for axis in "xy")
    return x, y
