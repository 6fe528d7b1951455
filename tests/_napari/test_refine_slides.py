"""Refine with scribbles on pictures of several resolutions: which part is refined, and continuing on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from refine_scene import LESION, Slide
from shorthand import Open, Wait

from napari_medseg._napari.belonging import set_pixel_size
from napari_medseg._napari.layers import image_from_layer

pytestmark = [pytest.mark.viewer, pytest.mark.usefixtures("own_folders")]


def test_of_a_slide_the_level_in_view_is_refined_at_its_place(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    scene = Slide(open_dock, wait).start()
    factor, layers = scene.steps[scene.part["level"]], scene.live.layers
    n = scene.size // factor
    assert factor > 1
    assert scene.live.session.image.spatial_shape == (n, n)
    assert f"Level {scene.part['level']} of slide is refined, {n} x {n} pixels" in scene.dock.panel.message.text()
    assert not layers.image.visible
    strokes = np.zeros((n, n), np.uint8)
    strokes[n // 2 - n // 10 : n // 2 + n // 10, n // 2 - 2 : n // 2 + 3] = LESION
    layers.add_strokes(strokes)
    scene.live.refine()
    scene.settle()
    mask = image_from_layer(layers.mask)
    assert mask.scale == (factor / 16,) * 2
    world = [layers.mask.data_to_world(place) for place in np.argwhere(mask.data)]
    np.testing.assert_allclose(np.mean(world, 0), (256, 256), atol=1)
    assert mask.data.sum() * (factor / 16) ** 2 == pytest.approx(np.pi * 100**2, rel=0.05)
    scene.look(1, (256, 160))  # another zoom changes nothing
    scene.settle()
    assert scene.mask.shape == mask.data.shape

    scene.press("A")
    scene.settle()
    scene.dock.panel.buttons["save"].write(tmp_path / "o.geojson", layers.objects)
    (outline,) = json.loads((tmp_path / "o.geojson").read_text())["features"]
    corners = np.array(outline["geometry"]["coordinates"][0])
    np.testing.assert_allclose((corners.min(0), corners.max(0)), ((2496,) * 2, (5696,) * 2), atol=3 * factor)


def test_a_slide_that_goes_in_mid_session_is_continued_on_the_same_part(open_dock: Open, wait: Wait) -> None:
    scene = Slide(open_dock, wait).start()
    level = scene.part["level"]
    middle = scene.size // scene.steps[level] // 2
    scene.drag((middle, middle - 10), (middle, middle + 10))
    scene.settle()
    before, kept = scene.mask.copy(), scene.live.autosave
    assert before.any()
    scene.viewer.layers.remove(scene.scan)
    assert scene.live is None
    assert "slide was removed. The refinement is saved and can be continued" in scene.dock.run_bar.message.text()
    wait(lambda: not kept.pending)
    scene.open()
    scene.look(0.1)
    scene.dock.setup.picture.input.choose(scene.scan)
    assert f"level {level}" in scene.dock.setup.sessions.currentText()
    scene.dock.setup.resume_button.click()
    wait(lambda: scene.dock.run_bar.current is None)
    np.testing.assert_array_equal(scene.mask, before)


def test_of_a_large_level_the_framed_part_in_view_is_refined(
    open_dock: Open, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Slide(open_dock, wait)
    monkeypatch.setattr("napari_medseg._napari.refine.picture.MOST", 1000)
    assert "cannot be refined at once; at most 1,000 can. Zoom in" in scene.answer()
    monkeypatch.setattr("napari_medseg._napari.view.CONTEXT", 5)
    scene.look(1, (500, 600))  # the lower right corner is in view, the left edge is not
    level = int(scene.scan.data_level)
    monkeypatch.setattr("napari_medseg._napari.refine.picture.MOST", (scene.size // scene.steps[level]) ** 2 - 1)
    scene.start()
    assert scene.part["level"] == level
    (top, bottom), (left, right) = scene.part["box"]
    assert left > 0
    assert (bottom, right) == (scene.size // scene.steps[level],) * 2
    assert scene.scribbles.bounding_box.visible
    expected = ((np.array((top, left)) + 0.5) * scene.steps[level] - 0.5) / 16
    np.testing.assert_allclose(scene.scribbles.data_to_world((0, 0)), expected)
    levels = scene.picture.metadata["levels"]
    np.testing.assert_array_equal(scene.live.session.image.data, levels[level][top:bottom, left:right])
    framed = scene.scribbles
    scene.live.finish()
    assert not framed.bounding_box.visible
    scene.look(0.5, (-9000, -9000))
    assert "Nothing of slide is in view" in scene.answer()


def test_the_chosen_one_of_several_sessions_is_continued(open_dock: Open, wait: Wait) -> None:
    scene = Slide(open_dock, wait)
    made = []
    for zoom in (0.5, 1.5):
        scene.look(zoom)
        scene.start()
        middle = scene.size // scene.steps[scene.part["level"]] // 2 - scene.part["box"][0][0]
        scene.drag((middle, middle - 10), (middle, middle + 10))
        scene.settle()
        made.append((scene.part["level"], scene.mask.copy()))
        kept = scene.live.autosave
        scene.live.finish()
        wait(lambda kept=kept: not kept.pending and not scene.dock.saved.isActive())
    (level, before), (newest, _) = made
    assert level != newest
    scene.dock.setup.picture.input.choose(scene.scan)
    offered = scene.dock.setup.sessions
    assert f"level {newest}" in offered.currentText()
    offered.setCurrentIndex(1)
    scene.viewer.add_points([(1, 1)])
    assert f"level {level}" in offered.currentText(), "a layer that comes leaves the choice"
    scene.dock.setup.resume_button.click()
    wait(lambda: scene.dock.run_bar.current is None)
    assert scene.live is not None, scene.dock.run_bar.message.text()
    assert scene.part["level"] == level
    np.testing.assert_array_equal(scene.mask, before)


def test_continuing_goes_to_the_part(open_dock: Open, wait: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Slide(open_dock, wait)
    monkeypatch.setattr("napari_medseg._napari.view.CONTEXT", 5)
    scene.look(1, (300, 300))
    level = int(scene.scan.data_level)
    monkeypatch.setattr("napari_medseg._napari.refine.picture.MOST", (scene.size // scene.steps[level]) ** 2 - 1)
    scene.start()
    rows, columns = scene.mask.shape
    scene.drag((rows // 2, columns // 2 - 10), (rows // 2, columns // 2 + 10))
    scene.settle()
    part, kept = scene.part, scene.live.autosave
    scene.live.finish()
    wait(lambda: not kept.pending and not scene.dock.saved.isActive())
    scene.look(0.1)
    scene.dock.setup.picture.input.choose(scene.scan)
    scene.dock.setup.resume_button.click()
    wait(lambda: scene.dock.run_bar.current is None)
    assert scene.part == part
    middle = scene.scribbles.data_to_world((rows / 2, columns / 2))
    np.testing.assert_allclose(scene.viewer.camera.center[-2:], middle, atol=scene.steps[level] / 16)
    assert scene.viewer.camera.zoom > 0.5
    assert scene.scribbles.brush_size > 1


@pytest.mark.parametrize("how", ["in the layer", "where a pixel size is entered"])
def test_strokes_and_mask_follow_a_slide_that_is_moved_or_resized(
    open_dock: Open, wait: Wait, tmp_path: Path, how: str
) -> None:
    scene = Slide(open_dock, wait).start()
    factor, layers = scene.steps[scene.part["level"]], scene.live.layers
    n = scene.size // factor
    strokes = np.zeros((n, n), np.uint8)
    strokes[n // 2 - n // 10 : n // 2 + n // 10, n // 2 - 2 : n // 2 + 3] = LESION
    layers.add_strokes(strokes)
    scene.live.refine()
    scene.settle()
    middle = np.argwhere(scene.mask).mean(0)
    if how == "in the layer":
        scene.scan.scale, scene.scan.translate = (1 / 32,) * 2, (3, 5)
    else:
        set_pixel_size(scene.viewer, scene.scan, (31.25,), "nanometer")
    expected = scene.scan.data_to_world((middle + 0.5) * factor - 0.5)  # of the pixels of full resolution
    wait(lambda: np.allclose(layers.mask.data_to_world(middle), expected))
    wait(lambda: np.allclose(layers.image.data_to_world(middle), expected))
    image = image_from_layer(layers.mask)
    unit = 1.0 if how == "in the layer" else 1000.0
    assert image.scale == pytest.approx((factor / 32 * unit,) * 2)
    assert image.data.sum() * np.prod(image.scale) == pytest.approx(np.pi * (50 * unit) ** 2, rel=0.05)
    scene.dock.panel.buttons["save"].write(tmp_path / "o.geojson", layers.mask)
    (outline,) = json.loads((tmp_path / "o.geojson").read_text())["features"]
    corners = np.array(outline["geometry"]["coordinates"][0])
    np.testing.assert_allclose((corners.min(0), corners.max(0)), ((2496,) * 2, (5696,) * 2), atol=3 * factor)
