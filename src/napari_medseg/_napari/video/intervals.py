"""Intervals of time on a plot that the mouse can move, stretch, add and remove."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyqtgraph as pg
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QWidget

REGION = (86, 180, 233, 60)
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
                "Count frames by these intervals, in frames_edited.csv and summary.json",
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
