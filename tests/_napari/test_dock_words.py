"""What the docks say and offer: numbers, kinds, objects under a click, schedules, the end of a refinement, colours."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pyqtgraph as pg
import pytest
from napari.utils.theme import get_theme
from qtpy.QtWidgets import QApplication, QLabel, QMessageBox, QScrollArea
from shorthand import Open, Wait

from napari_medseg._napari.layers import label_layers
from napari_medseg._napari.refine import saves as refine_saves
from napari_medseg._napari.widgets.words import text
from napari_medseg.methods import get_method
from napari_medseg.samples.afm import afm_folder
from napari_medseg.training.loop import Pace

pytestmark = pytest.mark.viewer


def press(bar: Any, wait: Wait) -> str:
    bar.run_button.click()
    wait(lambda: bar.current is None)
    return str(bar.message.text())


def test_numbers_have_as_many_digits_as_they_mean() -> None:
    shown = [text(v) for v in (0.12345, 24541.7, 123456.0, float("nan"), 12, "x")]
    assert shown == ["0.1235", "24,542", "123,456", "–", "12", "x"]


def test_measure_proposes_what_fits_the_layer(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Measure")
    viewer.open_sample("napari-medseg", "mri")
    assert dock.kind.currentData() == "volume"
    assert press(dock.run_bar, wait).startswith("Measured 1 object of brain_0_label in ")
    viewer.open_sample("napari-medseg", "histology")
    dock.labels.choose(viewer.layers["nuclei_0_label"])
    assert (dock.kind.currentData(), dock.image.layer.name) == ("nuclei", "nuclei_0")
    dock.labels.choose(viewer.layers["brain_0_label"])
    assert (dock.kind.currentData(), dock.image.layer.name) == ("volume", "brain_0")


def test_lazy_masks_of_a_movie_are_measured(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Measure")
    masks = np.zeros((3, 16, 16), np.uint8)
    masks[:, 4:9, 4:9] = 1
    meta = {"medseg_image": {"axes": "TYX"}}
    viewer.add_labels(da.from_array(masks), name="masks", metadata=meta, units=("s", "pixel", "pixel"))
    assert dock.kind.currentData() == "video"
    assert press(dock.run_bar, wait).startswith("Measured 3 frames of masks in ")


def test_a_click_on_an_object_selects_its_row(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Measure")
    data = np.zeros((40, 40), int)
    data[5:10, 5:10], data[20:30, 20:30] = 1, 2
    layer = viewer.add_labels(data, scale=(2, 2))
    press(dock.run_bar, wait)
    before = tuple(viewer.camera.center)

    def click(place: tuple[float, float], moved: int = 0) -> None:
        event = SimpleNamespace(
            type="mouse_press", pos=(0, 0), position=place, view_direction=None, dims_displayed=[0, 1]
        )
        steps = dock.table._press(viewer, event)
        next(steps)
        event.type, event.pos = "mouse_release", (moved, 0)
        next(steps, None)

    click((50, 50), moved=30)
    assert dock.table.currentIndex().row() != 1
    click((50, 50))
    assert (dock.table.currentIndex().row(), layer.selected_label) == (1, 2)
    assert tuple(viewer.camera.center) == before
    click((14, 14))
    assert dock.table.currentIndex().row() == 0
    layer.mode = "paint"
    click((50, 50))
    assert dock.table.currentIndex().row() == 0


def test_the_schedule_is_named_as_it_is_edited(open_dock: Open) -> None:
    _, dock = open_dock("Train")
    assert dock.schedule.currentText() == "paper"
    dock.training_form["epochs"].value = 3
    assert dock.schedule.currentText() == "custom"
    dock.schedule.setCurrentText("short")
    assert dock.training_form.value.epochs == 10
    dock.schedule.setCurrentText("paper")
    assert "--epochs" not in dock.command()
    dock.method.setCurrentIndex(dock.method.findData("fullnet"))
    assert dock.schedule.currentText() == "paper"
    assert "--epochs" not in dock.command()


def test_a_schedule_is_proposed_that_fits_the_time(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    _, dock = open_dock("Train")
    afm_folder(tmp_path / "data", 4, 64)
    item = dock.schedule.model().item(dock.schedule.findText("fits the time"))
    assert not item.isEnabled()
    assert not dock.pace_bar.run_button.isEnabled()
    dock.data.value = tmp_path / "data"
    said = press(dock.pace_bar, wait)
    assert said.startswith("One step takes "), said
    assert dock.schedule.currentText() == "fits the time"
    paper = get_method(dock.method.currentData()).training
    dock.forms.take_pace(Pace(step=60, calibration=0, case=0, batch_size=paper.batch_size, cases=4, held_out=1))
    assert "on this computer" in dock.forms.estimate.text()
    assert dock.forms.pace.seconds(dock.training_form.value) <= 3600
    dock.forms.time.setCurrentIndex(0)
    assert dock.forms.pace.seconds(dock.training_form.value) <= 900
    dock.schedule.setCurrentText("paper")
    assert dock.training_form.value == paper
    dock.data.value = tmp_path
    assert not item.isEnabled()


def test_stop_says_what_is_kept_and_closing_asks(
    open_dock: Open, wait: Wait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, dock = open_dock("Train")
    afm_folder(tmp_path / "data", 4, 64)
    dock.data.value, dock.run_folder.value = tmp_path / "data", tmp_path / "run"
    dock.training_form.value = dock.training_form.value.updated(epochs=50, steps_per_epoch=2, device="cpu")
    asked: list[str] = []

    def answer(parent: Any, title: str, text: str, buttons: Any) -> Any:
        asked.append(text)
        return QMessageBox.StandardButton.No if len(asked) == 1 else QMessageBox.StandardButton.Yes

    monkeypatch.setattr(QMessageBox, "question", answer)
    dock.run_bar.run_button.click()
    assert "no model" in dock.run_bar.kept
    wait(lambda: dock.epochs >= 2)
    dock.parent().destroyOnClose()
    assert dock.run_bar.current is not None
    assert "Train is still running" in asked[0]
    assert "best.pt" in asked[0]
    dock.run_bar.stop_button.click()
    wait(lambda: dock.run_bar.current is None)
    n = dock.epochs
    assert dock.run_bar.message.text().startswith(f"Stopped. The best model of {n} epochs is kept: ")
    assert (tmp_path / "run" / "best.pt").is_file()
    assert f"go on with epoch {n + 1}." in dock.run_bar.message.text()
    dock.parent().destroyOnClose()
    assert len(asked) == 1  # nothing runs: nothing is asked


def test_a_recommended_recipe_fills_in_both_forms_and_is_taken_back(open_dock: Open) -> None:
    _, dock = open_dock("Train")
    dock.method.setCurrentIndex(dock.method.findData("sc-dcnn"))
    dock.schedule.setCurrentText("recommended")
    recipe = get_method("sc-dcnn").recipe
    assert dock.training_form.value == recipe.training
    assert dock.method_form.value.surroundings == recipe.settings["surroundings"]
    assert "--schedule=one-cycle" in dock.command()
    dock.schedule.setCurrentText("paper")
    assert dock.method_form.value == get_method("sc-dcnn").Settings()
    dock.schedule.setCurrentText("recommended")
    dock.method.setCurrentIndex(dock.method.findData("frame-classifier"))
    assert dock.schedule.currentText() == "paper"
    assert not dock.schedule.model().item(dock.schedule.findText("recommended")).isEnabled()


def test_the_check_says_split_pixel_sizes_and_few_problems(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    _, dock = open_dock("Train")
    afm_folder(tmp_path / "data", 14, 64)
    dock.data.value = tmp_path / "data"
    assert "14 usable cases, no problems" in press(dock.check_bar, wait)
    for line in ("split by subject: 11 to train on, 3 held out", "0.2x0.2 um", "label values: 0, 255"):
        assert line in dock.findings.text()
    dock.run_folder.value = tmp_path / "run"
    assert "14 usable cases" in dock.check_bar.message.text()
    dock.method.setCurrentIndex(dock.method.findData("fullnet"))
    assert "0 usable cases, 14 problems" in press(dock.check_bar, wait)
    assert dock.findings.text().count("<b>!</b>") == 12
    assert "and 2 more" in dock.findings.text()


def test_plots_follow_the_theme(open_dock: Open) -> None:
    viewer, dock = open_dock("Train")
    axis = next(iter(dock.curves.lines.values())).getViewBox().parentItem().getAxis("left")
    colours = set()
    for theme in ("light", "dark"):
        viewer.theme = theme
        colours.add(axis.textPen().color().name())
        ground = get_theme(theme).background.as_rgb_tuple()
        for plot in dock.curves.findChildren(pg.PlotWidget):
            assert plot.backgroundBrush().color().getRgb()[:3] == ground
    assert len(colours) == 2


def test_a_refinement_ends_with_a_next_step_and_continues_in_place(
    open_dock: Open, wait: Wait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refine_saves, "SESSIONS", tmp_path / "sessions")
    viewer, dock = open_dock("Refine with scribbles")
    data = np.random.default_rng(0).normal(0, 0.1, (48, 48))
    data[10:30, 10:30] += 1
    viewer.add_image(data, name="scan")

    def paint(value: int, place: tuple[int, int]) -> None:
        dock.live.layers.scribbles.paint(place, value)
        wait(lambda: dock.live.steps.idle and not dock.live.release.isActive() and not dock.live.follow.isActive())

    press(dock.run_bar, wait)
    assert dock.panel.status.text() == "no round yet"
    paint(2, (20, 20))
    paint(1, (40, 40))
    names = [layer.name for layer in viewer.layers]
    dock.panel.buttons["finish"].click()
    assert dock.run_bar.message.text().startswith("The result is the layer scan · refined.")
    assert dock.run_bar.next_button.text() == "Measure"
    wait(lambda: dock.setup.saved is not None and dock.setup.saved.rounds == 2)
    dock.setup.resume_button.click()
    wait(lambda: dock.live is not None)
    assert [layer.name for layer in viewer.layers] == names
    dock.panel.buttons["accept"].click()
    wait(lambda: dock.live.steps.idle)
    assert "object 1 accepted and locked" in dock.panel.status.text()
    dock.panel.buttons["finish"].click()
    assert "scan · objects" in dock.run_bar.message.text()


def test_docks_are_never_narrower_than_what_they_hold(open_dock: Open) -> None:
    _, dock = open_dock("Train")
    area = dock.findChild(QScrollArea)
    held = area.widget().minimumSizeHint().width()
    assert area.minimumSizeHint().width() >= max(300, held)
    dock.column.addWidget(wide := QLabel("x"))
    wide.setMinimumWidth(held + 200)
    QApplication.processEvents()
    assert dock.minimumSizeHint().width() >= held + 200


def test_strokes_are_no_result(open_dock: Open, wait: Wait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine_saves, "SESSIONS", tmp_path / "sessions")
    viewer, dock = open_dock("Refine with scribbles")
    viewer.add_image(np.random.default_rng(0).random((32, 32)), name="scan")
    press(dock.run_bar, wait)
    assert [layer.name for layer in label_layers(viewer)] == ["scan · refined", "scan · objects"]
