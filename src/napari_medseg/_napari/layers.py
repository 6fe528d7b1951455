"""Between napari layers and `Image`: geometry, units and provenance travel both ways."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer

from napari_medseg.errors import DataError
from napari_medseg.image import PIXEL, Image

AXES = "TZYX"
TIME = "second"
DERIVED = {"medseg_derived": True}  # metadata of strokes and of pictures made here: no dock takes them as input
NOTED = (
    "generated",
    "channel",
    "source_file",
    "notes",
    "nifti",
    "series",
    "segments",
    "subject",
    "eye",
    "site",
    "frame",
)


def image_from_layer(layer: Layer) -> Image:
    """Return the `Image` that an Image or Labels layer shows.

    Raises
    ------
    DataError
        If the layer has more axes than time and three of space.
    """
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    kept = layer.metadata.get("medseg_image", {})
    rgb = bool(getattr(layer, "rgb", False))
    n = data.ndim - rgb
    if n > len(AXES):
        raise DataError(
            f"{layer.name} has {n} axes; at most {len(AXES)} can be used: time, depth, height and width. "
            "Split it: right-click the layer, Split Stack."
        )
    axes = kept.get("axes", "").replace("C", "")
    units = tuple(_unit(u) for u in layer.units)[-n:] if getattr(layer, "units", None) else (PIXEL,) * n
    axes = axes if len(axes) == n else ("T" if units[0] == TIME else AXES[-n]) + AXES[1 - n :]
    return Image(
        data,
        axes + "C" * rgb,
        tuple(float(abs(s)) for s in layer.scale[-n:]),
        _physical(units, axes),
        _kept_affine(kept, n),
        "labels" if isinstance(layer, Labels) else "image",
        layer.name,
        tuple(kept.get("channels", ())),
        kept.get("value_unit", ""),
        {**layer.metadata.get("medseg", {}), "source_file": str(layer.source.path or ""), **_noted(kept)},
    )


def layer_data(image: Image, name: str | None = None) -> tuple[Any, dict[str, Any], str]:
    """Return the napari ``(data, kwargs, type)`` tuple of `image`; channels that are no colours become a first axis."""
    rgb = image.axes.endswith("C") and image.n_channels in (3, 4)
    data = image.data if rgb or "C" not in image.axes else image.channels_first()
    kwargs = {**geometry(image), "name": name or image.name or "image", "metadata": metadata(image)}
    levels = list(image.metadata.get("levels", ()))
    if image.kind == "labels":
        return (
            (levels, {**kwargs, "multiscale": True}, "labels")
            if len(levels) > 1
            else (np.asarray(data), kwargs, "labels")
        )
    if rgb:
        kwargs["rgb"] = True
        return (levels, {**kwargs, "multiscale": True}, "image") if len(levels) > 1 else (data, kwargs, "image")
    if "C" in image.axes:
        kwargs["channel_axis"] = 0
        kwargs["name"] = [f"{image.name} {c}" for c in image.channels] or kwargs["name"]
    return data, kwargs, "image"


def geometry(image: Image) -> dict[str, Any]:
    """Return scale, units, axis labels and (for volumes along the axes) the affine as layer arguments."""
    kwargs: dict[str, Any] = {
        "scale": image.scale,
        "axis_labels": tuple(axis.lower() for axis in image.spatial_axes),
        "units": image.units,
    }
    if image.affine is not None:
        direction = image.affine[:-1, :-1] / np.asarray(image.scale)
        if np.allclose(np.abs(direction), np.eye(len(direction)), atol=1e-3):  # napari slices only along the axes
            placed = np.asarray(image.affine, float).copy()
            placed[:-1, :-1] = np.sign(np.diag(direction)) * np.eye(len(direction))
            kwargs["affine"] = placed
    return kwargs


def like(layer: Layer) -> dict[str, Any]:
    """Return the layer arguments that put a new layer of the same shape exactly onto `layer`."""
    rgb = bool(getattr(layer, "rgb", False))
    n = layer.ndim
    return {
        "scale": layer.scale,
        "translate": layer.translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
        "metadata": {"medseg_image": dict(layer.metadata.get("medseg_image", {}))} if n and not rgb else {},
    }


def metadata(image: Image) -> dict[str, Any]:
    """Return layer metadata: ``medseg`` (provenance) and ``medseg_image`` (what a layer has no field for)."""
    kept: dict[str, Any] = {
        "axes": image.axes,
        "affine": image.affine,
        "channels": image.channels,
        "value_unit": image.value_unit,
    }
    kept |= {key: image.metadata[key] for key in NOTED if key in image.metadata}
    known = {"medseg_image": kept}
    return {**known, "medseg": image.metadata["medseg"]} if "medseg" in image.metadata else known


def image_layers(viewer: Any) -> list[ImageLayer]:
    """Return the viewer's Image layers, those in view first, last added first, without what was made here."""
    found = [layer for layer in reversed(viewer.layers) if isinstance(layer, ImageLayer)]
    given = (layer for layer in found if not DERIVED.keys() & layer.metadata.keys())
    return sorted(given, key=lambda layer: not layer.visible)


def label_layers(viewer: Any) -> list[Labels]:
    """Return the viewer's Labels layers, last added first, without strokes."""
    found = (layer for layer in reversed(viewer.layers) if isinstance(layer, Labels))
    return [layer for layer in found if not DERIVED.keys() & layer.metadata.keys()]


def _kept_affine(kept: dict[str, Any], n: int) -> np.ndarray | None:
    """Return the affine of a layer's `n` axes; of one volume of a film (Split Stack) that of its last axes."""
    affine = kept.get("affine")
    if affine is None or len(affine) < n + 1:
        return None
    return np.asarray(affine)[-n - 1 :, -n - 1 :]


def _noted(kept: dict[str, Any]) -> dict[str, Any]:
    return {key: kept[key] for key in NOTED if key in kept}


def _unit(unit: Any) -> str:
    return str(unit)


def _physical(units: tuple[str, ...], axes: str) -> tuple[str, ...]:
    """Return pixels for all axes of space unless each has a unit; time keeps its own."""
    space = [unit for unit, axis in zip(units, axes, strict=True) if axis != "T"]
    return units if PIXEL not in space else tuple(u if a == "T" else PIXEL for u, a in zip(units, axes, strict=True))
