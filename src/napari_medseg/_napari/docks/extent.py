"""How much of a layer is segmented: all of it, or what is in view."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from napari.layers import Layer
from qtpy.QtWidgets import QComboBox

from napari_medseg._napari.widgets.channels import combined
from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io.grids import part_of

WHOLE, VIEW = "whole image", "current view"
MOST = 100_000_000  # pixels that a window segments at once


class ExtentChooser(QComboBox):
    """Whole image or current view; of a slide the view is proposed first."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.addItems([WHOLE, VIEW])
        self._seen: Layer | None = None

    def suit(self, layer: Layer | None) -> None:
        """Propose the current view for a layer of several resolutions, when it is chosen anew."""
        if layer is not None and layer is not self._seen:
            self._seen = layer
            self.setCurrentText(VIEW if getattr(layer, "multiscale", False) else WHOLE)

    def cut(self, layer: Layer, *channels: Layer) -> tuple[Image, tuple[int, ...]]:
        """Return the layer's image with further channels, or the part of it that is in view, and its offset.

        Raises
        ------
        DataError
            If that is more of a slide than a window can segment at once.
        """
        image = combined([layer, *channels])
        shape = image.spatial_shape
        offset = (0,) * len(shape)
        if self.currentText() == VIEW and self.viewer.dims.ndisplay == 2:
            box = view_box(layer, shape)
            index = (..., *box, slice(None)) if image.axes.endswith("C") else (..., *box)
            offset = (*offset[:-2], *(s.start for s in box))
            image = part_of(replace(image, data=image.data[index]), offset)
        height, width = image.spatial_shape[-2:]
        if getattr(layer, "multiscale", False) and height * width > MOST:
            raise DataError(
                f"{layer.name}: {width} x {height} pixels are too many to segment in the window. Zoom in and choose "
                f"{VIEW!r}, or give the slide's folder to the Batch dock, which writes the result to files."
            )
        return image, offset


def view_box(layer: Layer, shape: tuple[int, ...]) -> list[slice]:
    """Return what is in view of the last two axes, in pixels of the full resolution."""
    corners = layer.corner_pixels[:, -2:].astype(float)
    if getattr(layer, "multiscale", False):
        corners = corners * layer.downsample_factors[layer.data_level][-2:]
    low, high = corners[0].astype(int), corners[1].astype(int)
    return [slice(min(max(a, 0), n - 1), max(min(b + 1, n), 1)) for a, b, n in zip(low, high, shape[-2:], strict=True)]
