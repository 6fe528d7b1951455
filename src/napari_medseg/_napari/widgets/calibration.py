"""Pixel size and nm per grey value, entered where a file does not say them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Layer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_medseg._napari.belonging import kept_of, set_pixel_size
from napari_medseg._napari.layers import HEIGHTS, image_from_layer
from napari_medseg._napari.widgets.named import Choices, named, push_button
from napari_medseg.errors import SettingsError
from napari_medseg.image import PIXEL, SHORT_UNITS, Image, steps_as_said, um_per
from napari_medseg.models.purpose import Field, likely_field

UNITS = ("micrometer", "nanometer", "millimeter", PIXEL)


class Calibration(QWidget):
    """Fields for the pixel size with its unit and for nm per grey value; `entered` when *Set* is pressed.

    Parameters
    ----------
    sizes, values
        Whether a pixel size and whether nm per grey value are asked for.
    button
        Whether there is a button *Set*; without it the fields are read when they are needed.
    """

    entered = Signal()

    def __init__(self, sizes: bool = True, values: bool = True, button: bool = True) -> None:
        super().__init__()
        self.unit = Choices("Unit of the pixel size", "Unit of the pixel size")
        for unit in UNITS:
            self.unit.addItem(SHORT_UNITS[unit], unit)
        edge = "Edge of a pixel: one number, or one for each axis of space with commas, depth first"
        grey = "Height of one grey value, of pictures whose file does not say what their values mean"
        self.size, self.value = named(QLineEdit(), "Pixel size", edge), named(QLineEdit(), "nm per grey value", grey)
        self.size.setPlaceholderText("from file")
        self.value.setPlaceholderText("from file")
        self.size_row = [QLabel("Pixel size"), self.size, self.unit]
        self.value_row = [QLabel("nm per grey value"), self.value]
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        for row, widgets in enumerate((self.size_row, self.value_row)):
            for column, widget in enumerate(widgets):
                grid.addWidget(widget, row, column)
        self.button = push_button("Set", "Give it to the layer, and to those that belong to it")
        if button:
            grid.addWidget(self.button, 0 if sizes else 1, 3)
        for field in (self.button.clicked, self.size.returnPressed, self.value.returnPressed):
            field.connect(lambda *_: self.entered.emit())
        self._show(self.size_row, sizes)
        self._show(self.value_row, values)

    def show_for(self, layer: Layer, image: Image) -> None:
        """Show what a layer and its image state."""
        sizes = [step for step, axis in zip(image.scale, image.spatial_axes, strict=True) if axis != "T"]
        unit, microns = image.units[-1], um_per(image.units[-1])
        known = microns is not None
        if unit not in UNITS:
            sizes, unit = [step * (microns or 1.0) for step in sizes], UNITS[0]
        said, short = steps_as_said(sizes, unit)
        alike = len({f"{step:.6g}" for step in said}) == 1
        self.size.setText(", ".join(f"{step:.6g}" for step in (said[:1] if alike else said)) if known else "")
        self.unit.setCurrentIndex(max(0, self.unit.findText(short if known else SHORT_UNITS[UNITS[0]])))
        factor = kept_of(layer).get(HEIGHTS)
        self.value.setText("" if factor is None else f"{factor:.6g}")

    def show_values(self, shown: bool) -> None:
        """Show or hide nm per grey value."""
        self._show(self.value_row, shown)

    @property
    def steps(self) -> tuple[float, ...]:
        """The sizes entered, in `UNITS` of `unit`; none where the field is empty.

        Raises
        ------
        SettingsError
            If that is no positive number.
        """
        return tuple(_positive(part, "Pixel size") for part in self.size.text().split(",") if part.strip())

    @property
    def micrometres(self) -> float | None:
        """The one size entered, in micrometres, ``None`` where the field is empty or the unit is the pixel.

        Raises
        ------
        SettingsError
            If that is no positive number, or more than one.
        """
        steps, microns = self.steps, um_per(self.unit.currentData())
        if len(steps) > 1:
            raise SettingsError("Give one pixel size for all images of the folder.")
        return steps[0] * microns if steps and microns is not None else None

    @property
    def nm_per_grey(self) -> float | None:
        """The height of one grey value in nm, ``None`` where the field is empty; raises as `steps`."""
        text = self.value.text().strip()
        return _positive(text, "nm per grey value") if text else None

    def apply(self, viewer: Any, layer: Layer) -> str:
        """Give what was entered to a layer and those that belong to it; return a sentence on it.

        Raises
        ------
        SettingsError
            If something entered is no positive number, or there are more sizes than axes.
        """
        said = []
        sizes, heights = (not row[0].isHidden() for row in (self.size_row, self.value_row))
        steps, nm_per_grey = self.steps if sizes else (), self.nm_per_grey if heights else None
        if steps:  # which makes the fields show the layer anew
            others = set_pixel_size(viewer, layer, steps, str(self.unit.currentData()))
            said = [f"Also set for {', '.join(other.name for other in others)}."] if others else []
        if heights:
            set_heights(layer, nm_per_grey)
        return " ".join(said)

    @staticmethod
    def _show(widgets: list[QWidget], shown: bool) -> None:
        for widget in widgets:
            widget.setVisible(shown)


def _positive(text: str, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise SettingsError(f"{what}: {text.strip()!r} is no positive number. Write it like 0.52.")
    return number


def takes_heights(layer: Layer, image: Image, field: Field | None = None) -> bool:
    """Whether the grey values of a layer could be heights: a picture in memory whose file gives them no unit.

    Those of another field's image could not, unless `field` says that it is taken for one of cells on glass.
    """
    plain = isinstance(layer, ImageLayer) and image.axes in ("YX", "TYX") and isinstance(layer.data, np.ndarray)
    unsaid = not image.value_unit and (field or likely_field(image)) in (None, "movie", "afm")
    return plain and (unsaid or HEIGHTS in kept_of(layer))


def set_heights(layer: Layer, nm_per_grey: float | None) -> None:
    """Say how many nm one grey value of a layer is; ``None`` takes it back."""
    kept = {k: v for k, v in kept_of(layer).items() if k != HEIGHTS}
    kept |= {} if nm_per_grey is None else {HEIGHTS: nm_per_grey}
    layer.metadata = {**layer.metadata, "medseg_image": kept}


def ask_pixel_size(parent: QWidget, viewer: Any, layer: Layer) -> bool | None:
    """Ask for the pixel size of a layer; return whether it was given, ``None`` to leave the whole thing."""
    dialog = QDialog(parent)
    dialog.setWindowTitle("Pixel size")
    told, fields = QLabel(f"The pixel size of {layer.name} is not known. What is it?"), Calibration(True, False, False)
    told.setWordWrap(True)
    buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
    pixels = buttons.addButton("Write in pixels", QDialogButtonBox.ButtonRole.DestructiveRole)
    column = QVBoxLayout(dialog)
    for widget in (told, fields, buttons):
        column.addWidget(widget)
    fields.show_for(layer, image_from_layer(layer))

    def give() -> None:
        try:
            if not fields.steps:
                raise SettingsError("Enter the size of a pixel, or choose Write in pixels.")
            fields.apply(viewer, layer)
            dialog.accept()
        except SettingsError as error:
            told.setText(str(error))

    buttons.accepted.connect(give)
    buttons.rejected.connect(dialog.reject)
    pixels.clicked.connect(lambda: dialog.done(2))
    return {int(QDialog.DialogCode.Accepted.value): True, 2: False}.get(dialog.exec())
