"""Parts that every dock is made of: a scrolling column, layer choosers, folded settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.layers import Layer
from napari.utils.notifications import show_info
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_medseg._napari.form import SettingsForm
from napari_medseg._napari.layers import image_from_layer
from napari_medseg.errors import MedSegError
from napari_medseg.image import Image


class Dock(QWidget):
    """A dock: sections from top to bottom that scroll when the window is small."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        inner = QWidget()
        self.column = QVBoxLayout(inner)
        self.column.setAlignment(Qt.AlignmentFlag.AlignTop)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inner)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(area)
        self.setMinimumWidth(330)

    def section(self, title: str, *widgets: QWidget) -> None:
        """Add a titled group of widgets."""
        self.column.addWidget(QLabel(f"<b>{title}</b>"))
        for widget in widgets:
            self.column.addWidget(widget)


class LayerChooser(QWidget):
    """Choose one layer; the list follows the viewer, a line below says what was understood."""

    changed = Signal()

    def __init__(self, viewer: Any, layers: Callable[[Any], list[Any]], none: str = "", sample: str = "") -> None:
        super().__init__()
        self.viewer, self.layers, self.none = viewer, layers, none
        self.box, self.line = QComboBox(), QLabel("")
        self.line.setWordWrap(True)
        self.button = QPushButton(f"Open sample ({sample})" if sample else "Open sample")
        self.button.clicked.connect(lambda: viewer.open_sample("napari-medseg", sample))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.box, self.line, self.button):
            layout.addWidget(widget)
        self.sample = sample
        self.box.currentIndexChanged.connect(self._chosen)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed, viewer.layers.events.reordered):
            event.connect(self.refresh)
        viewer.layers.selection.events.active.connect(self._follow)
        self.destroyed.connect(lambda: None)
        self.refresh()

    @property
    def layer(self) -> Layer | None:
        """The chosen layer."""
        name = self.box.currentData()
        return self.viewer.layers[name] if name and name in self.viewer.layers else None

    def choose(self, layer: Layer) -> None:
        """Choose `layer`."""
        self.box.setCurrentIndex(self.box.findData(layer.name))

    def refresh(self, event: Any = None) -> None:
        """List the viewer's layers again, keeping the choice where it still exists."""
        chosen = self.box.currentData()
        found = [layer.name for layer in self.layers(self.viewer)]
        self.box.blockSignals(True)
        self.box.clear()
        for name in found:
            self.box.addItem(name, name)
        if self.none:
            self.box.addItem(self.none, "")
        self.box.setCurrentIndex(max(self.box.findData(chosen), 0))
        self.box.blockSignals(False)
        self.box.setVisible(bool(found or self.none))
        self.button.setVisible(bool(self.sample) and not found)
        self._chosen()

    def _follow(self, event: Any = None) -> None:
        active = self.viewer.layers.selection.active
        if active is not None and active in self.layers(self.viewer) and active is not self.layer:
            self.choose(active)

    def _chosen(self, index: int = 0) -> None:
        layer = self.layer
        try:
            self.line.setText("" if layer is None else _said(image_from_layer(layer)))
        except MedSegError as error:
            self.line.setText(str(error))
        self.changed.emit()


def _said(image: Image) -> str:
    """Return the description of an image, and what its reader noted (an assumed pixel size)."""
    return "\n".join([image.describe(), *image.metadata.get("notes", [])])


class FoldedSettings(QCollapsible):
    """A folded form with Reset, Save, Load and Copy as command."""

    def __init__(self, form: SettingsForm, command: Callable[[], str], title: str = "Settings") -> None:
        super().__init__(title)
        self.form, self.command = form, command
        row = QWidget()
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        for text, action in (
            ("Reset", form.reset),
            ("Save", self.save),
            ("Load", self.load),
            ("Copy as command", self.copy),
        ):
            button = QPushButton(text)
            button.clicked.connect(lambda _=False, action=action: action())
            layout.addWidget(button)
        self.addWidget(form.native)
        self.addWidget(row)

    def copy(self) -> None:
        """Put the equivalent command line onto the clipboard."""
        try:
            QApplication.clipboard().setText(self.command())
            show_info("Command copied")
        except MedSegError as error:
            show_info(str(error))

    def save(self, path: str = "") -> None:
        """Save the settings as JSON."""
        path = path or QFileDialog.getSaveFileName(self, "Save settings", "settings.json", "JSON (*.json)")[0]
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(self.form.value.model_dump_json(indent=2))

    def load(self, path: str = "") -> None:
        """Load settings from JSON."""
        path = path or QFileDialog.getOpenFileName(self, "Load settings", "", "JSON (*.json)")[0]
        if not path:
            return
        try:
            with open(path, encoding="utf-8") as file:
                self.form.value = type(self.form.defaults).model_validate_json(file.read())
        except (OSError, ValueError) as error:
            show_info(f"{path} cannot be loaded: {error}")
