"""Choose a layer: the list follows the viewer, a line below says what was understood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.layers import Layer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_medseg._napari import PLUGIN
from napari_medseg._napari.belonging import take_place
from napari_medseg._napari.layers import image_from_layer, label_layers
from napari_medseg._napari.planes import PlaneButtons
from napari_medseg._napari.widgets.calibration import Calibration, takes_heights
from napari_medseg._napari.widgets.listening import listen
from napari_medseg._napari.widgets.named import Choices, push_button
from napari_medseg.errors import MedSegError
from napari_medseg.image import PIXEL, Image
from napari_medseg.models.purpose import Field

SAID = ("units", "metadata", "scale", "affine", "shear", "axis_labels")  # events of what a layer's line says of it
SAMPLES = {"afm": "AFM cells on glass", "mri": "brain volume", "video": "nerve movie"}


class LayerChooser(QWidget):
    """Choose one of the layers that `layers` lists, or `none`; offer the `sample` where there are none.

    With `sizes` the pixel size can be entered, with `heights` nm per grey value where the values have no unit; the
    fields are in view where the layer does not say it.
    """

    changed = Signal()

    def __init__(
        self,
        viewer: Any,
        layers: Callable[[Any], list[Any]],
        none: str = "",
        sample: str = "",
        sizes: bool = False,
        heights: bool = False,
        name: str = "Layer",
    ) -> None:
        super().__init__()
        self.viewer, self.layers, self.none, self.sample = viewer, layers, none, sample
        self.found: list[Layer] = []
        self.image: Image | None = None
        self.problem = ""
        self.box, self.line = Choices(name, "Which of the open layers"), QLabel("")
        self.line.setWordWrap(True)
        self.button = push_button(f"Open sample: {SAMPLES.get(sample, sample)}", "Open a generated image to try it out")
        self.button.clicked.connect(lambda: viewer.open_sample(PLUGIN, sample))
        self.fields = Calibration(sizes, heights)
        asked = "Pixel size ..." if sizes else "nm per grey value ..."
        self.open_fields = push_button(asked, "Enter what the file does not say, or says wrongly")
        self.open_fields.clicked.connect(lambda: self.fields.setVisible(self.fields.isHidden()))
        self.fields.entered.connect(self._calibrate)
        self.sizes, self.heights = sizes, heights
        self.field: Field | None = None  # what the image is taken for
        self._heard: Layer | None = None
        self._ends: list[Callable[[], None]] = []
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.planes = PlaneButtons(viewer)
        for widget in (self.box, self.line, self.planes, self.open_fields, self.fields, self.button):
            layout.addWidget(widget)
        self.box.currentIndexChanged.connect(self._chosen)
        events = viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, getattr(events, "renamed", None)):
            if event is not None:  # older versions of napari do not tell of new names
                listen(event, self.refresh)
        listen(viewer.layers.selection.events.active, self._follow)
        self._offer_fields()
        self.refresh()

    @property
    def layer(self) -> Layer | None:
        """The chosen layer."""
        row = self.box.currentIndex()
        layer = self.found[row] if 0 <= row < len(self.found) else None
        return layer if layer is not None and layer in self.viewer.layers else None

    def choose(self, layer: Layer) -> None:
        """Choose `layer`, if it can be listed."""
        if layer not in self.found and layer in self.layers(self.viewer):
            self.refresh()  # the viewer told someone else of the new layer first
        if layer in self.found:
            self.box.setCurrentIndex(self.found.index(layer))

    def refresh(self, event: Any = None) -> None:
        """List the viewer's layers again, keeping the choice where it still exists."""
        layer, nothing = self.layer, bool(self.none) and self.box.currentIndex() == len(self.found) > 0
        self.found = list(self.layers(self.viewer))
        self.box.blockSignals(True)
        self.box.clear()
        for one in self.found:
            self.box.addItem(one.name, one.name)
        if self.none:
            self.box.addItem(self.none, "")
        self.box.setCurrentIndex(self.found.index(layer) if layer in self.found else len(self.found) * nothing)
        self.box.blockSignals(False)
        self.box.setVisible(bool(self.found or self.none))
        self.button.setVisible(bool(self.sample) and not self.found)
        self._chosen()

    def take_for(self, field: Field | None) -> None:
        """Ask for what an image of a field needs, whatever it looks like; ``None``: as it looks."""
        if field != self.field:
            self.field = field
            self._offer_fields()

    def _follow(self, event: Any = None) -> None:
        active = self.viewer.layers.selection.active
        hidden = active is not None and not active.visible  # the other channels of a scan come hidden
        if active is not None and active is not self.layer and not hidden:
            self.choose(active)

    def _chosen(self, index: int = 0) -> None:
        layer = self.layer
        try:
            self.image, self.problem = None if layer is None else image_from_layer(layer), ""
            if layer is not None and self.image is not None and take_place(self.viewer, layer, self.image):
                self.image = image_from_layer(layer)
        except MedSegError as error:
            self.image, self.problem = None, str(error)
        self.line.setText(self.problem if self.image is None else _said(self.image))
        self.line.setVisible(bool(self.line.text()))
        self.planes.suit(layer)
        if layer is not self._heard:
            self._hear(layer)
        self.changed.emit()

    def _hear(self, layer: Layer | None) -> None:
        """Follow what is entered for a layer here or elsewhere."""
        for end in self._ends:
            end()
        self._heard, known = layer, None if layer is None else layer.events
        self._ends = [listen(getattr(known, name), self._changed) for name in SAID if hasattr(known, name)]
        self._offer_fields()

    def _changed(self, event: Any = None) -> None:
        """Say anew what the layer is, and tell."""
        self._chosen()
        self._offer_fields()

    def _offer_fields(self) -> None:
        """Show the fields where the layer does not say what they ask for, else a button that opens them."""
        layer, image = self._heard, self.image
        heights = self.heights and layer is not None and image is not None and takes_heights(layer, image, self.field)
        offered = image is not None and (self.sizes or heights)
        self.open_fields.setVisible(offered)
        self.fields.setVisible(offered and self.sizes and image.units[-1] == PIXEL)
        if offered:
            self.fields.show_for(layer, image)
            self.fields.show_values(heights)

    def _calibrate(self) -> None:
        """Give the layer what was entered."""
        if self.layer is None:
            return
        try:
            said = self.fields.apply(self.viewer, self.layer)
        except MedSegError as error:
            self.line.setText(str(error))
            return
        self.line.setText("\n".join(filter(None, (self.line.text(), said))))


def _said(image: Image) -> str:
    """Return the description of an image, and what its reader noted (an assumed pixel size)."""
    return "\n".join([image.describe(), *image.metadata.get("notes", [])])


class FixedChooser(LayerChooser):
    """A layer chooser of labels that keeps its choice when another layer is selected."""

    def __init__(self, viewer: Any, sample: str = "") -> None:
        super().__init__(viewer, label_layers, sample=sample)

    def _follow(self, event: Any = None) -> None:
        return
