"""Fixtures for tests in a real window."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qtpy.QtWidgets import QApplication

from napari_medseg.jobs import run
from napari_medseg.methods import create
from napari_medseg.models.checkpoint import pack, write_checkpoint
from napari_medseg.settings import TrainSettings


@pytest.fixture
def wait() -> Callable[[Callable[[], bool]], None]:
    """Let the window run until something is true, at most 60 s."""

    def until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "it did not happen within 60 s"
            QApplication.processEvents()
            time.sleep(0.005)

    return until


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start with an empty folder of models, and none opened before."""
    from napari_medseg._napari.docks.model_chooser import ModelChooser

    monkeypatch.setattr("napari_medseg._napari.docks.model_chooser.model_folder", lambda: tmp_path / "models")
    monkeypatch.setattr(ModelChooser, "session", [])


@pytest.fixture
def own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_models: None) -> None:
    """Keep sessions and models of the test apart from the user's, and take no bundled model."""
    monkeypatch.setattr("napari_medseg._napari.refine.saves.SESSIONS", tmp_path / "sessions")
    monkeypatch.setattr("napari_medseg.models.catalog._bundled", lambda: iter(()))


@pytest.fixture(scope="session")
def afm_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-level AFM net trained for a few steps on generated scans."""
    from napari_medseg.samples.afm import afm_folder
    from napari_medseg.training.loop import train

    folder = tmp_path_factory.mktemp("afm")
    afm_folder(folder / "data", 4, 64)
    method = create("afm-unet", {"architecture": "unet2", "dropout": 0.0})
    settings = TrainSettings(epochs=2, batch_size=2, steps_per_epoch=4, learning_rate=0.01, device="cpu")
    run(train(method, folder / "data", folder / "run", settings))
    return folder / "run" / "best.pt"


@pytest.fixture
def other_model(tmp_path: Path) -> Path:
    """An untrained 3D model, which no picture fits."""
    method = create("p-net", {"ndim": 3})
    path = tmp_path / "volume.pt"
    write_checkpoint(path, pack(method, method.build_network().state_dict()))
    return path


@pytest.fixture
def open_dock(make_napari_viewer_proxy: Any) -> Callable[[str], tuple[Any, Any]]:
    """Open a dock from the plugin menu's command in a new viewer."""
    viewer = make_napari_viewer_proxy(show=True)

    def show(name: str) -> tuple[Any, Any]:
        _, widget = viewer.window.add_plugin_dock_widget("napari-medseg", name)
        return viewer, widget

    return show
