"""Segmenting and refining on a worker: the answers of this process, small messages, no worker no harm."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_medseg.batch import predict_images
from napari_medseg.cluster import connection, predict_images_at, refine_at, remote
from napari_medseg.errors import DataError, MedSegError
from napari_medseg.image import Image
from napari_medseg.jobs import Job, Progress, run
from napari_medseg.methods import create
from napari_medseg.models.catalog import load_model
from napari_medseg.models.checkpoint import pack, write_checkpoint
from napari_medseg.refinement import RefinementSession, RefinementSettings
from napari_medseg.settings import PredictSettings

distributed = pytest.importorskip("distributed", reason="the extra distributed is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # dask warns of bokeh and of forks
CPU = PredictSettings(device="cpu")
NOWHERE = "tcp://127.0.0.1:9"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with connection._processes(distributed, 1) as cluster:
        yield cluster
        for client in connection._reached.values():
            client.close()
        connection._reached.clear()


@pytest.fixture(autouse=True)
def by_the_users_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_UNENCRYPTED", "1")


@pytest.fixture
def address(cluster: Any) -> str:
    return str(cluster.scheduler_address)


def checkpoint(path: Path, name: str, settings: dict[str, Any]) -> Path:
    torch.manual_seed(0)
    method = create(name, settings)
    write_checkpoint(path, pack(method, method.build_network().state_dict()))
    return path


@pytest.fixture(scope="module")
def afm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("m") / "m.pt", "afm-unet", {"architecture": "unet2"})


def volume(shape: tuple[int, ...] = (20, 48, 48)) -> Image:
    """A bright ball in noise, millimetres."""
    z = np.stack(np.indices(shape))
    centre = np.reshape([n // 2 for n in shape], (-1, *(1 for _ in shape)))
    ball = ((z - centre) ** 2).sum(0) < (min(shape) // 3) ** 2
    data = (ball * 120 + np.random.default_rng(0).normal(60, 6, shape)).astype(np.float32)
    return Image(data, "ZYX"[-len(shape) :], (1.0,) * len(shape), ("millimeter",) * len(shape), name="ball")


def strokes(image: Image, n: int) -> np.ndarray:
    """The first n of four strokes: inside, outside, and two that correct."""
    marks = np.zeros(image.spatial_shape, np.uint8)
    middle = tuple(s // 2 for s in marks.shape[:-1])
    for index, (value, where) in enumerate(
        [(2, slice(21, 27)), (1, slice(1, 6)), (2, slice(30, 32)), (1, slice(36, 40))]
    ):
        if index < n:
            marks[(*middle, where)] = value
    return marks


@pytest.mark.parametrize("axes", ["YX", "ZYX"])
def test_prediction_there_is_prediction_here(afm: Path, address: str, axes: str) -> None:
    image = Image(np.random.default_rng(0).random((3, 40, 56)[-len(axes) :], np.float32), axes, name="scan")
    here = run(predict_images(afm, [image], CPU))[0]
    said: list[Progress] = []
    there = run(predict_images_at(address, afm, [image], CPU), said.append)[0]
    np.testing.assert_array_equal(there.labels.data, here.labels.data)
    np.testing.assert_allclose(there.probabilities, here.probabilities, atol=1e-6)
    assert there.labels.metadata["medseg"]["checkpoint"] == str(afm)
    assert there.device == "cpu of 127.0.0.1"
    assert address in said[0].message
    lean = run(predict_images_at(address, afm, [image], CPU, probabilities=False))[0]
    assert lean.probabilities.size == 0
    np.testing.assert_array_equal(lean.labels.data, here.labels.data)


def test_no_scheduler_means_here_and_says_so(afm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SOON", 0.5)
    image = Image(np.zeros((32, 32), np.float32), "YX", name="scan")
    said: list[Progress] = []
    found = run(predict_images_at(NOWHERE, afm, [image], CPU), said.append)[0]
    assert "this computer" in found.device
    assert f"No Dask scheduler answers at {NOWHERE}" in found.device
    assert any("Computing here" in p.message for p in said)
    session = RefinementSession(volume((48, 48)))
    engine = session.engine
    assert "Refining on this computer" in run(refine_at(NOWHERE, session))
    assert session.engine is engine


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [(DataError("Give a plane."), DataError, "Give a plane"), (RuntimeError("odd"), MedSegError, "RuntimeError: odd")],
)
def test_errors_come_back_in_words(address: str, error: Exception, kind: type[Exception], text: str) -> None:
    def broken(host: Any) -> Job[None]:  # inside, so that it travels by value
        yield Progress(0, 1, "going wrong")
        raise error

    with pytest.raises(kind, match=text):
        run(remote.RemoteWorker(address).run(broken))


def test_closing_here_stops_there(address: str, tmp_path: Path) -> None:
    end = str(tmp_path / "end")

    def slow(host: Any) -> Job[None]:
        try:
            for step in range(1000):
                time.sleep(0.05)
                yield Progress(step, 1000, "slow")
        finally:
            Path(end).write_text("closed", encoding="utf-8")

    job = remote.RemoteWorker(address).run(slow)
    assert next(job).message == "slow"
    start = time.monotonic()
    job.close()
    assert time.monotonic() - start < 1
    while not (tmp_path / "end").exists():
        assert time.monotonic() - start < 10
        time.sleep(0.02)


def compare_rounds(here: RefinementSession, there: RefinementSession) -> None:
    for n in (2, 3, 4):
        marks = strokes(here.image, n)
        a, b = run(here.refine(marks)), run(there.refine(marks))
        np.testing.assert_array_equal(a.mask, b.mask)
        assert a.box == b.box
        assert set(a.timings) == set(b.timings)
        np.testing.assert_allclose(here.uncertainty(), there.uncertainty(), atol=1e-6)
    here.undo()
    there.undo()
    np.testing.assert_array_equal(here.mask, there.mask)
    for session in (here, there):
        run(session.refine(strokes(here.image, 4)))
        session.accept_object()
    np.testing.assert_array_equal(here.result, there.result)
    fresh = np.zeros_like(here.mask)
    fresh[tuple(s // 4 for s in fresh.shape)] = 2
    np.testing.assert_array_equal(run(here.refine(fresh)).mask, run(there.refine(fresh)).mask)


@pytest.mark.parametrize("shape", [(48, 48), (20, 48, 48)])
def test_rounds_there_are_rounds_here(address: str, shape: tuple[int, ...]) -> None:
    here, there = RefinementSession(volume(shape)), RefinementSession(volume(shape))
    run(here.propose())
    assert "computed by 127.0.0.1" in run(refine_at(address, there))
    compare_rounds(here, there)


def test_networks_there_are_networks_here(address: str, tmp_path: Path) -> None:
    width = {"ndim": 2, "width": 4}
    pnet, rnet = checkpoint(tmp_path / "p.pt", "p-net", width), checkpoint(tmp_path / "r.pt", "r-net", width)
    settings = RefinementSettings(engine="deepigeos", device="cpu")
    here, there = (
        RefinementSession(volume((48, 48)), model=load_model(rnet), pnet=load_model(pnet), settings=settings)
        for _ in range(2)
    )
    run(refine_at(address, there, rnet, pnet))
    a, b = run(here.propose()), run(there.propose())
    np.testing.assert_array_equal(a.mask, b.mask)
    np.testing.assert_allclose(here.uncertainty(), there.uncertainty(), atol=1e-5)
    for n in (2, 3):
        np.testing.assert_array_equal(
            run(here.refine(strokes(here.image, n))).mask, run(there.refine(strokes(here.image, n))).mask
        )
    np.testing.assert_allclose(here.uncertainty(), there.uncertainty(), atol=1e-5)


def test_only_changed_boxes_travel(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round of an 8 MB volume costs less than 20 kB each way."""
    session = RefinementSession(volume((32, 256, 256)))
    run(refine_at(address, session))
    sizes: list[tuple[int, int]] = []
    ask = remote.RemoteWorker._ask

    def measured(self: Any, *what: Any) -> Any:
        answer = ask(self, *what)
        sizes.append((len(pickle.dumps(what)), len(pickle.dumps(answer))))
        return answer

    monkeypatch.setattr(remote.RemoteWorker, "_ask", measured)
    run(session.refine(strokes(session.image, 2)))
    run(session.refine(strokes(session.image, 3)))
    assert session.image.data.nbytes == 8 * 2**20
    assert max(sent for sent, _ in sizes) < 20_000
    assert max(back for _, back in sizes) < 20_000


def test_a_lost_worker_ends_no_session(tmp_path: Path) -> None:
    """The rounds before are kept, the next is done here, and equals that of a session that was always here."""
    here, there = RefinementSession(volume((48, 48))), RefinementSession(volume((48, 48)))
    with connection._processes(distributed, 1) as cluster:
        run(refine_at(cluster.scheduler_address, there))
        client = connection._reached.pop(cluster.scheduler_address)
        for session in (here, there):
            run(session.refine(strokes(here.image, 2)))
        for pid in client.run(os.getpid).values():
            os.kill(pid, signal.SIGKILL)
        state = run(there.refine(strokes(here.image, 3)))
        client.close()
    assert "was lost" in state.message
    assert "this computer" in state.message
    np.testing.assert_array_equal(state.mask, run(here.refine(strokes(here.image, 3))).mask)
    assert len(there.rounds) == 2
    np.testing.assert_allclose(here.uncertainty(), there.uncertainty())
    there.save(tmp_path / "s")
    np.testing.assert_array_equal(RefinementSession.load(tmp_path / "s", there.image).mask, there.mask)
