"""Change measured objects: merge, split and remove those of the selected rows, or all below a size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Labels
from qtpy.QtWidgets import QGridLayout, QLabel, QLineEdit, QPushButton, QWidget

from napari_medseg._napari.layers import image_from_layer
from napari_medseg._napari.widgets.named import named
from napari_medseg._napari.widgets.table import time_axis
from napari_medseg.measure.labels import box_of, pieces_of


class ObjectTools(QWidget):
    """Merge, split and remove the objects of the selected rows, or all below a size; Ctrl+Z in napari takes it back."""

    def __init__(self, dock: Any) -> None:
        super().__init__()
        self.dock, self.unit = dock, QLabel("")
        self.smallest = named(QLineEdit(), "Smallest size", "Objects below it go when Remove smaller is pressed")
        self.smallest.setPlaceholderText("smallest size")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        merge = _button("Merge", "Make one object of the selected rows (Ctrl or Shift selects several)", self.merge)
        split = _button("Split", "Divide the selected object into its pieces, or at its waists", self.split)
        remove = _button("Remove", "Remove the objects of the selected rows", self.remove)
        for column, button in enumerate((merge, split, remove)):
            grid.addWidget(button, 0, column)
        grid.addWidget(self.smallest, 1, 0)
        grid.addWidget(self.unit, 1, 1)
        grid.addWidget(_button("Remove smaller", "Remove every object below this size", self.remove_small), 1, 2)
        self.hide()

    def offer(self) -> None:
        """Show the tools where rows are objects of a Labels layer that can be changed."""
        layer = self.dock.table.layer
        fits = isinstance(layer, Labels) and isinstance(layer.data, np.ndarray) and "label" in self.dock.table.frame
        self.setVisible(fits)
        self.unit.setText(_size_column(self.dock.table.frame).partition(" ")[2])

    def merge(self) -> None:
        """Give the selected objects the first one's label."""
        chosen = self.dock.table.chosen
        if len(chosen) < 2:
            self.dock.run_bar.say("Select the rows of the objects to merge, with Ctrl or Shift.")
            return
        self._change(chosen.iloc[1:], int(chosen["label"].iloc[0]))

    def split(self) -> None:
        """Divide the selected object, of a movie in the frame of its row."""
        chosen, layer = self.dock.table.chosen, self.dock.table.layer
        if len(chosen) != 1:
            self.dock.run_bar.say("Select the row of the one object to split.")
            return
        label, here = int(chosen["label"].iloc[0]), whole_or_frame(layer, chosen.iloc[0])
        box = box_of(layer.data[here], label)
        if box is None:
            self.dock.run_bar.say(f"Object {label} is no longer there. Press Measure.")
            return
        steps = [
            step for step, part in zip(image_from_layer(layer).scale, here, strict=True) if isinstance(part, slice)
        ]
        pieces = pieces_of(layer.data[here][box] == label, steps)
        if pieces.max() < 2:
            self.dock.run_bar.say(f"Object {label} is one piece without a waist. Cut it with the eraser instead.")
            return
        found = np.nonzero(pieces > 1)
        numbers = pieces[found] - 1 + int(layer.data.max())
        within = iter(place + part.start for place, part in zip(found, box, strict=True))
        places = tuple(next(within) if isinstance(part, slice) else np.full(len(numbers), part) for part in here)
        if numbers.max() > np.iinfo(layer.data.dtype).max:  # more objects than 8 bits number
            layer.data = layer.data.astype(np.min_scalar_type(int(numbers.max())))
        layer.data_setitem(places, numbers)
        self._measure()

    def remove(self) -> None:
        """Remove the selected objects."""
        self._change(self.dock.table.chosen, 0)

    def remove_small(self) -> None:
        """Remove the objects below the size."""
        frame, column = self.dock.table.frame, _size_column(self.dock.table.frame)
        try:
            least = float(self.smallest.text())
        except ValueError:
            self.dock.run_bar.say(f"Smallest size: {self.smallest.text()!r} is no number.")
            return
        self._change(frame[frame[column] < least], 0)

    def _change(self, rows: pd.DataFrame, to: int) -> None:
        """Give the objects of rows another label, of a movie in the frame of each."""
        layer = self.dock.table.layer
        if not len(rows):
            self.dock.run_bar.say("No object is selected, or none is that small.")
            return
        found = np.zeros(layer.data.shape, bool)
        for _, some in rows.groupby("frame") if "frame" in rows else [(0, rows)]:
            here = whole_or_frame(layer, some.iloc[0])
            found[here] = np.isin(layer.data[here], some["label"])
        layer.data_setitem(np.nonzero(found), to)
        self._measure()

    def _measure(self) -> None:
        self.dock.labels.choose(self.dock.table.layer)
        self.dock.run_bar.start()


def whole_or_frame(layer: Labels, row: pd.Series) -> tuple[Any, ...]:
    """Return the index of what a row is of in the data of its layer: of a movie its frame, else all."""
    here: list[Any] = [slice(None)] * layer.ndim
    if "frame" in row:
        here[time_axis(layer)] = int(row["frame"])
    return tuple(here)


def _button(text: str, tip: str, action: Callable[[], None]) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.clicked.connect(lambda: action())
    return button


def _size_column(frame: pd.DataFrame) -> str:
    """Return the column that says how large objects are."""
    return next((str(name) for name in frame if str(name).startswith(("area (", "volume ("))), "")
