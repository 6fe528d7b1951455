"""napari readers and writers: hand over to `napari_medseg.io` and shape the answer as layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import MedSegError, ReadError
from napari_medseg.image import Image
from napari_medseg.io import as_labels, read, reader_for, write
from napari_medseg.io.atomic import disk_errors
from napari_medseg.io.pairs import file_stem, is_label, lies_among_labels
from napari_medseg.io.places import portable
from napari_medseg.io.volumes.dicom import series_of
from napari_medseg.io.write import write_table

KEPT = (
    "name", "metadata", "features", "scale", "translate", "rotate", "shear", "affine", "units", "axis_labels",
)  # fmt: skip
OUTLINES = (".xml", ".geojson", ".json")
LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Return the reader of `path`, or ``None`` when this plugin does not read it."""
    paths = [path] if isinstance(path, str) else list(path)
    return read_layers if paths and all(reader_for(Path(p)) is not None for p in paths) else None


def read_layers(path: str | list[str]) -> list[LayerData]:
    """Read files as layers: tracings and outlines as Shapes; of a many-channel scan only the first is visible.

    Each file of a DICOM series stands for the whole series, which is opened once: files of a series that is open
    already add no layer.
    """
    from napari_medseg._napari.layers import layer_data
    from napari_medseg._napari.nerves.tracings import shapes_data
    from napari_medseg._napari.outlines import outlines_data

    layers: list[LayerData] = []
    opened = _open_series()
    known = len(opened)
    for one in [path] if isinstance(path, str) else path:
        if opened and (series_of(Path(one)), str(Path(one).parent)) in opened:
            continue
        outlined = outlines_data(Path(one)) if Path(one).suffix.lower() in OUTLINES else None
        if outlined is not None:
            layers.append(outlined)
            continue
        images = read(one)
        opened |= {(image.metadata.get("series", ""), image.metadata.get("source_file", "")) for image in images}
        if is_label(Path(one)) or lies_among_labels(Path(one)):  # of a palette the numbers, not the colours
            images = [image for image in images if image.kind == "labels"] or images
        for index, image in enumerate(images):
            image = image.replace(metadata={"source_file": str(one), **image.metadata})
            if is_label(Path(one)) or lies_among_labels(Path(one)):
                image = _labels_if_whole(image)
            if image.kind == "labels" and "paths" in image.metadata:
                layers.append(shapes_data(image.metadata["paths"], image.metadata["classes"], image, image.name))
                continue
            channel = image.channels[0] if len(images) > 1 and image.channels else ""
            name = image.name if channel in image.name else f"{image.name} {channel}"
            data, kwargs, kind = layer_data(image, name)
            layers.append((data, {**kwargs, "visible": index == 0}, kind))
    if not layers and known:
        return [(None,)]  # napari's word for: nothing to add
    if not layers:
        raise ReadError(f"{path} holds no image.")
    return layers


def _open_series() -> set[tuple[str, str]]:
    """Return the DICOM series (UID and folder) whose images (not results) the window shows."""
    from napari import current_viewer

    from napari_medseg._napari.layers import image_layers

    viewer = current_viewer()
    shown = image_layers(viewer) if viewer is not None else []
    kept = [layer.metadata.get("medseg_image", {}) for layer in shown if "medseg" not in layer.metadata]
    return {(k["series"], k.get("source_file", "")) for k in kept if k.get("series")}


def _labels_if_whole(image: Image) -> Image:
    """Return an image in memory as labels, if it holds whole numbers without colour."""
    if image.kind == "labels" or not isinstance(image.data, np.ndarray):
        return image
    with suppress(MedSegError):
        return as_labels(image)
    return image


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer where it lies, with its provenance, and its table as CSV beside it."""
    from napari.layers import Labels

    from napari_medseg._napari.layers import image_from_layer

    layer = Labels(data, **{name: attributes[name] for name in KEPT if name in attributes})
    image = image_from_layer(layer)
    provenance = {"medseg": layer.metadata["medseg"]} if "medseg" in layer.metadata else {}
    image = image.replace(metadata={**image.metadata, **provenance, **_objects(image, layer.features)})
    written = [str(write(Path(path), image))]
    if len(layer.features.columns):
        table = Path(path).with_name(file_stem(Path(path)) + "_table.csv")
        write_table(table, layer.features)
        written.append(str(table))
    return written


def _objects(image: Image, features: Any) -> dict[str, Any]:
    """Return what a table says of the objects, as the outlines of other programs keep it: class and measurements."""
    column = next((name for name in ("index", "label") if name in features), None)
    if column is None:
        return {}
    known = dict(image.metadata.get("objects", {}))
    numbers = features.select_dtypes("number").drop(columns=column)
    for row, label in enumerate(features[column]):
        if label != label or int(label) == 0:
            continue
        said = {name: float(value) for name, value in numbers.iloc[row].items() if value == value}
        kept = {**known.get(str(int(label)), {}), "measurements": said}
        classes = [str(features[name].iloc[row]) for name in ("class", "type") if name in features]
        known[str(int(label))] = {**kept, **({"class": classes[0]} if classes else {})}
    return {"objects": known}


def write_several(path: str, layers: Sequence[LayerData]) -> list[str]:
    """Write several label layers into a folder of their names."""
    folder = Path(path)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    written: list[str] = []
    for data, attributes, kind in layers:
        if kind != "labels":
            raise MedSegError(f"{attributes.get('name')} is an {kind} layer; only Labels layers are written here.")
        written += write_labels(str(folder / f"{portable(str(attributes['name']))}_labels.tif"), data, attributes)
    return written
