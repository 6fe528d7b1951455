"""A strip with one tick per round: click to go there."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import QEvent, QRect, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import QToolTip, QWidget

from napari_medseg.refinement.state import amount

HEIGHT, WIDEST = 30, 26
PAST, PRESENT, LATER = "#56B4E9", "#E69F00", "#808080"


class HistoryStrip(QWidget):
    """Ticks of the rounds that can be reached; `go` carries the round that was clicked."""

    go = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.index, self.rounds = 0, 0, list[Mapping[str, Any]]()
        self.setFixedHeight(HEIGHT)
        self.setMouseTracking(True)

    def show_rounds(self, index: int, last: int, rounds: Sequence[Mapping[str, Any]]) -> None:
        """Show `rounds` (facts, oldest first, the newest is round `last`) with `index` as the present one."""
        self.index, self.rounds = index, list(rounds)
        self.first = last - len(self.rounds)
        self.update()

    @property
    def count(self) -> int:
        """Number of ticks: the start and each round."""
        return len(self.rounds) + 1

    def place(self, index: int) -> QRect:
        """Return where the tick of round `index` is."""
        width = min(WIDEST, max(3, self.width() // self.count))
        return QRect((index - self.first) * width, 0, width, self.height())

    def round_at(self, x: int) -> int:
        """Return the round whose tick is at `x`."""
        return self.first + min(max(x, 0) // self.place(self.first).width(), self.count - 1)

    def describe(self, index: int) -> str:
        """Say in one line what round `index` was."""
        if index == self.first:
            return "start" if not self.first else f"round {index}, the oldest that is kept"
        facts = self.rounds[index - self.first - 1]
        strokes, kind = facts.get("n_strokes", 0), str(facts.get("kind", ""))
        words = [f"round {index}", kind if kind != "refine" else f"{strokes} stroke{'s' if strokes != 1 else ''}"]
        if facts.get("volume_change"):
            words.append(amount(facts["volume_change"], facts.get("unit", ""), "+"))
        if facts.get("time"):
            words.append(time.strftime("%H:%M:%S", time.localtime(facts["time"])))
        return " · ".join(words)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the ticks."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        for index in range(self.first, self.first + self.count):
            colour = PRESENT if index == self.index else PAST if index < self.index else LATER
            tall = index == self.index
            accepted = index > self.first and self.rounds[index - self.first - 1].get("kind") == "accept"
            box = self.place(index)
            gap = 2 if box.width() > 6 else 0
            box.adjust(gap, 3 if tall or accepted else 9, -gap, -3)
            painter.setBrush(QColor(colour))
            painter.drawRoundedRect(box, 3, 3)
            if box.width() >= 16:
                painter.setPen(QColor("black"))
                painter.drawText(box, Qt.AlignmentFlag.AlignCenter, "✓" if accepted else str(index))
                painter.setPen(Qt.PenStyle.NoPen)
        painter.end()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Go to the round that was clicked."""
        place = event.position().toPoint()
        index = self.round_at(place.x())
        if self.place(index).contains(place):
            self.go.emit(index)

    def event(self, event: QEvent) -> bool:
        """Say what the round under the mouse was."""
        if event.type() == QEvent.Type.ToolTip:
            place: Any = event
            QToolTip.showText(place.globalPos(), self.describe(self.round_at(place.pos().x())), self)
            return True
        return bool(super().event(event))
