"""The JSON beside a written image: everything of an `Image` that the picture format has no place for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io.pairs import file_stem

VERSION = 1


def sidecar_path(path: Path) -> Path:
    """Return ``<stem>.json`` beside `path`."""
    return path.with_name(f"{file_stem(path)}.json")


def describe(path: Path, image: Image, file_axes: str) -> dict[str, Any]:
    """Return what the side-car of `path` holds; `file_axes` is the order of the axes in the file."""
    fields = ("axes", "scale", "units", "affine", "kind", "name", "channels", "value_unit", "metadata")
    head = {"medseg_image": VERSION, "file": path.name, "file_axes": file_axes, "shape": image.data.shape}
    safe: dict[str, Any] = json_safe({**head, **{name: getattr(image, name) for name in fields}})
    return safe


def load(path: Path) -> dict[str, Any] | None:
    """Return the side-car of `path`, or ``None`` if there is none or it is another program's or another file's."""
    try:
        saved = json.loads(sidecar_path(path).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(saved, dict) and saved.get("medseg_image") == VERSION and saved.get("file") == path.name
    return saved if ours else None


def provenance(path: Path) -> dict[str, Any]:
    """Return how the image of `path` was made, as its side-car says."""
    saved = load(path) or {}
    known: dict[str, Any] = saved.get("metadata", {}).get("medseg", {})
    return {"medseg": known} if known else {}


def restore(data: np.ndarray, path: Path) -> Image | None:
    """Build the image that was written, or ``None`` without a side-car that belongs to these pixels."""
    saved = load(path)
    try:
        return _build(data, path, saved) if saved and data.size == math.prod(saved["shape"]) else None
    except (ValueError, KeyError, TypeError, DataError):
        return None


def _build(data: np.ndarray, path: Path, saved: Mapping[str, Any]) -> Image:
    axes, shape, file_axes = saved["axes"], saved["shape"], saved["file_axes"]
    data = data.reshape([shape[axes.index(a)] for a in file_axes]).transpose([file_axes.index(a) for a in axes])
    return Image(
        data,
        axes,
        tuple(saved["scale"]),
        tuple(saved["units"]),
        None if saved["affine"] is None else np.array(saved["affine"]),
        saved["kind"],
        saved["name"],
        tuple(saved["channels"]),
        saved["value_unit"],
        {**saved["metadata"], "source_file": str(path)},
    )


def json_safe(value: Any) -> Any:
    """Turn `value` into what JSON can hold: arrays become lists, NaN becomes null, anything unknown its text."""
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return json_safe(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [json_safe(item) for item in value]
    if isinstance(value, np.generic):
        return json_safe(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
