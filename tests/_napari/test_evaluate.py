"""The Evaluate dock in a real window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shorthand import Open, Wait

from napari_medseg._napari.layers import label_layers, layer_data
from napari_medseg._napari.refine import saves as refine_saves
from napari_medseg.image import Image
from napari_medseg.io import write
from napari_medseg.jobs import run
from napari_medseg.refinement import RefinementSession

pytestmark = pytest.mark.viewer


def blocks() -> tuple[np.ndarray, np.ndarray]:
    """Reference objects 10 and 30; the result finds 10 as 7, misses 30 and invents 9."""
    truth, result = np.zeros((40, 60), np.uint16), np.zeros((40, 60), np.uint16)
    truth[5:15, 5:15], truth[20:30, 40:50] = 10, 30
    result[5:15, 5:15], result[30:34, 5:15] = 7, 9
    return result, truth


def test_the_dock_opens_with_what_a_method_made_as_the_result(make_napari_viewer_proxy: Any) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    result, truth = blocks()
    viewer.add_labels(result, name="result", metadata={"medseg": {"method": "fullnet"}})
    viewer.add_labels(truth, name="truth")
    _, dock = viewer.window.add_plugin_dock_widget("napari-medseg", "Evaluate")
    assert (dock.result.layer.name, dock.reference.layer.name) == ("result", "truth")
    assert dock.method.currentData() == "fullnet"


@pytest.mark.parametrize(
    ("sample", "method"),
    [("histology", "fullnet"), ("mri", "p-net"), ("ccm", "sc-dcnn"), ("afm", "afm-unet"), ("video", "double-unet")],
)
def test_metrics_are_those_of_such_images(open_dock: Open, sample: str, method: str) -> None:
    """Labels that no model made, for instance with scribbles."""
    viewer, dock = open_dock("Evaluate")
    viewer.open_sample("napari-medseg", sample)
    assert dock.method.currentData() == method
    drawn = viewer.add_labels(viewer.layers[-1].data, name="drawn", metadata={"medseg": {"method": "geodesic"}})
    dock.result.choose(drawn)
    assert dock.method.currentData() == method


def test_a_method_that_was_chosen_stays(open_dock: Open) -> None:
    viewer, dock = open_dock("Evaluate")
    viewer.open_sample("napari-medseg", "histology")
    index = dock.method.findData("p-net")
    dock.method.setCurrentIndex(index)
    dock.method.activated.emit(index)  # as a choice in the list does
    dock.result.choose(viewer.add_labels(np.eye(8, dtype=int), name="other"))
    assert dock.method.currentData() == "p-net"
    made = viewer.add_labels(np.eye(8, dtype=int), name="made", metadata={"medseg": {"method": "fullnet"}})
    dock.result.choose(made)
    assert dock.method.currentData() == "fullnet"


def test_two_layers_give_metrics_errors_and_objects(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    viewer, dock = open_dock("Evaluate")
    assert "Open a result and its reference" in dock.run_bar.message.text()
    result, truth = blocks()
    place = {"scale": (0.5, 0.5), "units": ("um", "um"), "translate": (3, 4)}
    reference = viewer.add_labels(truth, name="truth", **place)
    assert not dock.run_bar.run_button.isEnabled()
    assert "are one layer" in dock.run_bar.message.text()
    predicted = viewer.add_labels(result, name="result", metadata={"medseg": {"method": "fullnet"}}, **place)
    assert dock.result.layer.name == "result", "a method's new labels are the result"
    assert dock.method.currentData() == "fullnet"
    assert dock.reference.layer.name == "truth"
    dock.run_bar.run_button.click()
    wait(lambda: dock.run_bar.current is None)
    errors = viewer.layers["result · errors"]
    assert np.bincount(errors.data.ravel()).tolist() == [2400 - 240, 100, 40, 100]
    np.testing.assert_allclose(errors.translate, reference.translate)
    np.testing.assert_allclose(errors.scale, reference.scale)
    assert "false negative: 100 px (41.7%)" in dock.errors.legend.text()
    assert not predicted.visible
    assert dock.result.layer.name == "result", "the choice does not follow the new layer"
    metrics = dock.tables["metrics"].set_index("metric")
    assert metrics.loc["pq", "value"] == pytest.approx(0.5)
    assert metrics.loc["object_hausdorff", "unit"] == "um"
    assert dock.tables["objects"]["verdict"].tolist() == ["found", "missed", "spurious"]
    viewer.camera.center, viewer.camera.zoom = reference.data_to_world((0, 0)), 20 * viewer.camera.zoom
    dock.errors.table.selectRow(0)
    assert reference.selected_label == 30
    np.testing.assert_allclose(viewer.camera.center[-2:], reference.data_to_world((24.5, 44.5)))
    dock.save(str(tmp_path / "e.csv"))
    assert pd.read_csv(tmp_path / "e_objects.csv")["reference"].tolist() == [10, 30, 0]
    dock.save(str(tmp_path / "e.txt"))
    assert ".xlsx" in dock.run_bar.message.text()
    for name in ("e.png", "e.svg"):
        dock.save_figure(str(tmp_path / name))
        assert (tmp_path / name).stat().st_size > 1000
        assert dock.run_bar.message.text() == f"Saved {name}"
    dock.save_figure(str(tmp_path / "e.gif"))
    assert ".svg" in dock.run_bar.message.text()


def test_layers_of_different_size_are_one_sentence(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Evaluate")
    viewer.add_labels(np.zeros((4, 4), int), name="a", units=("um", "um"))
    viewer.add_labels(np.zeros((4, 5), int), name="b", units=("um", "um"))
    dock.run_bar.run_button.click()
    wait(lambda: dock.run_bar.current is None)
    assert "same grid" in dock.run_bar.message.text()
    assert len(viewer.layers) == 2


def test_two_folders(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    _, dock = open_dock("Evaluate")
    dock.mode.setCurrentText("two folders")
    assert dock.pair.isHidden()
    assert not dock.folders.isHidden()
    assert dock.run_bar.reason == "Choose both folders."
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4] = 1
    for name in ("a", "b"):
        write(tmp_path / "ref" / f"{name}_label.png", Image(mask, "YX", kind="labels"))
        write(tmp_path / "pred" / f"{name}_labels.tif", Image(mask * (name == "a"), "YX", kind="labels"))
    write(tmp_path / "ref" / "alone.png", Image(mask, "YX", kind="labels"))
    dock.results.value, dock.references.value = tmp_path / "pred", tmp_path / "ref"
    assert dock.command() == f"medseg evaluate afm-unet {tmp_path / 'pred'} {tmp_path / 'ref'}"
    dock.run_bar.run_button.click()
    wait(lambda: dock.run_bar.current is None)
    frame = dock.tables["images"].set_index("image")
    assert frame["dice"].to_dict() == pytest.approx({"a": 1.0, "b": 0.0, "MEAN": 0.5})
    assert "alone.png" in dock.run_bar.message.text()
    dock.save_figure(str(tmp_path / "images.svg"))
    assert "<svg" in (tmp_path / "images.svg").read_text("utf-8")
    dock.save(str(tmp_path / "e.xlsx"))
    assert pd.read_excel(tmp_path / "e.xlsx")["image"].tolist() == ["a", "b", "MEAN"]


def test_rounds_of_a_recorded_refinement(
    open_dock: Open, wait: Wait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = np.zeros((48, 48), np.uint8)
    truth[10:30, 10:30] = 1
    data = (np.random.default_rng(0).normal(60, 6, truth.shape) + 100 * truth).astype(np.float32)
    image = Image(data, "YX", (0.5, 0.5), ("micrometer",) * 2, name="scan")
    session = RefinementSession(image)
    for rows in (slice(12, 14), slice(24, 26)):
        marks = session.scribbles.copy()
        marks[rows, 12:28], marks[2:4, 2:40] = 2, 1
        run(session.refine(marks))
    session.save(tmp_path / "sessions" / "x" / "y")
    monkeypatch.setattr(refine_saves, "SESSIONS", tmp_path / "sessions")
    viewer, dock = open_dock("Evaluate")
    dock.mode.setCurrentText("a recorded refinement")
    assert dock.run_bar.reason.startswith("Open the image")
    shown, kwargs, _ = layer_data(image)
    viewer.add_labels(truth, name="truth", scale=kwargs["scale"], units=kwargs["units"])
    viewer.add_image(shown, **kwargs)
    assert dock.rounds.folder == tmp_path / "sessions" / "x" / "y", "the newest session of the image is proposed"
    assert "--image" in dock.command()
    dock.run_bar.run_button.click()
    wait(lambda: dock.run_bar.current is None)
    frame = dock.tables["rounds"]
    held = session.mask > 0
    assert frame["dice"].iloc[-1] == pytest.approx(2 * (held & (truth > 0)).sum() / (held.sum() + truth.sum()))
    assert frame["event"].tolist() == ["start", "refine", "refine"]
    assert dock.curve.line.getData()[1].tolist() == frame["dice"].tolist()
    assert not dock.curve.isHidden()
    dock.save_figure(str(tmp_path / "rounds.png"))
    assert (tmp_path / "rounds.png").stat().st_size > 1000


def test_errors_of_axes_in_another_order_lie_on_their_layer(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Evaluate")
    result, truth = blocks()
    named = {"axis_labels": ("x", "y")}
    viewer.add_labels(truth, name="truth", **named)
    viewer.add_labels(result, name="result", metadata={"medseg": {"method": "fullnet"}}, **named)
    dock.run_bar.start()
    wait(lambda: dock.run_bar.current is None)
    errors = viewer.layers["result · errors"]
    np.testing.assert_array_equal(errors.data == 3, (truth > 0) & (result == 0))
    viewer.camera.center, viewer.camera.zoom = (0, 0), 20 * viewer.camera.zoom
    dock.errors.table.selectRow(0)
    np.testing.assert_allclose(viewer.camera.center[-2:], (24.5, 44.5))


def test_errors_are_labels_of_no_other_dock_and_figures_show_what_was_compared(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Evaluate")
    result, truth = blocks()
    reference = viewer.add_labels(truth, name="truth")
    viewer.add_labels(result, name="result", metadata={"medseg": {"method": "fullnet"}})
    dock.run_bar.start()
    wait(lambda: dock.run_bar.current is None)
    assert [layer.name for layer in label_layers(viewer)] == ["result", "truth"]
    drawn = np.asarray(dock.draw().axes[0].images[0].get_array())
    reference.data[:] = 0
    np.testing.assert_array_equal(np.asarray(dock.draw().axes[0].images[0].get_array()), drawn)


def test_objects_of_a_film_are_one_sentence(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Evaluate")
    result, truth = blocks()
    viewer.add_labels(np.stack([truth, truth]), name="truth")
    viewer.add_labels(np.stack([result, result]), name="result", metadata={"medseg": {"method": "fullnet"}})
    dock.run_bar.start()
    wait(lambda: dock.run_bar.current is None)
    assert "Objects are compared in one plane" in dock.run_bar.message.text()
