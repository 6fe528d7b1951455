"""Every dock on a small screen and without a mouse: narrow, named, explained, in the order in which it is read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QRect, Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QWidget,
)
from shorthand import Open, Wait
from superqt import QCollapsible

from napari_medseg._napari.widgets.named import Choices
from napari_medseg._napari.widgets.run_bar import RunBar

pytestmark = [pytest.mark.viewer, pytest.mark.usefixtures("no_models")]
DOCKS = (
    "Segment", "Batch", "Train", "Refine with scribbles", "Measure", "Prepare training data", "Evaluate", "Nerve movie"
)  # fmt: skip
NARROW = 300
EDITED = (QAbstractButton, QComboBox, QAbstractSpinBox, QLineEdit, QAbstractItemView)


def held(dock: Any) -> QWidget:
    """Return what scrolls in a dock."""
    return dock.findChild(QScrollArea).widget()


def unfold(dock: Any) -> None:
    for folded in dock.findChildren(QCollapsible):
        folded.expand(animate=False)
    QApplication.processEvents()


def edited(part: QWidget) -> Iterator[QWidget]:
    """Yield what is pressed or filled in, without the parts of a spin box, list or table."""
    for widget in part.findChildren(QWidget):
        inner = isinstance(widget.parent(), (QAbstractSpinBox, QComboBox, QAbstractItemView))
        if isinstance(widget, EDITED) and not inner and widget.isVisibleTo(part):
            yield widget


def named(widget: QWidget) -> str:
    return widget.accessibleName() or (widget.text() if isinstance(widget, QAbstractButton) else "")


@pytest.mark.parametrize("name", DOCKS)
def test_a_dock_fits_a_narrow_place_and_says_what_each_part_is(open_dock: Open, wait: Wait, name: str) -> None:
    viewer, dock = open_dock(name)
    sample = {"Refine with scribbles": "mri", "Nerve movie": "video"}.get(name, "histology")
    viewer.open_sample("napari-medseg", sample)
    unfold(dock)
    unnamed = [type(w).__name__ for w in edited(dock) if not named(w)]
    unexplained = [named(w) for w in edited(dock) if not w.toolTip()]
    assert (unnamed, unexplained) == ([], [])
    wait(lambda: dock.minimumSizeHint().width() <= NARROW)
    dock.resize(NARROW, 600)
    QApplication.processEvents()
    column = held(dock)
    cut = [named(w) for w in edited(column) if w.mapTo(column, QPoint(w.width(), 0)).x() > column.width()]
    assert cut == []
    cut = [w.text() for w in edited(column) if isinstance(w, QPushButton) and w.width() < w.minimumSizeHint().width()]
    assert cut == []
    wrapped = [w for w in column.findChildren(QLabel) if w.isVisibleTo(column) and w.wordWrap()]
    assert [w.text() for w in wrapped if w.height() < w.heightForWidth(w.width())] == []


@pytest.mark.parametrize("name", DOCKS)
def test_tab_goes_through_a_dock_as_it_is_read(open_dock: Open, qtbot: Any, name: str) -> None:
    viewer, dock = open_dock(name)
    viewer.open_sample("napari-medseg", "video" if name == "Nerve movie" else "histology")
    unfold(dock)
    qtbot.wait(400)  # until everything has its place
    column, places = held(dock), []
    widget = dock.nextInFocusChain()
    while widget is not dock:
        if column.isAncestorOf(widget) and widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.isVisible():
            places.append((widget, QRect(widget.mapTo(column, QPoint(0, 0)), widget.size())))
        widget = widget.nextInFocusChain()
    places = [(one, place) for one, place in places if not place.isEmpty()]
    assert len(places) > 4
    back = [(named(a), named(b)) for (a, first), (b, then) in pairwise(places) if is_before(then, first)]
    assert back == []


def is_before(one: QRect, other: QRect) -> bool:
    """Whether `one` is read before `other`: it lies above it, or to its left in the same row."""
    beside = one.top() < other.center().y() < one.bottom()
    return one.right() < other.left() if beside else one.center().y() < other.top()


def test_every_method_to_train_fits_a_narrow_place(open_dock: Open, wait: Wait) -> None:
    _, dock = open_dock("Train")
    for index in range(dock.method.count()):
        dock.method.setCurrentIndex(index)
        unfold(dock)
        wait(lambda: dock.minimumSizeHint().width() <= NARROW)
        assert dock.minimumSizeHint().width() <= NARROW, dock.method.currentText()


def test_run_pause_and_stop_follow_one_another(open_dock: Open) -> None:
    _, dock = open_dock("Nerve movie")
    bar = dock.run_bar
    assert bar.run_button.nextInFocusChain() is bar.pause_button
    assert bar.pause_button.nextInFocusChain() is bar.stop_button


def test_a_long_choice_ends_in_dots_and_the_list_is_as_wide_as_it(qtbot: Any) -> None:
    box = Choices("Model", "Which one")
    qtbot.addWidget(box)
    long = "a model of nuclei in stained tissue with a long name"
    box.addItems(["short", long])
    box.setCurrentText(long)
    box.resize(160, box.sizeHint().height())
    box.show()
    assert box.minimumSizeHint().width() <= 120
    assert "…" in box.shown_text()
    assert box.shown_text()[:3] == "a m"
    box.showPopup()
    assert box.view().width() >= box.fontMetrics().horizontalAdvance(long)
    box.hidePopup()
    box.setCurrentText("short")
    assert box.shown_text() == "short"


def test_a_run_button_says_what_it_does_again_when_the_reason_is_gone(qtbot: Any) -> None:
    bar = RunBar(lambda: iter(()), lambda _: None, tip="Time three steps")
    qtbot.addWidget(bar)
    bar.set_reason("Choose a folder.")
    assert bar.run_button.toolTip() == "Choose a folder."
    bar.set_reason("")
    assert bar.run_button.toolTip() == "Time three steps"


def test_the_timeline_of_a_movie_fits_a_low_screen(
    open_dock: Open, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, dock = open_dock("Nerve movie")
    viewer.open_sample("napari-medseg", "video")
    main = dock.window()
    main.resize(1200, 700)
    low = SimpleNamespace(availableGeometry=lambda: QRect(0, 0, 1280, 720))
    monkeypatch.setattr(type(main), "screen", lambda self: low)
    dock.timeline.open(viewer.layers[0].name)
    wait(lambda: main.corner(Qt.Corner.BottomLeftCorner) == Qt.DockWidgetArea.LeftDockWidgetArea)
    wait(lambda: main.height() <= 720)
    assert dock.timeline.isVisible()
    assert np.ptp([plot.height() for plot in dock.timeline.plots]) < 40


def test_outlines_to_labels_says_what_each_part_is(open_dock: Open) -> None:
    _, dock = open_dock("Outlines to labels")
    parts = list(edited(dock.native))
    assert [named(part) for part in parts] == ["outlines", "image", "overlap", "Run"]
    assert all(part.toolTip() for part in parts)
