"""Where a result is wrong: a layer in three colours, their legend, the objects that match; and what is compared."""

from __future__ import annotations

from typing import Any

import pandas as pd
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QModelIndex
from qtpy.QtWidgets import QLabel, QTableView, QVBoxLayout, QWidget

from napari_medseg._napari.layers import label_layers, like
from napari_medseg._napari.widgets.frame_model import FrameModel
from napari_medseg._napari.widgets.layer_chooser import LayerChooser
from napari_medseg.evaluate.figures import COLOURS
from napari_medseg.evaluate.masks import Comparison

MARK = "medseg_errors"


class FixedChooser(LayerChooser):
    """A layer chooser that keeps its choice when another layer is selected; error layers are not listed."""

    def __init__(self, viewer: Any, sample: str = "") -> None:
        super().__init__(viewer, lambda v: [x for x in label_layers(v) if MARK not in x.metadata], sample=sample)

    def _follow(self, event: Any = None) -> None:
        return


class ErrorView(QWidget):
    """Legend and objects of the last comparison, worst first; a row centres the view on its object."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer, self.layers, self.frame = viewer, (), pd.DataFrame()
        self.legend, self.table = QLabel(""), plain_table(180)
        self.legend.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.legend)
        layout.addWidget(self.table)
        self.hide()

    def show_errors(self, found: Comparison, predicted: Labels, truth: Labels) -> Labels:
        """Add the errors as a layer over the reference; hide the two layers below."""
        self.layers = predicted, truth
        placed = like(truth)
        placed["metadata"] = {**placed["metadata"], MARK: [predicted.name, truth.name]}
        layer = self.viewer.add_labels(found.errors, name=f"{predicted.name} · errors", opacity=0.7, **placed)
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
        """Centre the view on the object of a row and select it in both layers."""
        row, (predicted, truth) = self.frame.iloc[current.row()], self.layers
        world = truth.data_to_world(tuple(float(v) for v in row.filter(like="(px)")))
        axes = range(self.viewer.dims.ndim - len(world), self.viewer.dims.ndim)
        self.viewer.dims.set_point(axes, world)
        self.viewer.camera.center = tuple(world)[-3:]
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
    view = QTableView()
    view.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
    view.setMinimumHeight(height)
    view.verticalHeader().hide()
    return view


def show_frame(view: QTableView, frame: pd.DataFrame) -> None:
    """Show `frame` in a table."""
    view.setModel(FrameModel(frame))
    view.resizeColumnsToContents()
