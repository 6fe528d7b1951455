"""What the OME-XML of a TIFF says of its images: pixel sizes, time steps, channels, the places of planes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from napari_medseg.image import seconds_per, um_per

Steps = dict[str, tuple[float, str]]  # axis -> (step, unit): micrometer along X, Y, Z, second along T
Place = dict[str, float]  # axis -> micrometres of the first pixel
NO_UNIT = "reference frame"  # unit of positions that state none, of unknown size
UNEVEN = 0.05  # share of their mean by which distances of planes or frames may differ and be even
UNPLACED = (
    "The file states where its picture lies in units of the stage (reference frame) of unknown size: it is shown at "
    "the origin, and pictures of one scan lie on each other."
)
MOVED = (
    "The stage moved: the file states places of its planes up to {:.3g} pixels from that of the first; all are shown "
    "at that place."
)


def ome_images(tiff: Any) -> list[Mapping[str, Any]]:
    """Return the elements Image of the OME-XML of a TIFF, none where it cannot be read."""
    import tifffile

    try:
        images = tifffile.xml2dict(tiff.ome_metadata).get("OME", {}).get("Image", {})
    except Exception:  # XML of any damage: the picture is there all the same
        return []
    images = images if isinstance(images, list) else [images]
    return [image if isinstance(image, dict) else {} for image in images]


def image_numbers(tiff: Any) -> list[int]:
    """Return which element Image each series of an OME-TIFF is; tifffile passes over those whose files are missing."""
    images, numbers, at = ome_images(tiff), list[int](), 0
    for series in tiff.series:
        fitting = (k for k in range(at, len(images)) if _fits(images[k], series))
        numbers.append(next(fitting, at) if len(images) != len(tiff.series) else at)
        at = numbers[-1] + 1
    return numbers


def _fits(image: Mapping[str, Any], series: Any) -> bool:
    """Whether an OME Image may be that of a series: its name, and the size of its planes."""
    pixels, name = image.get("Pixels", {}), image.get("Name")
    same = (pixels.get("SizeX"), pixels.get("SizeY")) == (series.keyframe.imagewidth, series.keyframe.imagelength)
    return bool(same and (not isinstance(name, str) or name == series.name))


def ome_image(tiff: Any, series: int = 0) -> Mapping[str, Any]:
    """Return what the OME-XML says of a series (element Image), empty where it says nothing."""
    images = ome_images(tiff)
    number = image_numbers(tiff)[series] if len(images) != len(tiff.series) else series
    return images[number] if number < len(images) else {}


def ome_steps(image: Mapping[str, Any]) -> Steps:
    """Return the steps of an OME Image: PhysicalSize of each axis, TimeIncrement, else the times of its planes."""
    pixels = image.get("Pixels", {})
    steps: Steps = {}
    for axis in "XYZ":
        unit, value = um_per(pixels.get(f"PhysicalSize{axis}Unit", "um")), number_of(pixels.get(f"PhysicalSize{axis}"))
        if unit is not None and value > 0:
            steps[axis] = value * unit, "micrometer"
    for axis, other in ("XY", "YX"):  # one side stated: pixels are square, which `ONE_SIDE_STATED` says
        if axis not in steps and other in steps:
            steps[axis] = steps[other]
    unit, value = seconds_per(pixels.get("TimeIncrementUnit", "s")), number_of(pixels.get("TimeIncrement"))
    if unit is not None and value > 0:
        steps["T"] = value * unit, "second"
    elif (value := _even_step(_along(image, "T", "DeltaT", seconds_per, "s"))) > 0:
        steps["T"] = value, "second"
    if "Z" not in steps and (value := abs(_even_step(_along(image, "Z", "PositionZ", um_per, NO_UNIT)))) > 0:
        steps["Z"] = value, "micrometer"
    return steps


def states_one_side(image: Mapping[str, Any]) -> bool:
    """Whether an OME Image states the size of a pixel along one of X and Y only."""
    sizes = [number_of(image.get("Pixels", {}).get(f"PhysicalSize{axis}")) > 0 for axis in "XY"]
    return any(sizes) and not all(sizes)


def _planes(image: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the planes that an OME Image describes, the first in time, depth and channel first."""
    found = image.get("Pixels", {}).get("Plane", [])
    planes = [plane for plane in (found if isinstance(found, list) else [found]) if isinstance(plane, dict)]
    return sorted(planes, key=lambda plane: [_index(plane, axis) for axis in "TZC"])


def _index(plane: Mapping[str, Any], axis: str) -> int:
    return int(number_of(plane.get(f"The{axis}")))


def _stated(plane: Mapping[str, Any], name: str, per: Callable[[object], float | None], usual: str) -> float | None:
    """Return a number of a plane in micrometres or seconds, ``None`` where it is not stated in such a unit."""
    unit = per(plane.get(f"{name}Unit", usual))
    try:
        value = float(plane[name]) * (unit or math.nan)
    except (KeyError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _along(
    image: Mapping[str, Any], axis: str, name: str, per: Callable[[object], float | None], usual: str
) -> dict[int, float]:
    """Return what the planes along one axis state, by their index; those at the start of the other axes count."""
    others = "TZC".replace(axis, "")
    found = {
        _index(plane, axis): _stated(plane, name, per, usual)
        for plane in _planes(image)
        if not any(_index(plane, other) for other in others)
    }
    return {index: value for index, value in found.items() if value is not None}


def _even_step(stated: Mapping[int, float]) -> float:
    """Return the distance of values that follow each other evenly, 0 of others and of less than two."""
    indices = np.array(sorted(stated))
    if len(indices) < 2:
        return 0.0
    apart = np.diff([stated[int(k)] for k in indices]) / np.diff(indices)
    mean = float(apart.mean())
    even = (apart.min() > 0 or apart.max() < 0) and np.ptp(apart) <= UNEVEN * abs(mean)
    return mean if even else 0.0


def uneven_times(image: Mapping[str, Any]) -> tuple[str, ...]:
    """Say that the frames of an OME Image do not follow each other evenly (DeltaT), so that no time step is known."""
    stated = _along(image, "T", "DeltaT", seconds_per, "s")
    if "T" in ome_steps(image) or len(stated) < 3:
        return ()
    apart = np.diff([stated[k] for k in sorted(stated)])
    return (f"The frames are {apart.min():.3g} to {apart.max():.3g} s apart (DeltaT): no time step is taken.",)


def ome_place(image: Mapping[str, Any], steps: Steps) -> tuple[Place, tuple[str, ...]]:
    """Return where the first plane of an OME Image lies (PositionX, -Y, -Z), and what is to be said of it.

    Positions in units of the stage (``reference frame``, which is what they are without a unit) are none of length.
    Planes that lie elsewhere than the first plane and the steps say are told of.
    """
    planes = _planes(image)
    names = [f"Position{axis}" for axis in "XYZ"]
    places = np.array([[_stated(plane, name, um_per, NO_UNIT) for name in names] for plane in planes], float)
    places = places.reshape(-1, 3)  # nan: not stated
    if not len(places) or not np.isfinite(places[0, :2]).all():
        stated = any(number_of(plane.get(name)) for plane in planes for name in names[:2])
        return {}, (UNPLACED,) if stated else ()
    step = np.array([steps.get(axis, (math.inf, ""))[0] for axis in "XYZ"])
    along = np.abs(places - places[0])
    along[:, 2] -= [_index(plane, "Z") * steps.get("Z", (0.0, ""))[0] for plane in planes]
    off = float(np.nanmax(np.abs(along) / step, initial=0.0))
    place = {axis: float(value) for axis, value in zip("XYZ", places[0], strict=True) if np.isfinite(value)}
    return place, (MOVED.format(off),) if off > 0.5 else ()


def ome_channels(image: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the channels' names of an OME Image, empty where not all have one."""
    channels = image.get("Pixels", {}).get("Channel", [])
    names = [c.get("Name", "") for c in (channels if isinstance(channels, list) else [channels])]
    return tuple(map(str, names)) if names and all(names) else ()


def number_of(value: Any) -> float:
    """Return the size of a number as headers state it, 0 for none."""
    return abs(signed_of(value))


def signed_of(value: Any) -> float:
    """Return a number as headers state it, 0 for none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 0.0
    return number if math.isfinite(number) else 0.0
