"""Between napari layers and `Image`: geometry, units and provenance travel both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer, Shapes
from napari.utils.colormaps import DirectLabelColormap

from napari_medseg._napari.world import world_of
from napari_medseg.errors import DataError
from napari_medseg.image import (
    FACTS,
    FRAME,
    OBJECTS,
    ORIENTATION,
    PADDING,
    PIXEL,
    REFERENCE,
    SEGMENT_COLOURS,
    SEGMENT_NAMES,
    WHITE,
    Image,
    seconds_per,
)
from napari_medseg.io.geometry import LEVEL, LEVELS, at_level
from napari_medseg.io.outlines.tracings import draw

AXES = "TZYX"
FLAT = 0.5  # pixels by which the points of a shape may lie apart along time and depth
SHOWN, SAMPLED = (0.5, 99.5), 64  # per cent of a volume's values within its contrast, found on so many per axis
OBLIQUE = 1e-3  # radians off the axes that still count as along them
OPEN = {"path", "line"}  # kinds of shapes that enclose nothing
UNSTATED = "#BBBBBB"  # of labels to which a file with colours gives none
HEIGHTS = "nm_per_grey"  # in ``medseg_image``: what somebody entered for an image without unit of its values
DERIVED = {"medseg_derived": True}  # metadata of strokes and of pictures made here: no dock takes them as input
NOTED = (
    "generated",
    "channel",
    "source_file",
    "notes",
    WHITE,
    "nifti",
    "series",
    SEGMENT_NAMES,
    SEGMENT_COLOURS,
    "subject",
    "eye",
    "site",
    "frame",
    OBJECTS,
    ORIENTATION,
    FACTS,
    REFERENCE,
    PADDING,
    LEVEL,
)


def image_from_layer(layer: Layer) -> Image:
    """Return the `Image` that an Image or Labels layer shows, at the place where it shows it; of a pyramid level 0.

    Scale, translate, rotate, shear and affine of the layer make up the image's affine; what the file said of directions
    that a window cannot show (`geometry`) is taken into account. A layer along the axes that begins at the origin, and
    whose file states no place, has none.

    Raises
    ------
    DataError
        If the layer has more axes than time and three of space.
    """
    if isinstance(layer, Shapes):
        return tracing_from_layer(layer)
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    kept = layer.metadata.get("medseg_image", {})
    rgb = bool(getattr(layer, "rgb", False))
    n = data.ndim - rgb
    if n > len(AXES):
        raise DataError(
            f"{layer.name} has {n} axes; at most {len(AXES)} can be used: time, depth, height and width. "
            "Split it: right-click the layer, Split Stack."
        )
    units = tuple(str(u) for u in layer.units)[-n:] if getattr(layer, "units", None) else (PIXEL,) * n
    units = tuple(kept["units"][-n:]) if _split(layer, kept) and "units" in kept else units
    axes = _axes(layer, kept, n, units)
    affine, picture = _place(layer, kept, n)
    steps = np.linalg.norm(world_of(layer)[:-1, :-1], axis=0)
    metadata = {**layer.metadata.get("medseg", {}), "source_file": str(layer.source.path or ""), **_noted(kept)}
    value_unit = kept.get("value_unit", "")
    if HEIGHTS in kept and isinstance(layer, ImageLayer):
        data, value_unit = data * np.float32(kept[HEIGHTS]), "nm"
        said = f"1 grey value = {kept[HEIGHTS]:.6g} nm, as entered."
        metadata["notes"] = [*metadata.get("notes", ()), said]
    return Image(
        data,
        axes + "C" * rgb,
        tuple(float(s) for s in steps),
        _physical(units, axes),
        affine,
        "labels" if isinstance(layer, Labels) else "image",
        layer.name,
        tuple(kept.get("channels", ())),
        value_unit,
        metadata if affine is None else {**metadata, FRAME: picture.tolist()},
    )


def level_from_layer(layer: Layer, level: int) -> Image:
    """Return a level of a layer of several resolutions at its place, as its file states it, else as napari shows it.

    Raises
    ------
    DataError
        If there is no such level, or as `image_from_layer`.
    """
    whole = image_from_layer(layer)
    if not getattr(layer, "multiscale", False):
        return whole
    grids = layer.metadata.get("medseg_image", {}).get(LEVELS)
    stated = {LEVELS: grids} if grids is not None and len(grids) == len(layer.data) else {}
    return at_level(whole.replace(metadata={**whole.metadata, "levels": list(layer.data), **stated}), level)


def grid_of_shapes(layer: Shapes) -> Image:
    """Return empty labels (Y, X) on the pixels of a Shapes layer: those of its picture, else what its shapes reach."""
    kept = layer.metadata.get("medseg_image", {})
    edge = max((int(np.max(np.asarray(shape)[:, -2:])) + 2 for shape in layer.data), default=1)
    shape = tuple(layer.metadata.get("medseg_shape", (max(edge, 1),) * 2))[-2:]
    affine, picture = _place(layer, kept, layer.ndim)
    units = tuple(str(u) for u in layer.units)[-2:]
    steps = tuple(float(s) for s in np.linalg.norm(world_of(layer)[:-1, :-1], axis=0)[-2:])
    metadata = {"source_file": str(layer.source.path or ""), **_noted(kept)}
    flat = None if affine is None or layer.ndim != 2 else affine
    known = metadata if flat is None else {**metadata, FRAME: picture.tolist()}
    nothing = np.broadcast_to(np.uint8(0), shape)
    return Image(nothing, "YX", steps, _physical(units, "YX"), flat, "labels", layer.name, metadata=known)


def tracing_from_layer(layer: Shapes) -> Image:
    """Return the labels of a Shapes layer of paths, which keep their points and classes (``metadata["paths"]``).

    Raises
    ------
    DataError
        If it holds closed shapes or none, or its paths lie in several planes.
    """
    if not is_tracing(layer):
        raise DataError(f"{layer.name} holds no paths. Choose a Labels layer, or a Shapes layer of paths and lines.")
    refuse_planes(layer.data, layer.name)
    grid = grid_of_shapes(layer)
    paths = [np.asarray(path, float)[:, -2:] for path in layer.data]
    classes = [str(kind) for kind in layer.features["class"]] if "class" in layer.features else ["nerve"] * len(paths)
    known = {**grid.metadata, "paths": [path.tolist() for path in paths], "classes": classes}
    return grid.replace(data=draw(paths, grid.spatial_shape), metadata=known)


def refuse_planes(paths: Sequence[np.ndarray], name: str) -> None:
    """Raise `DataError` if paths (n, k) do not lie in one plane of the last two axes, in which lengths are taken."""
    before = np.concatenate([np.asarray(path, float)[:, :-2] for path in paths]) if len(paths) else np.zeros((1, 0))
    if np.ptp(before, axis=0).max(initial=0) > FLAT:
        raise DataError(
            f"{name} holds paths in several planes, or one that reaches through them; tracings are measured and saved "
            "in one plane. Keep the paths of one plane in a layer of their own."
        )


def is_tracing(layer: Layer) -> bool:
    """Whether a layer is a Shapes layer of paths and lines."""
    return isinstance(layer, Shapes) and len(layer.data) > 0 and set(layer.shape_type) <= OPEN


def in_layer(layer: Layer, image: Image) -> np.ndarray:
    """Return the data of an image, whose axes are in the usual order, with them in the order of those of `layer`."""
    axes = image_from_layer(layer).spatial_axes
    return np.asarray(image.data).transpose([image.axes.index(axis) for axis in axes])


def _axes(layer: Layer, kept: dict[str, Any], n: int, units: tuple[str, ...]) -> str:
    """Return the letters of a layer's axes: those of its file, those it is labelled with, or the usual ones."""
    known = kept.get("axes", "").replace("C", "")
    if len(known) == n:
        return known
    labels = "".join(str(label).upper() for label in getattr(layer, "axis_labels", ()))[-n:]
    if len(labels) == n == len(set(labels)) and set(labels) <= set(AXES):
        return labels
    return ("T" if seconds_per(units[0]) else AXES[-n]) + AXES[1 - n :] if n > 1 else AXES[-n:]


def _place(layer: Layer, kept: dict[str, Any], n: int) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the affine of a layer, ``None`` where nothing states a place, and the matrix of its picture."""
    world = world_of(layer)
    steps = np.linalg.norm(world[:-1, :-1], axis=0)
    plain = np.diag([*steps, 1.0])
    stated, shown = (kept_matrix(kept, name, n) for name in ("affine", "shown"))
    if stated is None:
        picture = kept_matrix(kept, FRAME, n)
        somewhere = LEVEL in kept or not np.allclose(world, plain)
        return (world if somewhere else None), plain if picture is None else picture
    shown = stated if shown is None else shown
    affine = stated if np.allclose(world, shown) or _split(layer, kept) else stated @ np.linalg.inv(shown) @ world
    picture = kept_matrix(kept, FRAME, n)
    return affine, stated if picture is None else picture


def _split(layer: Layer, kept: dict[str, Any]) -> bool:
    """Whether a layer is one volume of a movie (Split Stack), of which napari keeps the scale alone."""
    shown, n = kept.get("shown"), layer.ndim
    if shown is None or len(shown) <= n + 1:
        return False
    steps = np.linalg.norm(np.asarray(shown, float)[-n - 1 : -1, -n - 1 : -1], axis=0)
    return bool(np.allclose(world_of(layer), np.diag([*steps, 1.0])))


def kept_matrix(kept: dict[str, Any], name: str, n: int) -> np.ndarray | None:
    """Return a matrix of a layer's `n` axes; of one volume of a movie (Split Stack) that of its last axes."""
    matrix = kept.get(name)
    if matrix is None or len(matrix) < n + 1:
        return None
    return np.asarray(matrix, float)[-n - 1 :, -n - 1 :]


def layer_data(image: Image, name: str | None = None) -> tuple[Any, dict[str, Any], str]:
    """Return the napari ``(data, kwargs, type)`` tuple of `image`; channels that are no colours become a first axis."""
    rgb = image.axes.endswith("C") and image.n_channels in (3, 4)
    data = image.data if rgb or "C" not in image.axes else image.channels_first()
    kwargs = {**geometry(image), "name": name or image.name or "image", "metadata": metadata(image)}
    levels = list(image.metadata.get("levels", ()))
    if image.kind == "labels":
        if colours := image.metadata.get(SEGMENT_COLOURS):
            kwargs["colormap"] = label_colours(colours)
        if facts := image.metadata.get(FACTS):
            kwargs["features"] = table_of(facts)
        return (
            (levels, {**kwargs, "multiscale": True}, "labels")
            if len(levels) > 1
            else (np.asarray(data), kwargs, "labels")
        )
    if rgb:
        kwargs["rgb"] = True
        return (levels, {**kwargs, "multiscale": True}, "image") if len(levels) > 1 else (data, kwargs, "image")
    if "C" not in image.axes and "Z" in image.axes:
        kwargs |= contrast(image)
    if "C" in image.axes:
        kwargs["channel_axis"] = 0
        kwargs["name"] = [f"{image.name} {c}" for c in image.channels] or kwargs["name"]
    if len(levels) > 1 and image.spatial_axes == "YX":
        first = (image.replace(data=level) for level in levels)
        data, kwargs["multiscale"] = [one.channels_first() if "C" in image.axes else one.data for one in first], True
    return data, kwargs, "image"


def label_colours(stated: Mapping[str, Sequence[int]]) -> DirectLabelColormap:
    """Return the colours that a file states for its labels; labels of which it states none are grey."""
    colours: dict[int | None, Any] = {None: UNSTATED, 0: "transparent"}
    colours |= {int(label): np.array([*colour, 255]) / 255 for label, colour in stated.items()}
    return DirectLabelColormap(color_dict=colours)


def table_of(facts: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return what is known of objects, by label, as the table of a Labels layer: its column ``index`` is the label."""
    rows = []
    for label, known in facts.items():
        said = {key: value for key, value in known.items() if key != "measurements"}
        rows.append({"index": int(label), **said, **(known.get("measurements") or {})})
    return pd.DataFrame(rows)


def contrast(image: Image) -> dict[str, Any]:
    """Return the contrast limits of a volume: the window that its file states, else `SHOWN` per cent of its values."""
    window = image.metadata.get("window")
    if window is None and isinstance(image.data, np.ndarray):
        steps = tuple(slice(None, None, max(1, n // SAMPLED)) for n in image.data.shape)
        values = image.data[steps]
        values = values[image.measured(values)]
        window = np.percentile(values, SHOWN) if values.size else None
    if window is None or not window[0] < window[1]:
        return {}
    return {"contrast_limits": (float(window[0]), float(window[1]))}


def geometry(image: Image) -> dict[str, Any]:
    """Return scale, units, axis labels and affine as layer arguments; a volume that lies oblique has its own axes."""
    kwargs: dict[str, Any] = {
        "scale": image.scale,
        "axis_labels": tuple(axis.lower() for axis in image.spatial_axes),
        "units": image.units,
    }
    shown = _shown(image)
    if shown is not None:
        kwargs["affine"] = shown @ np.diag([*(1 / np.asarray(image.scale)), 1.0])
    return kwargs


def _shown(image: Image) -> np.ndarray | None:
    """Return where a window shows an image, (n+1, n+1), or ``None``: with its scale at the origin.

    napari slices along the axes of the data alone, so only height and width may be turned. An oblique volume is shown
    along its own axes, each in the sense of the body's axis that it is nearest to, so that it is not upside down.
    """
    if image.affine is None:
        return None
    shown = np.array(image.affine, float)
    direction = shown[:-1, :-1] / np.linalg.norm(shown[:-1, :-1], axis=0)
    wanted = np.diag(np.sign(np.diag(direction)))
    wanted[-2:, -2:] = direction[-2:, -2:]
    straight = bool((np.abs(np.diag(wanted))[:-2] == 1).all()) and np.allclose(direction, wanted, atol=OBLIQUE)
    if not straight and "Z" in image.axes:
        main = np.abs(direction).argmax(0)
        against = direction[main, range(len(main))] < 0
        return np.diag([*np.where(against, -1, 1) * np.asarray(image.scale), 1.0]) if against.any() else None
    if not straight:
        return None
    if np.allclose(np.abs(wanted), np.eye(len(wanted)), atol=OBLIQUE):
        wanted = np.sign(np.rint(wanted))
    shown[:-1, :-1] = wanted * np.asarray(image.scale)
    return shown


def like(layer: Layer) -> dict[str, Any]:
    """Return the layer arguments that put a new layer of the same shape exactly onto `layer`, its picture."""
    rgb = bool(getattr(layer, "rgb", False))
    kept = dict(layer.metadata.get("medseg_image", {}))
    if rgb:
        kept = {name: kept[name] for name in ("affine", "shown", FRAME, LEVEL, ORIENTATION) if name in kept}
    for name in (LEVELS, SEGMENT_NAMES, SEGMENT_COLOURS, FACTS):
        kept.pop(name, None)
    if kept.get("affine") is None:
        kept.setdefault(FRAME, world_of(layer).tolist())
    return {
        "scale": layer.scale,
        "translate": layer.translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
        "metadata": {"medseg_image": kept},
    }


def metadata(image: Image) -> dict[str, Any]:
    """Return layer metadata: ``medseg`` (provenance) and ``medseg_image`` (what a layer has no field for)."""
    kept: dict[str, Any] = {
        "axes": image.axes,
        "affine": image.affine,
        "channels": image.channels,
        "value_unit": image.value_unit,
    }
    if image.affine is not None:
        shown = _shown(image)
        kept["shown"] = np.diag([*image.scale, 1.0]) if shown is None else shown
        kept["units"] = image.units
    kept |= {key: image.metadata[key] for key in (*NOTED, FRAME, LEVELS) if key in image.metadata}
    known = {"medseg_image": kept}
    return {**known, "medseg": image.metadata["medseg"]} if "medseg" in image.metadata else known


def image_layers(viewer: Any) -> list[ImageLayer]:
    """Return the viewer's Image layers, those in view first, last added first, without what was made here."""
    found = [layer for layer in reversed(viewer.layers) if isinstance(layer, ImageLayer)]
    given = (layer for layer in found if not DERIVED.keys() & layer.metadata.keys())
    return sorted(given, key=lambda layer: not layer.visible)


def measured_layers(viewer: Any) -> list[Layer]:
    """Return what can be measured: the viewer's Labels layers, and tracings, last added first."""
    labels = label_layers(viewer)
    drawn = [layer for layer in viewer.layers if is_tracing(layer) and not DERIVED.keys() & layer.metadata.keys()]
    wanted = {layer.name for layer in (*labels, *drawn)}
    return [layer for layer in reversed(viewer.layers) if layer.name in wanted]


def label_layers(viewer: Any) -> list[Labels]:
    """Return the viewer's Labels layers, last added first, without strokes."""
    found = (layer for layer in reversed(viewer.layers) if isinstance(layer, Labels))
    return [layer for layer in found if not DERIVED.keys() & layer.metadata.keys()]


def _noted(kept: dict[str, Any]) -> dict[str, Any]:
    return {key: kept[key] for key in NOTED if key in kept}


def _physical(units: tuple[str, ...], axes: str) -> tuple[str, ...]:
    """Return pixels for all axes of space unless each has a unit; time keeps its own."""
    space = [unit for unit, axis in zip(units, axes, strict=True) if axis != "T"]
    return units if PIXEL not in space else tuple(u if a == "T" else PIXEL for u, a in zip(units, axes, strict=True))
