"""Two docks work at once on one device; each gives what it gives alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shorthand import Open, Wait

from napari_medseg._napari.docks.model_chooser import ModelChooser

pytestmark = pytest.mark.viewer


@pytest.fixture(autouse=True)
def folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("napari_medseg._napari.docks.model_chooser.model_folder", lambda: tmp_path / "models")
    monkeypatch.setattr(ModelChooser, "session", [])


def segment(dock: Any, model: Path, layer: Any) -> Any:
    dock.input.choose(layer)
    dock.models.browse(str(model))
    return dock.run_bar


def test_two_docks_run_at_once(open_dock: Open, wait: Wait, afm_model: Path) -> None:
    viewer, first = open_dock("Segment")
    scan = np.random.default_rng(0).normal(size=(192, 192)).astype(np.float32)
    layers = [viewer.add_image(scan, name="one"), viewer.add_image(scan.T.copy(), name="two")]
    alone = []
    for layer in layers:
        bar = segment(first, afm_model, layer)
        bar.run_button.click()
        wait(lambda bar=bar: bar.current is None)
        alone.append(np.asarray(viewer.layers[-1].data).copy())

    second = type(first)(viewer)
    viewer.window.add_dock_widget(second, name="second")
    bars = [segment(dock, afm_model, layer) for dock, layer in zip((first, second), layers, strict=True)]
    before = len(viewer.layers)
    for bar in bars:
        bar.run_button.click()
    assert all(bar.current is not None for bar in bars), "both docks work at this moment"
    wait(lambda: all(bar.current is None for bar in bars))
    made = {layer.metadata["medseg"]["source_layer"]: np.asarray(layer.data) for layer in viewer.layers[before:]}
    assert set(made) == {"one", "two"}, [bar.message.text() for bar in bars]
    np.testing.assert_array_equal(made["one"], alone[0])
    np.testing.assert_array_equal(made["two"], alone[1])
