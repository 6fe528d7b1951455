"""napari writers: labels where they lie, with their provenance and table; outlines as QuPath takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from napari.layers import Labels

from napari_medseg._napari.drawn import in_pixels
from napari_medseg._napari.layers import AXES, image_from_layer
from napari_medseg._napari.outline_shapes import LayerData, regions_of
from napari_medseg.errors import MedSegError
from napari_medseg.io import write
from napari_medseg.io.files import disk_errors, file_stem, portable
from napari_medseg.io.outlines.geojson import write_regions
from napari_medseg.io.write import write_table
from napari_medseg.measure.labels import facts_of_objects

KEPT = (
    "name", "metadata", "features", "scale", "translate", "rotate", "shear", "affine", "units", "axis_labels",
)  # fmt: skip


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer where it lies, with its provenance, and its table as CSV beside it."""
    layer = Labels(data, **{name: attributes[name] for name in KEPT if name in attributes})
    image = image_from_layer(layer)
    provenance = {"medseg": layer.metadata["medseg"]} if "medseg" in layer.metadata else {}
    image = image.replace(metadata={**image.metadata, **provenance, **facts_of_objects(image, layer.features)})
    written = [str(write(Path(path), image))]
    if len(layer.features.columns):
        table = Path(path).with_name(file_stem(Path(path)) + "_table.csv")
        write_table(table, layer.features)
        written.append(str(table))
    return written


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


def write_outlines(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Shapes layer of closed shapes as QuPath annotations, in the pixels of the picture below it.

    Raises
    ------
    WriteError
        If the layer holds paths, it is not clear whose pixels it counts, or the place is not writable.
    """
    kinds = attributes.get("shape_type", "polygon")
    kinds = [kinds] * len(data) if isinstance(kinds, str) else list(kinds)
    features = pd.DataFrame(attributes.get("features", {}))
    drawn, _ = in_pixels(data, attributes)
    axes = "".join(str(label).upper() for label in attributes.get("axis_labels") or ())
    axes = axes if len(axes) > 2 and set(axes) <= set(AXES) else AXES
    write_regions(Path(path), regions_of(drawn, kinds, features, str(attributes.get("name")), axes))
    return [str(Path(path))]
