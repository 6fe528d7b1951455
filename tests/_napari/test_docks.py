"""The plugin's own docks in a real window: press the buttons, wait for the worker, look at the layers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils import progress as activity
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import QApplication
from shorthand import Open, Wait

from napari_medseg._napari.docks.model_chooser import ModelChooser
from napari_medseg._napari.view import CONTEXT
from napari_medseg.samples.afm import afm_folder

pytestmark = [pytest.mark.viewer, pytest.mark.usefixtures("no_models")]


class Heartbeat:
    """Measure the longest time that the window did not answer."""

    def __init__(self) -> None:
        self.last, self.longest = time.monotonic(), 0.0
        self.timer = QTimer()
        self.timer.timeout.connect(self.beat)
        self.timer.start(5)

    def beat(self) -> None:
        now = time.monotonic()
        self.longest, self.last = max(self.longest, now - self.last), now


def sample(viewer: Any) -> None:
    viewer.open_sample("napari-medseg", "afm")


def test_segment_then_measure(open_dock: Open, wait: Wait, afm_model: Path) -> None:
    viewer, dock = open_dock("Segment")
    assert not dock.run_bar.run_button.isEnabled()
    assert "Open an image" in dock.run_bar.message.text()
    sample(viewer)
    scan = viewer.layers[0]
    dock.input.choose(scan)
    dock.models.browse(str(afm_model))
    assert dock.run_bar.run_button.isEnabled(), dock.run_bar.reason
    before = len(viewer.layers)
    dock.run_bar.run_button.click()
    wait(lambda: dock.run_bar.current is None)
    assert len(viewer.layers) == before + 1, dock.run_bar.message.text()
    labels = viewer.layers[-1]
    assert labels.name == f"{scan.name} · afm-unet"
    assert labels.data.shape == scan.data.shape
    np.testing.assert_allclose(labels.scale, scan.scale)
    assert labels.units == scan.units
    kept = labels.metadata["medseg"]
    assert kept["method"] == "afm-unet"
    assert len(kept["checkpoint_sha256"]) == 64
    assert kept["source_layer"] == scan.name

    labels.data[:] = 0
    labels.data[10:20, 10:20], labels.data[40:60, 40:50] = 1, 2
    labels.refresh()
    _, measure = viewer.window.add_plugin_dock_widget("napari-medseg", "Measure")
    measure.labels.choose(labels)
    assert measure.kind.currentData() == "afm"
    assert measure.image.layer.name == scan.name
    measure.run_bar.run_button.click()
    wait(lambda: measure.run_bar.current is None)
    frame = measure.table.frame
    assert len(frame) == 2, measure.run_bar.message.text()
    assert any("um^2" in name for name in frame.columns)
    viewer.reset_view()  # the canvas has its size now
    seen = viewer.camera.center
    measure.table.selectRow(1)
    assert labels.selected_label == 2
    assert viewer.camera.center == seen
    measure.table.selectRow(0)
    viewer.camera.center, viewer.camera.zoom = labels.data_to_world((0, 0)), 20 * viewer.camera.zoom
    measure.table.selectRow(1)
    world = labels.data_to_world((49.5, 44.5))
    np.testing.assert_allclose(viewer.camera.center[-2:], world, atol=float(labels.scale[0]) * 2)
    labels.selected_label = 1
    assert measure.table.currentIndex().row() == 0
    assert len(labels.features)


def test_a_model_that_does_not_fit_is_greyed_with_the_reason(
    open_dock: Open, afm_model: Path, other_model: Path
) -> None:
    viewer, dock = open_dock("Segment")
    sample(viewer)
    dock.input.choose(viewer.layers[0])
    dock.models.browse(str(other_model))
    assert not dock.run_bar.run_button.isEnabled()
    assert "3D" in dock.run_bar.reason
    dock.models.browse(str(afm_model))
    assert dock.run_bar.run_button.isEnabled()
    row = dock.models.box.model().item(dock.models.box.findText("volume", Qt.MatchFlag.MatchContains))
    assert not row.isEnabled()
    assert "3D" in row.toolTip()


def test_current_view_segments_only_what_is_seen(open_dock: Open, wait: Wait, afm_model: Path) -> None:
    viewer, dock = open_dock("Segment")
    sample(viewer)
    scan = viewer.layers[0]
    dock.models.browse(str(afm_model))
    dock.input.choose(scan)
    viewer.camera.zoom *= 4
    wait(lambda: scan.corner_pixels[1, -1] - scan.corner_pixels[0, -1] < scan.data.shape[-1] - 1)
    dock.extent.setCurrentText("current view")
    dock.run_bar.run_button.click()
    wait(lambda: dock.run_bar.current is None)
    labels = viewer.layers[-1]
    assert labels.data.size < scan.data.size
    first = np.asarray(scan.world_to_data(labels.data_to_world((0, 0))))
    np.testing.assert_allclose(first, np.maximum(scan.corner_pixels[0] - CONTEXT, 0), atol=1)


def test_damaged_model_and_bad_file_never_show_a_traceback(open_dock: Open, tmp_path: Path) -> None:
    viewer, dock = open_dock("Segment")
    sample(viewer)
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    dock.models.browse(str(tmp_path / "broken.pt"))
    assert not dock.run_bar.run_button.isEnabled()
    assert "broken.pt" in dock.run_bar.reason


def test_train_shows_curves_stops_and_resumes(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    _, dock = open_dock("Train")
    assert not dock.run_bar.run_button.isEnabled()
    afm_folder(tmp_path / "data", 4, 64)
    dock.data.value = tmp_path / "data"
    assert "run" in dock.run_bar.reason.lower()
    dock.run_folder.value = tmp_path / "run"
    dock.method.setCurrentIndex(dock.method.findData("afm-unet"))
    dock.check_bar.run_button.click()
    wait(lambda: dock.check_bar.current is None)
    assert "4 cases" in dock.findings.text()
    dock.method_form["architecture"].value = "unet2"
    small = dock.training_form.value.updated(epochs=30, batch_size=2, steps_per_epoch=2, device="cpu")
    dock.training_form.value = small
    assert "--epochs=30" in dock.command()
    dock.run_bar.run_button.click()
    wait(lambda: len(dock.curves.values["loss"]) >= 2)
    assert not dock.curves.preview.pixmap().isNull()
    dock.run_bar.stop_button.click()
    wait(lambda: dock.run_bar.current is None)
    assert (tmp_path / "run" / "best.pt").exists()
    done = len(dock.curves.values["loss"])
    assert done < 30

    dock.run_bar.run_button.click()  # refused: the folder holds a run
    assert "Tick resume" in dock.run_bar.message.text()
    dock.resume.setChecked(True)
    dock.training_form.value = small.updated(epochs=done + 2)
    dock.run_bar.run_button.click()
    wait(lambda: dock.run_bar.current is None)
    assert "Best model" in dock.run_bar.message.text()
    assert dock.curves.values["loss"][-1][0] == done + 2
    dock.use_model()
    assert ModelChooser.session[0] == tmp_path / "run" / "best.pt"


def test_the_window_answers_while_a_network_works(open_dock: Open, wait: Wait, afm_model: Path) -> None:
    viewer, dock = open_dock("Segment")
    rng = np.random.default_rng(0)
    viewer.add_image(rng.random((1500, 1500), np.float32), name="big", units=("um", "um"))
    dock.input.choose(viewer.layers["big"])
    dock.models.browse(str(afm_model))
    activity(total=1, desc="napari builds its activity dock once").close()
    viewer.add_labels(np.zeros((1500, 1500), np.uint8), name="first", units=("um", "um"))
    dock.input.choose(viewer.layers["big"])
    heart = Heartbeat()
    wait(lambda: heart.longest > 0)
    heart.longest = 0.0
    start = time.monotonic()
    dock.run_bar.run_button.click()
    wait(lambda: dock.run_bar.current is None)
    spent = time.monotonic() - start
    assert len(viewer.layers) == 3
    start = time.monotonic()
    viewer.add_labels(np.zeros((1500, 1500), np.uint8), name="second", units=("um", "um"))
    napari_itself = time.monotonic() - start
    assert heart.longest - napari_itself < max(0.3, 0.5 * spent)  # computing in the window would take all of it


def test_errors_in_a_worker_arrive_as_one_sentence(open_dock: Open, wait: Wait, afm_model: Path) -> None:
    viewer, dock = open_dock("Segment")
    heights = np.zeros((64, 64), np.float32)
    heights[3, 3] = np.nan
    viewer.add_image(heights, name="holes", units=("um", "um"), contrast_limits=(0, 1))
    dock.input.choose(viewer.layers["holes"])
    dock.models.browse(str(afm_model))
    dock.run_bar.run_button.click()
    wait(lambda: dock.run_bar.current is None)
    assert "Traceback" not in dock.run_bar.message.text()
    assert dock.run_bar.run_button.isEnabled()


def test_settings_save_load_reset(open_dock: Open, tmp_path: Path) -> None:
    _, dock = open_dock("Segment")
    dock.form["tile"].value = 256
    path = tmp_path / "settings.json"
    from napari_medseg._napari.widgets.dock import FoldedSettings

    folded = dock.findChild(FoldedSettings)
    folded.save(str(path))
    folded.form.reset()
    assert dock.form["tile"].value == 0
    folded.load(str(path))
    assert dock.form["tile"].value == 256
    assert "--tile=256" in dock.command()


@pytest.mark.parametrize("name", ["Segment", "Measure", "Train"])
def test_a_closed_dock_leaves_the_viewer_alone(make_napari_viewer_proxy: Any, name: str) -> None:
    viewer = make_napari_viewer_proxy()
    dock, widget = viewer.window.add_plugin_dock_widget("napari-medseg", name)
    viewer.window.remove_dock_widget(dock)
    widget.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    QApplication.processEvents()
    viewer.add_image(np.zeros((8, 8)), name="after")
    viewer.add_labels(np.zeros((8, 8), int), name="labels after")
    viewer.layers.selection.active = viewer.layers["after"]
    viewer.layers.clear()
    assert not viewer.layers
