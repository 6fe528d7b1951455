"""OME-Zarr pyramids of images and labels (NGFF 0.1 to 0.5), and folders of them, read lazily.

A folder counts by what its metadata say, not by its name. Each axis has its own unit, the transformations of the whole
pyramid follow those of a level, and a translation becomes the image's place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError, one_line, require
from napari_medseg.image import FACTS, PIXEL, Image, seconds_per, um_per
from napari_medseg.io.files import read_json
from napari_medseg.io.geometry import LEVELS
from napari_medseg.io.tiff.steps import NO_PLANE_DISTANCE
from napari_medseg.io.volumes.segments import described

PATTERNS = ("*.zarr",)
FILES = (".zattrs", "zarr.json")
SPACE, AXES = "TZYX", "TCZYX"
CONTAINER, PLATE = "bioformats2raw.layout", "plate"
UNSCALED = "The file states units and no pixel size (no scale); results are in pixels."
KEPT_UNITS = ("nanometer", "micrometer", "millimeter")  # other lengths become micrometres
OLD_AXES = "TCZYX"  # of versions before 0.3, which name none


def matches(path: Path) -> bool:
    """Whether `path` is a Zarr folder that describes a pyramid, or holds some."""
    if not path.is_dir():
        return False
    attributes = _attributes(path)
    return any(key in attributes for key in ("multiscales", CONTAINER, PLATE))


def read(path: Path) -> list[Image]:
    """Read a pyramid and the labels inside it, or all pyramids of a container; nothing is decoded yet.

    ``metadata["levels"]`` holds every resolution from the full one down. Axes of length 1 other than Y and X are left
    out.

    Raises
    ------
    ReadError
        If the description is incomplete, a level that it names is missing, or it is a plate of wells.
    """
    attributes = _attributes(path)
    if "multiscales" in attributes:
        return [_read_pyramid(path, attributes, _name(path)), *_inner_labels(path)]
    if CONTAINER in attributes:
        found = [part for part in _series(path) if "multiscales" in _attributes(part)]
        if not found:
            raise ReadError(f"{path.name} holds no complete OME-Zarr pyramid in its folders. Export it again.")
        names = [_name(path) if k == 0 else f"{_name(path)}_{part.name}" for k, part in enumerate(found)]
        images = [_read_pyramid(part, _attributes(part), name) for part, name in zip(found, names, strict=True)]
        return [*images, *(labels for part in found for labels in _inner_labels(part))]
    wells = attributes.get(PLATE, {}).get("wells", [])
    first = next((str(well.get("path")) for well in wells if isinstance(well, dict)), "A/1")
    raise ReadError(
        f"{path.name} is a plate of {len(wells)} wells, not one image. Open one of its fields, like "
        f"{path.name}/{first}/0."
    )


def _series(path: Path) -> list[Path]:
    """Return the folders of a container's pyramids, in the order that it states, else in that of their numbers."""
    stated = _attributes(path / "OME").get("series")
    if isinstance(stated, list) and stated:
        return [path / str(name) for name in stated]
    return sorted((part for part in path.iterdir() if part.name.isdigit()), key=lambda part: int(part.name))


def _inner_labels(path: Path) -> list[Image]:
    """Return the label images that a pyramid lists in its folder ``labels``."""
    names = _attributes(path / "labels").get("labels", [])
    found = []
    for name in names if isinstance(names, list) else []:
        attributes = _attributes(path / "labels" / str(name))
        if "multiscales" in attributes:
            image = _read_pyramid(path / "labels" / str(name), attributes, f"{_name(path)}_{name}")
            found.append(image.replace(kind="labels"))
    return found


def _read_pyramid(path: Path, attributes: Mapping[str, Any], name: str) -> Image:
    zarr = require("zarr", "slide", "Reading OME-Zarr")
    import dask.array as da

    try:
        scales = attributes["multiscales"][0]
        group = zarr.open_group(str(path), mode="r")
        levels = [da.from_zarr(group[level["path"]]) for level in scales["datasets"]]
        axes, units = _axes(scales, levels[0].ndim)
        common = scales.get("coordinateTransformations", [])
        stated, *others = (
            _one_by_one([*level.get("coordinateTransformations", []), *common]) for level in scales["datasets"]
        )
        grids = [_placed(transformations, len(axes)) for transformations in (stated, *others)]
        steps, place = grids[0]
        unscaled = not any(transformation["type"] == "scale" for transformation in stated)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OSError) as error:
        raise ReadError(f"{path.name} is no complete OME-Zarr pyramid ({one_line(error)}). Export it again.") from error
    kept = [k for k, axis in enumerate(axes) if axis in "YX" or levels[0].shape[k] > 1]
    only = tuple(slice(None) if k in kept else 0 for k in range(len(axes)))
    levels = [level[only] for level in levels]
    along = [k for k in kept if axes[k] in SPACE]
    without = [UNSCALED] if unscaled and any(units[k] for k in along) else []
    units = [None] * len(units) if unscaled else units
    scale, unit, origin = _calibrated([(axes[k], steps[k], units[k], place[k]) for k in along])
    affine = None
    if any(origin):
        affine = np.diag([*scale, 1.0])
        affine[:-1, -1] = origin
    notes = without + _notes([(axes[k], steps[k], units[k]) for k in along], unit, len(attributes["multiscales"]))
    channels = _channels(attributes) if any(axes[k] == "C" for k in kept) else ()
    count = next((levels[0].shape[i] for i, k in enumerate(kept) if axes[k] == "C"), 1)
    return Image(
        levels[0],
        "".join(axes[k] for k in kept),
        scale,
        unit,
        affine,
        kind="labels" if "image-label" in attributes else "image",
        name=name,
        channels=channels if len(channels) == count else (),
        metadata={
            "source_file": str(path),
            "levels": levels,
            **_level_grids(scales["datasets"], grids, along),
            **_labelled(attributes.get("image-label")),
            **({"notes": notes} if notes else {}),
        },
    )


def _level_grids(
    datasets: Sequence[Mapping[str, Any]], grids: Sequence[tuple[list[float], list[float]]], along: Sequence[int]
) -> dict[str, Any]:
    """Return steps and first pixel of each level along the axes `along`, in pixels of the first, if all are stated."""
    if not all(level.get("coordinateTransformations") for level in datasets):
        return {}
    (steps, place), *_ = grids
    return {
        LEVELS: [
            [[own[k] / steps[k] for k in along], [(first[k] - place[k]) / steps[k] for k in along]]
            for own, first in grids
        ]
    }


def _notes(stated: Sequence[tuple[str, float, str | None]], units: Sequence[str], images: int) -> list[str]:
    """Say which steps, given as (letter, step, unit), are not known, and what of the file is not read."""
    notes = [f"The {axis} axis states a step of {step:g} without a unit; results along it are in pixels."
             for axis, step, unit in stated if unit is None and axis != "T" and step != 1]  # fmt: skip
    notes += [f"The {axis} axis states a step of {step:g} {unit}, no known unit; results along it are in pixels."
              for (axis, step, unit), known in zip(stated, units, strict=True) if unit and known == PIXEL]  # fmt: skip
    found = {axis: unit for (axis, _, _), unit in zip(stated, units, strict=True)}
    if not notes and found.get("Z") == PIXEL and PIXEL not in (found["Y"], found["X"]):
        notes.append(NO_PLANE_DISTANCE)
    if images > 1:
        notes.append(f"The file describes {images} images; the first is read.")
    return notes


def _letters(described: Sequence[Mapping[str, Any]]) -> str:
    """Return a letter for each axis: its name's, else by its type; further axes of space are x, y, z from the last."""
    letters = [str(axis["name"]).upper()[:1] for axis in described]
    kinds = [axis.get("type") for axis in described]
    known = {"time": "T", "channel": "C"}
    letters = [known.get(str(kind), letter) for kind, letter in zip(kinds, letters, strict=True)]
    space = [k for k, kind in enumerate(kinds) if kind == "space"]
    if not {letters[k] for k in space} <= set("ZYX") and len(space) <= len("ZYX"):
        for k, letter in zip(reversed(space), "XYZ", strict=False):
            letters[k] = letter
    return "".join(letters)


def _axes(scales: Mapping[str, Any], n: int) -> tuple[str, list[str | None]]:
    """Return a letter and the unit of each axis; versions before 0.4 state names or nothing, 0.6 systems of axes."""
    systems = scales.get("coordinateSystems") or [{}]
    stated = scales.get("axes") or systems[0].get("axes") or [axis.lower() for axis in OLD_AXES[-n:]]
    described = [axis if isinstance(axis, dict) else {"name": axis} for axis in stated]
    if len(described) != n:
        raise ValueError(f"{len(described)} axes for an array of {n}")
    letters = _letters(described)
    if others := [str(axis["name"]) for axis, one in zip(described, letters, strict=True) if one not in AXES]:
        raise ValueError(f"an axis called {others[0]!r}; time, channel and axes of space are read")
    return letters, [axis.get("unit") for axis in described]


def _one_by_one(transformations: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return transformations with those of sequences (version 0.6) in their place."""
    parts = (t["transformations"] if t["type"] == "sequence" else [t] for t in transformations)
    return [one for part in parts for one in part]


def _placed(transformations: Sequence[Mapping[str, Any]], n: int) -> tuple[list[float], list[float]]:
    """Return scale and translation of transformations that follow each other."""
    steps, place = [1.0] * n, [0.0] * n
    for transformation in transformations:
        kind = transformation["type"]
        if kind not in ("scale", "translation", "identity"):
            raise ValueError(f"a transformation of type {kind!r}; scale and translation are read")
        if kind == "identity":
            continue
        if kind not in transformation:
            raise ValueError(f"a {kind} without its numbers")
        values = [float(value) for value in transformation[kind]]
        if len(values) != n or not all(map(math.isfinite, values)) or (kind == "scale" and min(values) <= 0):
            raise ValueError(f"{kind} {values} for {n} axes")
        if kind == "scale":
            steps = [step * value for step, value in zip(steps, values, strict=True)]
            place = [where * value for where, value in zip(place, values, strict=True)]
        else:
            place = [where + value for where, value in zip(place, values, strict=True)]
    return steps, place


def _calibrated(
    known: Sequence[tuple[str, float, str | None, float]],
) -> tuple[tuple[float, ...], tuple[str, ...], list[float]]:
    """Return scale, units and place of axes given as (letter, step, unit, place).

    Units that `Image` has no short name for become micrometres and seconds; an axis without a unit counts pixels.
    """
    scale, units, origin = [], [], []
    for axis, step, stated, where in known:
        factor, unit = _unit(stated, axis)
        scale.append(step * factor if unit != PIXEL else 1.0)
        origin.append(where * factor if unit != PIXEL else 0.0)
        units.append(unit)
    return tuple(scale), tuple(units), origin


def _unit(stated: str | None, axis: str) -> tuple[float, str]:
    """Return the factor to a unit of `Image`, and that unit."""
    if stated is None:
        return 1.0, PIXEL
    if axis == "T":
        seconds = seconds_per(stated)
        return (1.0, PIXEL) if seconds is None else (seconds, "second")
    if stated in KEPT_UNITS:
        return 1.0, stated
    microns = um_per(stated)
    return (1.0, PIXEL) if microns is None else (microns, "micrometer")


def _channels(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the labels of the channels as the ``omero`` part states them."""
    channels = attributes.get("omero", {}).get("channels", [])
    names = [channel.get("label", "") for channel in channels if isinstance(channel, dict)]
    return tuple(map(str, names)) if names and all(names) else ()


def _labelled(stated: Any) -> dict[str, Any]:
    """Return the metadata of labels of which ``image-label`` states names, colours or properties."""
    known = stated if isinstance(stated, dict) else {}
    properties, colours = (
        {label: one for one in _entries(known.get(part)) if (label := _label_of(one))}
        for part in ("properties", "colors")
    )
    facts = {label: found for label, one in properties.items() if (found := _facts(one))}
    names = {
        label: str(one.get("name") or one["class"]) for label, one in facts.items() if {"name", "class"} & one.keys()
    }
    shown = {
        label: [int(c) for c in one.get("rgba") or () if isinstance(c, int | float)][:3]
        for label, one in colours.items()
    }
    return {**described(names, shown), **({FACTS: facts} if facts else {})}


def _entries(stated: Any) -> list[dict[str, Any]]:
    return [one for one in stated if isinstance(one, dict)] if isinstance(stated, list) else []


def _label_of(one: Mapping[str, Any]) -> str:
    """Return the label that an entry of ``image-label`` is of, as text; empty for the background and for no number."""
    value = one.get("label-value")
    return str(int(value)) if isinstance(value, int | float) and math.isfinite(value) and value > 0 else ""


def _facts(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties of a label: its numbers as measurements, its name and class under these words."""
    found: dict[str, Any] = {}
    for key, value in properties.items():
        if key == "label-value" or value is None or isinstance(value, dict | list):
            continue
        if isinstance(value, int | float) and not isinstance(value, bool):
            found.setdefault("measurements", {})[str(key)] = value
        else:
            found[str(key).lower() if str(key).lower() in ("name", "class") else str(key)] = str(value)
    return found


def _name(path: Path) -> str:
    return path.name.removesuffix(".zarr").removesuffix(".ome")


def _attributes(path: Path) -> Mapping[str, Any]:
    for name in FILES:
        try:
            content = read_json(path / name)
        except ReadError:
            continue
        found = content.get("attributes", content) if isinstance(content, dict) else {}
        found = found.get("ome", found) if isinstance(found, dict) else {}
        if isinstance(found, dict) and found:
            return found
    return {}
