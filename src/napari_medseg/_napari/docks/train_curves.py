"""What a training says of itself: losses and score over epochs, and a preview of what the network sees."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_medseg._napari.colours import GREEN, ORANGE, SKY_BLUE
from napari_medseg._napari.widgets.named import named
from napari_medseg._napari.widgets.plot_style import follow_theme
from napari_medseg.image import Image
from napari_medseg.jobs import Progress

LOSS, SCORE = ("loss", "val_loss"), ("val_score",)
COLOURS = {"loss": SKY_BLUE, "val_loss": ORANGE, "val_score": GREEN}
BELOW = 6  # pixels below a plot
NAMES = {"loss": "training loss", "val_loss": "validation loss", "val_score": "validation score"}


class EpochAxis(pg.AxisItem):
    """An axis with ticks at whole numbers only."""

    def tickSpacing(self, low: float, high: float, size: float) -> list[tuple[float, float]]:  # noqa: N802
        """Return the steps between ticks, none below 1, each with its offset."""
        steps = {max(1.0, step): offset for step, offset in super().tickSpacing(low, high, size)}
        return list(steps.items())


class Curves(QWidget):
    """Two plots over epochs and the preview below."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.lines: dict[str, pg.PlotDataItem] = {}
        for names in (LOSS, SCORE):
            what = "Losses" if names is LOSS else "Validation score"
            plot = pg.PlotWidget(background=None, axisItems={"bottom": EpochAxis("bottom")})
            named(plot, f"{what} over epochs", f"{what} over epochs").setFixedHeight(150)
            plot.setLabel("bottom", "epoch")
            plot.getPlotItem().layout.setContentsMargins(0, 4, 0, BELOW)  # the label hangs out of its axis
            plot.addLegend(offset=(-5, 5 if names is LOSS else -5))  # where the curve is not: losses fall, scores rise
            for name in names:
                self.lines[name] = plot.plot(pen=pg.mkPen(COLOURS[name], width=2), name=NAMES[name], symbolSize=4)
            layout.addWidget(plot)
        follow_theme(viewer, self.findChildren(pg.PlotWidget))
        self.preview = QLabel()
        self.preview.setAlignment(Qt.AlignmentFlag.AlignCenter)
        layout.addWidget(self.preview)
        self.clear()

    def clear(self) -> None:
        """Forget the curves."""
        self.values: dict[str, list[tuple[float, float]]] = {name: [] for name in self.lines}
        for line in self.lines.values():
            line.setData([], [])
        self.preview.clear()

    def load(self, table: Path) -> None:
        """Draw the epochs of an earlier run, if its table is there."""
        if table.is_file():
            for row in pd.read_csv(table).to_dict("records"):
                self.add(Progress(0, 0, metrics={str(name): float(value) for name, value in row.items()}))

    def add(self, progress: Progress) -> None:
        """Add an epoch's numbers and picture."""
        if "epoch" not in progress.metrics:
            return
        for name, line in self.lines.items():
            value = progress.metrics.get(name, math.nan)
            if math.isfinite(value):
                self.values[name].append((progress.metrics["epoch"], value))
                line.setData(*zip(*self.values[name], strict=True))
        if progress.preview is not None:
            self.preview.setPixmap(_pixmap(progress.preview))


def _pixmap(preview: Image, height: int = 160) -> QPixmap:
    """Draw image and probability side by side."""
    picture = np.concatenate([_grey(channel) for channel in np.asarray(preview.data)], 1)
    picture = np.ascontiguousarray(picture)
    rows, columns = picture.shape
    image = QImage(picture.data, columns, rows, columns, QImage.Format.Format_Grayscale8).copy()
    return QPixmap.fromImage(image).scaledToHeight(height, Qt.TransformationMode.SmoothTransformation)


def _grey(channel: np.ndarray) -> np.ndarray:
    low, high = float(channel.min()), float(channel.max())
    return np.asarray((channel - low) / (high - low or 1.0) * 255, np.uint8)
