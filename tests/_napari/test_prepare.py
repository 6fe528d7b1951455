"""The Prepare dock in a real window."""

from __future__ import annotations

from pathlib import Path

import pytest
from shorthand import Open, Wait

from napari_medseg.io import read_one

pytestmark = pytest.mark.viewer


def test_check_prepare_and_go_on_to_train(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    viewer, dock = open_dock("Prepare training data")
    assert "Choose the folder of raw images" in dock.run_bar.message.text()
    dock.make_sample(str(tmp_path / "raw"), 96)
    (tmp_path / "raw" / "labels" / "nuclei_3_label.png").unlink()
    dock.check_bar.run_button.click()
    wait(lambda: dock.check_bar.current is None)
    assert dock.check_bar.message.text() == "3 cases"
    assert "nuclei_3.png has no partner" in dock.findings.text()
    assert "training folder" in dock.run_bar.reason
    dock.destination.value = tmp_path / "out"
    form = dock.forms["fullnet"]
    form.value = form.value.updated(workers=1, patch=64, stain="none")
    assert dock.command().endswith("--stain=none --patch=64 --workers=1")
    dock.run_bar.run_button.click()
    wait(lambda: dock.run_bar.current is None)
    assert "3 cases in" in dock.run_bar.message.text()
    assert "nuclei_3.png has no partner" in dock.findings.text()
    assert read_one(tmp_path / "out" / "images" / "nuclei_0_0.png").data.shape == (64, 64, 3)
    dock.run_bar.next_button.click()
    train = viewer.window.dock_widgets["Train (Medical segmentation)"]
    assert train.method.currentData() == "fullnet"
    assert train.data.value == tmp_path / "out"


def test_other_methods_say_what_happens_or_why_not(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    _, dock = open_dock("Prepare training data")
    dock.source.value, dock.destination.value = tmp_path / "empty", tmp_path / "out"
    (tmp_path / "empty").mkdir()
    dock.method.setCurrentIndex(dock.method.findData("frame-classifier"))
    assert not dock.run_bar.run_button.isEnabled()
    assert "needs no preparation" in dock.run_bar.reason.lower()
    dock.method.setCurrentIndex(dock.method.findData("afm-unet"))
    assert "copied" in dock.note.text()
    assert dock.folded["fullnet"].isHidden()
    assert dock.command() == f"medseg prepare afm-unet {tmp_path / 'empty'} {tmp_path / 'out'}"
    dock.run_bar.run_button.click()
    wait(lambda: dock.run_bar.current is None)
    assert "No image/label pairs" in dock.run_bar.message.text()
