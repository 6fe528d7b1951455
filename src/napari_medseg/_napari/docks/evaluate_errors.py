"""Where a result and its reference differ: a layer of errors, their legend and the objects, worst first."""

from __future__ import annotations

from typing import Any

import pandas as pd
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QModelIndex
from qtpy.QtWidgets import QLabel, QTableView, QVBoxLayout, QWidget

from napari_medseg._napari.layers import DERIVED, image_from_layer, in_layer, like
from napari_medseg._napari.view import bring_into_view
from napari_medseg._napari.widgets.named import named
from napari_medseg._napari.widgets.table import FrameModel
from napari_medseg.evaluate.figures import COLOURS
from napari_medseg.evaluate.masks import Comparison
from napari_medseg.image import Image


class ErrorView(QWidget):
    """Legend and objects of the last comparison, worst first; a row centres the view on its object."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer, self.layers, self.frame = viewer, (), pd.DataFrame()
        self.grid: Image | None = None
        self.legend, self.table = QLabel(""), plain_table(180)
        self.legend.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.legend)
        layout.addWidget(self.table)
        self.hide()

    def show_errors(self, found: Comparison, grid: Image, predicted: Labels, truth: Labels) -> Labels:
        """Add the errors, which lie on `grid`, as a layer over the reference; hide the two layers below."""
        self.layers, self.grid = (predicted, truth), grid
        placed = like(truth)
        placed["metadata"] = {**placed["metadata"], **DERIVED}
        errors = in_layer(truth, grid.replace(data=found.errors))
        layer = self.viewer.add_labels(errors, name=f"{predicted.name} · errors", opacity=0.7, **placed)
        colours = {None: "transparent", 0: "transparent", **dict(enumerate(COLOURS.values(), 1))}
        layer.colormap = DirectLabelColormap(color_dict=colours)
        predicted.visible = truth.visible = False
        self.legend.setText(legend(found.counts))
        self.table.setVisible(found.objects is not None)
        if found.objects is not None:
            self.frame = found.objects.sort_values("iou", kind="stable", ignore_index=True)
            show_frame(self.table, self.frame)
            self.table.selectionModel().currentRowChanged.connect(self.show_object)
        self.show()
        return layer

    def show_object(self, current: QModelIndex, previous: QModelIndex | None = None) -> None:
        """Bring the object of a row into view and select it in both layers."""
        row, (predicted, truth) = self.frame.iloc[current.row()], self.layers
        place = dict(zip(self.grid.spatial_axes, row.filter(like="(px)"), strict=True))
        bring_into_view(self.viewer, truth, [float(place[axis]) for axis in image_from_layer(truth).spatial_axes])
        for layer, label in ((predicted, row["result"]), (truth, row["reference"])):
            layer.selected_label = int(label) or layer.selected_label


def legend(counts: tuple[int, int, int]) -> str:
    """Return one line per colour with its pixels and their share of what either has."""
    total = max(sum(counts), 1)
    lines = zip(COLOURS.items(), counts, strict=True)
    square = '<span style="color:{}; font-size:16px">&#9632;</span> {}: {:,} px ({:.1%})'
    return "<br>".join(square.format(colour, name, n, n / total) for (name, colour), n in lines)


def plain_table(height: int) -> QTableView:
    """Return an empty table of rows."""
    view = named(QTableView(), "Table of metrics", "One row for each metric or image")
    view.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
    view.setMinimumHeight(height)
    view.verticalHeader().hide()
    return view


def show_frame(view: QTableView, frame: pd.DataFrame) -> None:
    """Show `frame` in a table."""
    view.setModel(FrameModel(frame))
    view.resizeColumnsToContents()
