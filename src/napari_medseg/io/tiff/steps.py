"""Pixel sizes, time steps and places that TIFF files state (OME, ImageJ, resolution tags)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_medseg.image import PIXEL, seconds_per, um_per
from napari_medseg.io.tiff.makers import maker_steps
from napari_medseg.io.tiff.ome import Place, Steps, number_of, ome_image, ome_place, ome_steps, signed_of
from napari_medseg.io.tiff.pages import main_page

UNITS = {2: 25_400.0, 3: 10_000.0, 4: 1_000.0, 5: 1.0}  # values of the tag ResolutionUnit and their micrometres
INCH = 2
PRINTED = (1.0, 2.54, 72.0, 96.0, 100.0, 150.0, 200.0, 300.0, 600.0)  # per inch: what programs write knowing nothing
NO_PLANE_DISTANCE = "The file states the size of pixels but not the distance of planes; volumes are in voxels."
ONE_SIDE_STATED = "The file states the pixel size along one side only; the pixels are taken as square."


def steps_of(tiff: Any, series: int = 0) -> Steps:
    """Return what a TIFF states of the steps along its axes: OME, else ImageJ, its maker, the resolution tags."""
    if tiff.is_ome:
        return ome_steps(ome_image(tiff, series))
    stated = tiff.imagej_metadata or {}
    tags = main_page(tiff).tags
    counts = _resolution(tags)
    if um_per(stated.get("unit")) == um_per("inch") and any(c > 0 and is_printed(25_400 / c) for c in counts):
        stated = {key: value for key, value in stated.items() if key not in ("unit", "yunit", "zunit")}
    steps: Steps = {}
    for axis, count in zip("XY", counts, strict=True):
        unit = um_per(stated.get("yunit", stated.get("unit")) if axis == "Y" else stated.get("unit"))
        if unit is not None and count > 0:
            steps[axis] = unit / count, "micrometer"
    if "X" not in steps or "Y" not in steps:
        steps = maker_steps(tiff) or resolution_steps(tags)
    unit = um_per(stated.get("zunit", stated.get("unit")))
    if unit is not None and number_of(stated.get("spacing")) > 0:
        steps["Z"] = number_of(stated["spacing"]) * unit, "micrometer"
    second = seconds_per(stated.get("tunit", "s"))
    if second is not None and number_of(stated.get("finterval")) > 0:
        steps["T"] = number_of(stated["finterval"]) * second, "second"
    return steps


def unknown_time_unit(tiff: Any) -> str:
    """Return the unit of ImageJ's time between frames where it is no known one, else ``""``."""
    stated = tiff.imagej_metadata or {}
    unit = str(stated.get("tunit", "s"))
    return unit if number_of(stated.get("finterval")) > 0 and seconds_per(unit) is None else ""


def resolution_steps(tags: Any) -> Steps:
    """Return the pixel size of the tags XResolution, YResolution and ResolutionUnit.

    Resolutions of screens and printers, which programs write that know nothing, are no pixel size.
    """
    um = _microns_of_unit(tags)
    counts = _resolution(tags)
    if um is None or any(count <= 0 or is_printed(um / count) for count in counts):
        return {}
    return {axis: (um / count, "micrometer") for axis, count in zip("XY", counts, strict=True)}


def is_printed(microns: float) -> bool:
    """Whether a pixel size is that of a screen or a printer: 72, 96, 300 per inch, or that in whole ones per cm."""
    return any(math.isclose(25_400 / microns, count, rel_tol=0.015) for count in PRINTED)


def _resolution(tags: Any) -> tuple[float, float]:
    """Return the pixels per unit along X and Y, 0 where it is not stated."""
    x, y = (_fraction(tags[name].value) if name in tags else 0.0 for name in ("XResolution", "YResolution"))
    return x, y or x


def _microns_of_unit(tags: Any) -> float | None:
    """Return the micrometres of the tag ResolutionUnit, ``None`` where it is none of length."""
    unit = int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else INCH
    return UNITS.get(unit)


def _fraction(value: Any) -> float:
    """Return a rational number of a tag, 0 for what is none."""
    return value[0] / value[1] if isinstance(value, tuple) and len(value) == 2 and value[1] else 0.0


def place_of(tiff: Any, series: int, steps: Steps) -> tuple[Place, tuple[str, ...]]:
    """Return where a TIFF says that its first pixel lies, and what is to be said of it.

    OME states positions of planes, ImageJ which pixel is the origin, the tags XPosition, YPosition where a page lies.
    """
    if tiff.is_ome:
        return ome_place(ome_image(tiff, series), steps)
    stated, place = tiff.imagej_metadata or {}, Place()
    for axis in "XYZ" if stated else "":
        origin = signed_of(stated.get(f"{axis.lower()}origin"))
        place |= {axis: -origin * steps[axis][0]} if origin and axis in steps else {}
    page = main_page(tiff)
    um = _microns_of_unit(page.tags) or 0.0
    for axis in "XY" if not stated and {"X", "Y"} <= steps.keys() else "":
        name = f"{axis}Position"
        place |= {axis: _fraction(page.tags[name].value) * um} if name in page.tags else {}
    return {axis: value for axis, value in place.items() if value}, ()


def with_units(steps: Steps, axes: str) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Return scale and units of `axes` (without ``C``), 1 pixel where nothing is known."""
    known = [steps.get(axis, (1.0, PIXEL)) for axis in axes]
    return tuple(step for step, _ in known), tuple(unit for _, unit in known)


def affine_of(place: Place, scale: Sequence[float], units: Sequence[str], axes: str) -> np.ndarray | None:
    """Return the (n+1, n+1) matrix of a picture at a place, ``None`` at the origin or where no pixel size is known."""
    first = [place.get(axis, 0.0) if unit == "micrometer" else 0.0 for axis, unit in zip(axes, units, strict=True)]
    if not any(first):
        return None
    affine = np.diag([*scale, 1.0])
    affine[:-1, -1] = first
    return affine
