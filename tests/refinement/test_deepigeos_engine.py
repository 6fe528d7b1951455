from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_medseg.errors import DataError, DeviceError
from napari_medseg.image import Image
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.methods.deepigeos.method import PNet, RNet
from napari_medseg.methods.deepigeos.simulated_user import robot_click
from napari_medseg.refinement import RefinementSession, RefinementSettings
from napari_medseg.refinement.deepigeos_engine import unasked
from napari_medseg.refinement.replay import replay
from napari_medseg.samples.mri import slice_2d

DEEP = RefinementSettings(engine="deepigeos", device="cpu")


class Follow(torch.nn.Module):
    """Stand-in for R-Net: foreground where the foreground map is nearer than the background map, else the proposal."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        proposal, foreground, background = x[:, 1], x[:, 2], x[:, 3]
        score = self.weight * (4 * (foreground - background) + 1.5 * (proposal - 0.5))
        return torch.stack([-score, score], 1)


def models() -> tuple[Model, Model]:
    torch.manual_seed(0)
    pnet = PNet(PNet.Settings(width=4))
    rnet = RNet(RNet.Settings(width=4))
    return Model(pnet, pnet.build_network(), {}), Model(rnet, Follow(), {})


def session() -> tuple[RefinementSession, np.ndarray]:
    image, truth = slice_2d(3, (64, 72))
    start = np.roll(truth.data, 6, 1)
    return RefinementSession(image, proposal=start, model=models()[1], settings=DEEP), truth.data


def test_refinement_by_network_imposes_strokes_and_is_replayed(tmp_path: Path) -> None:
    deep, truth = session()
    marks = np.zeros(truth.shape, np.uint8)
    before = int((deep.mask != truth).sum())
    for _ in range(3):
        new = robot_click(truth, deep.mask, radius=2)
        marks = np.where(new > 0, new, marks)
        state = run(deep.refine(marks))
        np.testing.assert_array_equal(state.mask[marks > 0], marks[marks > 0] - 1)
    assert set(state.timings) == {"geodesic", "network"}
    assert int((deep.mask != truth).sum()) < before
    again = replay(deep.image, deep.save(tmp_path), model=models()[1])
    np.testing.assert_array_equal(again.data, deep.mask)
    assert deep.uncertainty().shape == truth.shape


def test_kept_maps_equal_those_of_the_method() -> None:
    deep, truth = session()
    marks = np.zeros(truth.shape, np.uint8)
    marks[20, 10:20], marks[40, 30:40] = 1, 2
    method = deep.engine._model.method  # type: ignore[union-attr]
    kept = deep.engine._distances(marks)  # type: ignore[union-attr]
    x = method.prepare(deep.image)[:1]
    np.testing.assert_allclose(kept, method.distances(x, marks), rtol=1e-4, atol=1e-5)


def test_failing_network_leaves_the_session_intact(monkeypatch: pytest.MonkeyPatch) -> None:
    deep, truth = session()
    marks = np.zeros(truth.shape, np.uint8)
    marks[30:33, 30:33] = 2
    run(deep.refine(marks))
    before = deep.mask.copy()
    monkeypatch.setattr(Follow, "forward", lambda *_: (_ for _ in ()).throw(RuntimeError("driver lost")))
    marks[10, 10] = 1
    with pytest.raises(DeviceError, match="driver lost"):
        run(deep.refine(marks))
    np.testing.assert_array_equal(deep.mask, before)
    assert deep.history.last == 1
    monkeypatch.undo()
    assert run(deep.refine(marks)).index == 2


def test_memory_running_out_on_the_way_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    deep, truth = session()
    calls = []
    forward = Follow.forward

    def first_time_out_of_memory(self: Follow, x: torch.Tensor) -> torch.Tensor:
        calls.append(x.shape)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, x)

    monkeypatch.setattr(Follow, "forward", first_time_out_of_memory)
    marks = np.zeros(truth.shape, np.uint8)
    marks[30:33, 30:33] = 2
    state = run(deep.refine(marks))
    assert len(calls) > 1
    assert state.mask[31, 31] == 1


def test_proposal_of_pnet_is_a_round() -> None:
    image, _ = slice_2d(3, (48, 56))
    pnet, rnet = models()
    deep = RefinementSession(image, model=rnet, pnet=pnet, settings=DEEP)
    state = run(deep.propose())
    assert (state.kind, state.index) == ("propose", 1)
    assert "network" in state.timings
    assert not deep.undo().mask.any()
    assert deep.uncertain_place() is None or deep.uncertainty().max() <= 1
    geodesic = RefinementSession(image)
    assert run(geodesic.propose()).index == 0


def test_models_that_do_not_fit_are_refused() -> None:
    image, _ = slice_2d(3, (48, 56))
    pnet, rnet = models()
    with pytest.raises(DataError, match="is not one"):
        RefinementSession(image, model=pnet, settings=DEEP)
    with pytest.raises(DataError, match="Set classes to 1"):
        RefinementSession(image, model=rnet, settings=DEEP.updated(classes=2))
    with pytest.raises(DataError, match="2D images"):
        RefinementSession(Image(np.zeros((3, 8, 8)), "ZYX"), model=rnet, settings=DEEP)


def test_network_sees_the_surroundings_of_strokes_and_mask() -> None:
    image, truth = slice_2d(3, (320, 320))
    marks = np.zeros(truth.data.shape, np.uint8)
    marks[tuple(np.argwhere(truth.data)[10])] = 2
    sizes: list[tuple[int, ...]] = []

    class Watched(Follow):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sizes.append(tuple(x.shape[2:]))
            return super().forward(x)

    masks = []
    for margin in (40.0, 0.0):
        rnet = Model(models()[1].method, Watched(), {})
        settings = DEEP.updated(roi_margin=margin, precision="float32")
        deep = RefinementSession(image, proposal=truth.data, model=rnet, settings=settings)
        masks.append(run(deep.refine(marks)).mask.copy())
    assert sizes[0][0] < 200
    assert sizes[1] == (320, 320)
    np.testing.assert_array_equal(*masks)


def test_unasked_removals_stay_but_for_a_peel_of_the_border() -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[5:35, 5:55] = 1
    nothing = np.zeros(mask.shape, np.uint8)
    peeled = mask.copy()
    peeled[5, 10:40] = 0
    assert not unasked(peeled, mask, nothing).any()
    bitten = mask.copy()
    bitten[5:8, 10:14] = 0
    kept = unasked(bitten, mask, nothing)
    assert np.array_equal(kept, mask != bitten)
    stroke = nothing.copy()
    stroke[6, 12] = 1
    assert not unasked(bitten, mask, stroke).any()
    thin = np.zeros(mask.shape, np.uint8)
    thin[20, 5:55] = 1
    assert np.array_equal(unasked(nothing, thin, nothing), thin > 0)


class Forget(Follow):
    """Stand-in for an R-Net that leaves out all of the proposal but what strokes mark."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = self.weight * (8 * (x[:, 2] - 0.9))
        return torch.stack([-score, score], 1)


def test_a_network_keeps_what_no_stroke_speaks_against_and_says_so() -> None:
    image, _ = slice_2d(3, (64, 72))
    start = np.zeros((64, 72), np.uint8)
    start[5:15, 5:15] = start[40:50, 50:60] = 1
    deep = RefinementSession(image, proposal=start, model=Model(models()[1].method, Forget(), {}), settings=DEEP)
    marks = np.zeros((64, 72), np.uint8)
    marks[9:11, 8:12] = 1  # against the first piece
    state = run(deep.refine(marks))
    assert not state.mask[9:11, 8:12].any()
    assert state.mask[40:50, 50:60].all()
    assert "would have removed" in state.message
    assert "they stay" in state.message
