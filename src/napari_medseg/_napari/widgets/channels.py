"""Further image layers as channels: T1c, T2 and FLAIR of one case are often layers of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.layers import Layer
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QListWidget, QListWidgetItem, QSizePolicy, QVBoxLayout, QWidget

from napari_medseg._napari.layers import image_from_layer, image_layers
from napari_medseg._napari.widgets.named import named
from napari_medseg.errors import MedSegError
from napari_medseg.image import Image
from napari_medseg.io.grids import same_grid, stack_channels

ROW, MOST_ROWS = 26, 4


def combined(layers: list[Layer], read: Callable[[Layer], Image] = image_from_layer) -> Image:
    """Return layers on one grid as the channels of one image, which is named after the first; `read` reads each.

    Raises
    ------
    MedSegError
        If a layer is no image, or their voxels do not coincide.
    """
    images = [read(layer) for layer in layers]
    stacked = stack_channels(images)
    return stacked if len(images) == 1 else stacked.replace(metadata={**stacked.metadata, "source_file": ""})


class ChannelChooser(QWidget):
    """Tick the image layers on the grid of `base` that are further channels; hidden where there are none."""

    changed = Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.base: Layer | None = None
        self.fitting: list[Layer] = []  # one for each row of the list
        tip = "Layers of the same size and place; they follow the image as channels, in this order"
        self.list = named(QListWidget(), "Further channels", tip)
        self.list.itemChanged.connect(lambda _: self.changed.emit())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(QLabel("with further channels"))
        column.addWidget(self.list)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.hide()

    def show_for(self, base: Layer | None) -> None:
        """List the layers that fit `base`, keeping the ticks where `base` is the same."""
        ticked = self.chosen if base is self.base else []
        self.base = base
        listed = sorted(image_layers(self.viewer), key=self.viewer.layers.index)  # whichever of them are hidden
        self.fitting = [layer for layer in listed if _fits(layer, base)]
        self.list.blockSignals(True)
        self.list.clear()
        for layer in self.fitting:
            item = QListWidgetItem(layer.name, self.list)
            item.setCheckState(Qt.CheckState.Checked if layer in ticked else Qt.CheckState.Unchecked)
        self.list.blockSignals(False)
        self.list.setFixedHeight(ROW * min(len(self.fitting), MOST_ROWS) + 4)
        self.setVisible(bool(self.fitting))

    @property
    def chosen(self) -> list[Layer]:
        """The ticked layers, in the order of the list."""
        states = [self.list.item(row).checkState() for row in range(self.list.count())]
        pairs = zip(self.fitting, states, strict=True)
        return [layer for layer, on in pairs if on == Qt.CheckState.Checked and layer in self.viewer.layers]

    def tick(self, layer: Layer, ticked: bool = True) -> None:
        """Tick a layer of the list."""
        if layer in self.fitting:
            item = self.list.item(self.fitting.index(layer))
            item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)


def _fits(layer: Layer, base: Layer | None) -> bool:
    """Whether a layer lies on the grid of `base` and is another one."""
    if base is None or layer is base:
        return False
    try:
        return same_grid(image_from_layer(base), image_from_layer(layer))
    except MedSegError:
        return False
