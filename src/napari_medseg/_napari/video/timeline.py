"""A movie's nerve over time: probability, area and contrast in seconds; click or drag the line to go there."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyqtgraph as pg
from qtpy.compat import isalive
from qtpy.QtCore import QPointF, Qt, QTimer, Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QMainWindow, QPushButton, QVBoxLayout, QWidget

from napari_medseg._napari.colours import GREEN, ORANGE, PURPLE, SKY_BLUE
from napari_medseg._napari.widgets.listening import listen
from napari_medseg._napari.widgets.plot_style import follow_theme
from napari_medseg._napari.world import to_data, to_world

CURVES = {
    "probability": ("probability", SKY_BLUE),
    "mask_area_px": ("area (px)", GREEN),
    "nbr": ("NBR", ORANGE),
}
CURSOR = PURPLE
REDRAW_MS, HEIGHT, AXIS = 100, 46, 24
REGION = f"{SKY_BLUE}3C"  # with its opacity, of 255
NOWHERE = Path()


class Intervals(QWidget):
    """The intervals on `plot`: how many there are, and buttons to add, remove, apply and save them.

    Emits `edited` at every change by hand, `applied` and `reset` when their buttons are pressed.
    """

    edited, applied, reset = Signal(), Signal(), Signal()

    def __init__(self, plot: pg.PlotWidget, cursor: pg.InfiniteLine) -> None:
        super().__init__()
        self.plot, self.cursor, self.folder = plot, cursor, NOWHERE
        self.regions: list[pg.LinearRegionItem] = []
        self.text = QLabel("")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.text, 1)
        self.buttons: dict[str, QPushButton] = {}
        for text, tip, action in (
            ("Add interval", "From the cursor on; drag its ends", self.add),
            ("Remove interval", "The one at the cursor", self.remove),
            (
                "Apply to result",
                "Make table, masks and overlay anew by these intervals and the corrected outlines",
                self.applied.emit,
            ),
            ("Undo all edits", "Go back to the intervals that the run found", self.reset.emit),
            ("Save intervals ...", "As a table of seconds", self.save),
        ):
            self.buttons[text] = button = QPushButton(text)
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, action=action: action())
            row.addWidget(button)
        self.show_state(changed=False, edited=False)

    @property
    def value(self) -> pd.DataFrame:
        """The intervals in order of time: start_s, stop_s, duration_s."""
        found = sorted(tuple(map(float, region.getRegion())) for region in self.regions)
        frame = pd.DataFrame(found, columns=["start_s", "stop_s"], dtype=float)
        return frame.assign(duration_s=frame["stop_s"] - frame["start_s"])

    def set(self, intervals: Sequence[tuple[float, float]], folder: Path = NOWHERE, edited: bool = False) -> None:
        """Replace all intervals by those of the result in `folder`; `edited`: a person corrected them."""
        self.folder = folder
        for region in self.regions:
            self.plot.removeItem(region)
        self.regions = []
        for interval in intervals:
            self._add(interval)
        self._tell()
        self.show_state(changed=False, edited=edited)

    def show_state(self, changed: bool, edited: bool) -> None:
        """Enable what makes sense: apply what was `changed` since, undo what is `edited`."""
        result = self.folder != NOWHERE
        self.buttons["Apply to result"].setEnabled(changed and result)
        self.buttons["Undo all edits"].setEnabled((changed or edited) and result)

    def add(self) -> None:
        """Add an interval from the cursor on, a tenth of the view long."""
        (low, high), start = self.plot.viewRange()[0], self.cursor.value()
        self._add((start, start + (high - low) / 10))
        self._changed()

    def remove(self) -> None:
        """Remove the interval at the cursor."""
        here = self.cursor.value()
        for region in [r for r in self.regions if r.getRegion()[0] <= here <= r.getRegion()[1]]:
            self.plot.removeItem(region)
            self.regions.remove(region)
        self._changed()

    def save(self, path: str = "") -> None:
        """Save the intervals as CSV."""
        from napari_medseg.io import write_table

        start = str(self.folder / "intervals.csv")
        path = path or QFileDialog.getSaveFileName(self, "Save intervals", start, "CSV (*.csv)")[0]
        if path:
            write_table(Path(path), self.value)

    def _add(self, interval: tuple[float, float]) -> None:
        region: Any = pg.LinearRegionItem(interval, brush=REGION, swapMode="sort")
        region.sigRegionChangeFinished.connect(self._changed)
        self.plot.addItem(region)
        self.regions.append(region)

    def _changed(self) -> None:
        self._tell()
        self.show_state(changed=True, edited=True)
        self.edited.emit()

    def _tell(self) -> None:
        frame = self.value
        n = len(frame)
        self.text.setText(f"{n} nerve interval{'s' * (n != 1)}, {frame['duration_s'].sum():.1f} s")


class SecondsAxis(pg.AxisItem):
    """A time axis whose numbers carry their unit."""

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:  # noqa: N802
        """Return the numbers in seconds."""
        return [f"{text} s" for text in super().tickStrings(values, scale, spacing)]


class Timeline(QWidget):
    """Three curves over one time axis, intervals on the first; tied to a movie layer, it shows and sets the frame."""

    sought = Signal(int)

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer, self.movie = viewer, ""
        self.rows: list[Mapping[str, float]] = []
        self.plots: list[pg.PlotWidget] = []
        self.cursors: list[pg.InfiniteLine] = []
        self.lines: dict[str, pg.PlotDataItem] = {}
        layout = QVBoxLayout(self, spacing=0)
        layout.setContentsMargins(4, 4, 4, 4)
        for name, (title, colour) in CURVES.items():
            plot = self._plot(title, colour)
            self.lines[name] = plot.plot(pen=pg.mkPen(colour, width=2), connect="finite")
            layout.addWidget(plot)
        self.plots[0].setYRange(-0.05, 1.05)
        self.plots[0].getAxis("left").setTicks([[(0, "0"), (0.5, "0.5"), (1, "1")]])
        self.plots[-1].showAxis("bottom")
        self.plots[-1].setMinimumHeight(HEIGHT + AXIS)
        self.intervals = Intervals(self.plots[0], self.cursors[0])
        layout.addWidget(self.intervals)
        follow_theme(viewer, self.plots)
        self.timer = QTimer(self, singleShot=True)
        self.timer.timeout.connect(self.redraw)
        self.sought.connect(self.show_frame)
        listen(viewer.dims.events.current_step, self.follow)

    def _plot(self, title: str, colour: str) -> pg.PlotWidget:
        plot = pg.PlotWidget(background=None, axisItems={"bottom": SecondsAxis("bottom")})
        plot.setMinimumHeight(HEIGHT)
        name = pg.LabelItem(title, color=colour, bold=True)
        name.setParentItem(plot.getViewBox())
        name.anchor(itemPos=(0, 0), parentPos=(0, 0), offset=(4, -6))
        plot.getAxis("left").setWidth(50)
        plot.showGrid(x=True, alpha=0.2)
        plot.hideButtons()
        plot.hideAxis("bottom")
        plot.setMouseEnabled(y=False)
        if self.plots:
            plot.setXLink(self.plots[0])
        cursor = pg.InfiniteLine(pen=pg.mkPen(CURSOR, width=2), movable=True)
        cursor.setZValue(20)
        cursor.sigDragged.connect(lambda line: self.seek(line.value()))
        plot.addItem(cursor)
        plot.scene().sigMouseClicked.connect(lambda event: self.click(plot, event.scenePos()))
        self.plots.append(plot)
        self.cursors.append(cursor)
        return plot

    def open(self, movie: str) -> None:
        """Dock below the picture, unless docked, and tie the cursor to the layer `movie`."""
        self.movie = movie
        if self.parent() is None:
            self.viewer.window.add_dock_widget(self, name="Nerve timeline", area="bottom")
            QTimer.singleShot(0, self._fit_screen)  # when it has its size
        self.show()
        self.follow()

    def _fit_screen(self) -> None:
        """On a low screen lie beside the docks on the left instead of below them, so that the window fits."""
        if not isalive(self):
            return
        main = self.window()
        room = main.screen().availableGeometry().height()
        if isinstance(main, QMainWindow) and main.minimumSizeHint().height() > room:
            main.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
            main.layout().activate()  # or it cannot get lower yet
            main.resize(main.width(), min(main.height(), room))

    def clear(self) -> None:
        """Forget curves and intervals."""
        self.rows = []
        self.intervals.set([])
        self.redraw()

    def add(self, row: Mapping[str, float], probability: str) -> None:
        """Add a frame's numbers, `probability` naming the one of nerve; the curves follow a little later."""
        if "time_s" in row:
            self.rows.append({**row, "probability": row.get(probability, math.nan)})
            if not self.timer.isActive():
                self.timer.start(REDRAW_MS)

    def show_table(self, frame: pd.DataFrame, probability: str) -> None:
        """Show a whole table of frames."""
        if probability in frame:
            frame = frame.assign(probability=frame[probability])
        self.rows = frame[["frame", "time_s", *(name for name in CURVES if name in frame)]].to_dict("records")
        self.redraw()

    def redraw(self) -> None:
        """Draw the curves."""
        times = [row["time_s"] for row in self.rows]
        for name, line in self.lines.items():
            line.setData(times, [row.get(name, math.nan) for row in self.rows])
        self.follow()

    def seek(self, seconds: float) -> None:
        """Ask for the frame nearest to a time."""
        if self.rows:
            self.sought.emit(int(min(self.rows, key=lambda row: abs(row["time_s"] - seconds))["frame"]))

    def show_frame(self, number: int) -> None:
        """Go to a frame of the movie."""
        if self.movie in self.viewer.layers:
            layer = self.viewer.layers[self.movie]
            self.viewer.dims.set_point(
                self.viewer.dims.ndim - layer.ndim, to_world(self.viewer, layer, (number, 0, 0))[0]
            )

    def follow(self, event: Any = None) -> None:
        """Move the cursor to the frame of the movie that is in view."""
        if self.movie in self.viewer.layers:
            layer = self.viewer.layers[self.movie]
            self.set_frame(round(to_data(self.viewer, layer, self.viewer.dims.point)[0]))

    def set_frame(self, number: float) -> None:
        """Move the cursor to a frame."""
        index = bisect_right(self.rows, number, key=lambda row: row["frame"]) - 1
        if index >= 0:
            for cursor in self.cursors:
                cursor.setValue(self.rows[index]["time_s"])

    def click(self, plot: pg.PlotWidget, place: QPointF) -> None:
        """Go to the time at a place of the plot's scene."""
        box = plot.getViewBox()
        if box.sceneBoundingRect().contains(place):
            self.seek(box.mapSceneToView(place).x())
