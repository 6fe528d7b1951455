"""OME-Zarr pyramids of images and labels (version 0.4 and 0.5), read lazily."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_medseg.errors import ReadError, require
from napari_medseg.image import PIXEL, Image

PATTERNS = ("*.zarr",)
FILES = (".zattrs", "zarr.json")
SPACE = "TZYX"


def matches(path: Path) -> bool:
    """Whether `path` is a Zarr folder that describes a pyramid."""
    return path.suffix.lower() == ".zarr" and path.is_dir() and "multiscales" in _attributes(path)


def read(path: Path) -> list[Image]:
    """Read a pyramid; nothing is decoded yet, ``metadata["levels"]`` holds every resolution from the full one down.

    Raises
    ------
    ReadError
        If the description is incomplete, or a level that it names is missing.
    """
    zarr = require("zarr", "slide", "Reading OME-Zarr")
    import dask.array as da

    attributes = _attributes(path)
    try:
        scales = attributes["multiscales"][0]
        group = zarr.open_group(str(path), mode="r")
        levels = [da.from_zarr(group[level["path"]]) for level in scales["datasets"]]
        steps = scales["datasets"][0]["coordinateTransformations"][0]["scale"]
        known = [(a["name"].upper(), a.get("unit"), float(s)) for a, s in zip(scales["axes"], steps, strict=True)]
    except (KeyError, IndexError, TypeError, ValueError, OSError) as error:
        raise ReadError(f"{path.name} is no complete OME-Zarr pyramid ({error!r}). Export it again.") from error
    spatial = [(unit, step) for axis, unit, step in known if axis in SPACE]
    calibrated = all(unit for unit, _ in spatial)
    return [
        Image(
            levels[0],
            "".join(axis for axis, _, _ in known),
            tuple(step if calibrated else 1.0 for _, step in spatial),
            tuple(unit if calibrated else PIXEL for unit, _ in spatial),
            kind="labels" if "image-label" in attributes else "image",
            name=path.name.removesuffix(".zarr").removesuffix(".ome"),
            metadata={"source_file": str(path), "levels": levels},
        )
    ]


def _attributes(path: Path) -> Mapping[str, Any]:
    for name in FILES:
        try:
            content = json.loads((path / name).read_text("utf-8"))
        except (OSError, ValueError):
            continue
        found = content.get("attributes", content) if isinstance(content, dict) else {}
        found = found.get("ome", found) if isinstance(found, dict) else {}
        if isinstance(found, dict) and found:
            return found
    return {}
