"""Which picture the nerves of a layer were found in: densities of a mosaic need to know what its frames cover."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from napari.layers import Layer

from napari_medseg._napari.layers import image_from_layer, image_layers
from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io.grids import together
from napari_medseg.io.pairs import case_stem


def plain_name(name: str) -> str:
    """Return the name of an image without what the viewer adds to it: the method, a number in brackets."""
    return re.sub(r"( · .*| \[\d+\])$", "", name)


def picture_layer(viewer: Any, labels: Layer) -> Layer | None:
    """Return the layer that labels were made from, else the only image of their name, ``None`` if there is none."""
    source = labels.metadata.get("medseg", {}).get("source_layer", "")
    found = image_layers(viewer)
    named = [layer for layer in found if layer.name == source]
    alike = named or [layer for layer in found if _stem(layer.name) == _stem(labels.name)]
    return alike[0] if len(alike) == 1 else None


def with_picture(layer: Layer, picture: Layer | None) -> tuple[Image, Image | None]:
    """Return the image of a layer and its picture on one grid; without the picture where the two do not fit."""
    labels = image_from_layer(layer)
    if picture is None:
        return labels, None
    try:
        return together(labels, image_from_layer(picture))
    except DataError:
        return labels, None


def _stem(name: str) -> str:
    return case_stem(Path(f"{plain_name(name).removesuffix('.tif')}.tif"))
