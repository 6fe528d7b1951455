"""A dock takes its room beside the picture; the picture stays whole where it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from napari_medseg._napari.view import in_view

pytestmark = pytest.mark.viewer
CORNERS = [(0, 0), (0, 99), (99, 0), (99, 99)]


def shown(viewer: Any, layer: Any) -> list[bool]:
    return [in_view(viewer, layer, (*(0,) * (layer.ndim - 2), *corner)) for corner in CORNERS]


@pytest.mark.parametrize("shape", [(100, 100), (5, 100, 100)])
def test_a_picture_that_was_seen_whole_is_so_beside_the_dock(
    make_napari_viewer_proxy: Any, wait: Callable[[Callable[[], bool]], None], shape: tuple[int, ...]
) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(900, 700)
    layer = viewer.add_image(np.random.default_rng(0).random(shape))
    viewer.reset_view()
    before = viewer.camera.zoom
    viewer.window.add_plugin_dock_widget("napari-medseg", "Measure")
    wait(lambda: viewer.camera.zoom < before)
    assert all(shown(viewer, layer))


def test_a_picture_that_was_zoomed_into_stays_so(make_napari_viewer_proxy: Any, wait: Any) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    viewer.add_image(np.random.default_rng(0).random((100, 100)))
    viewer.camera.zoom, viewer.camera.center = 20, (30.0, 60.0)
    _, dock = viewer.window.add_plugin_dock_widget("napari-medseg", "Measure")
    wait(lambda: dock.isVisible() and dock.height() > 100)
    for _ in range(3):
        wait(lambda: True)
    assert viewer.camera.zoom == 20
    assert tuple(viewer.camera.center[-2:]) == (30.0, 60.0)
