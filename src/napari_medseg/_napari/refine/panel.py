"""What a refinement under way shows: swatches, rounds, places to look at, and what is going on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import QEvent, QRect, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QToolTip,
    QVBoxLayout,
    QWidget,
)

from napari_medseg._napari.colours import ORANGE, SKY_BLUE
from napari_medseg._napari.layers import label_layers
from napari_medseg._napari.planes import PlaneButtons
from napari_medseg._napari.refine.keys import legend
from napari_medseg._napari.refine.swatches import Swatches
from napari_medseg._napari.widgets.export_button import ExportButton
from napari_medseg._napari.widgets.layer_chooser import LayerChooser
from napari_medseg._napari.widgets.named import still
from napari_medseg.refinement import RefinementState
from napari_medseg.refinement.state import amount

HEIGHT, WIDEST = 30, 26
PAST, PRESENT, LATER = SKY_BLUE, ORANGE, "#808080"


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


HINT = "Paint a stroke inside the object, and one outside it where the mask leaks."
CORRECT = "Paint where the mask is wrong: foreground in what is missing, background in what is too much."
SAME = "Nothing changed: where the strokes are, the mask was so already. Paint where it is wrong."
TIPS = {
    "auto": "Each released stroke refines. Off: draw several strokes, then press S once",
    "outline": "Show the border of the mask only",
    "overlay": "Show how undecided the mask is: a stroke helps most where it is bright",
    "refine": "Bring the mask to all strokes",
    "undo": "Go back one round: strokes and mask",
    "redo": "Go forward one round",
    "place": "Show the least decided place in the middle of the view, then the next one",
    "disagreement": "Show the largest difference from the reference layer in the middle of the view",
    "accept": "Write the mask into the layer of objects under the next number, lock it there, clear the strokes",
    "box": "Drag a box around the object: what lies outside it is background",
    "lasso": "Draw loosely around the object: what lies outside is background",
    "fill": "Switch refine while drawing off and draw the whole object on some slices: those between follow evenly",
    "back": "Carry the object of this slice on to the slices before it",
    "on": "Carry the object of this slice on to the slices after it",
    "slices": "How many slices or frames; 0: as far as the object is found",
    "stop": "End what is carried on; the slices that are done stay",
    "pieces": "Divide: each connected piece of the mask becomes an object of its own. A background stroke cuts",
    "join": "Merge: take the accepted object under the mouse into the open one",
    "finish": "End the refinement; it is saved, and its layers stay",
}
JOIN = "Open one object (O), point at the other in the picture and press J, then accept both as one."
REFERENCE = "Labels layer that the mask is compared with"


def accepted(state: RefinementState, labels: Sequence[int]) -> str:
    """Say what was accepted: the mask turned into locked objects with these labels."""
    named = ", ".join(map(str, labels[:NAMED])) + (" ..." if len(labels) > NAMED else "")
    volume = amount(abs(state.volume_change), state.unit)
    size = f"{state.counted()} ({volume})"
    return f"round {state.index} · object{'s' * (len(labels) != 1)} {named} accepted and locked: {size}"


def on_accepted(state: RefinementState) -> bool:
    """Whether most of what the last strokes add lies on accepted objects, which never change."""
    if state.stroke_box is None:
        return False
    added = state.scribbles[state.stroke_box] > 1
    return bool(added.any() and (state.result[state.stroke_box][added] > 0).mean() > MOSTLY)


ACCEPTED = "The stroke lies on an accepted object, which stays as it is: U takes the stroke back, O opens the object."
MOSTLY = 0.5
NAMED = 4  # labels
TOLD_LINES = 7


class Panel(QWidget):
    """The lower half of the dock; it acts on the refinement that was attached last."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.live: Any = None
        self.swatches, self.strip = Swatches(), HistoryStrip()
        self.auto, self.outline, self.overlay = QCheckBox("refine while drawing"), QCheckBox("outline"), QCheckBox()
        self.overlay.setText("uncertainty")
        self.auto.setChecked(True)
        self.status, self.message, self.activity = QLabel(""), QLabel(HINT), QLabel("")
        self.planes = PlaneButtons(viewer)
        self.reference = LayerChooser(viewer, self.references, none="no reference", name="Reference")
        self.keys = QLabel(legend())
        self.slices = QSpinBox()
        self.slices.setAccessibleName("Slices to propagate over")
        still(self.slices)
        self.slices.setRange(0, 9999)
        self.slices.setSpecialValueText("to the end")
        self.slices.setPrefix("slices: ")
        for label in (self.status, self.message, self.keys, self.activity):
            label.setWordWrap(True)
        for widget in (self.auto, self.outline, self.overlay, self.reference.box, self.slices):
            widget.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click must not take the keys from the picture
        self.buttons = {
            "refine": self._button("Refine (S)", lambda: self.live.refine()),
            "undo": self._button("Undo round (U)", lambda: self.live.undo()),
            "redo": self._button("Redo (Shift+U)", lambda: self.live.redo()),
            "place": self._button("Uncertain place (N)", lambda: self.live.guidance.next_place()),
            "disagreement": self._button("Disagreement (D)", lambda: self.live.guidance.disagreement()),
            "box": self._button("Box", lambda: self.live.draw("box")),
            "lasso": self._button("Lasso", lambda: self.live.draw("lasso")),
            "fill": self._button("Fill between slices", lambda: self.live.fill()),
            "back": self._button("◂ Propagate", lambda: self.live.propagate(False)),
            "on": self._button("Propagate ▸", lambda: self.live.propagate(True)),
            "stop": self._button("Stop", lambda: self.live.stop()),
            "accept": self._button("Accept object (A)", lambda: self.live.accept()),
            "pieces": self._button("Accept pieces", lambda: self.live.accept_pieces()),
            "join": self._button("Join (J)", lambda: self.live.panel.say(JOIN)),
            "save": ExportButton(self, lambda: self.live.layers.result, self._saved),
            "finish": self._button("Finish", lambda: self.live.finish()),
        }
        self.buttons["save"].setFocusPolicy(Qt.FocusPolicy.NoFocus)
        for name, tip in TIPS.items():
            (self.buttons[name] if name in self.buttons else getattr(self, name)).setToolTip(tip)
        self.reference.box.setToolTip(REFERENCE)
        self.swatches.chosen.connect(lambda value: self.live.paint_with(value))
        self.strip.go.connect(lambda index: self.live.go_to(index))
        self.auto.toggled.connect(lambda on: on and self.live and self.live.catch_up())
        self.overlay.toggled.connect(lambda shown: self.live and self.live.guidance.uncertainty(shown))
        self.outline.toggled.connect(self._draw_outline)
        self.reference.changed.connect(self._enable)
        self._arrange()

    @property
    def automatic(self) -> bool:
        """Whether each released stroke refines."""
        return bool(self.auto.isChecked())

    def references(self, viewer: Any) -> list[Any]:
        """Return the Labels layers that can be a reference: not those of the refinement itself."""
        own = self.live.layers.own if self.live is not None else ()
        return [layer for layer in label_layers(viewer) if layer not in own]

    def attach(self, live: Any) -> None:
        """Act on `live`."""
        self.live = live
        self.planes.suit(live.layers.image)
        self.reference.refresh()
        self.reference.box.setCurrentIndex(self.reference.box.findData(""))
        self.swatches.set_classes(live.session.settings.classes)
        for widget in self.slice_widgets:
            widget.setVisible(live.session.mask.ndim == 3)
        self._draw_outline(self.outline.isChecked())
        self.busy("")
        self._enable()
        if self.overlay.isChecked():
            live.guidance.uncertainty(True)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Give the keys back to the picture on Enter or Escape in a field."""
        if event.key() in (Qt.Key.Key_Escape, Qt.Key.Key_Return, Qt.Key.Key_Enter) and not self.hasFocus():
            self.setFocus()
        else:
            super().keyPressEvent(event)

    def say(self, text: str) -> None:
        """Show one sentence."""
        self.message.setText(text)

    def _saved(self, text: str) -> None:
        self.say(f"{text} {self.live.layers.left_out}".strip())

    def busy(self, text: str) -> None:
        """Show what is going on, nothing when it has ended."""
        self.activity.setText(f"{text} ..." if text else "")
        self.buttons["stop"].setEnabled(bool(text))

    def show_state(self, state: RefinementState, rounds: Sequence[Mapping[str, Any]]) -> None:
        """Show what a round did, the rounds there are, and what can be done."""
        started = state.kind in ("start", "now")
        told = f"round {state.index} of {state.n_rounds}" if state.n_rounds else "no round yet"
        taken = state.kind == "accept"
        self.status.setText(told if started else accepted(state, rounds[-1]["labels"]) if taken else state.describe())
        hint = SAME if state.kind == "refine" and not state.n_changed else ""
        hint = ACCEPTED if state.kind == "refine" and on_accepted(state) else hint
        hint = hint if not started else CORRECT if state.mask.any() else HINT
        self.message.setText(state.message or hint)
        self.strip.show_rounds(state.index, state.n_rounds, rounds)
        self._enable()

    def _enable(self) -> None:
        session = getattr(self.live, "session", None)
        self.buttons["undo"].setEnabled(session is not None and session.can_undo)
        self.buttons["redo"].setEnabled(session is not None and session.can_redo)
        self.buttons["disagreement"].setEnabled(self.reference.layer is not None)

    def _draw_outline(self, outline: bool) -> None:
        if self.live is not None:
            self.live.layers.outline(outline)

    def _button(self, text: str, action: Any) -> QPushButton:
        button = QPushButton(text)
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        button.clicked.connect(lambda _=False: action())
        return button

    def _arrange(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        grids = {
            "switches": (self.auto, self.outline, self.overlay),
            "outlines": (self.buttons["box"], self.buttons["lasso"]),
            "slices": tuple(self.buttons[name] for name in ("fill", "back", "on")),
            "carried": (self.slices, self.buttons["stop"]),
            "rounds": tuple(self.buttons[name] for name in ("refine", "undo", "redo")),
            "places": tuple(self.buttons[name] for name in ("place", "disagreement")),
            "object": tuple(self.buttons[name] for name in ("accept", "pieces", "join")),
            "end": tuple(self.buttons[name] for name in ("save", "finish")),
        }
        made = {}
        for name, widgets in grids.items():
            made[name] = QWidget()
            grid = QGridLayout(made[name])
            grid.setContentsMargins(0, 0, 0, 0)
            *first, left, right = widgets  # at most two side by side: the dock may be narrow
            for widget in first:
                grid.addWidget(widget, 0, 0, 1, 2)
            grid.addWidget(left, 1, 0)
            grid.addWidget(right, 1, 1)
        self.slice_widgets = (_title("Slices"), made["slices"], made["carried"])
        order = (
            _title("Paint"), self.swatches, made["outlines"], made["switches"], _title("Rounds"), made["rounds"],
            self.strip, self._told(), *self.slice_widgets, _title("Look"), self.planes, made["places"], self.reference,
            _title("Object"), made["object"], made["end"], _title("Keys"), self.keys,
        )  # fmt: skip
        for widget in order:
            column.addWidget(widget)

    def _told(self) -> QWidget:
        """Return what is told, with room for long sentences: the buttons below it stay where they are."""
        told = QWidget()
        lines = QVBoxLayout(told)
        lines.setContentsMargins(0, 0, 0, 0)
        for label in (self.status, self.message, self.activity):
            lines.addWidget(label)
        lines.addStretch()  # an aligned layout would cut long sentences off
        told.setMinimumHeight(TOLD_LINES * self.fontMetrics().lineSpacing())
        return told


def _title(text: str) -> QLabel:
    return QLabel(f"<b>{text}</b>")
