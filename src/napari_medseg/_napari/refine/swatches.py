"""Colour-blind safe colours of scribbles and masks, and one big swatch per class to paint with."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap, label_colormap
from napari.utils.colormaps.standardize_color import transform_color
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QButtonGroup, QGridLayout, QPushButton, QWidget

from napari_medseg._napari.colours import BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILION, YELLOW

# background, foreground, then further classes
STROKES = (ORANGE, BLUE, GREEN, PURPLE, YELLOW, VERMILION, SKY_BLUE)
# the same hues, lighter: a stroke stays visible on the mask that it made
MASKS = (SKY_BLUE, "#4FD1A5", "#E9A6CC", "#F7F0A0", "#F29A66", "#A7DCF7")
ALIKE = 0.35  # distance in RGB, of 0 to 1 each, within which two colours look alike
BRIGHT = {ORANGE, PURPLE, YELLOW, SKY_BLUE}
COLUMNS = 2


def stroke_colour(value: int) -> str:
    """Return the colour of scribble `value` (1 background, 2 foreground, 3 ... further classes)."""
    return STROKES[value - 1] if value <= len(STROKES) else STROKES[1 + (value - 2) % (len(STROKES) - 1)]


def stroke_colours(classes: int) -> DirectLabelColormap:
    """Return the colours of a scribbles layer with `classes` foreground classes."""
    return _direct({value: stroke_colour(value) for value in range(1, classes + 2)})


def mask_colours(classes: int) -> DirectLabelColormap:
    """Return the colours of a mask layer with `classes` foreground classes."""
    return _direct({value: MASKS[(value - 1) % len(MASKS)] for value in range(1, classes + 1)})


def object_colours(classes: int) -> CyclicLabelColormap:
    """Return the colours of accepted objects: napari's, without those that look like the mask of an open object."""
    nothing, *colours = label_colormap(49).colors  # as many as Labels layers have
    masks = transform_color(list(MASKS[: min(classes, len(MASKS))]))
    far = [one for one in colours if np.linalg.norm(one[:3] - masks[:, :3], axis=1).min() > ALIKE]
    return CyclicLabelColormap(colors=np.array([nothing, *far]))


def class_name(value: int, classes: int) -> str:
    """Return the name of scribble `value`."""
    if value == 1:
        return "Background"
    return "Foreground" if classes == 1 else f"Class {value - 1}"


def _direct(colours: dict[int, str]) -> DirectLabelColormap:
    everything: dict[Any, str] = {None: "transparent", 0: "transparent", **colours}
    return DirectLabelColormap(color_dict=everything)


class Swatches(QWidget):
    """One big button per class; the pressed one paints."""

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.grid = QGridLayout(self)
        self.grid.setContentsMargins(0, 0, 0, 0)
        self.group = QButtonGroup(self)
        self.group.idClicked.connect(self.chosen)

    def set_classes(self, classes: int) -> None:
        """Show a swatch for the background and each foreground class."""
        for button in self.group.buttons():
            self.group.removeButton(button)
            self.grid.removeWidget(button)
            button.deleteLater()
        order = [2, 1, *range(3, classes + 2)] if classes == 1 else list(range(1, classes + 2))
        for place, value in enumerate(order):
            button = QPushButton(class_name(value, classes))
            button.setCheckable(True)
            button.setToolTip(
                "Paint what is too much (T changes)" if value == 1 else "Paint what belongs to it (T changes)"
            )
            button.setMinimumHeight(38 if classes < 6 else 26)
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.setStyleSheet(_style(stroke_colour(value)))
            self.group.addButton(button, value)
            self.grid.addWidget(button, place // COLUMNS, place % COLUMNS)

    def select(self, value: int) -> None:
        """Press the swatch of `value`; another value (the eraser) releases all."""
        button = self.group.button(value)
        self.group.setExclusive(button is not None)
        for other in self.group.buttons():
            other.setChecked(other is button)
            other.setText(("✓ " if other is button else "") + other.text().removeprefix("✓ "))


def _style(colour: str) -> str:
    text = "black" if colour in BRIGHT else "white"
    return (
        f"QPushButton {{background: {colour}; color: {text}; font-weight: normal; border: 3px solid {colour};"
        " border-radius: 6px}"
        f" QPushButton:checked {{font-weight: bold; border: 3px solid {text}}}"
    )
