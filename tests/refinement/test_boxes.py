"""A session that keeps to the boxes that change against one that goes through whole arrays and copies them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from napari_medseg.graphcut import level
from napari_medseg.image import Image
from napari_medseg.jobs import run
from napari_medseg.refinement import RefinementSession, RefinementSettings
from napari_medseg.refinement.boxes import Voxels, box_of, common, extents_of, inner, outer
from napari_medseg.refinement.geodesic_engine import GeodesicEngine

CLASSES = 3
NAMES = ("mask", "scribbles", "given", "result")
State = dict[str, np.ndarray]


class WholeArrays:
    """The rules of a session in plain words: every round is a copy of all arrays, every comparison looks everywhere."""

    def __init__(self, image: Image, settings: RefinementSettings, start: State) -> None:
        self.engine = GeodesicEngine(image, settings)
        self.states, self.kinds, self.index = [start], ["start"], 0

    @property
    def now(self) -> State:
        return self.states[self.index]

    def push(self, kind: str, **new: np.ndarray) -> None:
        del self.states[self.index + 1 :], self.kinds[self.index + 1 :]
        self.states.append({name: new.get(name, self.now[name]).copy() for name in NAMES})
        self.kinds.append(kind)
        self.index += 1

    def beginning(self) -> int:
        starts = [i for i in range(self.index + 1) if self.kinds[i] == "accept"]
        return max(starts, default=0)

    def earlier(self, marks: np.ndarray) -> State:
        kept = self.states[self.beginning() : self.index + 1][::-1]
        for state in kept:
            if np.array_equal(state["scribbles"], marks):
                return state
        for state in kept:
            if not ((state["scribbles"] > 0) & (marks == 0)).any():
                return state
        return kept[-1]

    def refine(self, scribbles: np.ndarray) -> None:
        marks = np.where(self.now["result"] > 0, 0, scribbles).astype(np.uint8)
        start = self.earlier(marks)
        locked = (self.now["result"] > 0).astype(np.uint8)
        found = run(self.engine.refine(marks, start["scribbles"], start["mask"], self.now["given"], locked)).labels
        mask = np.where(marks > 0, marks - 1, found).astype(np.uint8)
        mask[locked > 0] = 0
        self.push("refine", mask=mask, scribbles=marks)

    def accept(self) -> None:
        mask, result = self.now["mask"], self.now["result"]
        empty, free = np.zeros_like(mask), result.max()
        merged = np.where(mask > 0, mask + free, result)
        self.push("accept", result=merged, mask=empty, given=empty, scribbles=empty)


def scene(seed: int, shape: tuple[int, ...]) -> tuple[Image, np.ndarray]:
    """Return an image of blobs in noise, and their labels."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 4)
    pieces, _ = ndimage.label(smooth > 0.5 * smooth.std())
    truth = np.where(pieces > 0, pieces % CLASSES + 1, 0).astype(np.uint8)
    data = 100 * (truth > 0) + 15 * truth + rng.normal(0, 10, shape)
    return Image(data.astype(np.float32), "ZYX"[-len(shape) :], (2.0, 1.0, 1.0)[-len(shape) :]), truth


def stroke(rng: np.random.Generator, truth: np.ndarray) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Return a short line of a random value, uint8 (*box), often the right one, and its box."""
    at = [int(rng.integers(0, n - 2)) for n in truth.shape]
    sizes = [1] * (truth.ndim - 2) + [2, int(rng.integers(3, 9))]
    box = tuple(slice(a, min(n, a + size)) for a, n, size in zip(at, truth.shape, sizes, strict=True))
    value = rng.integers(0, CLASSES + 2) if rng.random() < 0.3 else truth[tuple(at)] + 1
    return np.full([s.stop - s.start for s in box], value, np.uint8), box


def check(session: RefinementSession, oracle: WholeArrays) -> None:
    history = session.history
    for name in NAMES:
        np.testing.assert_array_equal(history.arrays[name], oracle.now[name], name)
        for value in np.unique(history.arrays[name])[1:] if name != "result" else ():
            found = box_of(history.arrays[name] == value)
            assert found is not None
            assert common(found, history.extents[name][int(value)]) == found
    taken = box_of(history.arrays["result"] > 0)
    assert taken is None or common(taken, history.extents["result"][1]) == taken
    assert history.filled == np.count_nonzero(oracle.now["mask"])


@pytest.mark.parametrize(
    ("seed", "shape", "options"),
    [
        (0, (60, 70), {}),
        (1, (60, 70), {"islands": True}),
        (2, (60, 70), {"given": True}),
        (3, (14, 30, 34), {}),
        (4, (14, 30, 34), {"given": True, "locked": True}),
    ],
)
def test_rounds_in_boxes_are_those_of_whole_arrays(seed: int, shape: tuple[int, ...], options: dict[str, Any]) -> None:
    rng, (image, truth) = np.random.default_rng(seed), scene(seed, shape)
    settings = RefinementSettings(classes=CLASSES, network=False, islands=options.get("islands", False))
    given = np.where(np.roll(truth, 3, -1) == truth, truth, 0).astype(np.uint8) if options.get("given") else None
    locked = np.zeros(shape, np.int32)
    locked[..., -6:] = 7 if options.get("locked") else 0
    session = RefinementSession(image, proposal=given, settings=settings, locked=locked)
    oracle = WholeArrays(image, settings, {name: session.history.arrays[name].copy() for name in NAMES})
    layer = np.zeros(shape, np.uint8)
    for step in range(24):
        what = rng.choice(["stroke", "erase", "undo", "redo", "accept"], p=[0.6, 0.1, 0.15, 0.1, 0.05])
        if what == "accept" and session.mask.any():
            session.accept_object()
            oracle.accept()
            layer[...] = 0
        elif what in ("undo", "redo"):
            getattr(session, what)()
            oracle.index = min(max(oracle.index + (1 if what == "redo" else -1), 0), len(oracle.states) - 1)
            layer = session.scribbles.copy()
        else:
            new, box = stroke(rng, truth)
            if what == "erase":
                old = box_of(layer > 0)
                box, new = (box, new) if old is None else (old, layer[old] * rng.integers(0, 2, dtype=np.uint8))
            layer[box] = new
            beside = np.where(session.result > 0, 0, layer)
            if not beside.any() and not session.scribbles.any():
                layer[box] = 0
                continue
            wide = tuple(slice(max(0, s.start - 1), s.stop + 2) for s in box)
            wide = common(wide, tuple(slice(0, n) for n in shape)) or box
            run(session.refine(layer) if step % 4 == 0 else session.refine(layer[wide], wide))
            oracle.refine(layer)
        check(session, oracle)


def test_a_search_slab_by_slab_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    image, truth = scene(7, (30, 40, 40))
    marks = np.zeros(truth.shape, np.uint8)
    marks[15, 18:22, 5:35] = truth[15, 18:22, 5:35] + 1
    answers = []
    for slab in (level.SLAB, 4000):
        monkeypatch.setattr(level, "SLAB", slab)
        session = RefinementSession(image, settings=RefinementSettings(classes=CLASSES, network=False))
        answers.append((run(session.refine(marks)).mask.copy(), session.uncertainty()))
    np.testing.assert_array_equal(answers[0][0], answers[1][0])
    np.testing.assert_array_equal(answers[0][1], answers[1][1])
    assert answers[0][0].any()


def test_strokes_of_a_box_follow_undo_and_redo_of_the_layer() -> None:
    image, truth = scene(9, (50, 60))
    session = RefinementSession(image, settings=RefinementSettings(classes=CLASSES, network=False))
    boxes = [(slice(5, 7), slice(4, 9)), (slice(30, 32), slice(40, 47)), (slice(20, 22), slice(10, 18))]
    masks = [session.mask.copy()]
    for box in boxes:
        run(session.refine(truth[box] + np.uint8(1), box))
        masks.append(session.mask.copy())
    empty = np.zeros((2, 8), np.uint8)
    assert run(session.follow(empty, boxes[2])).index == 2
    np.testing.assert_array_equal(session.mask, masks[2])
    assert run(session.follow(truth[boxes[2]] + np.uint8(1), boxes[2])).index == 3
    np.testing.assert_array_equal(session.mask, masks[3])


@pytest.mark.parametrize("ndim", [2, 3])
def test_sets_of_voxels_are_what_a_mask_says(ndim: int) -> None:
    rng = np.random.default_rng(ndim)
    for _ in range(20):
        shape = tuple(rng.integers(4, 12, ndim))
        mask = rng.random(shape) < 0.1
        corner = tuple(slice(int(rng.integers(0, n - 1)), n) for n in shape)
        voxels = Voxels.found(corner, mask[corner])
        assert bool(voxels) == mask[corner].any()
        box = tuple(slice(int(a), int(rng.integers(a + 1, n + 1))) for a, n in ((rng.integers(0, n), n) for n in shape))
        alone = np.zeros(shape, bool)
        alone[corner] = mask[corner]
        np.testing.assert_array_equal(voxels.within(box), alone[box])
        assert inner(outer(box, corner), corner) == box
    labels = rng.integers(0, 4, (9,) * ndim).astype(np.uint8)
    inside = (slice(2, 7),) * ndim
    for value, found in extents_of(labels, inside).items():
        assert inner(found, inside) == box_of(labels[inside] == value)
