"""Docks that compute on a scheduler's worker, in a real window; without one they compute here and say so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shorthand import Open, Wait

from napari_medseg._napari import preferences, remote
from napari_medseg._napari.docks.model_chooser import ModelChooser
from napari_medseg._napari.layers import layer_data
from napari_medseg._napari.refine import saves as refine_saves
from napari_medseg.cluster import connection
from napari_medseg.cluster.refine import RemoteEngine
from napari_medseg.image import Image

distributed = pytest.importorskip("distributed", reason="the extra distributed is not installed")
pytestmark = [pytest.mark.viewer, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(refine_saves, "SESSIONS", tmp_path / "sessions")
    monkeypatch.setattr("napari_medseg._napari.docks.model_chooser.model_folder", lambda: tmp_path / "models")
    monkeypatch.setattr("napari_medseg.models.catalog._bundled", lambda: iter(()))
    monkeypatch.setattr(ModelChooser, "session", [])
    monkeypatch.setenv("MEDSEG_UNENCRYPTED", "1")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with connection._processes(distributed, 1) as cluster:
        yield str(cluster.scheduler_address)
        for client in connection._reached.values():
            client.close()
        connection._reached.clear()


def picture() -> Image:
    """A bright square in noise."""
    data = np.random.default_rng(0).normal(60, 6, (64, 64)).astype(np.float32)
    data[20:40, 20:40] += 100
    return Image(data, "YX", (0.5, 0.5), ("micrometer",) * 2, name="square")


def refined(open_dock: Open, wait: Wait) -> tuple[Any, np.ndarray, str]:
    """Start a refinement, paint two strokes, refine; return the session, the mask and what was said at the start."""
    viewer, dock = open_dock("Refine with scribbles")
    data, kwargs, _ = layer_data(picture())
    viewer.add_image(data, **kwargs)
    dock.run_bar.run_button.click()
    wait(lambda: dock.run_bar.current is None)
    live = dock.live
    assert live is not None, dock.run_bar.message.text()
    said = live.panel.message.text()
    live.layers.scribbles.data[28:31, 24:36] = 2
    live.layers.scribbles.data[5:8, 5:50] = 1
    live.refine()
    wait(lambda: live.steps.idle and live.session.state.index == 1)
    mask, session = np.array(live.layers.mask.data), live.session
    live.undo()
    wait(lambda: live.steps.idle and live.session.state.index == 0)
    assert not live.layers.mask.data.any()
    dock.close_session()
    return session, mask, said


def test_refine_dock_on_a_worker(open_dock: Open, wait: Wait, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "compute_address", lambda: address)
    session, mask, said = refined(open_dock, wait)
    assert isinstance(session.engine, RemoteEngine)
    assert not session.engine.lost
    assert said == "Rounds are computed by 127.0.0.1."
    assert mask[20:40, 20:40].mean() > 0.9
    assert mask.sum() < 450


@pytest.mark.parametrize("there", [True, False])
def test_segment_dock_on_a_worker_or_here(
    open_dock: Open, wait: Wait, address: str, afm_model: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setattr(connection, "SOON", 0.5)
    monkeypatch.setattr(remote, "compute_address", lambda: address if there else "tcp://127.0.0.1:9")
    viewer, dock = open_dock("Segment")
    viewer.open_sample("napari-medseg", "afm")
    dock.input.choose(viewer.layers[0])
    dock.models.browse(str(afm_model))
    before = len(viewer.layers)
    dock.run_bar.run_button.click()
    wait(lambda: dock.run_bar.current is None)
    assert len(viewer.layers) == before + 1, dock.run_bar.message.text()
    said = "of 127.0.0.1" if there else "of this computer. No Dask scheduler answers at tcp://127.0.0.1:9"
    assert said in dock.run_bar.message.text()


def test_address_is_a_preference(monkeypatch: pytest.MonkeyPatch) -> None:
    assert preferences.compute_address() == ""
    monkeypatch.setattr(preferences, "compute", lambda: {"address": " tcp://host:8786 "})
    assert preferences.compute_address() == "tcp://host:8786"
