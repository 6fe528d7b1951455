"""Which measurement the Measure dock proposes, and that it keeps what somebody picked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

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
