"""The plugin as napari sees it: menus, samples, readers, writers, preferences."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari._app_model import get_app_model
from npe2 import PluginManager, PluginManifest

from napari_medseg import read
from napari_medseg._napari import preferences
from napari_medseg._napari.layers import image_from_layer, layer_data
from napari_medseg._napari.readers import get_reader, read_layers
from napari_medseg.image import Image
from napari_medseg.io import write
from napari_medseg.settings import PredictSettings

pytestmark = pytest.mark.viewer
SAMPLES = ("afm", "ccm", "histology", "mri", "video")
DOCKS = (
    "Segment", "Train", "Measure", "Refine with scribbles", "Prepare training data", "Evaluate", "Nerve movie", "Batch",
)  # fmt: skip


def manifest() -> PluginManifest:
    return PluginManifest.from_distribution("napari-medseg")


def test_every_command_imports() -> None:
    found = manifest()
    names = [command.python_name for command in found.contributions.commands]
    assert len(names) >= 10
    for command in found.contributions.commands:
        assert callable(command.python_name and _resolve(str(command.python_name)))


def _resolve(python_name: str) -> Any:
    module, name = python_name.split(":")
    return getattr(importlib.import_module(module), name)


def test_every_dock_is_opened_here_or_in_the_tests_of_outlines() -> None:
    names = {widget.display_name for widget in manifest().contributions.widgets}
    assert names == {*DOCKS, "Outlines to labels"}


@pytest.mark.parametrize("name", DOCKS)
def test_docks_open_from_the_menu(make_napari_viewer_proxy: Any, name: str) -> None:
    viewer = make_napari_viewer_proxy()
    dock, widget = viewer.window.add_plugin_dock_widget("napari-medseg", name)
    assert dock.windowTitle().startswith(name)
    assert widget.viewer is not None


def test_the_dock_of_the_next_step_is_the_one_that_the_menu_opened(make_napari_viewer: Any) -> None:
    viewer = make_napari_viewer()
    _, refine = viewer.window.add_plugin_dock_widget("napari-medseg", "Refine with scribbles")
    get_app_model().commands.execute_command("napari-medseg.measure")
    (name,) = (name for name in viewer.window.dock_widgets if name.startswith("Measure"))
    opened = viewer.window.dock_widgets[name]
    assert refine.open_next("Measure") is opened
    viewer.window.remove_dock_widget(opened)
    again = refine.open_next("Measure")
    assert viewer.window.dock_widgets[name] is again, "the menu knows it"


@pytest.mark.parametrize("key", SAMPLES)
def test_samples_open_offline_with_units(make_napari_viewer_proxy: Any, key: str) -> None:
    viewer = make_napari_viewer_proxy()
    layers = viewer.open_sample("napari-medseg", key)
    assert layers
    assert (key == "video") == any("pixel" in map(str, layer.units) for layer in layers)
    units = {tuple(map(str, layer.units)) for layer in layers}
    assert len(units) == 1  # one layer without units would disable units for the whole scene


def test_a_file_opens_through_the_menu_reader(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    from PIL import Image as Pillow

    Pillow.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "scan.png")
    viewer = make_napari_viewer_proxy()
    (layer,) = viewer.open(str(tmp_path / "scan.png"), plugin="napari-medseg")
    assert layer.metadata["medseg_image"]["source_file"].endswith("scan.png")
    assert get_reader(str(tmp_path / "notes.txt")) is None


def test_masks_open_as_labels(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    Pillow.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "a_label.png")
    assert read_layers(str(tmp_path / "a_label.png"))[0][2] == "labels"
    (tmp_path / "Masks").mkdir()
    for name, data in (("a.png", np.eye(8, dtype=bool)), ("b.tif", np.eye(8, dtype=np.float32))):
        write(tmp_path / "Masks" / name, Image(data, "YX"))
        (tmp_path / "Masks" / name).with_suffix(".json").unlink()
        assert read_layers(str(tmp_path / "Masks" / name))[0][2] == "labels"
    write(tmp_path / "Masks" / "p.tif", Image(np.full((8, 8), 0.5), "YX"))
    assert read_layers(str(tmp_path / "Masks" / "p.tif"))[0][2] == "image"


def test_saved_labels_keep_scale_units_and_provenance(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    viewer = make_napari_viewer_proxy()
    labels = np.zeros((12, 10), np.int32)
    labels[2:5, 3:6] = 7
    kept = {"medseg": {"method": "afm-unet", "version": "0.1.0"}}
    layer = viewer.add_labels(labels, scale=(0.5, 0.25), units=("um", "um"), metadata=kept, name="cells")
    layer.features = {"index": [7], "area (um^2)": [1.125]}
    written = layer.save(str(tmp_path / "cells.tif"), plugin="napari-medseg")
    assert {Path(p).name for p in written} == {"cells.tif", "cells_table.csv"}
    back = read(tmp_path / "cells.tif")[0]
    np.testing.assert_array_equal(back.data, labels)
    assert back.scale == (0.5, 0.25)
    assert set(back.units) == {"micrometer"}
    assert "afm-unet" in (tmp_path / "cells.json").read_text()
    assert json.loads((tmp_path / "cells.json").read_text())
    assert "area (um^2)" in (tmp_path / "cells_table.csv").read_text()


def test_image_to_layer_and_back(make_napari_viewer_proxy: Any) -> None:
    viewer = make_napari_viewer_proxy()
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = (5, -3, 7)
    image = Image(np.zeros((3, 4, 5)), "ZYX", (2, 1, 1), ("millimeter",) * 3, affine, name="v", value_unit="a.u.")
    data, kwargs, _ = layer_data(image)
    back = image_from_layer(viewer.add_image(data, **kwargs))
    assert (back.axes, back.scale, back.units, back.value_unit) == (image.axes, image.scale, image.units, "a.u.")
    np.testing.assert_array_equal(back.affine, affine)


def test_time_keeps_its_unit_where_space_has_none(make_napari_viewer_proxy: Any) -> None:
    viewer = make_napari_viewer_proxy()
    movie = Image(np.zeros((3, 8, 9, 3), np.uint8), "TYXC", (0.05, 1, 1), ("second", "pixel", "pixel"), name="film")
    data, kwargs, _ = layer_data(movie)
    back = image_from_layer(viewer.add_image(data, **kwargs))
    assert (back.axes, back.scale, back.units) == ("TYXC", (0.05, 1, 1), ("second", "pixel", "pixel"))
    stack = viewer.add_image(np.zeros((3, 8, 9)), units=("second", "pixel", "pixel"))
    assert (image_from_layer(stack).axes, image_from_layer(stack).units) == ("TYX", ("second", "pixel", "pixel"))
    half = viewer.add_image(np.zeros((3, 8, 9)), units=("pixel", "um", "um"))
    assert (image_from_layer(half).axes, image_from_layer(half).units) == ("ZYX", ("pixel",) * 3)


def test_preferences_are_declared_and_reach_the_form(monkeypatch: pytest.MonkeyPatch) -> None:
    (configuration,) = manifest().contributions.configurations or [None]
    declared = next(iter(manifest().contributions.configurations.values())) if configuration else None
    assert declared is not None
    tls = {"tls_ca", "tls_cert", "tls_key", "unencrypted"}
    assert {"device", "precision", "tile", "model_folder", "address"} | tls == set(declared.properties)
    monkeypatch.setattr(preferences, "compute", lambda: {"device": "cpu", "tile": 256, "model_folder": "/x"})
    assert preferences.predict_settings(PredictSettings()) == PredictSettings(device="cpu", tile=256)
    assert preferences.model_folder() == Path("/x")


def test_discovery_is_cheap() -> None:
    """Registering the manifest imports none of the plugin's heavy modules."""
    import subprocess
    import sys

    code = (
        "import sys; from npe2 import PluginManager, PluginManifest;"
        "PluginManager().register(PluginManifest.from_distribution('napari-medseg'));"
        "print(sorted({'torch', 'monai', 'SimpleITK', 'numba', 'pyqtgraph'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert PluginManager is not None


def test_refine_is_shown_before_torch_is_loaded() -> None:
    import subprocess
    import sys

    code = (
        "import sys, napari; viewer = napari.Viewer(show=False);"
        "dock = viewer.window.add_plugin_dock_widget('napari-medseg', 'Refine with scribbles')[1];"
        "print('torch' in sys.modules, dock.setup.reason); dock.setup.rnet;"
        "print('torch' in sys.modules); viewer.close()"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["False Open an image first.", "True"]


@pytest.mark.parametrize("name", ["Segment", "Nerve movie"])
def test_docks_of_networks_appear_before_torch_is_loaded(name: str) -> None:
    import subprocess
    import sys

    command = {"Segment": "segment", "Nerve movie": "nerve_video"}[name]
    code = (
        "import sys, time, napari; from qtpy.QtWidgets import QApplication; viewer = napari.Viewer();"
        "from napari._app_model import get_app_model;"
        f"get_app_model().commands.execute_command('napari-medseg.{command}');"
        "first = list(viewer.window.dock_widgets.values())[0]; named = list(viewer.window.dock_widgets);"
        "print('torch' in sys.modules, 'first time' in first.line.text())\n"
        "shown = lambda: list(viewer.window.dock_widgets.values())[-1]\n"
        "end = time.monotonic() + 120\n"
        "while not hasattr(shown(), 'run_bar') and time.monotonic() < end: QApplication.processEvents()\n"
        "print(named == list(viewer.window.dock_widgets), type(shown()).__module__); viewer.close()"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    wanted = {"Segment": "docks.segment", "Nerve movie": "video.dock"}[name]
    assert done.stdout.splitlines()[-2:] == ["False True", f"True napari_medseg._napari.{wanted}"]


def test_what_says_where_a_dock_computes_is_imported_beside_the_window() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from napari_medseg._napari import later\n"
        "for _ in later.loaded('napari_medseg.device'): pass\n"
        "print(later.REMOTE in sys.modules, [m for m in sys.modules if m.startswith('napari_medseg._napari.widgets')])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].startswith("True []")


def test_channels_of_one_file_are_named_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heights = Image(np.zeros((4, 4), np.float32), "YX", name="scan", channels=("Height",))
    phases = heights.replace(name="scan_Phase", channels=("Phase",))
    monkeypatch.setattr("napari_medseg._napari.readers.read", lambda path: [heights, phases])
    layers = read_layers(str(tmp_path / "scan.gwy"))
    assert [options["name"] for _, options, _ in layers] == ["scan_Height", "scan_Phase"]
