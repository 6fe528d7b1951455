"""Measure, see, change, export: outlines of selected rows, objects merged, split and removed, charts, what changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from npe2 import PluginManager
from shorthand import Open, Wait

from napari_medseg._napari.layers import layer_data
from napari_medseg._napari.widgets.calibration import set_heights
from napari_medseg.image import Image

pytestmark = pytest.mark.viewer


def dumbbell() -> np.ndarray:
    """Two discs that touch as object 7, a square as 2, two specks as 3 and 4."""
    y, x = np.mgrid[:60, :80]
    labels = np.zeros((60, 80), int)
    labels[((y - 20) ** 2 + (x - 15) ** 2 < 100) | ((y - 20) ** 2 + (x - 32) ** 2 < 100)] = 7
    labels[40:50, 40:50] = 2
    labels[5:7, 60:62], labels[5:7, 70:72] = 3, 4
    return labels


def opened(open_dock: Open, wait: Wait, **options: Any) -> tuple[Any, Any, Any]:
    viewer, dock = open_dock("Measure")
    layer = viewer.add_labels(dumbbell(), name="cells", **options)
    dock.kind.setCurrentIndex(dock.kind.findData("nuclei"))
    measured(dock, wait)
    return viewer, dock, layer


def measured(dock: Any, wait: Wait) -> list[int]:
    if dock.run_bar.current is None:
        dock.run_bar.start()
    wait(lambda: dock.run_bar.current is None)
    assert not dock.run_bar.failed, dock.run_bar.message.text()
    return [int(label) for label in dock.table.frame["label"]]


def select(dock: Any, *labels: int) -> None:
    table = dock.table
    table.clearSelection()
    rows = [int(np.flatnonzero(table.frame["label"] == label)[0]) for label in labels]
    table.selectRow(rows[0])
    for row in rows[1:]:
        table.selectionModel().select(
            table.model().index(row, 0),
            table.selectionModel().SelectionFlag.Select | table.selectionModel().SelectionFlag.Rows,
        )


@pytest.mark.parametrize(
    "change",
    [
        {"scale": (0.5, 4)},
        {"translate": (-3, 8)},
        {"rotate": 30.0},
        {"affine": np.array([[0, 2, 5], [1, 0, 1], [0, 0, 1]])},
    ],
)
def test_the_outline_follows_its_layer(open_dock: Open, wait: Wait, change: dict[str, Any]) -> None:
    viewer, dock, layer = opened(open_dock, wait, scale=(2, 3), translate=(10, 20))
    select(dock, 2)
    mark = viewer.layers["selected object"]
    for name, value in change.items():
        setattr(layer, name, value)
    for place in ((1, 1), (10, 10)):
        np.testing.assert_allclose(mark.data_to_world(place), layer.data_to_world(np.add(place, 39)))
    select(dock, 7)
    rows = np.argwhere(layer.data == 7).min(0)
    np.testing.assert_allclose(mark.data_to_world((1, 1)), layer.data_to_world(rows))


def test_the_selected_row_is_outlined_in_the_picture(open_dock: Open, wait: Wait) -> None:
    viewer, dock, layer = opened(open_dock, wait, scale=(2, 3), translate=(10, 20))
    select(dock, 2)
    mark = viewer.layers["selected object"]
    assert dock.labels.layer == layer  # no dock takes the outline as input
    np.testing.assert_allclose(mark.data_to_world((1, 1)), layer.data_to_world((40, 40)))
    assert mark.data.sum() == 100
    assert mark.contour > 0
    select(dock, 7)
    assert viewer.layers["selected object"].data.sum() == (layer.data == 7).sum()
    assert [x.name for x in viewer.layers] == ["cells", "selected object"]
    viewer.window.remove_dock_widget(dock)
    assert [x.name for x in viewer.layers] == ["cells"]


def test_objects_are_merged_split_and_removed_and_napari_takes_it_back(open_dock: Open, wait: Wait) -> None:
    _, dock, layer = opened(open_dock, wait)
    select(dock, 7)
    dock.tools.split()
    assert measured(dock, wait) == [2, 3, 4, 7, 8]
    halves = [int((layer.data == label).sum()) for label in (7, 8)]
    assert sum(halves) == (dumbbell() == 7).sum()
    assert max(halves) - min(halves) < 0.05 * sum(halves)
    select(dock, 2)
    dock.tools.split()
    assert "one piece without a waist" in dock.run_bar.message.text()
    select(dock, 3, 4)
    dock.tools.merge()
    assert measured(dock, wait) == [2, 3, 7, 8]
    assert (layer.data == 3).sum() == 8
    dock.tools.smallest.setText("50")
    dock.tools.remove_small()
    assert measured(dock, wait) == [2, 7, 8]
    dock.tools.smallest.setText("x")
    dock.tools.remove_small()
    assert "is no number" in dock.run_bar.message.text()
    for _ in range(3):
        layer.undo()
    np.testing.assert_array_equal(layer.data, dumbbell())


def test_the_last_two_cells_of_a_scan_stay_merged(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    viewer, dock = open_dock("Measure")
    mask = np.zeros((40, 40), np.uint8)
    mask[5:10, 5:10] = mask[20:30, 20:30] = 1
    layer = viewer.add_labels(mask, name="cells")
    assert measured(dock, wait) == [1, 2]
    select(dock, 1, 2)
    dock.tools.merge()
    assert measured(dock, wait) == [1]
    assert measured(dock, wait) == [1]
    np.testing.assert_array_equal(layer.data > 0, mask > 0)
    dock.export_button.save(str(tmp_path / "cells.geojson"))
    assert len(json.loads((tmp_path / "cells.geojson").read_text())["features"]) == 1


def test_an_object_in_view_stays_where_it_is_and_its_slice_too(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Measure")
    labels = np.zeros((9, 40, 50), np.uint8)
    labels[2:7, 5:15, 5:15] = 1
    labels[8, 30:35, 40:45] = 2
    viewer.add_labels(labels, name="two", scale=(3, 1, 1), units=("mm",) * 3)
    assert measured(dock, wait) == [1, 2]
    viewer.reset_view()  # the canvas has its size now
    viewer.dims.set_current_step(0, 3)
    seen = viewer.camera.center
    select(dock, 1)
    assert (viewer.dims.current_step[0], viewer.camera.center) == (3, seen)
    select(dock, 2)
    assert (viewer.dims.current_step[0], viewer.camera.center) == (8, seen)
    viewer.dims.order = (1, 0, 2)  # coronal
    viewer.dims.set_current_step(1, 20)
    viewer.camera.zoom *= 20
    viewer.camera.center = (0, 24, 42)
    select(dock, 1)
    assert 5 <= viewer.dims.current_step[1] < 15
    np.testing.assert_allclose(viewer.camera.center[-2:], (12, 9), atol=1)


def test_a_film_of_heights_is_measured_frame_by_frame(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    viewer, dock = open_dock("Measure")
    frames = np.zeros((3, 40, 40), np.uint8)
    frames[0, 5:10, 5:10] = frames[2, 5:10, 5:10] = frames[2, 20:30, 20:30] = 1
    film = Image(100.0 * frames, "TYX", (0.1, 1, 1), ("second", "nanometer", "nanometer"), name="film", value_unit="nm")
    for image in (film, film.labels_like(frames, "cells")):
        data, options, kind = layer_data(image)
        getattr(viewer, f"add_{kind}")(data, **options)
    assert dock.kind.currentData() == "afm"
    assert measured(dock, wait) == [1, 2, 3]
    assert dock.table.frame["frame"].tolist() == [0, 2, 2]
    assert "cells: <b>0 to 2</b>" in dock.summary.text()
    select(dock, 3)
    assert viewer.dims.current_step[0] == 2
    assert not any("NIfTI" in kind for kind in dock.export_button.kinds())
    for name in ("film.tif", "film.html"):
        dock.export_button.save(str(tmp_path / name))
        assert name in dock.run_bar.message.text()
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "film.tif") > 0, frames > 0)


def test_a_table_of_earlier_labels_says_so(open_dock: Open, wait: Wait) -> None:
    _, dock, layer = opened(open_dock, wait)
    assert dock.stale.isHidden()
    layer.selected_label = 2
    layer.paint((30, 30), 2)
    assert not dock.stale.isHidden()
    assert "cells changed since" in dock.stale.text()
    measured(dock, wait)
    assert dock.stale.isHidden()
    layer.data = dumbbell()
    assert not dock.stale.isHidden()


def test_numbers_of_other_labels_say_whose_they_are(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    viewer, dock, _ = opened(open_dock, wait)
    other = viewer.add_labels(np.ones((8, 8), np.uint8), name="other")
    dock.labels.choose(other)
    assert "These are the numbers of cells" in dock.stale.text()
    assert not dock.stale.isHidden()
    dock.run_bar.start()
    dock.export_button.save(str(tmp_path / "during.tif"))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "during.tif"), dumbbell())
    wait(lambda: dock.run_bar.current is None)
    assert dock.stale.isHidden()
    viewer.layers.remove(other)
    assert "These are the numbers of other" in dock.stale.text()


def test_charts_by_class_count_every_object(open_dock: Open, wait: Wait) -> None:
    viewer, dock, _ = opened(open_dock, wait)
    chart = dock.charts
    assert not chart.isHidden()
    frame = pd.DataFrame(
        {"label": range(6), "area (px)": [1, 2, 3, 4, 5, np.nan], "class": ["a", "a", "a", "b", "b", "b"]}
    )
    chart.show_table(frame)
    assert [chart.column.itemText(k) for k in range(chart.column.count())] == ["area (px)"]
    chart.by.setCurrentText("class")
    assert {key: list(values) for key, values in chart.groups().items()} == {"a": [1, 2, 3], "b": [4, 5]}
    drawn = [line.getData()[1] for line in chart.plot.listDataItems()]
    assert [int(counts.sum()) for counts in drawn] == [3, 2]
    chart.kind.setCurrentText("box plot")
    box = chart.plot.listDataItems()[0].getData()[1]
    np.testing.assert_allclose([box.min(), box.max()], np.percentile([1, 2, 3], (25, 75)))
    viewer.theme = "light"


def test_the_save_dialog_begins_with_our_writer_for_our_layers(open_dock: Open) -> None:
    viewer, _ = open_dock("Measure")
    writers = PluginManager.instance().iter_compatible_writers
    viewer.add_labels(dumbbell(), name="plain")
    assert next(writers(["labels"])).command == "napari.write_labels"
    viewer.add_labels(dumbbell(), name="ours", metadata={"medseg": {"method": "afm-unet"}})
    assert next(writers(["labels"])).command == "napari-medseg.write_labels"
    assert len({w.command for w in writers(["labels"])}) == len(list(writers(["labels"])))


def film() -> np.ndarray:
    """Object 7 of 100, 9 and 100 pixels in three frames, object 9 of 100 pixels in each."""
    frames = np.zeros((3, 60, 80), np.uint16)
    frames[:, 30:40, 30:40] = 9
    for frame, side in zip(frames, (10, 3, 10), strict=True):
        frame[5 : 5 + side, 5 : 5 + side] = 7
    return frames


def test_objects_of_a_film_are_changed_in_the_frames_of_their_rows(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Measure")
    layer = viewer.add_labels(film(), name="cells", axis_labels=("t", "y", "x"))
    dock.kind.setCurrentIndex(dock.kind.findData("nuclei"))
    assert measured(dock, wait) == [7, 9, 7, 9, 7, 9]
    dock.table.selectRow(4)
    assert viewer.dims.point[0] == 2
    layer.selected_label = 9
    assert dock.table.currentIndex().row() == 5
    dock.tools.smallest.setText("50")
    dock.tools.remove_small()
    assert measured(dock, wait) == [7, 9, 9, 7, 9]
    dock.table.selectRow(0)
    dock.tools.remove()
    assert measured(dock, wait) == [9, 9, 7, 9]
    layer.data[1, 30:40, 35] = 0
    dock.table.clearSelection()
    dock.table.selectRow(1)
    dock.tools.split()
    assert measured(dock, wait) == [9, 9, 10, 7, 9]
    assert [int((frame == 9).sum()) for frame in layer.data] == [100, 50, 100]
    layer.axis_labels = ("a", "b", "c")  # which no longer say that it is a film
    dock.table.selectRow(4)
    assert viewer.dims.point[0] == 2


def test_what_is_painted_while_it_is_measured_is_kept(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Measure")
    mask = np.zeros((60, 80), np.uint8)
    mask[5:10, 5:10] = mask[20:30, 20:30] = 1
    layer = viewer.add_labels(mask, name="cells")
    dock.kind.setCurrentIndex(dock.kind.findData("nuclei"))
    dock.run_bar.start()
    layer.selected_label = 1
    layer.paint((45, 60), 1)
    wait(lambda: dock.run_bar.current is None)
    assert layer.data[45, 60] == 1
    assert set(np.unique(layer.data)) == {0, 1}
    assert "cells changed since" in dock.stale.text()
    assert dock.tools.isHidden()  # its rows count other objects
    assert len(measured(dock, wait)) == 3
    assert dock.stale.isHidden()


def test_objects_are_split_where_8_bits_number_no_more(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Measure")
    labels = np.where(dumbbell() == 7, 255, dumbbell()).astype(np.uint8)
    layer = viewer.add_labels(labels, name="cells")
    dock.kind.setCurrentIndex(dock.kind.findData("nuclei"))
    measured(dock, wait)
    select(dock, 255)
    dock.tools.split()
    assert measured(dock, wait) == [2, 3, 4, 255, 256]
    np.testing.assert_array_equal(layer.data > 0, labels > 0)


def test_axes_of_other_names_keep_their_order(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Measure")
    mask = np.zeros((60, 80), np.uint8)
    mask[5:10, 5:10] = mask[20:30, 50:70] = 1
    image = viewer.add_image(np.random.default_rng(0).random((60, 80)), axis_labels=("x", "y"))
    layer = viewer.add_labels(mask.copy(), name="cells", axis_labels=("x", "y"))
    dock.image.choose(image)
    measured(dock, wait)
    np.testing.assert_array_equal(layer.data > 0, mask > 0)
    assert set(np.unique(layer.data)) == {0, 1, 2}


@pytest.mark.parametrize("change", [{"scale": (0.5, 0.5)}, {"translate": (3, 4)}, {"units": ("mm", "mm")}])
def test_a_table_of_another_pixel_size_or_place_says_so(open_dock: Open, wait: Wait, change: dict[str, Any]) -> None:
    _, dock, layer = opened(open_dock, wait, scale=(2, 2), units=("um", "um"))
    for name, value in change.items():
        setattr(layer, name, value)
    assert "cells changed since" in dock.stale.text()
    if "scale" in change:
        assert "0.5x0.5 um" in dock.labels.line.text()


def test_a_table_of_another_image_says_so(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Measure")
    image = viewer.add_image(np.random.default_rng(0).random((60, 80)), name="scan")
    viewer.add_labels(dumbbell(), name="cells")
    dock.image.choose(image)
    measured(dock, wait)
    assert dock.stale.isHidden()
    set_heights(image, 2.0)
    assert "The image of cells changed since" in dock.stale.text()
