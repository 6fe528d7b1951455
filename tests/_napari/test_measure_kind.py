"""Which measurement the Measure dock proposes, and that it keeps what somebody picked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.utils.colormaps import DirectLabelColormap

from napari_medseg._napari.layers import layer_data
from napari_medseg.samples import load_sample

pytestmark = pytest.mark.viewer


@pytest.mark.parametrize(
    ("sample", "kind"), [("ccm", "nerve"), ("afm", "afm"), ("histology", "nuclei"), ("mri", "volume")]
)
def test_the_kind_follows_the_image_until_one_is_picked(
    sample: str, kind: str, open_dock: Callable[[str], tuple[Any, Any]]
) -> None:
    viewer, dock = open_dock("Measure")
    for item in load_sample(sample)[:2]:
        data, options, layer = layer_data(item)
        getattr(viewer, f"add_{layer}")(data, **options)
    assert dock.kind.currentData() == kind
    other = "volume" if kind != "volume" else "afm"
    dock.kind.setCurrentIndex(dock.kind.findData(other))
    viewer.add_labels(viewer.layers[-1].data.copy(), name="more")
    assert dock.kind.currentData() == other


def test_objects_stay_in_view_when_a_mask_becomes_several(
    open_dock: Callable[[str], tuple[Any, Any]], wait: Callable[[Callable[[], bool]], None]
) -> None:
    viewer, dock = open_dock("Measure")
    mask = np.zeros((64, 64), np.uint8)
    mask[5:20, 5:20] = mask[40:60, 40:60] = 1
    colours = DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: "lime"})
    layer = viewer.add_labels(mask, colormap=colours, name="mask")
    dock.run_bar.start()
    wait(lambda: len(layer.features) > 0)
    assert [int(layer.data[c, c]) for c in (10, 50)] == [1, 2]
    assert all(layer.get_color(label)[3] > 0 for label in (1, 2))
