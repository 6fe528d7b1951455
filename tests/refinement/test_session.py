from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from napari_medseg.errors import DataError, SettingsError
from napari_medseg.geodesic import GeodesicMap, geodesic_distance
from napari_medseg.image import Image
from napari_medseg.jobs import run
from napari_medseg.methods.deepigeos.simulated_user import robot_click
from napari_medseg.refinement import RefinementSession, RefinementSettings, RefinementState
from napari_medseg.refinement.boxes import box_of, changed_box
from napari_medseg.refinement.deepigeos_engine import ScribbleMaps
from napari_medseg.refinement.history import Change, History
from napari_medseg.refinement.replay import replay
from napari_medseg.refinement.state import amount
from napari_medseg.samples.mri import brain_volume, slice_2d

MM = ("millimeter",) * 3
FAST = RefinementSettings(crf=False)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float(((a > 0) & (b > 0)).sum()) / max(1, int((a > 0).sum() + (b > 0).sum()))


def halves(shape: tuple[int, ...] = (40, 60)) -> Image:
    """Dark left half, bright right half."""
    data = np.full(shape, 100, np.int16)
    data[..., shape[-1] // 2 :] = 900
    return Image(data, "ZYX"[-len(shape) :], (1.0,) * len(shape), MM[: len(shape)], name="halves")


def stroke(shape: tuple[int, ...], value: int, *where: slice | int) -> np.ndarray:
    out = np.zeros(shape, np.uint8)
    out[where] = value
    return out


def session_2d(**settings: Any) -> RefinementSession:
    return RefinementSession(halves(), settings=RefinementSettings(crf=False, **settings))


# ---- the geodesic engine
@pytest.mark.parametrize("shape", [(40, 60), (12, 20, 24), (1, 30, 40)])
def test_strokes_of_both_classes_fill_their_halves(shape: tuple[int, ...]) -> None:
    middle = tuple(n // 2 for n in shape[:-1])
    marks = stroke(shape, 1, *middle, slice(3, 6)) | stroke(shape, 2, *middle, slice(shape[-1] - 6, shape[-1] - 3))
    session = RefinementSession(halves(shape))
    state = run(session.refine(marks))
    np.testing.assert_array_equal(state.mask > 0, session.image.data > 500)
    assert state.n_strokes == 2
    assert set(state.timings) == {"geodesic"}


def test_foreground_alone_grows_to_the_border() -> None:
    session = session_2d()
    run(session.refine(stroke((40, 60), 2, 20, slice(40, 44))))
    np.testing.assert_array_equal(session.mask > 0, session.image.data > 500)


def test_background_alone_says_what_is_missing() -> None:
    state = run(session_2d().refine(stroke((40, 60), 1, 20, slice(3, 6))))
    assert not state.mask.any()
    assert state.message == "Only background strokes: paint a foreground stroke too."


def test_that_all_strokes_are_erased_is_said() -> None:
    session = session_2d()
    run(session.refine(stroke((40, 60), 2, 20, slice(40, 44))))
    state = run(session.refine(np.zeros((40, 60), np.uint8)))
    assert not state.mask.any()
    assert "All strokes are taken back" in state.message


def test_strokes_correct_an_initial_mask_locally() -> None:
    data = np.full((60, 60), 0.1, np.float32)
    data[10:50, 10:50] = 0.8
    truth = data > 0.5
    start = truth.copy()
    start[10:50, 10:22] = False  # a missing strip
    start[52:58, 2:58] = True  # and one too much
    data[:, 22] = np.where(truth[:, 22], 0.7, 0.1)
    session = RefinementSession(Image(data, "YX"), proposal=start.astype(np.uint8), settings=FAST)
    assert dice(session.mask, truth) < 0.85
    marks = stroke((60, 60), 2, slice(20, 40), 14)
    run(session.refine(marks))
    assert session.mask[12:48, 12:20].mean() > 0.95
    assert session.mask[54, 4:56].all()  # far from the stroke nothing changed
    run(session.refine(marks | stroke((60, 60), 1, 55, slice(6, 54))))
    assert session.mask[52:58, 2:58].mean() < 0.1
    assert dice(session.mask, truth) > 0.97


def test_a_stroke_inside_its_class_changes_nothing() -> None:
    image = halves()
    session = RefinementSession(image, proposal=(image.data > 500).astype(np.uint8), settings=FAST)
    state = run(session.refine(stroke((40, 60), 2, 20, slice(40, 44))))
    assert (state.n_changed, state.box) == (0, None)


def test_several_classes() -> None:
    data = np.repeat(np.array([0.1, 0.5, 0.9], np.float32), 20)[None].repeat(30, 0)
    marks = stroke((30, 60), 1, 15, slice(5, 9)) | stroke((30, 60), 2, 15, slice(28, 32))
    marks |= stroke((30, 60), 3, 15, slice(50, 54))
    session = RefinementSession(Image(data, "YX"), settings=RefinementSettings(classes=2))
    run(session.refine(marks))
    np.testing.assert_array_equal(session.mask[3], np.repeat([0, 1, 2], 20))
    with pytest.raises(DataError, match="values 1 to 3"):
        run(session.refine(stroke((30, 60), 4, 2, 2)))


@pytest.mark.parametrize("crf", [False, True])
def test_scribbled_voxels_keep_their_class(crf: bool) -> None:
    image, mask = slice_2d(2, (72, 80))
    rng = np.random.default_rng(0)
    marks = np.where(rng.random(image.data.shape) < 0.02, rng.integers(1, 3, image.data.shape), 0).astype(np.uint8)
    session = RefinementSession(image, proposal=mask, settings=RefinementSettings(crf=crf))
    run(session.refine(marks))
    painted = marks > 0
    np.testing.assert_array_equal(session.mask[painted], marks[painted] - 1)


def test_later_stroke_wins_on_one_voxel() -> None:
    session = session_2d()
    marks = stroke((40, 60), 2, 20, slice(40, 44))
    run(session.refine(marks))
    marks[20, 42] = 1
    run(session.refine(marks))
    assert session.mask[20, 42] == 0
    assert session.mask[20, 43] == 1


def test_no_stroke_other_shapes_and_shifted_layers() -> None:
    session = session_2d()
    with pytest.raises(DataError, match="Paint at least one stroke"):
        run(session.refine(np.zeros((40, 60), np.uint8)))
    with pytest.raises(DataError, match=r"shape \(40, 61\).*Give labels on the image's own grid"):
        run(session.refine(np.ones((40, 61), np.uint8)))
    fine = Image(np.zeros((80, 120), np.uint8), "YX", (0.5, 0.5), MM[:2], kind="labels")
    fine.data[40, 80:90] = 2  # at (20, 40..44.5) mm
    state = run(session.refine(fine))
    assert state.scribbles[20, 40:45].tolist() == [2] * 5
    away = np.array([[1.0, 0, 500], [0, 1, 0], [0, 0, 1]])
    placed = RefinementSession(halves().replace(affine=np.eye(3)))
    with pytest.raises(DataError, match="lie outside the image"):
        run(placed.refine(Image(stroke((40, 60), 2, 3, 3), "YX", (1, 1), MM[:2], away)))


def test_bad_images_and_masks() -> None:
    with pytest.raises(DataError, match="Take one of them"):
        RefinementSession(Image(np.zeros((2, 3, 4, 5)), "TZYX"))
    with pytest.raises(DataError, match="proposal has shape"):
        RefinementSession(halves(), proposal=np.zeros((3, 3), np.uint8))
    away = np.array([[1.0, 0, 500], [0, 1, 0], [0, 0, 1]])
    moved = halves().labels_like(np.ones((40, 60), np.uint8)).replace(affine=away)
    with pytest.raises(DataError, match=r"The proposal .*first voxel at \(500, 0\).*lie elsewhere"):
        RefinementSession(halves().replace(affine=np.eye(3)), proposal=moved)
    with pytest.raises(DataError, match="holds label 3"):
        RefinementSession(halves(), proposal=np.full((40, 60), 3), settings=RefinementSettings(classes=2))
    with pytest.raises(DataError, match="needs an R-Net model"):
        RefinementSession(halves(), settings=RefinementSettings(engine="deepigeos"))


def test_nan_voxels_and_flat_images() -> None:
    data = halves().data.astype(np.float32)
    data[10:14, 30:40] = np.nan
    session = RefinementSession(Image(data, "YX"))
    run(session.refine(stroke((40, 60), 1, 20, slice(3, 6)) | stroke((40, 60), 2, 20, slice(50, 54))))
    assert dice(session.mask, halves().data > 500) > 0.9
    flat = RefinementSession(Image(np.full((20, 30), np.nan, np.float32), "YX"))
    run(flat.refine(stroke((20, 30), 1, 10, 3) | stroke((20, 30), 2, 10, 26)))
    assert 0 < flat.mask.sum() < flat.mask.size


@pytest.mark.parametrize(
    "change",
    [lambda v: v * 1e300, lambda v: v * 1e-300, lambda v: np.where(np.indices(v.shape)[1] < 15, -32768, v)],
    ids=["large", "small", "filled"],
)
def test_neither_magnitude_nor_filled_voxels_hide_an_object(change: Any) -> None:
    data = change(halves().data.astype(np.float64))
    data = data.astype(np.int16) if data.min() == -32768 else data
    session = RefinementSession(Image(data, "YX"))
    run(session.refine(stroke((40, 60), 1, 20, slice(18, 24)) | stroke((40, 60), 2, 20, slice(50, 54))))
    assert dice(session.mask, halves().data > 500) > 0.9


def test_locked_labels_are_never_overwritten() -> None:
    image = halves()
    locked = np.zeros((40, 60), np.int32)
    locked[15:25, 45:55] = 7
    session = RefinementSession(image, locked=locked, settings=FAST)
    run(session.refine(stroke((40, 60), 2, 20, slice(40, 50))))
    assert not session.mask[locked > 0].any()
    assert session.mask[locked == 0].sum() == (image.data > 500).sum() - 100
    state = session.accept_object()
    assert sorted(np.unique(state.result)) == [0, 7, 8]
    assert (state.result[locked > 0] == 7).all()
    assert not state.mask.any()
    assert not state.scribbles.any()
    with pytest.raises(DataError, match="mask is empty"):
        session.accept_object()
    with pytest.raises(DataError, match="lie on locked objects"):
        run(session.refine(stroke((40, 60), 2, 20, slice(46, 50))))
    run(session.refine(stroke((40, 60), 2, 20, slice(5, 9))))
    with pytest.raises(DataError, match=r"taken or not positive.*9"):
        session.accept_object(8)
    assert session.undo().kind == "undo"
    assert session.undo().mask.any()
    assert 8 not in session.result


def test_an_accepted_object_can_be_opened_again_and_keeps_its_number() -> None:
    session = RefinementSession(halves(), settings=FAST)
    first = stroke((40, 60), 2, 20, slice(40, 50))
    run(session.refine(first))
    session.accept_object()
    run(session.refine(stroke((40, 60), 2, 20, slice(5, 9))))
    with pytest.raises(DataError, match="not accepted"):
        session.reopen_object(1)
    session.accept_object()
    one, two = session.result == 1, session.result == 2
    for label in (3, 0, -1):
        with pytest.raises(DataError, match=f"no accepted object {label}"):
            session.reopen_object(label)
    state = session.reopen_object(1)
    np.testing.assert_array_equal(state.mask > 0, one)
    np.testing.assert_array_equal(state.result, 2 * two)
    assert "Object 1 is open again" in state.message
    wrong = np.zeros((40, 60), np.uint8)
    wrong[np.nonzero(one)[0][0], np.nonzero(one)[1][0]] = 1
    run(session.refine(wrong))
    corrected = session.mask > 0
    assert 0 < corrected.sum() < one.sum()
    state = session.accept_object()
    np.testing.assert_array_equal(state.result, np.where(corrected, 1, 2 * two))
    again = replay(halves(), session.log)
    np.testing.assert_array_equal(again.data, session.mask)
    for _ in range(3):
        session.undo()
    np.testing.assert_array_equal(session.result, one + 2 * two)
    session.undo()
    np.testing.assert_array_equal(session.accept_object().result, one + 2 * two)  # not opened again: the next free one


def test_objects_of_several_classes_are_not_opened_again() -> None:
    session = RefinementSession(halves(), settings=RefinementSettings(crf=False, classes=2))
    run(session.refine(stroke((40, 60), 2, 20, slice(40, 50))))
    session.accept_object()
    with pytest.raises(DataError, match="several classes"):
        session.reopen_object(1)


def test_pieces_become_objects_and_objects_are_joined() -> None:
    session = RefinementSession(halves(), settings=FAST)
    mask = np.zeros((40, 60), np.uint8)
    mask[2:6, 2:6], mask[20:30, 20:30] = 1, 1
    session.edit("drawn", mask)
    state = session.accept_pieces()
    np.testing.assert_array_equal(state.result == 1, np.pad(np.ones((10, 10), bool), ((20, 10), (20, 30))))
    np.testing.assert_array_equal(state.result == 2, np.pad(np.ones((4, 4), bool), ((2, 34), (2, 54))))
    assert "2 pieces" in state.message
    with pytest.raises(DataError, match="no open object"):
        session.join_object(2)
    session.reopen_object(2)
    with pytest.raises(DataError, match="no accepted object 2"):
        session.join_object(2)
    session.join_object(1)
    np.testing.assert_array_equal(session.mask, mask)
    assert not session.result.any()
    np.testing.assert_array_equal(session.accept_object().result, 2 * mask)  # the first one's number
    np.testing.assert_array_equal(replay(halves(), session.log).data, session.mask)
    for _ in range(5):
        session.undo()
    assert not session.mask.any()
    with pytest.raises(DataError, match="mask is empty"):
        session.accept_pieces()


# ---- history
def test_strokes_that_were_there_before_go_back_to_their_round() -> None:
    session, masks, strokes = random_session()
    for index in (4, 6, 2, 5):
        state = run(session.follow(strokes[index]))
        assert (state.index, state.n_rounds) == (index, 6)
        np.testing.assert_array_equal(state.mask, masks[index])
    other = strokes[5].copy()
    other[0, :5] = 1
    assert run(session.follow(other)).n_rounds == 6  # a new round after the fifth
    assert session.history.index == 6


def random_session(**settings: Any) -> tuple[RefinementSession, list[np.ndarray], list[np.ndarray]]:
    image, _ = slice_2d(1, (64, 72))
    session = RefinementSession(image, settings=RefinementSettings(crf=False, **settings))
    rng = np.random.default_rng(4)
    marks = np.zeros((64, 72), np.uint8)
    masks, strokes = [session.mask.copy()], [marks.copy()]
    for n in range(6):
        y, x = rng.integers(8, 56, 2)
        marks[y, x : x + 6] = 1 + n % 2
        run(session.refine(marks))
        masks.append(session.mask.copy())
        strokes.append(marks.copy())
    return session, masks, strokes


def test_undo_and_redo_round_trip() -> None:
    session, masks, strokes = random_session()
    shown = masks[-1].copy()
    for index in (5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 6):
        state = session.undo() if index < session.history.index else session.redo()
        assert state.index == index
        np.testing.assert_array_equal(state.mask, masks[index])
        np.testing.assert_array_equal(state.scribbles, strokes[index])
        if state.box:  # writing the box alone brings a viewer's copy to the state
            shown[state.box] = state.mask[state.box]
        np.testing.assert_array_equal(shown, masks[index])
    np.testing.assert_array_equal(session.go_to(2).mask, masks[2])
    assert not session.go_to(0).mask.any()
    assert session.undo().message == "There is nothing to undo."
    with pytest.raises(DataError, match="rounds 0 to 6 are"):
        session.go_to(9)


def test_drawing_after_undo_drops_later_rounds() -> None:
    session, masks, strokes = random_session()
    session.go_to(3)
    marks = strokes[3].copy()
    marks[60, 4:9] = 2
    state = run(session.refine(marks))
    assert (state.index, state.n_rounds) == (4, 4)
    assert state.message == "3 later rounds dropped."
    assert not session.can_redo
    np.testing.assert_array_equal(session.undo().mask, masks[3])


def test_taken_back_stroke_leaves_no_trace() -> None:
    session, masks, strokes = random_session()
    state = run(session.refine(strokes[2]))  # Ctrl+Z over four strokes, then refine
    np.testing.assert_array_equal(state.mask, masks[2])
    assert not run(session.refine(np.zeros_like(strokes[0]))).mask.any()


def test_an_erased_stroke_that_is_back_leaves_no_trace() -> None:
    session, masks, strokes = random_session()
    last = len(strokes) - 1
    without = np.where(strokes[1] > 0, np.uint8(0), strokes[last])
    run(session.refine(without))
    np.testing.assert_array_equal(run(session.refine(strokes[last])).mask, masks[last])
    np.testing.assert_array_equal(run(session.refine(strokes[last - 1])).mask, masks[last - 1])
    session.accept_object()
    assert not (run(session.refine(strokes[last])).mask[masks[last - 1] > 0]).any()


def test_history_memory_is_bounded() -> None:
    rng = np.random.default_rng(0)
    history = History({"mask": np.zeros((64, 64), np.uint8)}, max_bytes=3000)
    made = []
    for _ in range(20):
        made.append(rng.integers(0, 2, (64, 64)).astype(np.uint8))
        history.push({"mask": made[-1]}, {})
        assert history.nbytes <= 3000
    assert history.first == 20 - len(history.rounds) > 0
    while history.back():
        np.testing.assert_array_equal(history.arrays["mask"], made[history.index - 1])
    assert history.index == history.first


def test_change_is_its_own_inverse() -> None:
    rng = np.random.default_rng(1)
    old = rng.integers(0, 5, (6, 7, 8)).astype(np.int32)
    new = old.copy()
    new[2:4, 3, 1:6] += 70_000
    change = Change.between(old, new)
    assert change is not None
    assert change.box == (slice(2, 4), slice(3, 4), slice(1, 6))
    assert change.count == 10
    array = old.copy()
    change.apply(array)
    np.testing.assert_array_equal(array, new)
    change.apply(array)
    np.testing.assert_array_equal(array, old)
    assert Change.between(old, old) is None
    assert changed_box(old, old) is None
    assert box_of(np.ones((2, 3), bool)) == (slice(0, 2), slice(0, 3))


# ---- failures leave the session as it was
def test_closed_or_failed_refinement_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_2d()
    marks = stroke((40, 60), 2, 20, slice(40, 44))
    job = session.refine(marks)
    next(job)
    job.close()
    assert not session.mask.any()
    assert session.history.last == 0
    monkeypatch.setattr("napari_medseg.refinement.seek.Search", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(session.refine(marks))
    monkeypatch.undo()
    assert session.history.last == 0
    run(session.refine(marks))
    np.testing.assert_array_equal(session.mask > 0, session.image.data > 500)


# ---- keeping
def test_save_load_and_go_on(tmp_path: Path) -> None:
    session, masks, strokes = random_session()
    session.go_to(4)
    folder = session.save(tmp_path / "session")
    session.save(folder)
    again = RefinementSession.load(folder, session.image)
    assert again.settings == session.settings
    assert [dict(r) for r in again.rounds] == json.loads(json.dumps([dict(r) for r in session.rounds]))
    np.testing.assert_array_equal(again.mask, masks[4])
    for index in (6, 0, 3):
        state = again.go_to(index)
        np.testing.assert_array_equal(state.mask, masks[index])
        np.testing.assert_array_equal(state.scribbles, strokes[index])
    run(again.refine(strokes[5]))
    assert sorted(p.name.split("_")[0] for p in folder.iterdir()) == sorted(
        ["log.jsonl", "session.json", "state", *["round"] * 6]
    )


def test_crash_while_saving_keeps_the_older_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, masks, _ = random_session()
    folder = session.save(tmp_path)
    session.go_to(1)
    monkeypatch.setattr("napari_medseg.refinement.log.json.dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        session.save(folder)
    monkeypatch.undo()
    np.testing.assert_array_equal(RefinementSession.load(folder, session.image).mask, masks[6])


def test_session_of_another_image_or_none(tmp_path: Path) -> None:
    session, _, _ = random_session()
    session.save(tmp_path / "s")
    with pytest.raises(DataError, match="Open the image it was made on"):
        RefinementSession.load(tmp_path / "s", session.image.replace(data=session.image.data + 1))
    with pytest.raises(DataError, match="Open the image first"):
        RefinementSession.load(tmp_path / "s")
    with pytest.raises(DataError, match="no complete refinement session"):
        RefinementSession.load(tmp_path / "nothing", session.image)


def test_replay_gives_the_same_mask(tmp_path: Path) -> None:
    image, truth = slice_2d(1, (64, 72))
    start = np.roll(truth.data, 4, 1)
    session = RefinementSession(image, proposal=start, locked=stroke((64, 72), 5, slice(0, 8), slice(0, 8)))
    marks = np.zeros((64, 72), np.uint8)
    for _ in range(3):
        new = robot_click(truth.data, session.mask)
        marks = np.where(new > 0, new, marks)
        run(session.refine(marks))
    session.undo()
    session.redo()
    session.go_to(2)
    new = robot_click(truth.data, session.mask, radius=3)
    run(session.refine(np.where(new > 0, new, session.scribbles)))
    folder = session.save(tmp_path)
    np.testing.assert_array_equal(replay(image, folder).data, session.mask)
    np.testing.assert_array_equal(replay(image, session.log).data, session.mask)
    with pytest.raises(DataError, match="Open the image it was made on"):
        replay(image.replace(data=image.data + 1), folder / "log.jsonl")
    with pytest.raises(DataError, match="does not begin with a start event"):
        replay(image, session.log[1:])
    (folder / "log.jsonl").write_text("{broken")
    with pytest.raises(DataError, match="no interaction log"):
        replay(image, folder)


def test_replay_after_loading_and_accepting(tmp_path: Path) -> None:
    session = session_2d()
    run(session.refine(stroke((40, 60), 2, 20, slice(40, 44))))
    session.accept_object()
    again = RefinementSession.load(session.save(tmp_path), session.image)
    run(again.refine(stroke((40, 60), 2, 20, slice(10, 14))))
    assert again.mask.any()
    np.testing.assert_array_equal(replay(again.image, again.log).data, again.mask)


# ---- what the user is told
def test_state_reports_boxes_volume_and_text() -> None:
    shape = (10, 20, 30)
    image = halves(shape).replace(scale=(2.0, 1.0, 0.5))
    session = RefinementSession(image, settings=FAST)
    state = run(session.refine(stroke(shape, 2, 5, 10, slice(20, 24))))
    assert state.box == (slice(0, 10), slice(0, 20), slice(15, 30))
    assert state.stroke_box == (slice(5, 6), slice(10, 11), slice(20, 24))
    assert state.n_changed == 3000
    assert (state.volume_change, state.unit) == (pytest.approx(3.0), "mL")
    assert state.describe().startswith("round 1 · 1 stroke · ")
    assert state.describe().endswith("ms geodesic · 3,000 voxels changed (+3 mL)")
    back = session.undo()
    assert back.volume_change == pytest.approx(-3.0)
    assert back.describe() == "round 0 of 1 · 3,000 voxels changed (-3 mL)"
    assert "1 pixel changed" in replace(back, n_changed=1, mask=back.mask[0]).describe()
    assert amount(7460.4, "mm^2", "+") == "+7,460 mm^2"
    assert amount(0.07951, "mL") == "0.0795 mL"
    assert amount(11665.0, "px^2", "+") == "+11,665 px^2"
    with pytest.raises(ValueError, match="read-only"):
        state.mask[0] = 1


def test_places_to_look_at() -> None:
    image = halves()
    truth = (image.data > 500).astype(np.uint8)
    session = RefinementSession(image, settings=FAST)
    place = session.biggest_disagreement(truth)
    assert place is not None
    assert (place.voxels, place.why) == (1200, "missing")
    assert truth[place.position] == 1
    run(session.refine(stroke((40, 60), 2, 20, slice(40, 44))))
    assert session.biggest_disagreement(truth) is None
    wrong = truth.copy()
    wrong[5:10, 40:45] = 0
    extra = session.biggest_disagreement(wrong)
    assert extra is not None
    assert (extra.position, extra.voxels, extra.why) == ((7, 42), 25, "too much")
    assert RefinementSession(image).uncertain_place() is None


def test_uncertain_place_is_where_the_border_has_no_edge() -> None:
    data = np.zeros((40, 60), np.float32)
    data[:, 30:] = 1
    data[25:35] = 0.5  # a band without any edge
    mask = np.zeros((40, 60), np.uint8)
    mask[:, 30:] = 1
    session = RefinementSession(Image(data, "YX"), proposal=mask, settings=FAST)
    place = session.uncertain_place()
    assert place is not None
    assert 25 <= place.position[0] < 35
    assert abs(place.position[1] - 30) <= 2
    run(session.refine(stroke((40, 60), 2, slice(26, 35), slice(30, 33))))
    after = session.uncertain_place()
    assert after is None or session.scribbles[after.position] == 0


def test_visited_places_are_skipped() -> None:
    data = np.zeros((40, 90), np.float32)
    data[:, 30:60] = 1
    data[5:11, 27:33] = data[25:31, 57:63] = 0.5  # two places without an edge
    mask = np.zeros((40, 90), np.uint8)
    mask[:, 30:60] = 1
    session = RefinementSession(Image(data, "YX"), proposal=mask, settings=FAST)
    first = session.uncertain_place()
    assert first is not None
    assert session.uncertain_place() == first
    second = session.uncertain_place([first.position])
    assert second is not None
    near = sorted((p.position[1] > 45, p.position[0] > 20) for p in (first, second))
    assert near == [(False, False), (True, True)]
    assert session.uncertain_place([first.position, second.position]) not in (first, second)


def test_a_failed_map_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(0).random((1, 20, 30), np.float32)
    maps = ScribbleMaps(features, (1.0, 1.0), 0.9, "linear", 2)
    first = stroke((20, 30), 2, 4, 5)
    maps.update(first)
    monkeypatch.setattr(GeodesicMap, "add", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        maps.update(first | stroke((20, 30), 2, 9, 20))
    monkeypatch.undo()
    fresh = ScribbleMaps(features, (1.0, 1.0), 0.9, "linear", 2)
    for kept, new in zip(maps.update(first), fresh.update(first), strict=True):
        np.testing.assert_allclose(kept, new, rtol=1e-5)


# ---- it helps
@pytest.mark.parametrize("seed", [0, 1, 5])
def test_dice_rises_with_robot_scribbles(seed: int) -> None:
    image, truth = brain_volume(seed)
    start = np.roll(truth.data, 5, 2)
    session = RefinementSession(image, proposal=start)
    scores = [dice(session.mask, truth.data)]
    marks = np.zeros(truth.data.shape, np.uint8)
    for _ in range(4):
        new = robot_click(truth.data, session.mask, radius=2)
        if not new.any():  # no error of 50 voxels is left
            break
        marks = np.where(new > 0, new, marks)
        run(session.refine(marks))
        scores.append(dice(session.mask, truth.data))
    assert all(after > before for before, after in pairwise(scores))
    assert scores[-1] > scores[0] + 0.25


def test_one_stroke_brings_back_the_missing_half_of_a_lesion() -> None:
    image, truth = slice_2d(1)
    wanted = truth.data > 0
    middle = np.argwhere(wanted).mean(0)[1]
    start = np.where(np.arange(wanted.shape[1]) < middle, truth.data, 0).astype(np.uint8)
    session = RefinementSession(image, proposal=start)
    assert dice(session.mask, wanted) < 0.75
    missing = np.argwhere(wanted & (start == 0))
    y, x = np.round(missing.mean(0)).astype(int)
    run(session.refine(stroke(wanted.shape, 2, slice(y - 6, y + 7), x)))
    assert dice(session.mask, wanted) > 0.97


def test_one_stroke_takes_a_thick_rim_off() -> None:
    image, truth = slice_2d(1)
    wanted = truth.data > 0
    start = ndimage.binary_dilation(wanted, iterations=4).astype(np.uint8)
    session = RefinementSession(image, proposal=start)
    assert dice(session.mask, wanted) < 0.85
    column = int(np.argwhere(wanted).mean(0)[1])
    top = int(np.flatnonzero(start[:, column])[0])
    run(session.refine(stroke(wanted.shape, 1, slice(top, top + 3), slice(column - 6, column + 7))))
    assert dice(session.mask, wanted) > 0.87


def test_state_is_exported() -> None:
    assert isinstance(session_2d().state, RefinementState)


# ---- the region
@pytest.mark.parametrize("unit", ["pixel", "micrometer", "millimeter"])
def test_one_short_stroke_fills_a_large_disc_whatever_the_unit(unit: str) -> None:
    y, x = np.mgrid[:600, :600]
    disc = (y - 300) ** 2 + (x - 300) ** 2 < 200**2
    photo = (disc * 150 + 50 + np.random.default_rng(0).normal(0, 5, disc.shape)).astype(np.float32)
    scale = {"pixel": 1.0, "micrometer": 250.0, "millimeter": 0.25}[unit]
    session = RefinementSession(Image(photo, "YX", (scale,) * 2, (unit,) * 2))
    run(session.refine(stroke(disc.shape, 2, slice(300, 304), slice(270, 330))))
    assert dice(session.mask, disc) > 0.99


@pytest.mark.parametrize(
    ("noise", "shade", "length", "brush"),
    [(5, 0, 30, 5), (5, 0, 20, 5), (10, 0, 60, 20), (0, 30, 60, 20), (0, 30, 100, 20), (5, 0, 11, 11)],
)
def test_a_stroke_far_shorter_than_its_object_finds_a_clear_border(
    noise: int, shade: int, length: int, brush: int
) -> None:
    y, x = np.mgrid[:600, :600]
    disc = (y - 300) ** 2 + (x - 300) ** 2 <= 200**2
    photo = 20 + 60 * disc + np.random.default_rng(0).normal(0, noise, disc.shape) + shade * (x / 600 - 0.5)
    session = RefinementSession(Image(photo.astype(np.float32), "YX"))
    across = slice(300 - length // 2, 300 + length - length // 2)
    run(session.refine(stroke(disc.shape, 2, slice(300 - brush // 2, 300 + brush - brush // 2), across)))
    assert dice(session.mask, disc) > 0.99


@pytest.mark.parametrize("brush", [0, 1, 2, 3])
def test_a_dot_in_a_thick_slice_is_a_dot(brush: int) -> None:
    """Ten times as thick as wide: the thickness of the slice is no length of the stroke."""
    steps, shape = (5.0, 0.5, 0.5), (10, 100, 100)
    centre = [n // 2 for n in shape]
    index = np.indices(shape).T - centre
    ball = (np.linalg.norm(index * steps, axis=-1) <= 12).T
    values = 100 + 90 * ball + np.random.default_rng(1).normal(0, 8, shape)
    session = RefinementSession(Image(values.astype(np.float32), "ZYX", steps, MM))
    dot = (index[..., 0] == 0).T & (np.linalg.norm(index[..., 1:], axis=-1) <= brush).T
    assert dice(run(session.refine(2 * dot.astype(np.uint8))).mask, ball) > 0.97


@pytest.mark.parametrize("network", [True, False])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_dots_in_two_discs_that_touch_part_them(seed: int, network: bool) -> None:
    """No disc is found with the other one around a hole for its dot."""
    y, x = np.mgrid[:160, :200]
    discs = [(y - 80) ** 2 + (x - at) ** 2 <= 25**2 for at in (80, 130)]
    values = 100 + 90 * (discs[0] | discs[1]) + np.random.default_rng(seed).normal(0, 6, y.shape)
    settings = RefinementSettings(classes=2, network=network)
    session = RefinementSession(Image(values.astype(np.float32), "YX"), settings=settings)
    marks = np.zeros(y.shape, np.uint8)
    marks[79:82, 79:82], marks[79:82, 129:132] = 2, 3
    mask = run(session.refine(marks)).mask
    assert all(dice(mask == k, disc) > 0.95 for k, disc in enumerate(discs, 1))


@pytest.mark.parametrize("network", [True, False])
@pytest.mark.parametrize(("ndim", "radius"), [(2, 6), (2, 30), (2, 130), (3, 5), (3, 14)])
def test_a_dot_finds_its_object_whatever_its_size(ndim: int, radius: int, network: bool) -> None:
    """A dot tells nothing of size; another body of the same shade is not taken with it."""
    shape = (400, 420) if ndim == 2 else (48, 56, 60)
    centre, aside = np.array(shape) // 2, np.eye(ndim, dtype=int)[1]

    def body(at: np.ndarray) -> np.ndarray:
        away = np.sqrt(((np.indices(shape).T - at) ** 2).sum(-1)).T
        return np.asarray(away < radius)

    wanted = body(centre)
    other = body(centre - int(2.6 * radius) * aside) if radius < 40 else wanted
    values = (wanted | other) + 0.3 * np.random.default_rng(1).normal(size=shape)
    for brush in (1, 3):
        session = RefinementSession(
            Image(values.astype(np.float32), axes="ZYX"[-ndim:]), settings=RefinementSettings(network=network)
        )
        run(session.propose())
        scribbles = np.zeros(shape, np.uint8)
        plane = tuple(slice(c - brush, c + brush + 1) for c in centre[-2:])
        scribbles[(*(int(c) for c in centre[:-2]), *plane)] = 2
        assert dice(run(session.refine(scribbles)).mask > 0, wanted) > 0.97


def test_an_object_over_the_edge_of_the_image_is_found_up_to_the_edge() -> None:
    y, x = np.mgrid[:160, :200]
    wanted = (y - 20) ** 2 + (x - 190) ** 2 < 60**2
    photo = (wanted * 100 + np.random.default_rng(1).normal(0, 8, wanted.shape)).astype(np.float32)
    session = RefinementSession(Image(photo, "YX"))
    first = stroke(wanted.shape, 2, slice(20, 23), slice(150, 185))
    run(session.refine(first))
    assert dice(session.mask, wanted) > 0.65
    run(session.refine(first | stroke(wanted.shape, 2, slice(0, 3), slice(150, 200))))
    assert dice(session.mask, wanted) > 0.95
    assert session.mask[:60, 199].all()


def test_an_object_far_from_others_of_its_class_leaves_them_as_they_are() -> None:
    y, x = np.mgrid[:120, :400]
    discs = [(y - 60) ** 2 + (x - column) ** 2 < 20**2 for column in (50, 350)]
    photo = (sum(discs) * 100 + np.random.default_rng(1).normal(0, 8, y.shape)).astype(np.float32)
    session = RefinementSession(Image(photo, "YX"))
    first = stroke(y.shape, 2, slice(59, 62), slice(40, 60))
    run(session.refine(first))
    alone = session.mask.copy()
    assert dice(alone, discs[0]) > 0.97
    run(session.refine(first | stroke(y.shape, 2, slice(59, 62), slice(340, 360))))
    np.testing.assert_array_equal(session.mask[:, :200], alone[:, :200])
    assert dice(session.mask, discs[0] | discs[1]) > 0.97


def test_a_background_stroke_takes_back_what_leaked_through_a_gap() -> None:
    rng = np.random.default_rng(2)
    photo = rng.normal(100, 4, (120, 200)).astype(np.float32)
    photo[:, 98:102] = 20
    photo[50:70, 98:102] = 100  # the gap
    photo[:4] = photo[-4:] = photo[:, :4] = photo[:, -4:] = 20
    session = RefinementSession(Image(photo, "YX"))
    first = stroke(photo.shape, 2, slice(59, 62), slice(30, 70))
    run(session.refine(first))
    run(session.refine(first | stroke(photo.shape, 1, slice(40, 80), slice(118, 121))))
    assert session.mask[8:112, 8:95].mean() > 0.95
    assert session.mask[8:112, 122:].mean() < 0.05


def test_a_stroke_across_one_of_two_discs_in_noise_tells_its_size() -> None:
    y, x = np.mgrid[:140, :220]
    discs = [(y - 70) ** 2 + (x - column) ** 2 < 22**2 for column in (90, 136)]  # a gap of 2
    photo = ((discs[0] | discs[1]) * 100 + np.random.default_rng(1).normal(0, 40, y.shape)).astype(np.float32)
    session = RefinementSession(Image(photo, "YX"))
    first = stroke(y.shape, 2, slice(69, 72), slice(76, 105))  # two thirds of 44 pixels
    run(session.refine(first))
    assert dice(session.mask, discs[0]) > 0.95
    run(session.refine(first | stroke(y.shape, 2, slice(69, 72), slice(122, 151))))
    assert dice(session.mask, discs[0] | discs[1]) > 0.95


def test_a_thin_stroke_in_a_clear_body_of_few_slices_does_not_stay_alone() -> None:
    _, y, x = np.mgrid[:8, :64, :64]
    body = (y - 32) ** 2 + (x - 32) ** 2 < 15**2
    volume = (body + np.random.default_rng(1).normal(0, 0.05, body.shape)).astype(np.float32)
    session = RefinementSession(Image(volume, "ZYX"), settings=RefinementSettings(network=False))
    marks = np.zeros(body.shape, np.uint8)
    marks[4, 32, 22:43] = 2
    run(session.refine(marks))
    assert np.count_nonzero(session.mask) > 10 * np.count_nonzero(marks)


def test_strokes_on_background_take_back_an_object_that_leaked_everywhere() -> None:
    y, x = np.mgrid[:224, :224]
    head, lesion = (y - 112) ** 2 + (x - 112) ** 2 < 95**2, (y - 100) ** 2 + (x - 95) ** 2 < 28**2
    photo = (head * 110.0 + lesion * 60 + np.random.default_rng(1).normal(0, 6, y.shape)).astype(np.float32)
    session = RefinementSession(Image(photo, "YX"), settings=RefinementSettings(network=False))
    marks = stroke(y.shape, 2, slice(95, 98), slice(76, 115))
    run(session.refine(marks))
    leaked = dice(session.mask, lesion)
    assert leaked < 0.5  # the head has the strongest border of all: one stroke does not tell which of the two is meant
    for row in (150, 170):
        marks = marks | stroke(y.shape, 1, slice(row, row + 3), slice(90, 130))
        run(session.refine(marks))
    assert dice(session.mask, lesion) > 0.9


def test_pieces_without_a_stroke_are_dropped_unless_islands_are_kept() -> None:
    y, x = np.mgrid[:100, :160]
    discs = [(y - 50) ** 2 + (x - column) ** 2 < 18**2 for column in (45, 90)]
    photo = (sum(discs) * 100 + np.random.default_rng(1).normal(0, 3, y.shape)).astype(np.float32)
    pieces = {}
    for islands in (False, True):
        session = RefinementSession(Image(photo, "YX"), settings=RefinementSettings(islands=islands))
        run(session.refine(stroke(y.shape, 2, slice(48, 53), slice(30, 60))))
        assert dice(session.mask[:, :66], discs[0][:, :66]) > 0.95
        pieces[islands] = ndimage.label(session.mask)[1]
    assert pieces[False] == 1


def test_an_offset_of_two_to_the_thirty_one_changes_nothing() -> None:
    image, _ = slice_2d(1, (64, 72))
    masks = []
    for offset in (0, 2**31):
        data = (np.asarray(image.data).astype(np.float64) * 1000).astype(np.int64) + offset
        session = RefinementSession(Image(data, "YX"))
        run(session.refine(stroke((64, 72), 2, slice(30, 33), slice(30, 42)) | stroke((64, 72), 1, 5, slice(4, 60))))
        masks.append(session.mask.copy())
    np.testing.assert_array_equal(*masks)


@pytest.mark.parametrize("shape", [(30, 40), (1, 30, 40), (6, 20, 24)])
def test_strokes_over_everything_and_single_voxels_are_obeyed(shape: tuple[int, ...]) -> None:
    session = RefinementSession(halves(shape))
    run(session.refine(np.full(shape, 2, np.uint8)))
    assert session.mask.all()
    run(session.refine(np.full(shape, 1, np.uint8)))
    assert not session.mask.any()
    dot = stroke(shape, 2, *(n // 2 for n in shape))
    assert run(session.refine(dot)).mask[dot > 0].all()
    constant = RefinementSession(Image(np.full(shape, 7, np.int16), "ZYX"[-len(shape) :]))
    marks = dot.copy()
    marks[..., 0] = 1
    run(constant.refine(marks))
    assert constant.mask[dot > 0].all()
    assert not constant.mask[..., 0].any()


def test_contradictory_strokes_are_obeyed_voxel_by_voxel() -> None:
    image, _ = slice_2d(1, (64, 72))
    marks = np.random.default_rng(3).integers(0, 3, (64, 72)).astype(np.uint8)
    marks[np.random.default_rng(4).random((64, 72)) > 0.1] = 0
    session = RefinementSession(image)
    for painted in (marks, np.where(marks > 0, 3 - marks, 0).astype(np.uint8)):
        mask = run(session.refine(painted)).mask
        np.testing.assert_array_equal(mask[painted > 0], painted[painted > 0] - 1)


@pytest.mark.parametrize("value", [7.0, np.nan])
def test_an_object_without_a_border_is_said_to_fill_the_image(value: float) -> None:
    session = RefinementSession(Image(np.full((40, 60), value, np.float32), axes="YX"))
    marks = stroke((40, 60), 2, 20, slice(20, 40))
    state = run(session.refine(marks))
    assert (state.mask > 0).all()
    assert "No border" in state.message
    state = run(session.refine(marks | stroke((40, 60), 1, 5, slice(20, 40))))
    assert 0 < np.count_nonzero(state.mask) < state.mask.size
    assert state.message == ""


@pytest.mark.parametrize("seed", range(3))
def test_an_object_that_strokes_have_told_enough_of_changes_where_a_new_one_touches(seed: int) -> None:
    rng, (y, x) = np.random.default_rng(seed), np.indices((120, 200))
    truth = ((y - 60) / 34) ** 2 + ((x - 100) / 80) ** 2 < 1
    image = Image((truth + rng.normal(0, 0.9, truth.shape)).astype(np.float32), axes="YX")
    session, marks = RefinementSession(image), np.zeros(truth.shape, np.uint8)
    marks[58:61, 30:170] = 2
    before = run(session.refine(marks)).mask > 0
    for place in ((slice(22, 24), slice(90, 110)), (slice(95, 97), slice(60, 80)), (slice(40, 80), slice(184, 187))):
        marks = marks.copy()
        marks[place] = 2 if truth[place].all() else 1
        new = np.zeros(truth.shape, bool)
        new[place] = True
        after = run(session.refine(marks)).mask > 0
        pieces, count = ndimage.label(after ^ before, np.ones((3, 3)))
        assert set(np.unique(pieces[new])) - {0} == set(range(1, count + 1))
        before = after
    assert dice(before, truth) > 0.9


def test_strokes_far_from_the_object_leave_it_as_it_is() -> None:
    y, x = np.mgrid[:100, :500]
    photo = (((y - 50) ** 2 + (x - 50) ** 2 < 20**2) * 100 + np.random.default_rng(1).normal(0, 8, y.shape)).astype(
        float
    )
    session = RefinementSession(Image(photo, "YX"))
    first = stroke(y.shape, 2, slice(49, 52), slice(40, 60))
    before = run(session.refine(first)).mask.copy()
    state = run(session.refine(first | stroke(y.shape, 1, slice(10, 90), slice(470, 473))))
    assert not state.n_changed
    np.testing.assert_array_equal(state.mask, before)


def test_a_new_object_goes_neither_into_nor_through_an_accepted_one() -> None:
    locked = np.zeros((60, 120), np.int32)
    locked[:, 55:60] = 3
    flat = Image(np.random.default_rng(0).normal(100, 2, locked.shape).astype(np.float32), "YX")
    session = RefinementSession(flat, locked=locked)
    marks = stroke(locked.shape, 2, slice(28, 31), slice(75, 105))
    mask = run(session.refine(marks)).mask
    assert mask[24:36, 75:110].all()
    assert not mask[:, :60].any()
    mask = run(session.refine(marks | stroke(locked.shape, 2, slice(40, 43), slice(62, 80)))).mask
    assert mask[30:45, 62:110].mean() > 0.9
    assert not mask[:, :60].any()


def test_undo_goes_back_over_accepted_and_opened_objects() -> None:
    session = RefinementSession(halves(), settings=FAST)
    names = ("mask", "scribbles", "result", "given")
    steps = [
        lambda: run(session.refine(stroke((40, 60), 2, 20, slice(40, 50)))),
        lambda: session.accept_object(),
        lambda: run(session.refine(stroke((40, 60), 2, 20, slice(5, 15)))),
        lambda: session.accept_object(),
        lambda: session.reopen_object(1),
        lambda: run(session.refine(stroke((40, 60), 1, 5, slice(32, 58)))),
        lambda: session.accept_object(),
    ]
    kept = [{name: session.history.arrays[name].copy() for name in names}]
    for step in steps:
        step()
        kept.append({name: session.history.arrays[name].copy() for name in names})
    assert sorted(np.unique(session.result)) == [0, 1, 2]
    for index in [*range(6, -1, -1), *range(1, 8)]:
        (session.undo if index < session.state.index else session.redo)()
        for name in names:
            np.testing.assert_array_equal(session.history.arrays[name], kept[index][name])


def test_settings_of_older_sessions_still_open() -> None:
    old = {"engine": "geodesic", "weight": 0.95, "tau": 0.2, "reach": 0.0, "crf": True, "roi_margin": 40.0}
    settings = RefinementSettings.parse(old)
    assert (settings.weight, settings.roi_margin) == (0.95, 40)


def test_a_stroke_of_one_class_leaves_most_of_another_that_looks_alike() -> None:
    mask = np.zeros((10, 12, 14), np.uint8)
    mask[1, 2:8, 2:8], mask[2:4, 2:8, 2:8] = 1, 2
    image = Image(((mask > 0) * 100).astype(np.float32), "ZYX")
    session = RefinementSession(image, proposal=mask, settings=RefinementSettings(classes=2))
    run(session.refine(stroke(mask.shape, 2, 3, 5, 5)))
    assert session.mask[3, 5, 5] == 1
    assert (session.mask == 2).sum() > 60
    np.testing.assert_array_equal(session.mask > 0, mask > 0)


def test_another_engine_of_distances_is_asked_where_it_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def other(image: np.ndarray, seeds: np.ndarray, *, engine: str, **options: Any) -> np.ndarray:
        asked.append((engine, options["metric"]))
        return geodesic_distance(image, seeds, **options)

    monkeypatch.setattr("napari_medseg.graphcut.energy.geodesic_distance", other)
    image, truth = slice_2d(1, (64, 72))
    inside = np.argwhere(truth.data)
    marks = np.zeros(truth.data.shape, np.uint8)
    marks[tuple(inside[len(inside) // 2])] = 2
    marks[1, :] = 1
    answers = []
    for engine in ("geodistk", "numba"):
        settings = RefinementSettings.parse({"distance_engine": engine, "metric": "harmonic"})
        session = RefinementSession(image, settings=settings)
        run(session.refine(marks))
        answers.append(session.mask_image().data)
    assert set(asked) == {("geodistk", "harmonic")}
    np.testing.assert_array_equal(*answers)


def test_an_engine_of_distances_says_which_metrics_it_has() -> None:
    with pytest.raises(SettingsError, match="geodistk offers harmonic and product, not linear"):
        RefinementSettings.parse({"distance_engine": "geodistk"})
