"""Docks by keyboard and wheel: Enter and Escape, who has the keys during and after a run, what the wheel changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget
from shorthand import Open, Wait

from napari_medseg._napari.widgets.run_bar import RunBar
from napari_medseg.jobs import Job, Progress

pytestmark = [pytest.mark.viewer, pytest.mark.usefixtures("own_folders")]


def turn_wheel(field: QWidget) -> None:
    place = field.rect().center()
    down, still, none = QPoint(0, -120), Qt.ScrollPhase.NoScrollPhase, Qt.KeyboardModifier.NoModifier
    at = QPointF(place), QPointF(field.mapToGlobal(place))
    QApplication.sendEvent(field, QWheelEvent(*at, down, down, Qt.MouseButton.NoButton, none, still, False))


def press(key: Qt.Key) -> None:
    """Press a key where a person would: in the part that has the keys."""
    QTest.keyClick(QApplication.focusWidget(), key)


def active(dock: Any, wait: Wait) -> None:
    main = dock.window()
    main.activateWindow()
    wait(main.isActiveWindow)


def refinement(open_dock: Open, wait: Wait) -> tuple[Any, Any]:
    viewer, dock = open_dock("Refine with scribbles")
    viewer.add_image(np.random.default_rng(0).random((48, 48)), name="scan")
    active(dock, wait)
    dock.run_bar.run_button.click()
    wait(lambda: dock.live is not None)
    return viewer, dock


def test_the_wheel_scrolls_and_changes_nothing_that_has_not_the_keys(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Segment")
    viewer.open_sample("napari-medseg", "histology")
    dock.input.choose(viewer.layers[0])
    fields = dock.extent, dock.form["device"].native, dock.form["tile"].native, dock.form["batch"].native
    before = [dock.extent.currentText(), *(dock.form[name].value for name in ("device", "tile", "batch"))]
    for field in fields:
        turn_wheel(field)
    after = [dock.extent.currentText(), *(dock.form[name].value for name in ("device", "tile", "batch"))]
    assert after == before
    active(dock, wait)
    dock.extent.setFocus()
    turn_wheel(dock.extent)
    assert dock.extent.currentText() != before[0]  # it was chosen to be changed


def test_enter_runs_and_the_keys_stay_on_run_and_stop(qtbot: Any, open_dock: Open, wait: Wait) -> None:
    _, dock = open_dock("Measure")
    going = [True]

    def job() -> Job[str]:
        while going[0]:
            yield Progress(0, 1, "at work")
        return "done"

    bar = RunBar(job, lambda _: None)
    dock.column.addWidget(bar)
    active(dock, wait)
    wait(bar.isVisible)
    bar.run_button.setFocus(Qt.FocusReason.TabFocusReason)
    press(Qt.Key.Key_Return)
    assert bar.current is not None
    assert bar.stop_button.hasFocus()
    going[0] = False
    wait(lambda: bar.current is None)
    assert bar.run_button.hasFocus()


def test_a_click_on_run_leaves_the_keys_to_the_picture(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Measure")
    viewer.add_labels(np.eye(16, dtype=int), name="labels")
    active(dock, wait)
    dock.window()._qt_viewer.canvas.native.setFocus()
    QTest.mouseClick(dock.run_bar.run_button, Qt.MouseButton.LeftButton)
    wait(lambda: dock.run_bar.current is None)
    assert len(dock.table.frame) > 0
    has = QApplication.focusWidget()
    assert not dock.isAncestorOf(has)
    viewer.layers.selection.active.mode = "pan_zoom"
    QTest.keyClick(has, Qt.Key.Key_2)  # napari's own key for the brush
    assert viewer.layers.selection.active.mode == "paint"


def test_escape_puts_a_lasso_away(open_dock: Open, wait: Wait) -> None:
    viewer, dock = refinement(open_dock, wait)
    layers = [layer.name for layer in viewer.layers]
    for kind in ("lasso", "box"):
        dock.panel.buttons[kind].click()
        assert viewer.layers.selection.active.name == f"scan · {kind}"
        press(Qt.Key.Key_Escape)
        wait(lambda: [layer.name for layer in viewer.layers] == layers)
        assert viewer.layers.selection.active == dock.live.layers.scribbles
        assert dock.live.layers.scribbles.mode == "paint"


def test_escape_puts_a_box_away_before_the_start(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Refine with scribbles")
    image = viewer.add_image(np.zeros((32, 32)), name="scan")
    active(dock, wait)
    dock.setup.picture.box_button.click()
    assert len(viewer.layers) == 2
    QTest.keyClick(dock.window(), Qt.Key.Key_Escape)
    wait(lambda: len(viewer.layers) == 1)
    assert viewer.layers.selection.active == image


@pytest.mark.parametrize("key", [Qt.Key.Key_Escape, Qt.Key.Key_Return])
def test_a_field_gives_the_keys_back_to_the_strokes(open_dock: Open, wait: Wait, key: Qt.Key) -> None:
    _, dock = refinement(open_dock, wait)
    dock.panel.reference.box.setFocus(Qt.FocusReason.TabFocusReason)
    press(key)
    painting = dock.live.layers.painting
    press(Qt.Key.Key_T)
    assert dock.live.layers.painting != painting
