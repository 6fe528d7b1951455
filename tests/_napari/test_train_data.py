"""*Use open layers ...* of the Train dock: what is drawn becomes training data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_medseg._napari.layers import layer_data
from napari_medseg.io import read_one
from napari_medseg.samples.afm import afm_scan
from napari_medseg.samples.mri import brain_volume

pytestmark = pytest.mark.viewer
Opened = tuple[Any, Any]


def add(viewer: Any, image: Any, **changes: Any) -> Any:
    data, options, kind = layer_data(image)
    return getattr(viewer, f"add_{kind}")(data, **{**options, **changes})


def test_layers_become_cases_with_their_geometry(
    open_dock: Callable[[str], Opened], wait: Callable[[Callable[[], bool]], None], tmp_path: Path
) -> None:
    viewer, dock = open_dock("Train")
    pairs = [afm_scan(k, 64) for k in (0, 1)]
    for image, labels in pairs:
        add(viewer, image, name=f"scan {image.name}")
        add(viewer, labels, name=f"scan {image.name} drawn")
    volume, lesion = brain_volume(0, (8, 20, 18))
    add(viewer, volume)
    add(viewer, lesion, name="my lesion")  # the only image of this size
    dock.source.take_layers(str(tmp_path / "data"))
    assert "3 cases" in dock.check_bar.message.text()
    for image, labels in pairs:
        stem = f"scan_{image.name}"
        back = read_one(tmp_path / "data" / "images" / f"{stem}.tif")
        np.testing.assert_allclose(back.data, image.data, rtol=1e-6)
        assert back.scale == pytest.approx(image.scale)
        drawn = read_one(tmp_path / "data" / "labels" / f"{stem}.tif", "labels")
        np.testing.assert_array_equal(np.asarray(drawn.data) > 0, np.asarray(labels.data) > 0)
    kept = read_one(tmp_path / "data" / "images" / f"{volume.name}.nii.gz")
    np.testing.assert_allclose(kept.affine, volume.affine, atol=1e-4)
    assert dock.data.value == tmp_path / "data"
    dock.check_bar.start()
    wait(lambda: "usable cases" in dock.check_bar.message.text())


def test_what_is_not_clear_is_said_and_nothing_is_written(open_dock: Callable[[str], Opened], tmp_path: Path) -> None:
    viewer, dock = open_dock("Train")
    dock.source.take_layers(str(tmp_path / "data"))
    assert "Open images" in dock.check_bar.message.text()
    for name in ("a", "b"):
        viewer.add_image(np.zeros((8, 8)), name=name)
    viewer.add_labels(np.eye(8, dtype=int), name="mask")
    dock.source.take_layers(str(tmp_path / "data"))
    assert "belong to: mask" in dock.check_bar.message.text()
    viewer.layers["mask"].name = "a mask"
    viewer.add_labels(np.eye(8, dtype=int), name="a mask too")
    dock.source.take_layers(str(tmp_path / "data"))
    assert "belong to one image" in dock.check_bar.message.text()
    assert not (tmp_path / "data").exists()
    viewer.layers.remove("a mask too")
    dock.source.take_layers(str(tmp_path / "data"))
    dock.source.take_layers(str(tmp_path / "data"))
    assert "Choose an empty folder" in dock.check_bar.message.text()


def test_labels_belong_to_the_image_whose_whole_name_they_begin_with(
    open_dock: Callable[[str], Opened], tmp_path: Path
) -> None:
    viewer, dock = open_dock("Train")
    for name in ("cell1", "cell2"):
        viewer.add_image(np.random.default_rng(0).random((8, 8)), name=name)
    viewer.add_labels(np.eye(8, dtype=int), name="cell10_label")
    dock.source.take_layers(str(tmp_path / "data"))
    assert "belong to: cell10_label" in dock.check_bar.message.text()
    assert not (tmp_path / "data").exists()
    viewer.add_image(np.full((8, 8), 7.0), name="cell10")
    dock.source.take_layers(str(tmp_path / "data"))
    assert "1 case in" in dock.check_bar.message.text()
    assert read_one(tmp_path / "data" / "images" / "cell10.tif").data.max() == 7


def test_layers_can_go_while_what_was_drawn_on_them_is_learnt(
    open_dock: Callable[[str], Opened], wait: Callable[[Callable[[], bool]], None], tmp_path: Path
) -> None:
    viewer, dock = open_dock("Train")
    for seed in (0, 1):
        image, labels = afm_scan(seed, 64)
        add(viewer, image, name=f"scan {seed}")
        add(viewer, labels, name=f"scan {seed} drawn")
    dock.source.take_layers(str(tmp_path / "data"))
    dock.run_folder.value = tmp_path / "run"
    dock.method.setCurrentIndex(dock.method.findData("afm-unet"))
    dock.method_form["architecture"].value = "unet2"
    small = {"epochs": 3, "batch_size": 2, "steps_per_epoch": 2, "device": "cpu"}
    dock.training_form.value = dock.training_form.value.updated(**small)
    dock.check_bar.run_button.click()
    viewer.layers.remove("scan 0 drawn")
    wait(lambda: dock.check_bar.current is None)
    assert "2 usable cases" in dock.check_bar.message.text()
    dock.run_bar.run_button.click()
    viewer.layers.remove("scan 0")
    wait(lambda: len(dock.curves.values["loss"]) >= 1)
    viewer.layers.clear()
    wait(lambda: dock.run_bar.current is None)
    assert "Best model" in dock.run_bar.message.text()
    assert [epoch for epoch, _ in dock.curves.values["loss"]] == [1, 2, 3]
    assert not dock.curves.preview.pixmap().isNull()
    dock.use_model()
    assert dock.best == tmp_path / "run" / "best.pt"
