"""Nerve tracings as Shapes layers, and the table that follows their edits, in a real window."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.layers import Shapes
from shorthand import Open, Wait
from tifffile import imwrite

from napari_medseg._napari.belonging import set_pixel_size
from napari_medseg._napari.layers import image_from_layer
from napari_medseg._napari.nerves.eyes import measure_layers
from napari_medseg._napari.nerves.tracings import write_paths
from napari_medseg._napari.readers import read_layers
from napari_medseg.errors import DataError, WriteError
from napari_medseg.image import Image
from napari_medseg.io import write
from napari_medseg.io.outlines.tracings import read_tracing, write_tracings
from napari_medseg.jobs import Progress, run
from napari_medseg.measure import nerve

pytestmark = pytest.mark.viewer
PATHS = [np.array([[100.0, 10], [102, 200], [100, 370]]), np.array([[102.0, 200], [180, 250]])]
CLASSES = ["main", "branch"]
CNFL = "CNFL [mm/mm^2]"


@pytest.fixture
def dock(open_dock: Open, wait: Wait) -> tuple[Any, Any]:
    viewer, dock = open_dock("Measure")
    viewer.open_sample("napari-medseg", "ccm")
    dock.kind.setCurrentIndex(dock.kind.findData("nerve"))
    dock.paths.show_button.click()
    wait(lambda: dock.paths.layer is not None and len(dock.table.frame) > 0)
    return viewer, dock


def settle(dock: Any, wait: Wait) -> None:
    wait(lambda: not dock.paths.timer.isActive() and dock.paths.worker is None)


def cnfl(dock: Any) -> str:
    return next(line for line in dock.summary.text().split("<br>") if line.startswith("CNFL"))


@pytest.mark.parametrize("suffix", [".swc", ".ndf"])
def test_a_tracing_opens_as_coloured_paths_and_is_saved(
    make_napari_viewer_proxy: Any, tmp_path: Path, suffix: str
) -> None:
    viewer = make_napari_viewer_proxy()
    step = (400 / 384,) * 2
    write(tmp_path / "eye.tif", Image(np.zeros((384, 384), np.uint8), "YX", step, ("micrometer",) * 2))
    write_tracings(tmp_path / f"eye{suffix}", PATHS, CLASSES)
    (layer,) = viewer.open(tmp_path / f"eye{suffix}", plugin="napari-medseg")
    assert list(layer.shape_type) == ["path", "path"]
    assert list(layer.features["class"]) == CLASSES
    np.testing.assert_allclose(layer.scale, step)
    assert [str(u) for u in layer.units] == ["micrometer"] * 2
    assert not np.allclose(layer.edge_color[0], layer.edge_color[1])
    for got, wanted in zip(layer.data, PATHS, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-3)
    layer.save(str(tmp_path / f"saved{suffix}"), plugin="napari-medseg")
    data, kwargs, kind = read_layers(str(tmp_path / f"saved{suffix}"))[0]
    assert kind == "shapes"
    assert kwargs["features"]["class"].tolist() == CLASSES
    for got, wanted in zip(data, PATHS, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-3)


def test_export_writes_the_paths_as_they_are_drawn(dock: tuple[Any, Any], wait: Wait, tmp_path: Path) -> None:
    _, measure = dock
    settle(measure, wait)
    before = len(measure.table.frame)
    measure.paths.layer.add([np.array([[300.0, 20], [300, 360]])], shape_type="path")
    wait(lambda: len(measure.table.frame) == before + 1)
    measure.export_button.save(str(tmp_path / "nerves.csv"))
    assert len(pd.read_csv(tmp_path / "nerves.csv")) == before + 1
    measure.export_button.save(str(tmp_path / "nerves.swc"))
    drawn, lengths = swc_length(tmp_path / "nerves.swc"), measure.table.frame["length [um]"]
    assert drawn == pytest.approx(lengths.sum(), rel=2e-3)


def swc_length(path: Path) -> float:
    """Return the length of all paths of an SWC file, whose rows are number, type, x, y, z, radius and parent."""
    rows = np.loadtxt(path, comments="#", ndmin=2)
    at = {int(row[0]): row[2:5] for row in rows}
    return sum(float(np.linalg.norm(row[2:5] - at[int(row[6])])) for row in rows if row[6] > 0)


@pytest.mark.parametrize("suffix", ["ndf", "swc"])
def test_a_tracing_is_exported_from_the_mask_alone(open_dock: Open, wait: Wait, tmp_path: Path, suffix: str) -> None:
    viewer, measure = open_dock("Measure")
    viewer.open_sample("napari-medseg", "ccm")
    measure.kind.setCurrentIndex(measure.kind.findData("nerve"))
    measure.run_bar.start()
    wait(lambda: measure.run_bar.current is None)
    assert sum(f"*.{suffix}" in kind for kind in measure.export_button.kinds()) == 1
    measure.export_button.save(str(tmp_path / f"nerves.{suffix}"))
    assert f"nerves.{suffix}" in measure.run_bar.message.text()
    paths = read_tracing(tmp_path / f"nerves.{suffix}").paths
    assert len(paths) == len(nerve.paths(image_from_layer(measure.chosen_layer()))[0])


def test_closed_shapes_are_no_tracing(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="paths and lines"):
        write_paths(str(tmp_path / "a.swc"), [np.zeros((4, 2))], {"name": "box", "shape_type": ["rectangle"]})


def test_an_empty_tracing_opens(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    write_tracings(tmp_path / "none.ndf", [])
    (layer,) = make_napari_viewer_proxy().open(tmp_path / "none.ndf", plugin="napari-medseg")
    assert len(layer.data) == 0


def test_paths_give_the_measures_of_the_labels(dock: tuple[Any, Any]) -> None:
    viewer, measure = dock
    labels = image_from_layer(measure.chosen_layer())
    wanted = nerve.summary(labels).iloc[0]
    shown = measure.paths
    got = nerve.summary_from_paths(shown.layer.data, shown.layer.features["class"].tolist(), labels.spatial_shape,
                                   labels.scale, labels.units, np.asarray(labels.data) > 0)  # fmt: skip
    assert got[CNFL] == pytest.approx(wanted[CNFL], rel=2e-3)
    for count in ("main nerves", "branches"):
        assert got[count] == wanted[count]
    assert shown.layer.name == f"{labels.name} · nerves"
    np.testing.assert_allclose(shown.layer.scale, viewer.layers[labels.name].scale)
    assert sum(len(p) for p in shown.layer.data) < 0.5 * sum(len(p) for p in nerve.paths(labels)[0])


def test_the_table_follows_edits(dock: tuple[Any, Any], wait: Wait) -> None:
    _, measure = dock
    settle(measure, wait)
    layer, before = measure.paths.layer, len(measure.table.frame)
    said = cnfl(measure)
    layer.add([np.array([[300.0, 20], [300, 360]])], shape_type="path")
    layer.selected_data = {before}
    measure.paths.mark("branch")
    assert len(measure.table.frame) == before  # it is measured in a worker
    wait(lambda: len(measure.table.frame) == before + 1)
    settle(measure, wait)
    row = measure.table.frame.iloc[-1]
    assert row["class"] == "branch"
    assert row["length [um]"] == pytest.approx(340 * 400 / 384)
    assert cnfl(measure) != said
    np.testing.assert_allclose(layer.edge_color[-1, :3], np.array([0x56, 0xB4, 0xE9]) / 255, atol=0.01)

    moved = [np.array(p) for p in layer.data]
    moved[-1][1] = (300, 190)
    layer.data = moved
    wait(lambda: measure.table.frame["length [um]"].iloc[-1] < 200)
    assert measure.table.frame["length [um]"].iloc[-1] == pytest.approx(170 * 400 / 384)
    layer.selected_data = {before}
    layer.remove_selected()
    wait(lambda: len(measure.table.frame) == before)
    settle(measure, wait)
    assert cnfl(measure) == said


def test_rows_and_paths_select_each_other(dock: tuple[Any, Any]) -> None:
    viewer, measure = dock
    layer = measure.paths.layer
    viewer.reset_view()  # the canvas has its size now
    middle, seen = layer.data[1][len(layer.data[1]) // 2], viewer.camera.center
    measure.table.selectRow(1)
    assert set(layer.selected_data) == {1}
    assert viewer.camera.center == seen
    measure.table.selectRow(0)
    viewer.camera.center, viewer.camera.zoom = layer.data_to_world(middle + 100), 20 * viewer.camera.zoom
    measure.table.selectRow(1)
    np.testing.assert_allclose(viewer.camera.center[-2:], layer.data_to_world(middle), atol=1e-6)
    layer.selected_data = {0}
    assert measure.table.currentIndex().row() == 0
    viewer.layers.remove(layer)
    assert measure.paths.layer is None


def test_nerves_and_pieces_of_the_mask_are_told_apart(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    viewer, measure = open_dock("Measure")
    mask = np.zeros((200, 300), np.uint8)
    mask[50, 10:290] = mask[150, 10:290] = 1
    mask[50:110, 150] = 1  # hangs on the upper nerve
    viewer.add_labels(mask, name="traced")
    measure.kind.setCurrentIndex(measure.kind.findData("nerve"))
    measure.run_bar.start()
    wait(lambda: measure.run_bar.current is None)
    assert measure.run_bar.message.text().startswith("Measured 3 nerves (2 main, 1 branch) of traced in ")
    measure.table.selectRow(1)
    assert "Press Show paths" in measure.paths.line.text()
    measure.export_button.save(str(tmp_path / "traced.geojson"))
    assert len(json.loads((tmp_path / "traced.geojson").read_text())["features"]) == 2
    assert "It holds 2 outlines, one for each connected piece of the mask" in measure.run_bar.message.text()
    assert "the table has 3 nerves" in measure.run_bar.message.text()


def test_the_table_is_in_view_after_measuring_below_its_first_numbers(open_dock: Open, wait: Wait) -> None:
    viewer, measure = open_dock("Measure")
    viewer.window.resize(1280, 800)
    viewer.open_sample("napari-medseg", "ccm")
    measure.kind.setCurrentIndex(measure.kind.findData("nerve"))
    measure.run_bar.start()
    wait(lambda: measure.run_bar.current is None)
    numbers = [line.partition(" ")[0] for line in measure.summary.text().split("<br>")]
    assert numbers == ["CNFL", "CNFD", "CNBD", "CTBD"]
    assert "tortuosity: " in measure.details.text()
    assert "subject" not in measure.details.text()  # nothing is known of it
    for widget in (measure.summary, measure.table):
        wait(lambda widget=widget: widget.visibleRegion().boundingRect().height() == widget.height())


def test_show_paths_is_only_for_nerves(open_dock: Open) -> None:
    _, measure = open_dock("Measure")
    assert not measure.paths.isVisibleTo(measure)
    measure.kind.setCurrentIndex(measure.kind.findData("nerve"))
    assert measure.paths.isVisibleTo(measure)
    measure.paths.show_button.click()
    assert "Labels layer first" in measure.paths.line.text()


def test_no_nerves_give_zeros(open_dock: Open, wait: Wait) -> None:
    viewer, measure = open_dock("Measure")
    viewer.add_labels(np.zeros((64, 64), np.uint8), name="nothing")
    measure.kind.setCurrentIndex(measure.kind.findData("nerve"))
    measure.paths.show_button.click()
    wait(lambda: "0 paths" in measure.paths.line.text())
    assert isinstance(measure.table.frame, pd.DataFrame)
    assert "CNFL [px/px^2]: <b>0</b>" in measure.summary.text()


def test_the_assumed_field_is_said_in_the_layer_and_the_dock(open_dock: Open, tmp_path: Path) -> None:
    imwrite(tmp_path / "P1_OD_1_org.tif", np.zeros((384, 384), np.uint8))
    imwrite(tmp_path / "P1_OD_1_lab.tif", np.zeros((384, 384), np.uint8))
    viewer, measure = open_dock("Measure")
    for name in ("P1_OD_1_org.tif", "P1_OD_1_lab.tif"):
        (layer,) = viewer.open(tmp_path / name, plugin="napari-medseg")
        np.testing.assert_allclose(layer.scale, (400 / 384,) * 2)
        assert "400x400 um assumed" in layer.metadata["medseg_image"]["notes"][0]
    assert "400x400 um assumed" in measure.labels.line.text()
    assert "400x400 um assumed" in measure.image.line.text()


def test_eyes_of_the_open_layers(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    viewer, measure = open_dock("Measure")
    measure.kind.setCurrentIndex(measure.kind.findData("nerve"))
    measure.eyes.run_bar.start()
    assert "Labels layers first" in measure.eyes.run_bar.message.text()
    for frame, rows in ((1, 1), (2, 3)):
        mask = np.zeros((384, 384), np.uint8)
        for row in range(rows):
            mask[60 + 50 * row : 63 + 50 * row] = 1
        viewer.add_labels(mask, name=f"P1_OD_{frame}")
    measure.eyes.run_bar.start()
    wait(lambda: measure.eyes.run_bar.current is None and len(measure.table.frame) == 1)
    row = measure.table.frame.iloc[0]
    assert (row["subject"], row["eye"], row["images used"]) == ("P1", "OD", 2)
    assert row["main nerves mean"] == 2
    assert row["main nerves SD"] == pytest.approx(np.sqrt(2))
    assert "same nerves" in measure.eyes.run_bar.message.text()
    measure.eyes.save_eyes(str(tmp_path / "eyes.xlsx"))
    saved = pd.read_excel(tmp_path / "eyes.xlsx", sheet_name=["eyes", "images"])
    assert saved["eyes"]["main nerves mean"].tolist() == [2]
    assert len(saved["images"]) == 2


def test_edited_paths_count_for_their_eye(open_dock: Open, wait: Wait) -> None:
    viewer, measure = open_dock("Measure")
    measure.kind.setCurrentIndex(measure.kind.findData("nerve"))
    mask = np.zeros((384, 384), np.uint8)
    mask[60:63] = 1
    viewer.add_labels(mask, name="P1_OD_1")
    measure.paths.show_button.click()
    wait(lambda: measure.paths.layer is not None and len(measure.table.frame) == 1)
    measure.paths.layer.add([np.array([[300.0, 20], [300, 360]])], shape_type="path")
    wait(lambda: len(measure.table.frame) == 2)
    measure.eyes.run_bar.start()
    wait(lambda: "images used" in measure.table.frame)
    assert measure.table.frame["main nerves mean"].iloc[0] == 2


@pytest.mark.parametrize("drawn", [False, True])
def test_eyes_and_paths_of_a_mosaic_are_per_area_that_its_frames_cover(
    open_dock: Open, wait: Wait, drawn: bool
) -> None:
    """Of each of two mosaics half is black: both eyes agree with Measure; one without a picture says so."""
    viewer, measure = open_dock("Measure")
    data = np.random.default_rng(0).integers(20, 200, (384, 768)).astype(np.uint8)
    data[:, 384:] = 0
    mask = np.zeros(data.shape, np.uint8)
    mask[100:103, 20:360] = 1
    place = {"scale": (400 / 384,) * 2, "units": ("micrometer",) * 2}
    for name in ("P1_OD_1", "P2_OD_1"):
        viewer.add_image(data, name=f"{name}_org", **place)
        viewer.add_labels(mask, name=f"{name}_lab", **place)
    viewer.add_labels(mask, name="P3_OD_1_lab", **place)
    measure.kind.setCurrentIndex(measure.kind.findData("nerve"))
    measure.labels.choose(viewer.layers["P1_OD_1_lab"])
    measure.image.choose(viewer.layers["P1_OD_1_org"])
    measure.run_bar.start()
    wait(lambda: measure.run_bar.current is None and len(measure.table.frame) == 1)
    assert "uncovered area [mm^2]: <b>0.16</b>" in measure.details.text()
    density = cnfl(measure)
    if drawn:
        measure.paths.show_button.click()
        wait(lambda: "paths;" in measure.paths.line.text())
        assert cnfl(measure) == density
    measure.eyes.run_bar.start()
    wait(lambda: "images used" in measure.table.frame)
    eyes = measure.table.frame
    assert eyes[f"{CNFL} mean"].tolist() == pytest.approx([0.354 / 0.16, 0.354 / 0.16, 0.354 / 0.32], rel=0.01)
    assert eyes["area warning"].str.startswith("area of the whole image").tolist() == [False, False, True]
    assert "area of the whole image" in measure.eyes.run_bar.message.text()


def test_eyes_of_a_folder(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    for frame in (1, 2):
        imwrite(tmp_path / f"P1_OS_{frame}_lab.tif", np.zeros((64, 64), np.uint8))
    (tmp_path / "P2_OS_1_lab.tif").write_bytes(b"II*")
    _, measure = open_dock("Measure")
    measure.kind.setCurrentIndex(measure.kind.findData("nerve"))
    measure.eyes.start_folder(str(tmp_path))
    wait(lambda: measure.eyes.run_bar.current is None and len(measure.table.frame) == 1)
    assert measure.table.frame["images used"].iloc[0] == 2
    assert measure.table.frame["CNFL [px/px^2] mean"].iloc[0] == 0
    assert "P2_OS_1_lab.tif" in measure.eyes.run_bar.message.text()


def test_eyes_are_assigned_by_hand(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    for name in ("first", "second", "third"):
        imwrite(tmp_path / f"{name}_lab.tif", np.zeros((64, 64), np.uint8))
    _, measure = open_dock("Measure")
    measure.kind.setCurrentIndex(measure.kind.findData("nerve"))
    eyes = measure.eyes
    assert eyes.table.isHidden()
    eyes.start_folder(str(tmp_path))
    wait(lambda: eyes.run_bar.current is None and len(measure.table.frame) == 3)
    for row, (subject, eye) in enumerate((("A", "OD"), ("A", "OD"), ("A", "OS"))):
        eyes.table.item(row, 1).setText(subject)
        eyes.table.item(row, 2).setText(eye)
    frame = measure.table.frame
    assert frame[["subject", "eye", "images used"]].to_numpy().tolist() == [["A", "OD", 2], ["A", "OS", 1]]
    eyes.save(str(tmp_path / "who.csv"))
    assert eyes.names.text() == str(tmp_path / "who.csv")
    measure.table.frame = pd.DataFrame()
    eyes.start_folder(str(tmp_path))
    wait(lambda: eyes.run_bar.current is None and len(measure.table.frame) == 2)
    assert measure.table.frame["images used"].tolist() == [2, 1]


def test_measuring_eyes_can_be_stopped(
    open_dock: Open, wait: Wait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(4):
        imwrite(tmp_path / f"P{k}_OS_1_lab.tif", np.zeros((16, 16), np.uint8))
    _, measure = open_dock("Measure")
    bar, go = measure.eyes.run_bar, threading.Event()

    def slow(folder: Path, eyes: str, settings: Any) -> Any:
        for k in range(10**6):
            go.wait(0.01)
            yield Progress(k, 10**6, f"measured {k}")

    monkeypatch.setattr("napari_medseg._napari.nerves.eyes.measure_folder", slow)
    measure.eyes.start_folder(str(tmp_path))
    wait(lambda: bar.message.text().startswith("measured"))
    assert bar.stop_button.isEnabled()
    bar.stop_button.click()
    wait(lambda: bar.current is None)
    assert bar.message.text() == "Stopped. Nothing was changed."


def two_nerves(viewer: Any, measure: Any, wait: Wait) -> Any:
    """Nerves of 150 and 330 pixels of 1 um, shown as paths."""
    mask = np.zeros((384, 384), np.uint8)
    mask[100:103, 50:200] = mask[200:203, 20:350] = 1
    layer = viewer.add_labels(mask, name="P1_OD_1", scale=(1, 1), units=("um", "um"))
    measure.kind.setCurrentIndex(measure.kind.findData("nerve"))
    measure.nerve_form["main_length"].value = 200.0
    measure.nerve_form["field"].value = 100.0
    measure.run_bar.start()
    wait(lambda: measure.run_bar.current is None)
    return layer


def test_paths_eyes_and_tracings_take_the_settings_of_the_measurement(
    open_dock: Open, wait: Wait, tmp_path: Path
) -> None:
    viewer, measure = open_dock("Measure")
    two_nerves(viewer, measure, wait)
    assert list(measure.table.frame["class"]) == ["branch", "main"]
    density = next(line for line in measure.summary.text().split("<br>") if line.startswith("CNFD"))
    measure.export_button.save(str(tmp_path / "nerves.ndf"))
    assert read_tracing(tmp_path / "nerves.ndf").classes == ["branch", "main"]
    measure.paths.show_button.click()
    wait(lambda: "paths;" in measure.paths.line.text())
    assert list(measure.table.frame["class"]) == ["branch", "main"]
    assert density in measure.summary.text()
    measure.eyes.run_bar.start()
    wait(lambda: "images used" in measure.table.frame)
    assert measure.table.frame["main nerves mean"].iloc[0] == 1


def test_edited_paths_belong_to_their_labels_whatever_they_are_called(open_dock: Open, wait: Wait) -> None:
    viewer, measure = open_dock("Measure")
    layer = two_nerves(viewer, measure, wait)
    measure.paths.show_button.click()
    wait(lambda: "paths;" in measure.paths.line.text())
    measure.paths.layer.add([np.array([[300.0, 20], [300, 360]])], shape_type="path")
    wait(lambda: len(measure.table.frame) == 3)
    layer.name, measure.paths.layer.name = "renamed", "my nerves"
    measure.eyes.run_bar.start()
    wait(lambda: "images used" in measure.table.frame)
    assert measure.eyes.rows["total length [mm]"].iloc[0] == pytest.approx(0.15 + 0.33 + 0.34, abs=0.01)


def test_paths_are_measured_with_the_pixel_size_that_was_entered_last(open_dock: Open, wait: Wait) -> None:
    viewer, measure = open_dock("Measure")
    layer = two_nerves(viewer, measure, wait)
    measure.paths.show_button.click()
    wait(lambda: "paths;" in measure.paths.line.text())
    set_pixel_size(viewer, layer, (2,), "micrometer")
    assert "changed since" in measure.stale.text()
    measure.paths.layer.add([np.array([[300.0, 20], [300, 360]])], shape_type="path")
    wait(lambda: len(measure.table.frame) == 3)
    assert measure.table.frame["length [um]"].iloc[2] == pytest.approx(680)


def test_a_layer_that_cannot_be_measured_is_named_and_the_others_go_on() -> None:
    mask = np.zeros((60, 80), np.int16)
    mask[20:23] = 1
    size = (1.0, 1.0), ("micrometer", "micrometer")
    good, bad = (Image(data, "YX", *size, kind="labels", name=name) for data, name in ((mask, "a"), (mask - 1, "b")))
    rows, problems = run(measure_layers([(bad, None, None), (good, None, None)]))
    assert rows["image"].tolist() == ["a"]
    assert len(problems) == 1
    assert problems[0].startswith("b is not measured: b holds negative labels")
    with pytest.raises(DataError, match="negative labels"):
        run(measure_layers([(bad, None, None)]))


@pytest.mark.parametrize("planes", [((1, 1), (3, 3)), ((1, 9), (1, 1))])
def test_paths_of_several_planes_are_neither_measured_nor_saved(
    tmp_path: Path, planes: tuple[tuple[int, int], ...]
) -> None:
    """A path from slice 1 to slice 9 is longer than it looks from above."""
    paths = [np.array([[first, 5.0, 5.0], [last, 5.0, 45.0]]) for first, last in planes]
    layer = Shapes(paths, shape_type="path", scale=(5, 2, 2), units=("um",) * 3, name="drawn")
    with pytest.raises(DataError, match="drawn holds paths in several planes"):
        image_from_layer(layer)
    data, attributes, _ = layer.as_layer_data_tuple()
    with pytest.raises(DataError, match="several planes"):
        write_paths(str(tmp_path / "a.swc"), data, attributes)
    assert not (tmp_path / "a.swc").exists()
    flat = Shapes([np.insert(path[:, 1:], 0, 2, axis=1) for path in paths], shape_type="path", scale=(5, 2, 2))
    assert len(image_from_layer(flat).metadata["paths"]) == 2
