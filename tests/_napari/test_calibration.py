"""Pixel size and nm per grey value, entered in a dock: they stay with the layers, their tables and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from napari.layers import Labels
from shorthand import Open, Wait

from napari_medseg._napari.belonging import set_pixel_size
from napari_medseg._napari.layers import DERIVED, image_from_layer, layer_data
from napari_medseg._napari.world import world_of
from napari_medseg.image import Image
from napari_medseg.io import read_one

pytestmark = pytest.mark.viewer


def scene(viewer: Any) -> tuple[Any, Any, Any]:
    """Add an image, labels that belong to it, and an image of another file, all of unknown pixel size."""
    noise = np.random.default_rng(0)
    scan = viewer.add_image(noise.integers(0, 255, (30, 40), np.uint8), name="scan")
    viewer.add_image(noise.random((20, 20)), name="other")
    labels = np.zeros((30, 40), int)
    labels[5:15, 5:25] = 1
    labels[20:25, 20:25] = 2
    return scan, viewer.add_labels(labels, name="drawn"), viewer.layers["other"]


def enter(chooser: Any, size: str = "", value: str = "") -> str:
    chooser.fields.size.setText(size)
    chooser.fields.value.setText(value)
    chooser.fields.button.click()
    return str(chooser.line.text())


def test_the_pixel_size_stays_with_image_and_labels(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    viewer, dock = open_dock("Segment")
    assert dock.input.fields.isHidden()
    assert dock.input.open_fields.isHidden()
    scan, drawn, other = scene(viewer)
    dock.input.choose(scan)
    assert not dock.input.fields.isHidden()
    assert "Also set for drawn." in enter(dock.input, "0.5")
    for layer in (scan, drawn):
        np.testing.assert_allclose(layer.scale, (0.5, 0.5))
        assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]
    assert image_from_layer(scan).describe() == "2D, 30x40, 0.5x0.5 um, 1 channel"
    assert str(other.units[0]) == "pixel"
    assert dock.input.fields.size.text() == "0.5"
    _, measure = viewer.window.add_plugin_dock_widget("napari-medseg", "Measure")
    measure.labels.choose(drawn)
    measure.image.box.setCurrentIndex(measure.image.box.count() - 1)
    measure.kind.setCurrentIndex(measure.kind.findData("nuclei"))
    measure.run_bar.start()
    wait(lambda: measure.run_bar.current is None)
    assert measure.export_button.isEnabled(), measure.run_bar.message.text()
    np.testing.assert_allclose(measure.table.frame["area (um^2)"], [200 * 0.25, 25 * 0.25])
    measure.export_button.save(str(tmp_path / "drawn.tif"))
    written = read_one(tmp_path / "drawn.tif", kind="labels")
    assert (written.scale, written.units) == ((0.5, 0.5), ("micrometer", "micrometer"))


def test_grey_values_become_heights(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Measure")
    scan, drawn, _ = scene(viewer)
    dock.labels.choose(drawn)
    dock.image.choose(scan)
    enter(dock.labels, "0.01")
    dock.image.open_fields.click()
    enter(dock.image, value="2")
    seen = image_from_layer(scan)
    assert seen.value_unit == "nm"
    np.testing.assert_allclose(seen.data, scan.data * 2.0)
    assert "1 grey value = 2 nm, as entered." in dock.image.line.text()
    assert dock.image.image.value_unit == "nm"
    enter(dock.image, value="")
    assert image_from_layer(scan).value_unit == ""
    height = viewer.add_image(np.ones((30, 40)), name="height", metadata={"medseg_image": {"value_unit": "nm"}})
    dock.image.choose(height)
    assert dock.image.open_fields.isHidden()


def test_both_are_entered_at_once_and_the_picture_stays_in_view(open_dock: Open) -> None:
    viewer, dock = open_dock("Segment")
    scan, _, _ = scene(viewer)
    viewer.layers.remove("other")
    dock.input.choose(scan)
    seen, zoom = np.array(viewer.camera.center[-2:]) / scan.scale, viewer.camera.zoom
    dock.input.fields.unit.setCurrentText("nm")
    said = enter(dock.input, "50", "2")
    assert "1 grey value = 2 nm, as entered." in said
    assert "Also set for drawn." in said
    assert image_from_layer(scan).value_unit == "nm"
    np.testing.assert_allclose(np.array(viewer.camera.center[-2:]) / scan.scale, seen)
    assert viewer.camera.zoom == pytest.approx(zoom / 50)
    set_pixel_size(viewer, scan, (0.02,), "micrometer")
    assert (dock.input.fields.size.text(), dock.input.fields.unit.currentText()) == ("20", "nm")
    assert "20x20 nm" in dock.input.line.text()


def test_a_volume_stays_at_its_slice_when_its_pixel_size_is_entered(open_dock: Open) -> None:
    viewer, dock = open_dock("Segment")
    volume = viewer.add_image(np.random.default_rng(0).random((9, 10, 12)), name="volume")
    viewer.dims.set_current_step(0, 7)
    dock.input.choose(volume)
    enter(dock.input, "0.2, 0.5, 0.5")
    assert viewer.dims.current_step[0] == 7


@pytest.mark.parametrize("text", ["-1", "abc", "0", "inf", "1, 2, 3"])
def test_what_is_no_size_is_refused_in_a_sentence(open_dock: Open, text: str) -> None:
    viewer, dock = open_dock("Segment")
    scan, _, _ = scene(viewer)
    dock.input.choose(scan)
    said = enter(dock.input, text)
    assert "Write it like" in said or "axes of space" in said
    np.testing.assert_allclose(scan.scale, (1, 1))


def test_layers_stay_upon_each_other(open_dock: Open) -> None:
    """A volume with a place, a part of it with an offset: every corner moves by the same factors."""
    viewer, dock = open_dock("Segment")
    affine = np.array([[-3.0, 0, 0, 7], [0, 1, 0, 2], [0, 0, 1, 5], [0, 0, 0, 1]])
    image = Image(np.random.default_rng(0).random((4, 10, 12)), "ZYX", (3, 1, 1), affine=affine, name="volume")
    data, kwargs, _ = layer_data(image)
    volume = viewer.add_image(data, **kwargs)
    made = {"medseg": {"source_layer": "volume"}}
    placed = {"scale": (3, 1, 1), "translate": (6, 2, 3), "affine": volume.affine}
    part = viewer.add_labels(np.ones((2, 4, 4), int), name="part", metadata=made, **placed)
    before = [world_of(layer) for layer in (volume, part)]
    dock.input.choose(volume)
    enter(dock.input, "6, 0.5, 0.5")
    grown = np.diag([2, 0.5, 0.5, 1])
    for layer, world in zip((volume, part), before, strict=True):
        np.testing.assert_allclose(world_of(layer), grown @ world)
    seen = image_from_layer(volume)
    np.testing.assert_allclose(seen.affine, grown @ affine)
    assert (seen.scale, seen.units) == ((6, 0.5, 0.5), ("micrometer",) * 3)


def test_an_export_that_needs_the_pixel_size_asks_for_it(
    open_dock: Open, wait: Wait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, dock = open_dock("Measure")
    _, drawn, _ = scene(viewer)
    dock.labels.choose(drawn)
    dock.image.box.setCurrentIndex(dock.image.box.count() - 1)
    dock.kind.setCurrentIndex(dock.kind.findData("nuclei"))
    dock.run_bar.start()
    wait(dock.export_button.isEnabled)
    answers: list[Any] = [None, False, True]

    def answer(parent: Any, viewer: Any, layer: Any) -> Any:
        if answers[0]:
            enter(dock.labels, "0.5")
        return answers.pop(0)

    monkeypatch.setattr("napari_medseg._napari.widgets.export_button.ask_pixel_size", answer)
    path = tmp_path / "objects.csv"
    dock.export_button.save(str(path))
    assert not path.exists()
    dock.export_button.save(str(path))
    assert "area (px)" in pd.read_csv(path)
    path.unlink()
    dock.export_button.save(str(path))
    wait(path.exists)
    np.testing.assert_allclose(pd.read_csv(path)["area (um^2)"], [50, 6.25])
    dock.export_button.save(str(path))
    assert not answers


def test_what_a_dock_shows_over_an_image_follows_it(open_dock: Open) -> None:
    """Strokes of unknown origin, and an uncertainty that no dock takes for an image."""
    viewer, _ = open_dock("Segment")
    scan = viewer.add_image(np.random.default_rng(0).random((30, 40)), name="scan")
    over = viewer.add_image(np.zeros((30, 40)), name="uncertainty", metadata=dict(DERIVED))
    strokes = viewer.add_labels(np.ones((30, 40), int), name="strokes", metadata=dict(DERIVED))
    assert set_pixel_size(viewer, scan, (0.5,), "micrometer") == [over, strokes]
    for layer in (over, strokes):
        np.testing.assert_allclose(world_of(layer), world_of(scan))
        assert layer.units == scan.units


SIZED = {"scale": (0.5, 0.25), "units": ("micrometer", "micrometer")}
NOTE = "it is taken from"


@pytest.mark.parametrize("first", ["dock", "layers"])
def test_a_picture_opened_again_takes_the_size_of_its_labels(
    make_napari_viewer_proxy: Any, first: str, tmp_path: Path
) -> None:
    """A JPEG keeps no size that was entered, its labels do: both lie upon each other, and it is said why."""
    viewer = make_napari_viewer_proxy(show=True)
    dock = viewer.window.add_plugin_dock_widget("napari-medseg", "Measure")[1] if first == "dock" else None
    scan = viewer.add_image(np.zeros((30, 40, 3), np.uint8), name="scan", rgb=True)
    viewer.add_image(np.zeros((30, 40)), name="other scan")
    labels = viewer.add_labels(
        np.eye(30, 40, dtype=int), name="cells", metadata={"medseg": {"source_layer": "scan"}}, **SIZED
    )
    if dock is None:
        _, dock = viewer.window.add_plugin_dock_widget("napari-medseg", "Measure")
    dock.labels.choose(labels)
    assert dock.image.layer == scan
    np.testing.assert_allclose(world_of(scan), world_of(labels))
    assert scan.units == labels.units
    assert "2D, 30x40, 0.5x0.25 um" in dock.image.line.text()
    assert f"{NOTE} cells" in dock.image.line.text()
    np.testing.assert_allclose(viewer.layers["other scan"].scale, (1, 1))


def test_labels_without_size_take_that_of_the_one_image_of_theirs(open_dock: Open) -> None:
    viewer, dock = open_dock("Measure")
    viewer.add_image(np.zeros((20, 20)), name="small", scale=(3, 3), units=("micrometer", "micrometer"))
    scan = viewer.add_image(np.zeros((30, 40)), name="scan", **SIZED)
    labels = viewer.add_labels(np.eye(30, 40, dtype=int), name="drawn elsewhere")
    dock.labels.choose(labels)
    np.testing.assert_allclose(world_of(labels), world_of(scan))
    assert f"{NOTE} scan" in dock.labels.line.text()
    assert set_pixel_size(viewer, labels, (1,), "pixel") == [scan]  # somebody knows better
    dock.labels.refresh()
    assert image_from_layer(labels).units == ("pixel", "pixel")


@pytest.mark.parametrize("case", ["two images", "two sizes", "moved", "of another"])
def test_no_size_is_taken_where_it_is_open_whose_it_is(open_dock: Open, case: str) -> None:
    viewer, dock = open_dock("Segment")
    moved = {"translate": (5, 0)} if case == "moved" else {}
    if case == "two images":
        viewer.add_image(np.ones((30, 40)), name="other")
    made = {"medseg": {"source_layer": "other"}} if case == "of another" else {}
    viewer.add_labels(np.eye(30, 40, dtype=int), name="drawn", metadata=made, **SIZED)
    if case == "two sizes":
        viewer.add_labels(np.eye(30, 40, dtype=int), name="again", scale=(2, 2), units=SIZED["units"])
    scan = viewer.add_image(np.zeros((30, 40)), name="scan", **moved)
    dock.input.choose(scan)
    np.testing.assert_allclose(scan.scale, (1, 1))
    assert image_from_layer(scan).units == ("pixel", "pixel")
    assert NOTE not in dock.input.line.text()


PLACED = {**SIZED, "affine": np.array([[1.0, 0, 700], [0, 1, 900], [0, 0, 1]])}


@pytest.mark.parametrize("size", [{}, SIZED], ids=["no size", "a size"])
@pytest.mark.parametrize("stated", ["by its file", "in the window"])
def test_labels_of_other_programs_are_put_onto_their_placed_image(
    open_dock: Open, tmp_path: Path, size: dict[str, Any], stated: str
) -> None:
    """Of an OME-TIFF with a stage position, whose mask another program wrote as a plain picture."""
    viewer, dock = open_dock("Measure")
    matrix = np.array([[0.5, 0, 700], [0, 0.25, 900], [0, 0, 1]])
    kept = {"affine": matrix, "shown": matrix, "axes": "YX"} if stated == "by its file" else {}
    scan = viewer.add_image(np.zeros((30, 40)), name="scan", metadata={"medseg_image": kept}, **PLACED)
    view = np.array(viewer.camera.center)
    labels = viewer.add_labels(np.eye(30, 40, dtype=int), name="drawn elsewhere", **size)
    dock.labels.choose(labels)
    if stated == "in the window" and size:  # somebody moved the image away from what lay upon it
        np.testing.assert_allclose(world_of(labels), np.diag([0.5, 0.25, 1]))
        return
    np.testing.assert_allclose(world_of(labels), matrix)
    assert labels.units == scan.units
    np.testing.assert_allclose(image_from_layer(labels).affine, image_from_layer(scan).affine)
    assert f"{NOTE} scan" in dock.labels.line.text()
    np.testing.assert_allclose(viewer.camera.center, view)
    path = tmp_path / "mask.tif"
    labels.save(str(path), plugin="napari-medseg")
    np.testing.assert_allclose(read_one(path).affine, matrix)


def test_a_picture_opened_again_takes_the_place_of_its_labels_and_the_view_follows(open_dock: Open) -> None:
    viewer, dock = open_dock("Segment")
    scan = viewer.add_image(np.zeros((30, 40)), name="scan")
    strokes = viewer.add_labels(np.eye(30, 40, dtype=int), name="strokes", metadata=dict(DERIVED))
    viewer.camera.center, viewer.camera.zoom = (0, 10, 20), 8
    viewer.add_labels(np.eye(30, 40, dtype=int), name="cells", metadata={"medseg": {"source_layer": "scan"}}, **PLACED)
    dock.input.refresh()
    matrix = np.array([[0.5, 0, 700], [0, 0.25, 900], [0, 0, 1]])
    for layer in (scan, strokes):
        np.testing.assert_allclose(world_of(layer), matrix)
    np.testing.assert_allclose(viewer.camera.center[-2:], (705, 905))
    np.testing.assert_allclose(viewer.camera.zoom, 8 / np.sqrt(0.125))


@pytest.mark.parametrize("order", ["image first", "labels first"])
def test_opening_the_mask_of_a_picture_with_a_stage_position_puts_it_onto_the_picture(
    make_napari_viewer_proxy: Any, wait: Wait, tmp_path: Path, order: str
) -> None:
    """Two channels of one OME-TIFF; whichever is opened first."""
    viewer = make_napari_viewer_proxy()
    plane = {name: [value] * 2 for name, value in (("PositionX", 1200.0), ("PositionY", 800.0))}
    plane |= {f"{name}Unit": ["µm"] * 2 for name in ("PositionX", "PositionY")}
    stated = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    picture, mask = tmp_path / "cells.ome.tif", tmp_path / "cells_labels.tif"
    tifffile.imwrite(picture, np.ones((2, 30, 40), np.uint16), metadata={"axes": "CYX", "Plane": plane, **stated})
    tifffile.imwrite(mask, np.eye(30, 40, dtype=np.uint8))
    for path in (picture, mask) if order == "image first" else (mask, picture):
        viewer.open(str(path), plugin="napari-medseg")
    labels = next(layer for layer in viewer.layers if isinstance(layer, Labels))
    wait(lambda: world_of(labels)[0, 2] > 0)
    images = [layer for layer in viewer.layers if layer is not labels]
    assert len(images) == 2
    for layer in (labels, *images):
        np.testing.assert_allclose(world_of(layer), [[0.25, 0, 800], [0, 0.25, 1200], [0, 0, 1]])
        assert [str(unit) for unit in layer.units] == ["micrometer"] * 2
