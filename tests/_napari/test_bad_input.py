"""What people do by mistake: one sentence, and nothing is lost."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shorthand import Open, Wait

from napari_medseg.image import Image
from napari_medseg.inference.network import Prediction
from napari_medseg.jobs import Progress

pytestmark = [pytest.mark.viewer, pytest.mark.usefixtures("no_models")]
SHAPE = (24, 20)


def objects() -> np.ndarray:
    labels = np.zeros(SHAPE, int)
    labels[2:8, 2:8], labels[12:20, 10:18] = 1, 2
    return labels


def measured(dock: Any, wait: Wait, kind: str) -> str:
    dock.kind.setCurrentIndex(dock.kind.findData(kind))
    dock.run_bar.start()
    wait(lambda: dock.run_bar.current is None)
    return str(dock.run_bar.message.text())


def slow_result(dock: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let Segment give a result of `SHAPE` once the list that is returned holds something."""
    go: list[int] = []

    def segment(path: Path, images: Any, settings: Any, *, probabilities: bool) -> Any:
        while not go:
            threading.Event().wait(0.02)
            yield Progress(0, 1, "working")
        kept = {"medseg": {"method": "afm-unet", "source_layer": images[0].name}}
        labels = Image(objects(), "YX", kind="labels", name=images[0].name, metadata=kept)
        return [Prediction(labels, np.zeros((1, *SHAPE), np.float32), "cpu", 0.1)]

    monkeypatch.setattr("napari_medseg._napari.remote.segment", segment)
    return go


@pytest.mark.parametrize("change", ["removed", "replaced"])
def test_a_layer_that_goes_in_mid_run_still_gets_its_result(
    open_dock: Open, wait: Wait, afm_model: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    viewer, dock = open_dock("Segment")
    scan = viewer.add_image(np.random.default_rng(0).random(SHAPE), name="scan", scale=(2, 2))
    dock.models.browse(str(afm_model))
    go = slow_result(dock, monkeypatch)
    dock.run_bar.start()
    wait(lambda: "working" in dock.run_bar.message.text())
    if change == "removed":
        viewer.layers.remove(scan)
    else:
        scan.data = np.zeros((5, 6))
    go.append(1)
    wait(lambda: dock.run_bar.current is None)
    made = viewer.layers["scan · afm-unet"]
    np.testing.assert_array_equal(made.data, objects())
    np.testing.assert_allclose(made.scale, (2, 2))
    assert dock.run_bar.message.text().startswith("Segmented scan in ")


def test_labels_that_go_while_they_are_measured(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Measure")
    layer = viewer.add_labels(objects(), name="cells")
    dock.kind.setCurrentIndex(dock.kind.findData("nuclei"))
    dock.run_bar.start()
    viewer.layers.remove(layer)
    wait(lambda: dock.run_bar.current is None)
    assert len(dock.table.frame) == 2  # the numbers are there, and rows select nothing
    dock.table.selectRow(1)
    assert len(viewer.layers) == 0


def test_two_layers_of_one_name_are_told_apart(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Measure")
    viewer.add_labels(objects(), name="cells")
    other = objects()
    other[other == 2] = 0
    viewer.add_labels(other, name="cells")
    names = [dock.labels.box.itemText(k) for k in range(dock.labels.box.count())]
    assert len(set(names)) == 2
    for layer in viewer.layers:
        dock.labels.choose(layer)
        measured(dock, wait, "nuclei")
        assert len(dock.table.frame) == len(np.unique(layer.data)) - 1


def test_volts_are_no_heights(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Measure")
    meta = {"medseg_image": {"value_unit": "V", "channels": ("Error",)}}
    error = viewer.add_image(np.random.default_rng(0).random(SHAPE), name="error signal", metadata=meta)
    dock.labels.choose(viewer.add_labels(objects(), name="cells"))
    dock.image.choose(error)
    assert "is in V, which is no height" in measured(dock, wait, "afm")
    assert not dock.export_button.isEnabled()


def test_a_calibrated_image_beside_labels_of_unknown_size(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Measure")
    meta = {"medseg_image": {"value_unit": "nm"}}
    noise = np.random.default_rng(0).random(SHAPE)
    height = viewer.add_image(noise, name="height", scale=(0.5, 0.5), units=("um", "um"), metadata=meta)
    dock.labels.choose(viewer.add_labels(objects(), name="cells"))
    dock.image.choose(height)
    assert measured(dock, wait, "afm").startswith("Measured 2 cells")
    np.testing.assert_allclose(dock.table.frame["area (um^2)"], [36 * 0.25, 64 * 0.25])


def test_a_full_disk_on_export_is_said_and_leaves_the_old_file(
    open_dock: Open, wait: Wait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, dock = open_dock("Measure")
    viewer.add_labels(objects(), name="cells", scale=(0.5, 0.5), units=("um", "um"))
    measured(dock, wait, "nuclei")
    path = tmp_path / "cells.csv"
    dock.export_button.save(str(path))
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    dock.export_button.save(str(path))
    assert "No space left on device" in dock.run_bar.message.text()
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"cells.csv", "cells_summary.csv"}  # and nothing half written
    monkeypatch.undo()
    dock.export_button.save(str(path))
    assert "Saved" in dock.run_bar.message.text()
