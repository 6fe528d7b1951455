"""Histograms and box plots of a table's columns, by class or image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyqtgraph as pg
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from napari_medseg._napari.colours import BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILION, YELLOW
from napari_medseg._napari.widgets.named import Choices, named
from napari_medseg._napari.widgets.plot_style import follow_theme

HISTOGRAM, BOXES = "histogram", "box plot"
COLOURS = (SKY_BLUE, ORANGE, GREEN, PURPLE, YELLOW, BLUE, VERMILION)
TOGETHER = "all together"
MOST_GROUPS = 30
NUMBERS = ("label", "index", "object")  # columns that name objects
WHISKER = 1.5  # interquartile ranges


class Charts(QWidget):
    """One column as a histogram or as box plots, one for each value of another column."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.frame = pd.DataFrame()
        self.column = Choices("Chart of", "The measurement that is drawn")
        self.by = Choices("by", "One chart for each value of this column")
        self.kind = Choices("as", "How it is drawn")
        self.kind.addItems([HISTOGRAM, BOXES])
        self.plot = named(pg.PlotWidget(background=None), "Chart", "Drag to move, wheel to zoom, A below left for all")
        self.plot.setFixedHeight(220)
        self.plot.addLegend(offset=(-5, 5))
        self.theme = follow_theme(viewer, [self.plot])
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        for row, (name, box) in enumerate((("Chart of", self.column), ("by", self.by), ("as", self.kind))):
            grid.addWidget(QLabel(name), row, 0)
            grid.addWidget(box, row, 1)
            box.currentIndexChanged.connect(lambda _: self.draw())
        grid.addWidget(self.plot, 3, 0, 1, 2)
        grid.setColumnStretch(1, 1)
        self.hide()

    def show_table(self, frame: pd.DataFrame) -> None:
        """Offer the columns of a table, keeping what was chosen where it is still there."""
        self.frame = frame
        numeric = [str(name) for name in frame.select_dtypes("number") if name not in NUMBERS]
        self._fill(self.column, numeric)
        text = [name for name in frame if name not in numeric and 1 < frame[name].nunique() <= MOST_GROUPS]
        self._fill(self.by, [TOGETHER, *map(str, text)])
        self.setVisible(bool(numeric) and len(frame) > 1)
        self.draw()

    @staticmethod
    def _fill(box: Choices, names: list[str]) -> None:
        before = box.currentText()
        box.blockSignals(True)
        box.clear()
        box.addItems(names)
        box.setCurrentIndex(max(0, box.findText(before)))
        box.blockSignals(False)

    def groups(self) -> dict[str, np.ndarray]:
        """Return the finite values of the chosen column, by the chosen groups."""
        name, by = self.column.currentText(), self.by.currentText()
        if name not in self.frame:
            return {}
        values = self.frame[name].astype(float)
        parts = {"": values} if by == TOGETHER else {str(key): part for key, part in values.groupby(self.frame[by])}
        return {key: found for key, part in parts.items() if (found := part[np.isfinite(part)].to_numpy()).size}

    def draw(self) -> None:
        """Draw the chart."""
        self.plot.clear()
        groups, boxes = self.groups(), self.kind.currentText() == BOXES
        name = self.column.currentText()
        self.plot.setLabel("bottom", "" if boxes else name)
        self.plot.setLabel("left", name if boxes else "objects")
        ticks = [[(k, f"{key} ({len(v)})") for k, (key, v) in enumerate(groups.items())]] if boxes else None
        self.plot.getAxis("bottom").setTicks(ticks)
        if boxes:
            for place, values in enumerate(groups.values()):
                self._box(place, values)
        elif groups:
            edges = np.histogram_bin_edges(np.concatenate(list(groups.values())), bins="auto")
            for number, (key, values) in enumerate(groups.items()):
                self._steps(edges, np.histogram(values, edges)[0], COLOURS[number % len(COLOURS)], key)
        self.theme()
        self.plot.autoRange()

    def _steps(self, edges: np.ndarray, counts: np.ndarray, colour: str, name: str) -> None:
        filled = {"stepMode": "center", "fillLevel": 0, "brush": pg.mkBrush(colour + "60")}
        self.plot.plot(edges, counts, pen=pg.mkPen(colour, width=2), name=name or None, **filled)

    def _box(self, place: int, values: np.ndarray) -> None:
        """Draw median and quartiles, whiskers to the last value within 1.5 interquartile ranges, and what is beyond."""
        low, middle, high = np.percentile(values, (25, 50, 75))
        reach = WHISKER * (high - low)
        inner = values[(values >= low - reach) & (values <= high + reach)]
        pen = pg.mkPen(COLOURS[place % len(COLOURS)], width=2)
        left, right = place - 0.3, place + 0.3
        lines = (
            ([left, right, right, left, left], [low, low, high, high, low]),
            ([left, right], [middle, middle]),
            ([place, place], [inner.min(), low]),
            ([place, place], [high, inner.max()]),
        )
        for x, y in lines:
            self.plot.plot(x, y, pen=pen)
        beyond = values[(values < inner.min()) | (values > inner.max())]
        self.plot.plot(np.full(beyond.size, place), beyond, pen=None, symbol="o", symbolSize=5, symbolPen=pen)
