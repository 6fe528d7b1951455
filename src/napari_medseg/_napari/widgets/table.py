"""Tables in the window: a DataFrame as rows; a row selects its object or path and brings it into view, and back."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Labels, Shapes
from napari.utils.colormaps import DirectLabelColormap
from qtpy.compat import isalive
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtWidgets import QTableView

from napari_medseg._napari.colours import YELLOW
from napari_medseg._napari.layers import DERIVED, image_from_layer, like
from napari_medseg._napari.view import bring_into_view, present_slice
from napari_medseg._napari.widgets.listening import PLACE, hear, listen
from napari_medseg._napari.widgets.named import named
from napari_medseg._napari.widgets.words import text
from napari_medseg._napari.world import in_units_of, moved_to, put_onto
from napari_medseg.measure.labels import box_of

OUTLINE = 2  # pixels
STILL = 3  # pixels that a click may move


class FrameModel(QAbstractTableModel):
    """Show a DataFrame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        super().__init__()
        self.frame = frame

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Count the rows."""
        return len(self.frame)

    def columnCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Count the columns."""
        return len(self.frame.columns)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return one cell as text."""
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        return text(self.frame.iat[index.row(), index.column()])

    def headerData(self, section: int, orientation: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: N802
        """Return a header."""
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        return str(self.frame.columns[section]) if orientation == Qt.Orientation.Horizontal else str(section + 1)


class TableView(QTableView):
    """The table of one Labels layer, or of a Shapes layer with one row for each shape.

    `unlinked` tells of a chosen row without an object in the picture.
    """

    unlinked = Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer, self.layer, self.frame = viewer, None, pd.DataFrame()
        self.mark: Any = None
        self.begin: tuple[int, ...] = ()  # index of the outline's first pixel in the layer
        self.unfollow: Callable[[], None] = lambda: None
        listen(viewer.layers.events.removed, self._removed)
        self.following = False
        viewer.mouse_drag_callbacks.append(self._press)
        self.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.setMinimumHeight(220)
        named(self, "Table of measurements", "Click a row to see its object; Ctrl or Shift selects several")

    def show_table(self, frame: pd.DataFrame, layer: Any) -> None:
        """Show `frame` and link its ``label`` column, or for shapes its rows, to `layer` (``None``: to no layer)."""
        row = self.currentIndex().row() if layer is self.layer else -1
        self.clear_mark()
        if self.layer is not None:
            self.unfollow()
        self.frame, self.layer = frame, layer
        self.setModel(FrameModel(frame))
        self.resizeColumnsToContents()
        if 0 <= row < len(frame):
            self.selectRow(row)
        self.selectionModel().currentRowChanged.connect(self._select_object)
        if "label" in frame and isinstance(layer, Labels):
            indexed = frame.rename(columns={"label": "index"}) if np.max(layer.data) <= 10**6 else frame
            layer.features = indexed
        if layer is not None:
            ends = listen(_selection_event(layer), self._select_row), hear(layer, PLACE, self._moved)

            def end() -> None:
                for one in ends:
                    one()

            self.unfollow = end

    def _select_object(self, current: QModelIndex, previous: QModelIndex | None = None) -> None:
        if self.layer not in self.viewer.layers or not 0 <= current.row() < len(self.frame):
            return
        if isinstance(self.layer, Labels) and "label" in self.frame:
            self.outline(int(self.frame["label"].iloc[current.row()]))
        if self.following:
            return
        place = self._select_shape(current.row()) if isinstance(self.layer, Shapes) else self._select_label(current)
        if place is not None:
            bring_into_view(self.viewer, self.layer, place)

    def _select_label(self, current: QModelIndex) -> tuple[float, ...] | None:
        if "label" not in self.frame:
            self.unlinked.emit()
            return None
        label = int(self.frame["label"].iloc[current.row()])
        self.layer.selected_label = label
        labels, here = whole(self.layer), list(present_slice(self.viewer, self.layer))
        if "frame" in self.frame:
            here[time_axis(self.layer)] = int(self.frame["frame"].iloc[current.row()])
        return object_centre(labels, label, tuple(here)) or object_centre(labels, label)

    @property
    def chosen(self) -> pd.DataFrame:
        """The selected rows; none where they are of no objects."""
        rows = sorted({index.row() for index in self.selectedIndexes()})
        return self.frame.iloc[rows if "label" in self.frame else []]

    def outline(self, label: int) -> None:
        """Draw the outline of an object over the picture, until another one is chosen."""
        box = box_of(whole(self.layer), label)
        if box is None:
            self.clear_mark()
            return
        shape = np.pad(whole(self.layer)[box] == label, 1).astype(np.uint8)
        self.begin = tuple(one.start - 1 for one in box)
        if self.mark is not None and self.mark in self.viewer.layers:
            self.mark.data = shape
            self._moved()
            return
        active = self.viewer.layers.selection.active
        placed = {**like(self.layer), "translate": moved_to(self.layer, self.begin), "metadata": dict(DERIVED)}
        self.mark = self.viewer.add_labels(shape, name="selected object", opacity=1.0, **placed)
        self.mark.contour = OUTLINE
        self.mark.colormap = DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: YELLOW})
        self.viewer.layers.selection.active = active

    def _moved(self, event: Any = None) -> None:
        """Let the outline follow its layer."""
        if self.mark is not None and self.mark in self.viewer.layers:
            put_onto(self.mark, self.layer, self.begin)

    def clear_mark(self) -> None:
        """Remove the outline."""
        if self.mark is not None and self.mark in self.viewer.layers:
            self.viewer.layers.remove(self.mark)
        self.mark = None

    def _removed(self, event: Any) -> None:
        if self.layer is not None and event.value == self.layer:
            self.clear_mark()

    def _select_shape(self, row: int) -> tuple[float, ...] | None:
        if row >= len(self.layer.data):
            return None
        if set(self.layer.selected_data) != {row}:
            self.layer.selected_data = {row}
        points = np.asarray(self.layer.data[row])
        return tuple(points[len(points) // 2])

    def _select_row(self, event: Any = None) -> None:
        if self.layer is None:
            return
        if isinstance(self.layer, Shapes):
            rows = np.array(sorted(self.layer.selected_data))
        elif "label" in self.frame:
            rows = np.flatnonzero(self.frame["label"].to_numpy() == self.layer.selected_label)
            if "frame" in self.frame:
                shown = present_slice(self.viewer, self.layer)[time_axis(self.layer)]
                here = rows[self.frame["frame"].to_numpy()[rows] == shown]
                rows = here if here.size else rows
        else:
            return
        if rows.size and rows[0] < len(self.frame) and self.currentIndex().row() != rows[0]:
            self.following = True  # the object is in view: the view stays
            self.selectRow(int(rows[0]))
            self.following = False

    def _press(self, viewer: Any, event: Any) -> Generator[None, None, None]:
        """Select the row of the object under a click; a drag moves the picture as always."""
        if not isalive(self):
            viewer.mouse_drag_callbacks.remove(self._press)
            return
        start = np.array(event.pos)
        yield
        while event.type == "mouse_move":
            yield
        active = viewer.layers.selection.active
        moving = self.isVisible() and (active is None or active.mode == "pan_zoom")
        if moving and np.abs(np.array(event.pos) - start).max() <= STILL and isinstance(self.layer, Labels):
            self._click(event)

    def _click(self, event: Any) -> None:
        if "label" not in self.frame or self.layer not in self.viewer.layers:
            return
        seen = {"view_direction": event.view_direction, "dims_displayed": list(event.dims_displayed)}
        value = self.layer.get_value(in_units_of(self.viewer, self.layer, event.position), world=True, **seen)
        value = value[-1] if isinstance(value, tuple) else value  # of several resolutions: level and value
        if value:
            self.layer.selected_label = int(value)


def _selection_event(layer: Any) -> Any:
    return layer.selected_data.events.items_changed if isinstance(layer, Shapes) else layer.events.selected_label


def time_axis(layer: Any) -> int:
    """Return which axis of a layer's data is that of time: the first where the layer does not say so (any more)."""
    return max(image_from_layer(layer).spatial_axes.find("T"), 0)


def whole(layer: Labels) -> np.ndarray:
    """Return the labels of a layer at full resolution."""
    return np.asarray(layer.data[0] if layer.multiscale else layer.data)


def object_centre(labels: np.ndarray, label: int, part: tuple[Any, ...] = ()) -> tuple[float, ...] | None:
    """Return the middle pixel of an object in a part of `labels` (one of its own), ``None`` when it is not there."""
    inside = tuple(slice(max(one, 0), max(one + 1, 0)) if isinstance(one, int) else one for one in part)
    places = np.argwhere(labels[inside] == label) + [one if isinstance(one, int) else 0 for one in part or (0,)]
    if not len(places):
        return None
    middle = places[np.argmin(((places - places.mean(0)) ** 2).sum(1))]
    return tuple(float(v) for v in middle)
