"""The Segment dock: channels, what becomes its input, which model it proposes, layers that come, go and are renamed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QDockWidget
from shorthand import Open, Wait

from napari_medseg._napari.layers import image_layers, layer_data
from napari_medseg._napari.widgets.words import duration
from napari_medseg.image import Image
from napari_medseg.jobs import Progress, Speed
from napari_medseg.methods import create
from napari_medseg.models.checkpoint import bundled, pack, write_checkpoint
from napari_medseg.models.purpose import PixelSize
from napari_medseg.preprocessing.levelling import above_glass
from napari_medseg.samples.afm import afm_scan

pytestmark = [pytest.mark.viewer, pytest.mark.usefixtures("no_models")]
SHAPE = (24, 20)


def saved(path: Path, name: str, **settings: Any) -> Path:
    """Write an untrained model."""
    method = create(name, settings)
    write_checkpoint(path, pack(method, method.build_network().state_dict()))
    return path


def picture(viewer: Any, name: str, seed: int = 0, **kwargs: Any) -> Any:
    return viewer.add_image(np.random.default_rng(seed).random(SHAPE), name=name, **kwargs)


def run(dock: Any, wait: Wait) -> None:
    assert dock.run_bar.run_button.isEnabled(), dock.run_bar.reason
    dock.run_bar.run_button.click()
    wait(lambda: dock.run_bar.current is None)


def frame_of(dock: Any) -> QDockWidget:
    """Return the frame that a dock stands in."""
    frame = dock.parent()
    while not isinstance(frame, QDockWidget):
        frame = frame.parent()
    return frame


def reason(dock: Any, text: str) -> str:
    """Return why the model whose line holds `text` is greyed; empty when it is not."""
    box = dock.models.box
    item = box.model().item(box.findText(text, Qt.MatchFlag.MatchContains))
    return "" if item.isEnabled() else item.toolTip()


def test_layers_on_one_grid_are_channels_of_one_case(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    viewer, dock = open_dock("Segment")
    flair, t1c = picture(viewer, "FLAIR", 1, scale=(2, 2)), picture(viewer, "T1c", 2, scale=(2, 2))
    picture(viewer, "elsewhere", 3, scale=(3, 3))
    dock.input.choose(flair)
    dock.models.browse(str(saved(tmp_path / "two.pt", "p-net", ndim=2, channels=2)))
    assert [dock.channels.list.item(n).text() for n in range(dock.channels.list.count())] == ["T1c"]
    assert "2 channel" in dock.run_bar.reason
    dock.channels.tick(t1c)
    assert not dock.run_bar.reason
    assert not dock.every.isEnabled()
    image, _ = dock.extent.cut(flair, *dock.channels.chosen)
    np.testing.assert_array_equal(image.channels_first(), [flair.data, t1c.data])
    run(dock, wait)
    labels = viewer.layers[-1]
    assert labels.name == "FLAIR · p-net", dock.run_bar.message.text()
    assert labels.data.shape == SHAPE
    np.testing.assert_allclose(labels.scale, flair.scale)
    dock.channels.tick(t1c, False)
    assert "2 channel" in dock.run_bar.reason
    assert dock.every.isEnabled()


def test_the_probability_never_becomes_the_input(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    viewer, dock = open_dock("Segment")
    scan = picture(viewer, "scan")
    dock.models.browse(str(saved(tmp_path / "one.pt", "p-net", ndim=2)))
    dock.probabilities.setChecked(True)
    run(dock, wait)
    assert [layer.name for layer in viewer.layers] == ["scan", "scan · probability", "scan · p-net"]
    viewer.layers.selection.active = viewer.layers["scan · probability"]
    assert dock.input.layer == scan
    assert image_layers(viewer) == [scan]
    dock.replace.setChecked(True)
    run(dock, wait)
    assert len(viewer.layers) == 3
    dock.replace.setChecked(False)
    run(dock, wait)
    assert len(viewer.layers) == 5
    dock.run_bar.next_button.click()
    _, measure = next((n, w) for n, w in viewer.window.dock_widgets.items() if "Measure" in n)
    assert measure.labels.layer == dock.made
    wait(lambda: measure.run_bar.current is None)
    assert dock.made.name in measure.run_bar.message.text(), "one press measures what was made"
    frame_of(dock).raise_()
    wait(lambda: measure.visibleRegion().isEmpty())
    dock.run_bar.next_button.click()
    wait(lambda: not measure.visibleRegion().isEmpty())


@pytest.mark.parametrize("width", [340, 420, 600])
def test_nothing_that_a_model_says_is_cut_off(width: int, open_dock: Open) -> None:
    viewer, dock = open_dock("Segment")
    picture(viewer, "scan")
    dock.models.browse(str(bundled("nuclei_dsb2018")))
    frame = frame_of(dock)
    frame.setFloating(True)
    for height in (300, 900):
        frame.resize(width, height)
        QTest.qWait(50)
        card = dock.models.card
        missing = card.heightForWidth(card.width()) - card.height()
        assert missing < card.fontMetrics().descent()


def test_models_that_give_no_mask_alone_are_greyed(open_dock: Open, tmp_path: Path) -> None:
    viewer, dock = open_dock("Segment")
    picture(viewer, "scan")
    dock.models.browse(str(saved(tmp_path / "rnet.pt", "r-net", ndim=2)))
    assert "Refine with scribbles" in dock.run_bar.reason
    assert "Refine with scribbles" in reason(dock, "rnet")
    assert "Nerve movie" in reason(dock, "demo_frame_classifier")


def test_the_nearest_model_is_proposed_until_one_is_picked(open_dock: Open, tmp_path: Path) -> None:
    viewer, dock = open_dock("Segment")
    viewer.open_sample("napari-medseg", "histology")
    assert dock.models.entry.path.stem == "nuclei_dsb2018"
    viewer.open_sample("napari-medseg", "mri")
    assert dock.models.entry.path.stem == "demo_pnet_3d"
    row = dock.models.box.findText("demo_pnet_2d", Qt.MatchFlag.MatchContains)
    dock.models.box.setCurrentIndex(row)
    dock.input.choose(viewer.layers["nuclei_0"])
    assert dock.models.entry.path.stem == "demo_pnet_2d"
    assert "channel" in dock.run_bar.reason


def test_what_knows_only_generated_images_is_never_proposed_for_others(open_dock: Open) -> None:
    viewer, dock = open_dock("Segment")
    noise = np.random.default_rng(0)
    viewer.add_image(noise.random((6, 32, 32)).astype(np.float32), name="brain", scale=(2, 1, 1), units=("mm",) * 3)
    assert dock.models.entry is None or not dock.models.entry.demo
    if dock.models.entry is None:
        assert "volumes (MR, CT)" in dock.run_bar.reason
        assert "Refine with scribbles" in dock.run_bar.reason
    viewer.add_image(noise.random((64, 64)), name="unknown")
    assert dock.models.entry is None
    assert "No model here was made for" in dock.run_bar.reason
    assert dock.models.card.text() == dock.run_bar.reason
    viewer.add_image(noise.integers(0, 255, (384, 384), np.uint8), name="cornea")
    assert dock.models.entry.field == "cornea"
    assert "corneal nerves" in dock.models.card.text().splitlines()[0]


def test_a_scan_in_which_no_cell_fits_is_proposed_no_model_of_cells(open_dock: Open) -> None:
    viewer, dock = open_dock("Segment")
    heights = Image(np.random.default_rng(0).random((64, 64)), "YX", (0.005, 0.005), ("micrometer",) * 2, name="dna",
                    value_unit="nm")  # fmt: skip
    data, options, _ = layer_data(heights)
    viewer.add_image(data, **options)
    assert dock.models.entry is None
    assert "0.32 um wide: no cell fits in it" in dock.run_bar.reason
    dock.models.refresh(bundled("afm-threshold"))
    assert not dock.run_bar.reason
    assert not dock.size_line.isHidden()
    assert "no cell fits" in dock.size_line.text()
    assert dock.resample.isHidden()


def test_a_film_of_heights_is_proposed_what_finds_cells_and_no_volume(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Segment")
    heights = np.stack([np.asarray(afm_scan(seed, 96)[0].data) for seed in (0, 1)])
    film = Image(heights, "TYX", (0.5, 0.2, 0.2), ("second", *("micrometer",) * 2), name="film", value_unit="nm")
    data, options, _ = layer_data(film)
    layer = viewer.add_image(data, **options)
    assert dock.models.entry.path.stem == "afm-threshold"
    for volume in ("hippocampus_pnet", "demo_pnet_3d"):
        assert "one time point" in reason(dock, volume)
    run(dock, wait)
    for frame, found in zip(heights, viewer.layers[-1].data, strict=True):
        alone = above_glass(frame).relative() > 4.5
        assert (found[alone] > 0).mean() > 0.9
    assert viewer.layers[-1].data.shape == layer.data.shape


def test_of_a_scan_the_channel_in_view_is_chosen(open_dock: Open) -> None:
    viewer, dock = open_dock("Segment")
    height = picture(viewer, "scan Height")
    viewer.add_image(np.zeros(SHAPE), name="scan Error", visible=False)
    assert viewer.layers.selection.active.name == "scan Error"
    assert dock.input.layer == height
    dock.input.choose(viewer.layers["scan Error"])
    assert dock.input.layer.name == "scan Error"


def test_layers_that_are_renamed_removed_or_of_too_many_axes(open_dock: Open) -> None:
    viewer, dock = open_dock("Segment")
    scan = picture(viewer, "scan")
    scan.name = "renamed"
    assert dock.input.layer == scan
    assert dock.input.box.currentText() == "renamed"
    viewer.add_image(np.zeros((2, 2, 2, 8, 8)), name="five", contrast_limits=(0, 1))
    assert "5 axes" in dock.input.line.text()
    assert "5 axes" in dock.run_bar.reason
    viewer.layers.remove("five")
    assert dock.input.layer == scan
    viewer.layers.clear()
    assert dock.input.layer is None
    assert "Open an image" in dock.run_bar.reason
    assert not dock.input.button.isHidden()


def test_nothing_is_offered_of_a_result_that_was_removed(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    viewer, dock = open_dock("Segment")
    picture(viewer, "scan")
    dock.models.browse(str(saved(tmp_path / "one.pt", "p-net", ndim=2)))
    run(dock, wait)
    assert not dock.export_button.isHidden()
    viewer.layers.remove("scan · p-net")
    assert dock.export_button.isHidden()
    assert dock.run_bar.next_button.isHidden()
    assert dock.run_bar.bar.value() < 1
    assert not dock.run_bar.message.text()
    assert dock.run_bar.run_button.isEnabled()


def test_the_threshold_of_a_method_without_training_is_a_setting(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Segment")
    scan, _ = afm_scan(1, 128)
    data, options, _ = layer_data(scan)
    viewer.add_image(data, **options)
    assert dock.models.entry.path.stem == "afm-threshold"
    assert "--threshold" not in dock.command()
    run(dock, wait)
    dock.models.form["threshold"].value = 40.0
    assert "predict afm-threshold" in dock.command()
    assert "--threshold=40.0" in dock.command()
    run(dock, wait)
    low, high = (layer.data > 0 for layer in viewer.layers[-2:])
    assert (low & high).sum() == high.sum() < low.sum()
    assert not high[above_glass(data).relative() <= 40.0].any()
    assert viewer.layers[-1].metadata["medseg"]["settings"]["threshold"] == 40.0
    row = dock.models.box.findText("demo_pnet_2d", Qt.MatchFlag.MatchContains)
    dock.models.box.setCurrentIndex(row)
    assert dock.models.form is None


def test_heights_are_not_asked_of_corneal_nerves(open_dock: Open) -> None:
    viewer, dock = open_dock("Segment")
    viewer.add_image(np.random.default_rng(0).integers(0, 255, (384, 384), np.uint8), name="cornea")
    assert dock.models.entry.field == "cornea"
    asked = dock.input.fields.value
    assert asked.isHidden()
    row = dock.models.box.findText("afm-threshold", Qt.MatchFlag.MatchContains)
    dock.models.box.setCurrentIndex(row)
    assert not asked.isHidden()


def test_closing_the_dock_stops_what_runs(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    viewer, dock = open_dock("Segment")
    picture(viewer, "scan")
    dock.models.browse(str(saved(tmp_path / "one.pt", "p-net", ndim=2)))
    steps: list[int] = []

    def endless() -> Any:
        for step in range(10**9):
            steps.append(step)
            yield Progress(step, 10**9, "working")

    dock.make_job = dock.run_bar.make_job = endless
    dock.run_bar.run_button.click()
    wait(lambda: len(steps) > 3)
    worker = dock.run_bar.current
    viewer.window.remove_dock_widget(dock)
    wait(lambda: not worker.running)
    assert steps[-1] < 10**9 - 1  # it was stopped, not finished


def test_the_rest_is_told_by_the_speed_after_the_first_step(open_dock: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    _, dock = open_dock("Segment")
    bar, clock = dock.run_bar, [1000.0]
    monkeypatch.setattr("napari_medseg._napari.widgets.run_bar.time.monotonic", lambda: clock[0])
    bar.started, bar.speed = 900.0, Speed()  # loading took 100 s
    for step, message in ((0, "tile 0"), (10, "tile 10"), (20, "tile 20 · 16 s left"), (30, "tile 30 · 14 s left")):
        bar._progress(Progress(step, 100, f"tile {step}"))
        assert bar.message.text() == message
        clock[0] += 2 if step else 60  # the first step compiles
    assert [duration(s) for s in (0.004, 0.42, 32, 700, 11100)] == [
        "less than 0.1 s",
        "0.4 s",
        "32 s",
        "12 min",
        "3 h 05 min",
    ]
    assert "CPU" in bar.device.text() or "GPU" in bar.device.text()
    dock.form["device"].value = "cpu"
    assert bar.device.text() == "CPU: chosen in the settings"


@pytest.mark.parametrize("what", ["changed", "removed"])
def test_a_layer_that_changes_or_goes_in_a_run_is_said(open_dock: Open, wait: Wait, what: str) -> None:
    viewer, dock = open_dock("Segment")
    values = np.random.default_rng(0).normal(size=(96, 96))
    heights = Image(values, "YX", (0.1, 0.1), ("micrometer",) * 2, name="scan", value_unit="nm")
    data, options, _ = layer_data(heights)
    layer = viewer.add_image(data, **options)
    assert dock.models.entry.path.stem == "afm-threshold"
    dock.run_bar.run_button.click()
    if what == "changed":
        layer.data = data + 1
    else:
        viewer.layers.remove(layer)
    wait(lambda: dock.run_bar.current is None)
    wanted = {"changed": "scan changed meanwhile: the result is of what it was.", "removed": "the result is kept."}
    assert wanted[what] in dock.run_bar.message.text()
    assert viewer.layers[-1].name == "scan · afm-threshold"


def test_another_pixel_size_than_the_models_is_said_and_resampling_offered(open_dock: Open) -> None:
    viewer, dock = open_dock("Segment")
    viewer.open_sample("napari-medseg", "histology")
    dock.models.browse(str(bundled("nuclei_dsb2018")))
    size = PixelSize.of_card(dock.models.entry.card)
    assert size is not None
    scan = viewer.layers["nuclei_0"]
    for factor, other in ((1, False), (3, True), (1, False)):
        scan.scale = [factor * step for step in size.median]
        dock.input.refresh()
        assert dock.resample.isHidden() is not other
        dock.resample.setChecked(other)
        assert dock.form.value.resample is other
        assert ("--resample" in dock.command()) is other
    assert dock.size_line.text() == ""


def test_tissue_of_other_pixels_is_proposed_the_model_for_such_pixels(open_dock: Open) -> None:
    viewer, dock = open_dock("Segment")
    viewer.open_sample("napari-medseg", "histology")
    assert dock.models.entry.path.stem == "nuclei_dsb2018"
    viewer.layers["nuclei_0"].scale = [0.6, 0.6]
    dock.input.refresh()
    assert dock.models.entry.path.stem == "stained_glands"


def test_channels_stay_ticked_and_in_order_when_layers_are_renamed_or_hidden(open_dock: Open) -> None:
    viewer, dock = open_dock("Segment")
    layers = [picture(viewer, name, seed) for seed, name in enumerate(("FLAIR", "T1", "T1c", "T2"))]
    dock.input.choose(layers[0])
    for layer in layers[1:]:
        dock.channels.tick(layer)
    layers[2].visible = False
    layers[2].name, layers[0].name = "contrast", "base"
    assert [layer.name for layer in dock.channels.chosen] == ["T1", "contrast", "T2"]
    assert [dock.channels.list.item(n).text() for n in range(3)] == ["T1", "contrast", "T2"]


def test_a_picture_of_axes_in_another_order_is_segmented_as_it_lies(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Segment")
    scan, _ = afm_scan(0, 96)
    heights = np.asarray(scan.data)[:, :80].copy()
    known = {"scale": scan.scale, "units": scan.units, "metadata": {"medseg_image": {"value_unit": "nm"}}}
    dock.probabilities.setChecked(True)
    found = {}
    for name, data, axes in (("usual", heights, ("y", "x")), ("turned", heights.T.copy(), ("x", "y"))):
        layer = viewer.add_image(data, name=name, axis_labels=axes, **known)
        dock.input.choose(layer)
        assert dock.models.entry.path.stem == "afm-threshold"
        run(dock, wait)
        found[name] = viewer.layers[f"{name} · afm-threshold"].data, viewer.layers[f"{name} · probability"].data
    for usual, turned in zip(found["usual"], found["turned"], strict=True):
        np.testing.assert_array_equal(usual, turned.T)
