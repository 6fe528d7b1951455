"""Further image layers as channels: T1c, T2 and FLAIR of one case are often layers of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.layers import Layer
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QListWidget, QListWidgetItem, QSizePolicy, QVBoxLayout, QWidget

from napari_medseg._napari.layers import image_from_layer, image_layers
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
        self.viewer, self.base = viewer, ""
        self.list = QListWidget()
        self.list.setToolTip("Layers of the same size and place; they follow the image as channels, in this order")
        self.list.itemChanged.connect(lambda _: self.changed.emit())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(QLabel("with further channels"))
        column.addWidget(self.list)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.hide()

    def show_for(self, base: Layer | None) -> None:
        """List the layers that fit `base`, keeping the ticks where `base` is the same."""
        name = "" if base is None else base.name
        ticked = {layer.name for layer in self.chosen} if name == self.base else set()
        self.base = name
        fitting = [layer for layer in reversed(image_layers(self.viewer)) if _fits(layer, base)]
        self.list.blockSignals(True)
        self.list.clear()
        for layer in fitting:
            item = QListWidgetItem(layer.name, self.list)
            item.setCheckState(Qt.CheckState.Checked if layer.name in ticked else Qt.CheckState.Unchecked)
        self.list.blockSignals(False)
        self.list.setFixedHeight(ROW * min(len(fitting), MOST_ROWS) + 4)
        self.setVisible(bool(fitting))

    @property
    def chosen(self) -> list[Layer]:
        """The ticked layers, in the order of the list."""
        items = [self.list.item(row) for row in range(self.list.count())]
        names = [item.text() for item in items if item.checkState() == Qt.CheckState.Checked]
        return [self.viewer.layers[name] for name in names if name in self.viewer.layers]

    def tick(self, layer: Layer, ticked: bool = True) -> None:
        """Tick a layer of the list."""
        for item in self.list.findItems(layer.name, Qt.MatchFlag.MatchExactly):
            item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)


def _fits(layer: Layer, base: Layer | None) -> bool:
    """Whether a layer lies on the grid of `base` and is another one."""
    if base is None or layer.name == base.name:
        return False
    try:
        return same_grid(image_from_layer(base), image_from_layer(layer))
    except MedSegError:
        return False
