"""Refine with scribbles in a real window: strokes, rounds, keys, saving, closing at a bad moment."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QWidget
from refine_scene import LESION, OUTSIDE, Scene
from shorthand import Open, Wait

from napari_medseg._napari.belonging import set_pixel_size
from napari_medseg._napari.layers import image_from_layer, layer_data
from napari_medseg._napari.refine import saves as refine_saves
from napari_medseg._napari.refine.jobs import in_memory
from napari_medseg._napari.refine.panel import on_accepted
from napari_medseg._napari.refine.setup import DEEPIGEOS, LABELS, NOTHING, OBJECTS
from napari_medseg._napari.refine.swatches import mask_colours, object_colours
from napari_medseg._napari.widgets.export_button import proposed
from napari_medseg._napari.world import unit_factors
from napari_medseg.cli.main import main
from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io import read_one, write
from napari_medseg.jobs import Progress
from napari_medseg.methods import create
from napari_medseg.models.checkpoint import pack, write_checkpoint
from napari_medseg.refinement import RefinementSession
from napari_medseg.samples.mri import brain_volume, slice_2d

pytestmark = [pytest.mark.viewer, pytest.mark.usefixtures("own_folders")]


def test_strokes_make_a_mask_and_rounds_can_be_undone(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait)
    assert "Open an image" not in scene.dock.run_bar.message.text()
    scene.start()
    assert scene.scribbles.mode == "paint"
    assert scene.viewer.layers.selection.active == scene.scribbles
    overlays = getattr(getattr(scene.viewer, "canvas", None), "overlays", {})
    assert "_brush_circle" not in overlays or not overlays["_brush_circle"].box
    for layer in (scene.scribbles, scene.live.layers.mask, scene.live.layers.objects):
        assert layer.units == scene.scan.units
        np.testing.assert_allclose(layer.affine.affine_matrix, scene.scan.affine.affine_matrix)
    y, x = scene.centre
    scene.drag((y - 2, x), (y, x), (y + 2, x))
    scene.settle()
    assert scene.round == 1, scene.dock.panel.message.text()
    assert scene.mask[y, x] == 1
    assert scene.dice() > 0.7
    assert "round 1 · 1 stroke" in scene.dock.panel.status.text()
    first = scene.mask.copy()

    scene.press("T")
    assert scene.scribbles.selected_label == OUTSIDE
    assert scene.dock.panel.swatches.group.button(OUTSIDE).isChecked()
    away = tuple(np.argwhere(scene.mask > 0)[0])
    scene.paint(away, OUTSIDE)
    assert scene.round == 2
    assert scene.mask[away] == 0
    scene.press("U")
    scene.settle()
    np.testing.assert_array_equal(scene.mask, first)
    assert scene.scribbles.data[away] == 0
    scene.press("Shift+U")
    scene.settle()
    assert scene.mask[away] == 0
    assert scene.scribbles.data[away] == OUTSIDE

    strip = scene.dock.panel.strip
    QTest.mouseClick(strip, Qt.MouseButton.LeftButton, pos=QPoint(strip.width() - 2, 15))  # right of the ticks
    scene.settle()
    assert scene.round == 2
    QTest.mouseClick(strip, Qt.MouseButton.LeftButton, pos=strip.place(0).center())
    scene.settle()
    assert not scene.mask.any()
    assert not scene.scribbles.data.any()
    assert scene.dock.panel.strip.count == 3
    scene.paint(scene.centre, LESION)
    assert scene.round == scene.live.session.state.n_rounds == 1
    assert "2 later rounds dropped" in scene.dock.panel.message.text()


def test_napari_undo_takes_a_stroke_back_and_the_mask_follows(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait).start()
    scene.paint(scene.centre, LESION)
    first = scene.mask.copy()
    far = (5, 5)
    scene.paint(far, LESION)
    assert scene.mask[far] == 1
    both = scene.mask.copy()
    scene.scribbles.undo()
    scene.settle()
    assert (scene.round, scene.live.session.state.n_rounds) == (1, 2)  # the later round is still there
    np.testing.assert_array_equal(scene.mask, first)
    scene.scribbles.redo()
    scene.settle()
    assert scene.round == 2
    np.testing.assert_array_equal(scene.mask, both)
    scene.scribbles.undo()
    scene.settle()
    scene.press("Shift+U")
    scene.settle()
    np.testing.assert_array_equal(scene.mask, both)
    assert scene.scribbles.data[far] == LESION
    assert not scene.live.layers.mask.editable
    scene.live.layers.mask.undo()  # nothing of its own to take back
    assert scene.mask[far] == 1


def test_strokes_wait_for_s_when_automatic_is_off(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait).start()
    scene.dock.panel.auto.setChecked(False)
    y, x = scene.centre
    scene.paint((y, x), LESION)
    scene.paint((5, 5), OUTSIDE)
    assert scene.round == 0
    scene.press("S")
    scene.settle()
    assert "round 1 · 2 strokes" in scene.dock.panel.status.text()
    scene.paint((y + 3, x), OUTSIDE)
    scene.press("A")
    scene.settle()
    assert "not refined yet" in scene.dock.panel.message.text()
    assert scene.scribbles.data[y + 3, x] == OUTSIDE
    scene.press("U")  # what is not refined goes first
    scene.settle()
    assert scene.round == 1
    assert scene.scribbles.data[y + 3, x] == scene.live.session.scribbles[y + 3, x]
    scene.paint((70, 5), LESION)
    scene.dock.panel.auto.setChecked(True)
    scene.settle()
    assert scene.mask[70, 5] == 1


def test_refining_without_a_new_stroke_keeps_the_later_rounds(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait).start()
    scene.paint(scene.centre, LESION)
    scene.paint((5, 5), OUTSIDE)
    scene.press("U")
    scene.settle()
    scene.press("S")
    scene.settle()
    assert (scene.round, scene.live.session.state.n_rounds) == (1, 2)
    assert "no new stroke" in scene.dock.panel.message.text()
    scene.scribbles.data[...] = 0
    scene.press("S")
    scene.settle()
    assert not scene.mask.any()


def test_only_classes_that_exist_are_painted(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait).start()
    layer, swatches = scene.scribbles, scene.dock.panel.swatches.group
    layer.selected_label = 3  # napari's M and = offer further labels
    assert layer.selected_label == LESION
    assert "no further class" in scene.dock.panel.message.text()
    layer.mode = "erase"
    assert swatches.checkedButton() is None
    layer.brush_size = 7
    scene.press("T")
    assert (layer.mode, layer.selected_label, layer.brush_size) == ("paint", LESION, 7)
    assert swatches.button(LESION).isChecked()
    layer.mode = "fill"
    scene.press("T")
    assert (layer.mode, layer.selected_label) == ("fill", OUTSIDE)
    layer.visible = False
    scene.press("T")
    assert layer.visible
    assert layer.mode == "fill"


def test_clicks_in_the_dock_leave_the_keys_to_the_picture(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait).start()
    takes = Qt.FocusPolicy.ClickFocus.value
    widgets = [*scene.dock.findChildren(QWidget), scene.dock]
    assert not [w for w in widgets if w.isVisible() and w.focusPolicy().value & takes]


def test_what_is_told_can_be_read_in_a_small_window(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait).start()
    scene.viewer.window.resize(1000, 480)
    scene.dock.setup.folded.expand(animate=False)
    scene.paint(scene.centre, LESION)
    scene.dock.panel.buttons["finish"].click()
    for widget in (scene.dock.run_bar.message, scene.dock.run_bar.next_button):
        wait(lambda widget=widget: not widget.visibleRegion().isEmpty())
        assert not widget.visibleRegion().isEmpty()


def test_long_sentences_are_not_cut_off(open_dock: Open, wait: Wait) -> None:
    panel = Scene(open_dock, wait).start().dock.panel
    panel.say("The framed part of a level is refined, and this sentence is as long as those of slides. " * 3)
    text = panel.message
    wait(lambda: text.height() >= text.heightForWidth(text.width()))
    assert text.height() > 3 * text.fontMetrics().height()


def test_accepted_objects_are_locked_and_strokes_cleared(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait).start()
    scene.paint(scene.centre, LESION)
    objects, accepted = scene.live.layers.objects, scene.mask > 0
    scene.dock.panel.buttons["accept"].click()
    scene.settle()
    np.testing.assert_array_equal(objects.data == 1, accepted)
    assert not scene.mask.any()
    assert not scene.scribbles.data.any()
    assert scene.scribbles.mode == "paint"
    scene.scribbles.undo()
    scene.settle()
    assert not scene.scribbles.data.any()
    scene.paint(scene.centre, LESION)
    scene.paint((5, 5), LESION)
    assert not scene.mask[accepted].any()
    scene.press("A")
    scene.settle()
    np.testing.assert_array_equal(objects.data == 1, accepted)
    assert objects.data[5, 5] == 2


def test_a_stroke_that_lies_mostly_on_an_accepted_object_is_told_of() -> None:
    """One that lies on it as a whole changes nothing, which the session says itself."""
    result, strokes = np.zeros((8, 8), np.int32), np.zeros((8, 8), np.uint8)
    result[:, :4] = 1
    box = (slice(2, 3), slice(0, 8))
    state = SimpleNamespace(result=result, scribbles=strokes, stroke_box=box)
    assert not on_accepted(state)  # a stroke was taken back
    strokes[2, 1:6] = 2
    assert on_accepted(state)
    strokes[2] = 0
    strokes[2, 3:8] = 2
    assert not on_accepted(state)
    strokes[2] = 1
    assert not on_accepted(state)
    assert not on_accepted(SimpleNamespace(result=result, scribbles=strokes, stroke_box=None))


def test_accepted_objects_look_unlike_the_open_one() -> None:
    for classes in (1, 3):
        colours = [np.array(object_colours(classes).map(np.array([label]))[0][:3]) for label in range(1, 60)]
        masks = [mask_colours(classes).map(np.array([value], np.uint8))[0][:3] for value in range(1, classes + 1)]
        assert min(np.linalg.norm(one - mask) for one in colours for mask in masks) > 0.3
        assert len({tuple(one) for one in colours}) > 20


def test_accepted_objects_go_on_after_the_end(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait).start()
    objects = scene.accept(scene.centre, (5, 5))
    objects.name = "lesions"
    finish = scene.dock.panel.buttons["finish"]
    finish.click()
    assert scene.dock.live is None
    assert scene.viewer.layers.selection.active == objects
    scene.start()
    assert scene.live.layers.objects == objects
    scene.paint((5, 5), LESION)
    assert "locked objects" in scene.dock.panel.message.text()
    finish.click()

    before = objects.data.copy()
    scene.dock.setup.origin.setCurrentText(LABELS)
    scene.dock.setup.labels.choose(objects)
    scene.start()
    np.testing.assert_array_equal(scene.mask, before > 0)
    assert "one foreground" in scene.dock.panel.message.text()
    scene.accept()
    np.testing.assert_array_equal(objects.data, before)
    np.testing.assert_array_equal(scene.live.layers.objects.data, before > 0)


def test_the_object_under_the_mouse_is_opened_again(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait).start()
    objects = scene.accept(scene.centre, (50, 70))
    one, two = objects.data == 1, objects.data == 2
    outside = tuple(np.argwhere(objects.data == 0)[0])
    for place, shown in ((outside, False), (scene.centre, True)):
        scene.viewer.cursor.position = tuple(objects.data_to_world(place))
        scene.press("O")
        scene.settle()
        assert ("Point at an accepted object" in scene.dock.panel.message.text()) is not shown
        np.testing.assert_array_equal(scene.mask > 0, one & shown)
    np.testing.assert_array_equal(objects.data, 2 * two)
    scene.accept()
    np.testing.assert_array_equal(objects.data, one + 2 * two)
    assert "object 1 accepted and locked" in scene.dock.panel.status.text()


def test_objects_are_divided_and_joined(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait).start()
    panel = scene.dock.panel
    scene.paint(scene.centre, LESION)
    scene.scribbles.brush_size = 4
    scene.paint((5, 5), LESION)
    both, found = scene.mask.copy(), [scene.mask[scene.centre], scene.mask[5, 5]]
    assert found == [1, 1]
    scene.press("T")
    assert scene.scribbles.selected_label == OUTSIDE
    panel.buttons["pieces"].click()
    scene.settle()
    objects = scene.live.layers.objects
    np.testing.assert_array_equal(objects.data > 0, both > 0)
    assert {objects.data[scene.centre], objects.data[5, 5]} == {1, 2}
    assert "objects 1, 2 accepted and locked" in panel.status.text()
    assert scene.scribbles.selected_label == LESION  # ready for the next object
    scene.viewer.cursor.position = tuple(objects.data_to_world(scene.centre))
    scene.press("J")
    scene.settle()
    assert "no open object" in panel.message.text()
    scene.press("O")
    scene.settle()
    scene.viewer.cursor.position = tuple(objects.data_to_world((5, 5)))
    scene.press("J")
    scene.settle()
    np.testing.assert_array_equal(scene.mask, both)
    assert not objects.data.any()
    scene.accept()
    assert set(np.unique(objects.data)) == {0, 1}


def test_the_brush_keeps_its_size_on_the_screen(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait).start()
    camera = scene.viewer.camera
    scene.scribbles.brush_size = 8
    camera.zoom *= 2
    assert scene.scribbles.brush_size == 4
    camera.zoom *= 8
    assert scene.scribbles.brush_size == 1
    camera.zoom /= 16
    assert scene.scribbles.brush_size == 8
    scene.scribbles.brush_size = 3
    camera.zoom /= 4
    assert scene.scribbles.brush_size == 12


@pytest.mark.parametrize("view", ["as it is", "fitted"])
@pytest.mark.parametrize(("step", "unit"), [(10.0, "pixel"), (0.05, "millimeter"), (250.0, "micrometer")])
def test_the_brush_keeps_its_size_on_the_screen_when_pixels_are_resized(
    open_dock: Open, wait: Wait, step: float, unit: str, view: str
) -> None:
    scene = Scene(open_dock, wait).start()
    viewer, layer = scene.viewer, scene.scribbles
    layer.brush_size = 8

    def on_screen(pixels: float) -> float:
        """Length on the screen of so many pixels of the image."""
        ends = [np.array(layer.data_to_world((0, x))) for x in (0, pixels)]
        factors = unit_factors(layer.units, getattr(viewer.dims, "units", None))
        return float(np.linalg.norm((ends[1] - ends[0]) * factors) * viewer.camera.zoom)

    before = on_screen(layer.brush_size)
    set_pixel_size(viewer, scene.scan, (step,), unit)
    scene.pause(lambda: layer.units == scene.scan.units and np.allclose(layer.scale, scene.scan.scale))
    if view == "fitted":
        viewer.reset_view()
    exact = before / on_screen(1)
    assert layer.brush_size == np.clip(round(exact), 1, 200)


@pytest.mark.parametrize("kind", ["box", "lasso"])
def test_an_outline_around_an_object_finds_it(open_dock: Open, wait: Wait, kind: str) -> None:
    scene = Scene(open_dock, wait).start()
    low, high = np.argwhere(scene.truth).min(0) - 1, np.argwhere(scene.truth).max(0) + 1
    scene.dock.panel.buttons[kind].click()
    shapes = scene.viewer.layers.selection.active
    assert shapes.mode == {"box": "add_rectangle", "lasso": "add_polygon_lasso"}[kind]
    corners = np.array([low, (low[0], high[1]), high, (high[0], low[1])])
    shapes.add(corners, shape_type="rectangle" if kind == "box" else "polygon")
    wait(lambda: shapes not in scene.viewer.layers)
    scene.settle()
    assert scene.viewer.layers.selection.active == scene.scribbles
    assert (scene.scribbles.mode, scene.scribbles.selected_label) == ("paint", LESION)
    assert scene.dice() > 0.8
    assert set(np.unique(scene.scribbles.data)) == {0, OUTSIDE, LESION}
    scene.scribbles.undo()
    scene.settle()
    assert not scene.mask.any()
    scene.dock.panel.buttons[kind].click()
    scene.press("T")  # another mind: back to the brush
    assert scene.viewer.layers.selection.active == scene.scribbles
    assert not [layer for layer in scene.viewer.layers if layer.name.endswith(kind)]


def test_slices_are_filled_and_an_object_is_carried_on(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait, ndim=3)
    on = np.flatnonzero(scene.truth.any((1, 2)))
    drawn = np.zeros(scene.truth.shape, np.uint8)
    drawn[on[[0, -1]]], drawn[on[len(on) // 2]] = scene.truth[on[[0, -1]]], scene.truth[on[len(on) // 2]]
    place = {name: getattr(scene.scan, name) for name in ("scale", "affine", "units")}
    labels = scene.viewer.add_labels(
        drawn, name="drawn", metadata={"medseg_image": scene.scan.metadata["medseg_image"]}, **place
    )
    scene.dock.setup.origin.setCurrentText(LABELS)
    scene.dock.setup.labels.choose(labels)
    scene.start()
    panel = scene.dock.panel
    panel.buttons["fill"].click()
    scene.settle()
    assert (scene.mask.any((1, 2)) == scene.truth.any((1, 2))).all()
    filled = scene.mask.copy()
    scene.press("U")
    scene.settle()
    np.testing.assert_array_equal(scene.mask, drawn)
    scene.press("Shift+U")
    scene.settle()
    np.testing.assert_array_equal(scene.mask, filled)

    middle = int(on[len(on) // 2])
    scene.live.guidance.look_at((middle, *scene.centre[1:]))
    panel.slices.setValue(1)
    panel.buttons["on"].click()
    scene.settle()
    assert f"slice {middle + 1}" in panel.message.text()
    at = scene.scan.world_to_data(scene.viewer.dims.point)
    assert round(at[0]) == middle + 1  # where it is to be corrected
    assert scene.mask[middle + 1].any()
    scene.viewer.dims.set_point(0, scene.scan.data_to_world((0, 0, 0))[0])
    panel.buttons["back"].click()
    scene.settle()
    assert "no mask on slice 0" in panel.message.text()


def test_slices_between_polygons_are_filled(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait, ndim=3)
    scene.scan.affine, scene.scan.scale = np.eye(4), (3.3, 0.7, 0.7)  # napari is at 11.9999 on slice 12
    scene.start()
    scene.dock.panel.auto.setChecked(False)
    for z, edge in ((12, 12), (17, 22)):
        scene.viewer.dims.set_current_step(0, z)
        at = scene.scribbles.world_to_data(scene.viewer.dims.point)[0]
        corners = [(at, 10.5, 10.5), (at, 10.5, edge + 0.5), (at, edge + 0.5, edge + 0.5), (at, edge + 0.5, 10.5)]
        scene.scribbles.paint_polygon(corners, LESION)
    assert np.flatnonzero(scene.scribbles.data.any((1, 2))).tolist() == [12, 17]
    scene.dock.panel.buttons["fill"].click()
    scene.settle()
    areas = (scene.mask > 0).sum((1, 2))
    assert np.flatnonzero(areas).tolist() == [12, 13, 14, 15, 16, 17]
    assert (np.diff(areas[12:18]) >= 0).all()
    scene.press("U")
    scene.settle()
    assert (scene.scribbles.data.any((1, 2)) == scene.mask.any((1, 2))).all(), "what was drawn is there again"
    assert (scene.mask > 0).sum() == areas[[12, 17]].sum()


def test_a_picture_that_is_replaced_ends_the_refinement_of_the_earlier_one(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait).start()
    objects = scene.accept((5, 5))
    scene.paint(scene.centre, LESION)
    mask, image, folder = scene.mask.copy(), scene.live.session.image, scene.live.opened.folder
    assert mask.any()
    scene.scan.data = np.asarray(scene.scan.data)[::-1].copy()
    scene.pause(lambda: scene.live is None and (folder / "session.json").is_file())
    assert "was replaced" in scene.dock.run_bar.message.text()
    np.testing.assert_array_equal(RefinementSession.load(folder, image).mask, mask)
    scene.start()
    assert not scene.mask.any()
    assert not scene.live.session.result.any(), "objects of the earlier picture"
    assert objects.data.any()


def test_strokes_and_mask_follow_an_image_that_is_moved_or_resized(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait).start()
    scene.paint(scene.centre, LESION)
    scene.scan.scale, scene.scan.translate = 2 * np.asarray(scene.scan.scale), (3, 5)
    layers = scene.live.layers
    own = (layers.scribbles, layers.mask, layers.objects)
    wait(lambda: all(np.allclose(layer.data_to_world((1, 2)), scene.scan.data_to_world((1, 2))) for layer in own))
    assert "strokes, mask and objects follow it" in scene.dock.panel.message.text()
    assert image_from_layer(layers.mask).scale == image_from_layer(scene.scan).scale
    scene.paint((5, 5), OUTSIDE)
    assert scene.round == 2


def test_what_would_be_taken_for_the_mask_is_hidden(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait)
    given = scene.viewer.add_labels(scene.truth.astype(np.uint8), name="given", affine=scene.scan.affine)
    given.scale, given.units = scene.scan.scale, scene.scan.units
    choices = scene.dock.setup
    choices.origin.setCurrentText(LABELS)
    choices.labels.choose(given)
    scene.start()
    assert not given.visible
    scene.live.finish()
    assert given.visible, "nothing was made of it"
    assert list(scene.viewer.layers) == [scene.scan, given]
    scene.start()
    scene.paint(tuple(np.argwhere(scene.truth)[0]), OUTSIDE)
    earlier = scene.live.layers
    scene.live.finish()
    assert not given.visible
    assert "given, which it started from, is hidden" in scene.dock.run_bar.message.text()
    choices.origin.setCurrentText(NOTHING)
    scene.start()
    shown = [layer for layer in scene.viewer.layers if layer.visible]
    assert not {earlier.mask, earlier.scribbles} & set(shown), "no strokes and no mask of an earlier refinement"
    assert {scene.live.layers.mask, scene.scribbles, scene.scan} <= set(shown)


def test_objects_of_a_labels_layer_stay_apart_and_are_corrected_one_by_one(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait)
    place = {name: getattr(scene.scan, name) for name in ("scale", "affine", "units")}
    given = np.zeros(scene.truth.shape, np.uint16)
    given[scene.truth], given[2:9, 2:9], given[2:9, 9:14] = 7, 3, 300
    labels = scene.viewer.add_labels(given.copy(), name="given", **place)
    scene.dock.setup.origin.setCurrentText(OBJECTS)
    scene.dock.setup.labels.choose(labels)
    scene.start()
    objects = scene.live.layers.objects
    np.testing.assert_array_equal(objects.data, given)
    assert "press O" in scene.dock.panel.message.text()
    scene.viewer.cursor.position = scene.scan.data_to_world((5, 5))
    scene.press("O")
    scene.settle()
    np.testing.assert_array_equal(scene.mask, given == 3)
    scene.paint((2, 2), OUTSIDE)
    scene.accept()
    assert objects.data[2, 2] == 0
    assert (objects.data == 3).any()
    np.testing.assert_array_equal(objects.data[given != 3], given[given != 3])
    np.testing.assert_array_equal(labels.data, given)


def test_an_objects_layer_of_few_numbers_takes_all_objects(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait)
    there = np.zeros((96, 96), np.int32)
    there[0, 0] = 255
    place = {name: getattr(scene.scan, name) for name in ("scale", "affine", "units")}
    scene.viewer.add_labels(there, name=f"{scene.scan.name} · objects", **place)
    scene.start()
    scene.live.layers.objects.data = scene.live.layers.objects.data.astype(np.uint8)
    objects = scene.accept(scene.centre)
    assert int(objects.data[scene.centre]) == 256


def test_the_part_around_a_box_is_refined_in_its_place(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait, ndim=3)
    z = scene.centre[0]
    setup = scene.dock.setup
    setup.picture.box_button.click()
    shapes = scene.viewer.layers.selection.active
    inside = np.argwhere(scene.truth[z])
    (top, left), (bottom, right) = inside.min(0) - 1, inside.max(0) + 1
    shapes.add(
        np.array([(z, top, left), (z, top, right), (z, bottom, right), (z, bottom, left)], float),
        shape_type="rectangle",
    )
    wait(lambda: setup.picture.where.currentText() == shapes.name)
    assert setup.picture.image.data.size < scene.scan.data.size
    scene.start()
    scene.settle()
    mask = scene.live.layers.mask
    found = np.argwhere(mask.data)
    assert len(found)
    world = np.array([mask.data_to_world(place) for place in found])
    places = np.rint([scene.scan.world_to_data(place) for place in world]).astype(int)
    hit = scene.truth[tuple(places.T)]
    assert 2 * hit.sum() / (len(found) + scene.truth.sum()) > 0.6
    image = image_from_layer(mask)
    whole = image_from_layer(scene.scan)
    there = image.affine @ np.append(found[0], 1)
    np.testing.assert_allclose(there, whole.affine @ np.append(places[0], 1))


def test_an_image_that_lies_on_disk_is_refined(open_dock: Open, wait: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(open_dock, wait)
    there = np.asarray(scene.scan.data)
    scene.scan.data = da.from_array(there, chunks=40)
    scene.start()
    np.testing.assert_array_equal(scene.live.session.image.data, there)
    scene.paint(scene.centre, LESION)
    assert scene.mask[scene.centre] == 1
    scene.live.finish()
    monkeypatch.setattr("napari_medseg._napari.refine.picture.MOST_STORED", there.size - 1)
    scene.dock.setup.picture.update_input()
    assert "96 x 96 voxels of" in scene.dock.run_bar.reason
    assert "Press Draw a box" in scene.dock.run_bar.reason


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("the chunk is gone"), r"far cannot be read \(the chunk is gone\). Copy it again."),
        (MemoryError(), "not enough memory to read far. .* press Draw a box"),
    ],
)
def test_values_that_cannot_be_read_from_disk_are_said(error: Exception, said: str) -> None:
    def refuse(block: np.ndarray) -> np.ndarray:
        raise error

    image = Image(da.zeros((8, 8), chunks=4).map_blocks(refuse, meta=np.empty((0, 0))), "YX", name="far")
    with pytest.raises(DataError, match=said):
        in_memory(image)


def test_objects_of_another_part_are_locked_in_their_own_layer(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait).start()
    first = scene.accept(scene.centre)
    accepted = first.data > 0
    scene.live.finish()
    (y0, x0), (y1, x1) = np.argwhere(accepted).min(0), np.argwhere(accepted).max(0)
    corners = [[y0 - 8, x0 - 8], [y0 - 8, x1 + 8], [y1 + 8, x1 + 8], [y1 + 8, x0 - 8]]
    box = scene.viewer.add_shapes([np.array(corners)], name="box", scale=scene.scan.scale, affine=scene.scan.affine)
    box.units = scene.scan.units
    scene.dock.setup.picture.where.setCurrentText("box")
    scene.start()
    scene.settle()
    live = scene.live
    part = tuple(slice(a, a + n) for a, n in zip(_begin(live, scene.scan), scene.mask.shape, strict=True))
    np.testing.assert_array_equal(live.session.result, accepted[part])
    assert not live.layers.objects.data.any()
    assert "1 object accepted on other parts is locked here and stays in the layer of its part" in live.opened.note
    assert not scene.mask[accepted[part]].any()
    inside = tuple(np.argwhere(accepted[part])[0])
    scene.viewer.cursor.position = live.layers.objects.data_to_world(inside)
    scene.press("O")
    assert "That object was accepted on another part" in scene.dock.panel.message.text()
    beside = tuple(np.argwhere(~accepted[part])[-1])
    scene.paint(beside, LESION)
    scene.press("A")
    scene.settle()
    assert live.layers.objects.data[beside] == 2
    assert not (live.layers.objects.data[accepted[part]] > 0).any()
    np.testing.assert_array_equal(first.data > 0, accepted)
    scene.live.finish()
    wait(lambda: not live.autosave.pending)
    scene.dock.setup.picture.update_input()
    scene.dock.setup.resume_button.click()
    wait(lambda: scene.dock.run_bar.current is None)
    assert scene.live.layers.objects.data.max() == 2
    assert not (scene.live.layers.objects.data == 1).any()


def _begin(live: Any, scan: Any) -> tuple[int, ...]:
    """Return where in the pixels of `scan` the refined part begins."""
    return tuple(round(float(x)) for x in scan.world_to_data(live.layers.image.data_to_world((0, 0))))


def test_one_time_point_of_a_film_of_volumes_is_refined(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Refine with scribbles")
    image, truth = brain_volume(3, (16, 32, 32))
    data = np.stack([np.zeros_like(image.data), image.data])
    film = viewer.add_image(data, name="film", units=("s", "mm", "mm", "mm"), scale=(2, 1.5, 1, 1))
    dock.setup.picture.input.choose(film)
    viewer.dims.set_point(0, 2.0)
    dock.setup.picture.update_input()
    assert dock.setup.picture.time.value() == 1
    dock.run_bar.run_button.click()
    wait(lambda: dock.run_bar.current is None)
    live = dock.live
    assert live is not None, dock.run_bar.message.text()
    assert live.layers.image.name == "film · time 1"
    assert live.layers.mask.data.shape == (16, 32, 32)
    np.testing.assert_allclose(live.layers.mask.scale, (1.5, 1, 1))
    np.testing.assert_array_equal(live.session.image.data, image.data)
    centre = tuple(np.argwhere(np.asarray(truth.data) > 0).mean(0).round().astype(int))
    live.layers.scribbles.paint(centre, LESION)
    wait(lambda: live.steps.idle and live.session.state.index == 1)
    assert live.layers.mask.data[centre] == 1


def test_frames_of_a_movie_are_refined_together(open_dock: Open, wait: Wait) -> None:
    viewer, dock = open_dock("Refine with scribbles")
    frames = np.zeros((5, 40, 40), np.float32)
    for n in range(5):
        frames[n, 10 + n : 22 + n, 10:22] = 100
    frames += np.random.default_rng(0).normal(0, 5, frames.shape).astype(np.float32)
    movie = viewer.add_image(frames, name="movie", units=("s", "um", "um"))
    dock.setup.picture.input.choose(movie)
    dock.setup.picture.time.together.setChecked(True)
    dock.run_bar.run_button.click()
    wait(lambda: dock.run_bar.current is None)
    live = dock.live
    assert live is not None, dock.run_bar.message.text()
    assert live.layers.mask.data.shape == frames.shape
    assert live.layers.mask.units == movie.units


def test_moved_labels_are_said(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait, ndim=3)
    image = image_from_layer(scene.scan)
    turned = image.labels_like(scene.truth.astype(np.uint8))
    affine = np.array(image.affine) @ np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    turned = turned.replace(
        data=np.swapaxes(scene.truth, 0, 1).astype(np.uint8), affine=affine,
        scale=(image.scale[1], image.scale[0], image.scale[2]),
    )  # fmt: skip
    data, kwargs, _ = layer_data(turned, "turned")
    labels = scene.viewer.add_labels(data, **kwargs)
    scene.dock.setup.origin.setCurrentText(LABELS)
    scene.dock.setup.labels.choose(labels)
    scene.start()
    np.testing.assert_array_equal(scene.mask > 0, scene.truth)
    assert "brought onto its grid" in scene.dock.panel.message.text()


def test_the_result_is_saved_from_the_dock(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    scene = Scene(open_dock, wait).start()
    panel, path = scene.dock.panel, tmp_path / "scan_label.tif"
    panel.buttons["save"].save(str(path))
    assert "nothing to export" in panel.message.text()
    objects = scene.accept(scene.centre)
    panel.buttons["save"].save(str(path))
    assert panel.message.text() == f"Saved {path}."
    saved, scan = read_one(path), image_from_layer(scene.scan)
    np.testing.assert_array_equal(saved.data, objects.data)
    assert (saved.scale, saved.units) == (scan.scale, scan.units)
    assert proposed(objects).name == f"{scan.name}_label.tif"
    scene.paint((5, 5), LESION)
    panel.buttons["save"].save(str(path))
    assert "is not accepted and not part of it" in panel.message.text()
    panel.buttons["finish"].click()
    assert "is not accepted and not part of it" in scene.dock.run_bar.message.text()
    scene.dock.save_button.save(str(path))
    assert scene.dock.run_bar.message.text() == f"Saved {path}."


def test_an_end_without_a_round_promises_and_leaves_nothing(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait).start()
    scene.dock.panel.buttons["finish"].click()
    assert [layer.name for layer in scene.viewer.layers] == [scene.scan.name]
    assert "saved" not in scene.dock.run_bar.message.text()
    scene.start()
    scene.viewer.layers.remove(scene.scribbles)
    assert "was removed." in scene.dock.run_bar.message.text()
    assert "saved" not in scene.dock.run_bar.message.text()


def test_a_first_round_that_ends_after_the_refinement_is_shown(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait).start()
    live = scene.live
    scene.scribbles.paint(scene.centre, LESION)
    wait(lambda: live.steps.current is not None)
    live.finish()
    wait(lambda: live.steps.idle and live.session.rounds and not live.autosave.pending)
    assert live.layers.mask in scene.viewer.layers
    np.testing.assert_array_equal(live.layers.mask.data, live.session.mask)
    assert live.session.mask.any()


def test_keys_hide_look_and_end_with_the_session(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait)
    used: list[int] = []
    scene.viewer.bind_key("S", lambda viewer: used.append(1))
    scene.start()
    scene.paint(scene.centre, LESION)
    scene.press("H")
    assert not scene.live.layers.mask.visible
    next(scene.held, None)
    assert scene.live.layers.mask.visible
    scene.dock.panel.overlay.setChecked(True)
    scene.settle()
    overlay = scene.viewer.layers[f"{scene.scan.name} · uncertainty"]
    assert 0 < overlay.data.max() <= 1
    truth = scene.viewer.add_labels(scene.truth.astype(np.uint8), name="truth", scale=scene.scan.scale,
                                    translate=scene.scan.translate, affine=scene.scan.affine, units=scene.scan.units,
                                    metadata={"medseg_image": scene.scan.metadata["medseg_image"]})  # fmt: skip
    scene.dock.panel.reference.choose(truth)
    for key in ("N", "D"):
        scene.viewer.camera.center = (0, 1000, 1000)
        scene.press(key)
        scene.settle()
        assert max(scene.viewer.camera.center) < 100, scene.dock.panel.message.text()
    scene.press("N")
    scene.settle()
    there = scene.viewer.camera.center
    scene.press("N")
    scene.settle()
    assert scene.viewer.camera.center != there
    scene.viewer.layers.remove(scene.scribbles)
    assert scene.dock.live is None
    assert "scribbles was removed" in scene.dock.run_bar.message.text()
    assert [str(key) for key in scene.viewer.keymap] == ["S"]
    scene.press("S")
    assert used == [1]


def test_a_picture_that_is_replaced_while_it_opens_is_not_refined_as_another(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait)
    scene.dock.setup.picture.input.choose(scene.scan)
    scene.dock.run_bar.run_button.click()
    scene.scan.data = np.asarray(scene.scan.data)[::-1].copy()
    wait(lambda: scene.dock.run_bar.current is None)
    assert scene.live is None
    assert "was replaced meanwhile" in scene.dock.run_bar.message.text()
    scene.start()
    np.testing.assert_array_equal(scene.live.session.image.data, scene.scan.data)


@pytest.mark.parametrize("how", ["image removed", "dock closed"])
def test_the_last_stroke_is_kept_whatever_ends_the_refinement(open_dock: Open, wait: Wait, how: str) -> None:
    scene = Scene(open_dock, wait).start()
    scene.paint(scene.centre, LESION)
    live, image, first = scene.live, scene.live.session.image, scene.round
    before = scene.mask.copy()
    scene.scribbles.paint(tuple(np.argwhere(scene.mask > 0)[0]), OUTSIDE)
    wait(lambda: live.steps.current is not None)
    if how == "image removed":
        scene.viewer.layers.remove(scene.scan)
    else:
        scene.viewer.window.remove_dock_widget(scene.dock)
    wait(lambda: live.steps.current is None and not live.autosave.pending)
    saved = RefinementSession.load(live.opened.folder, image)
    assert saved.state.index == live.session.state.index == first + 1
    assert (saved.mask != before).any()
    np.testing.assert_array_equal(saved.mask, live.layers.mask.data)
    np.testing.assert_array_equal(saved.scribbles, live.layers.scribbles.data)
    if how == "image removed":
        scene.pause(lambda: not scene.dock.saved.isActive())
        assert "was removed" in scene.dock.run_bar.message.text()


def test_all_layers_can_go_while_the_brush_is_out(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait).start()
    scene.paint(scene.centre, LESION)
    scribbles = scene.scribbles
    scene.viewer.layers.select_all()
    scene.viewer.layers.remove_selected()
    wait(lambda: scene.live is None)
    assert not scene.viewer.layers
    assert scribbles.mode == "pan_zoom"


def test_layers_on_one_grid_are_channels_of_one_image(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait)
    first = image_from_layer(scene.scan)
    kwargs = {"scale": scene.scan.scale, "units": scene.scan.units, "affine": scene.scan.affine}
    other = scene.viewer.add_image(np.asarray(scene.scan.data)[::-1].copy(), name="T1c", **kwargs)
    scene.viewer.add_image(np.zeros((20, 20)), name="small")
    scene.viewer.add_image(np.zeros(scene.scan.data.shape), name="elsewhere", scale=(3, 3), units=scene.scan.units)
    setup = scene.dock.setup
    setup.picture.input.choose(scene.scan)
    assert [setup.picture.channels.list.item(n).text() for n in range(setup.picture.channels.list.count())] == ["T1c"]
    assert setup.picture.image.n_channels == 1
    setup.picture.channels.tick(other)
    scene.start()
    image = scene.live.session.image
    assert (image.axes, image.name) == ("CYX", first.name)
    np.testing.assert_array_equal(image.data, [scene.scan.data, other.data])
    np.testing.assert_array_equal(image.affine, first.affine)
    scene.paint(scene.centre, LESION)
    assert scene.mask[scene.centre] == 1
    scene.dock.close_session()
    wait(lambda: setup.saved is not None)
    assert setup.saved.rounds == 1
    setup.picture.channels.tick(other, False)
    assert setup.saved is None


def test_every_plane_of_a_volume_can_be_painted(open_dock: Open, wait: Wait) -> None:
    scene = Scene(open_dock, wait, ndim=3).start()
    z, y, x = scene.centre
    scene.viewer.dims.order = (2, 0, 1)
    scene.live.guidance.look_at(scene.centre)
    assert tuple(scene.viewer.dims.displayed) == (0, 1)
    np.testing.assert_allclose(scene.scan.world_to_data(scene.viewer.dims.point), scene.centre, atol=1)
    scene.drag((z - 1, y, x), (z + 1, y, x))
    scene.settle()
    painted = np.argwhere(scene.scribbles.data)
    assert set(painted[:, 2]) == {x}
    assert len(set(painted[:, 0])) >= 3
    assert scene.dice() > 0.6
    plane = np.asarray(scene.live.layers.mask.data)[:, :, x]
    assert plane.any()
    scene.viewer.dims.ndisplay = 3
    assert "leaves the 3D view" in scene.dock.panel.message.text()


def test_a_newer_stroke_cancels_an_older_refinement(
    open_dock: Open, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(open_dock, wait).start()
    original, cancelled = type(scene.live.session.engine).refine, []

    def slow(engine: Any, *arguments: Any) -> Any:
        try:
            for step in range(40):
                time.sleep(0.005)
                yield Progress(step, 40)
        except GeneratorExit:
            cancelled.append(1)
            raise
        return (yield from original(engine, *arguments))

    monkeypatch.setattr(type(scene.live.session.engine), "refine", slow)
    y, x = scene.centre
    scene.scribbles.paint((y, x), LESION)
    wait(lambda: scene.live.steps.current is not None)
    scene.scribbles.paint((5, 5), LESION)
    scene.settle()
    assert cancelled == [1]
    assert scene.round == 1
    assert scene.mask[5, 5] == scene.mask[y, x] == 1

    live, saves = scene.live, refine_saves.SESSIONS
    scene.scribbles.paint((60, 5), LESION)
    wait(lambda: live.steps.current is not None)
    scene.viewer.window.remove_dock_widget(scene.dock)
    wait(lambda: live.steps.current is None and len(list(saves.rglob("session.json"))) == 1)
    assert live.closed
    assert len(live.session.rounds) == 2  # what was begun is finished and kept


def test_the_viewer_can_be_closed_while_a_refinement_runs(make_napari_viewer: Any, wait: Wait) -> None:
    viewer = make_napari_viewer(show=True)
    scene = Scene(lambda name: (viewer, viewer.window.add_plugin_dock_widget("napari-medseg", name)[1]), wait).start()
    live = scene.live
    scene.scribbles.paint(scene.centre, LESION)
    wait(lambda: live.steps.current is not None)
    viewer.close()
    wait(lambda: live.steps.current is None)
    assert live.closed


def test_a_session_is_continued_and_replayed(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    scene = Scene(open_dock, wait).start()
    scene.paint(scene.centre, LESION)
    scene.paint((5, 5), OUTSIDE)
    wait(lambda: not scene.live.autosave.dirty and scene.live.steps.idle)
    (saved,) = refine_saves.SESSIONS.rglob("session.json")
    mask, strokes = scene.mask.copy(), scene.scribbles.data.copy()
    scene.dock.panel.busy("smoothing")
    scene.viewer.layers.remove(scene.live.layers.mask)
    scene.dock.setup.picture.input.choose(scene.scan)
    assert "(2 rounds)" in scene.dock.setup.sessions.currentText()
    scene.dock.setup.resume_button.click()
    wait(lambda: scene.dock.run_bar.current is None)
    assert not scene.dock.panel.activity.text()
    assert "Paint where the mask is wrong" in scene.dock.panel.message.text()
    np.testing.assert_array_equal(scene.mask, mask)
    np.testing.assert_array_equal(scene.scribbles.data, strokes)
    assert scene.round == 2
    scene.press("U")
    scene.settle()
    assert scene.round == 1
    source = write(tmp_path / "scan.tif", image_from_layer(scene.scan))
    words = ["refine", str(source), "--replay", str(saved.parent), "-o", str(tmp_path / "mask.tif")]
    assert main(words) == 0
    np.testing.assert_array_equal(read_one(tmp_path / "mask.tif").data, mask)


def test_errors_are_one_sentence_and_leave_the_session(
    open_dock: Open, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(open_dock, wait).start()
    scene.press("S")
    scene.settle()
    assert "Paint at least one stroke" in scene.dock.panel.message.text()
    scene.dock.panel.buttons["accept"].click()
    scene.settle()
    assert "mask is empty" in scene.dock.panel.message.text()
    scene.paint((5, 5), OUTSIDE)
    assert "foreground stroke too" in scene.dock.panel.message.text()

    def broken(session: Any, scribbles: Any, box: Any = None) -> Any:
        yield Progress(0, 1)
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(RefinementSession, "refine", broken)
        scene.paint(scene.centre, LESION)
        assert "out of memory" in scene.dock.panel.message.text()
    scene.press("S")
    scene.settle()
    assert scene.mask[scene.centre] == 1


def test_start_says_what_is_missing(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    viewer, dock = open_dock("Refine with scribbles")
    assert "Open an image" in dock.run_bar.message.text()
    viewer.add_image(np.zeros((3, 2, 24, 24, 24), np.float32), name="five")
    assert "5 axes" in dock.run_bar.reason
    assert not dock.run_bar.run_button.isEnabled()
    data, kwargs, _ = layer_data(slice_2d(3, (64, 64))[0])
    scan = viewer.add_image(data, **kwargs)
    dock.setup.picture.input.choose(scan)
    dock.setup.origin.setCurrentText(LABELS)
    assert "Labels layer" in dock.run_bar.reason
    shifted = viewer.add_labels(np.ones((64, 64), np.uint8), name="other", scale=(2, 2), units=scan.units)
    dock.setup.labels.choose(shifted)
    dock.run_bar.start()
    wait(lambda: dock.run_bar.current is None)
    assert "pixel sizes differ" in dock.run_bar.message.text()
    dock.setup.engine.setCurrentText(DEEPIGEOS)
    assert "model" in dock.run_bar.reason
    method = create("r-net", {"ndim": 3})
    path = tmp_path / "volume.pt"
    write_checkpoint(path, pack(method, method.build_network().state_dict()))
    dock.setup.rnet.browse(str(path))
    assert "3D" in dock.run_bar.reason
    assert "--engine=deepigeos" in dock.setup.command()


def test_deepigeos_in_the_window(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    method = create("r-net", {"ndim": 2})
    path = tmp_path / "slice.pt"
    write_checkpoint(path, pack(method, method.build_network().state_dict()))
    scene = Scene(open_dock, wait)
    scene.dock.setup.engine.setCurrentText(DEEPIGEOS)
    scene.dock.setup.rnet.browse(str(path))
    scene.start()
    scene.paint(scene.centre, LESION)
    assert scene.round == 1, scene.dock.panel.message.text()
    assert scene.mask[scene.centre] == 1
    assert "network" in scene.dock.panel.status.text()
    assert scene.live.layers.mask.metadata["medseg"]["method"] == "r-net"
