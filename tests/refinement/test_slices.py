from __future__ import annotations

import numpy as np
import pytest

from napari_medseg.errors import DataError
from napari_medseg.image import FRAMES, Image
from napari_medseg.jobs import run
from napari_medseg.refinement import RefinementSession
from napari_medseg.refinement.replay import replay
from napari_medseg.refinement.slices import fill_between, propagate


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def cone(shape: tuple[int, int, int] = (12, 60, 60)) -> np.ndarray:
    """A disc whose radius and place change evenly along z."""
    z, y, x = np.indices(shape)
    return (y - 25 - z) ** 2 + (x - 30) ** 2 <= (8 + z) ** 2


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gaps_are_filled_by_even_steps_and_other_labels_are_spared(axis: int) -> None:
    wanted = cone()
    labels = np.zeros(wanted.shape, np.int32)
    for n in (1, 5, 10):
        labels[n][wanted[n]] = 3
    labels[3, 20:40, 28:32] = 7
    moved = np.moveaxis(labels, 0, axis)
    filled = np.moveaxis(fill_between(moved, 3, axis), axis, 0)
    np.testing.assert_array_equal(filled == 7, labels == 7)
    np.testing.assert_array_equal(filled[[1, 5, 10]], labels[[1, 5, 10]])
    assert not filled[[0, 11]].any()
    open_ = labels != 7
    for n in range(2, 10):
        assert dice((filled[n] == 3) & open_[n], wanted[n] & open_[n]) > 0.95
    np.testing.assert_array_equal(np.moveaxis(labels, 0, axis), moved)


def test_what_cannot_be_filled_is_said() -> None:
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[2, 2:4, 2:4] = 1
    with pytest.raises(DataError, match="on 1 slice; two are needed"):
        fill_between(labels, 1)
    with pytest.raises(DataError, match="on 0 slices"):
        fill_between(labels, 9)
    with pytest.raises(DataError, match="needs a volume"):
        fill_between(labels[0], 1)


def scan(wanted: np.ndarray, noise: float = 8) -> Image:
    data = wanted * 100 + np.random.default_rng(0).normal(50, noise, wanted.shape)
    return Image(data.astype(np.float32), "ZYX", name="stack")


@pytest.mark.parametrize(("start", "stop"), [(2, 11), (9, 0)])
def test_an_object_is_carried_on_both_ways(start: int, stop: int) -> None:
    wanted = cone()
    found = list(propagate(scan(wanted), wanted[start], start, stop))
    step = 1 if stop > start else -1
    assert [c.index for c in found] == list(range(start + step, stop + step, step))
    for carried in found:
        assert dice(carried.mask, wanted[carried.index]) > 0.95
        assert 0.5 < carried.confidence <= 1


def test_carrying_on_ends_where_the_object_ends() -> None:
    wanted = cone()
    wanted[6:] = False
    found = list(propagate(scan(wanted), wanted[2], 2, 11))
    assert [c.index for c in found] == [3, 4, 5]


def test_carrying_on_ends_where_the_object_turned_into_something_else() -> None:
    disc = np.broadcast_to(cone()[2], (12, 60, 60))
    image = scan(disc)
    data = image.data - disc * 8 * np.arange(12)[:, None, None]  # a little darker on each slice
    steps = [c.index for c in propagate(image.replace(data=data.astype(np.float32)), disc[0], 0, 11)]
    assert steps
    assert max(steps) < 7, "half of its contrast is gone by then"


@pytest.mark.parametrize("far", [0, 1000])
def test_confidence_is_at_most_one_where_intensities_end(far: float) -> None:
    wanted = cone()
    image = scan(wanted, noise=0)
    data = np.where(wanted, far + 100 * (far > 0), image.data).astype(np.float32)  # all of it at an end of the range
    for carried in propagate(image.replace(data=data), wanted[2], 2, 6):
        assert 0.5 < carried.confidence <= 1 + 1e-9


def test_other_objects_are_never_taken() -> None:
    wanted = cone()
    taken = np.zeros_like(wanted)
    taken[:, 30:] = True
    found = list(propagate(scan(wanted), wanted[2] & ~taken[2], 2, 6, taken=taken))
    assert found
    assert not any((carried.mask & taken[carried.index]).any() for carried in found)


def test_what_cannot_be_carried_on_is_said() -> None:
    image, wanted = scan(cone()), cone()
    with pytest.raises(DataError, match="there are 0 to 11"):
        next(propagate(image, wanted[2], 2, 12))
    with pytest.raises(DataError, match="0 pixels"):
        next(propagate(image, np.zeros((60, 60), bool), 2, 5))
    with pytest.raises(DataError, match="needs a stack"):
        next(propagate(Image(image.data[0], "YX"), wanted[2], 0, 1))


# ---- in a session
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_session_fills_between_and_can_take_it_back(axis: int) -> None:
    wanted = cone()
    drawn = wanted.astype(np.uint8)
    drawn[[n for n in range(12) if n not in (1, 5, 10)]] = 0
    locked = np.zeros(wanted.shape, np.int32)
    locked[3, 20:40, 28:32] = 7
    turned = np.moveaxis(scan(wanted).data, 0, axis)
    session = RefinementSession(
        Image(turned, "ZYX"), proposal=np.moveaxis(drawn, 0, axis), locked=np.moveaxis(locked, 0, axis)
    )
    before = session.mask.copy()
    state = session.fill_between(axis)
    filled = np.moveaxis(state.mask, axis, 0) > 0
    assert not (filled & (locked > 0)).any()
    assert dice(filled[2:10] & (locked[2:10] == 0), wanted[2:10] & (locked[2:10] == 0)) > 0.95
    with pytest.raises(DataError, match="no gap to fill"):
        session.fill_between(axis)
    np.testing.assert_array_equal(replay(session.image, session.log).data, session.mask)
    np.testing.assert_array_equal(session.undo().mask, before)


def test_slices_between_outlines_drawn_by_hand_are_filled() -> None:
    wanted = cone()
    session = RefinementSession(scan(wanted), locked=np.where(np.arange(12)[:, None, None] == 5, wanted, 0) * 7)
    marks = np.zeros(wanted.shape, np.uint8)
    marks[[1, 5, 10]] = 2 * wanted[[1, 5, 10]]
    state = session.draw(marks)
    drawn = state.mask.copy()
    np.testing.assert_array_equal(drawn[[1, 10]], wanted[[1, 10]])
    assert drawn.sum() == wanted[[1, 10]].sum(), "locked labels and slices without a stroke stay as they are"
    marks[1, 25:30, 25:30], marks[5] = 1, 0
    session.draw(marks)
    assert drawn.sum() - session.mask.sum() == 25, "a background stroke takes away"
    with pytest.raises(DataError, match="no new stroke"):
        session.draw(marks)
    session.undo()
    session.fill_between()
    for n in (3, 7, 9):
        assert dice(session.mask[n] > 0, wanted[n]) > 0.9
    assert not session.scribbles.any()
    np.testing.assert_array_equal(replay(session.image, session.log).data, session.mask)
    np.testing.assert_array_equal(session.undo().mask, drawn)
    assert (session.scribbles > 0).sum() == drawn.sum()


def test_a_session_carries_an_object_on_and_stops_when_asked() -> None:
    wanted = cone()
    first = np.zeros(wanted.shape, np.uint8)
    first[2] = wanted[2]
    session = RefinementSession(scan(wanted), proposal=first)
    steps = iter([True, True, False])
    state = run(session.propagate(2, 11, going=lambda: next(steps)))
    assert [n for n in range(12) if state.mask[n].any()] == [2, 3, 4, 5]
    assert "slice 5" in state.message
    assert "go on from there" in state.message
    state = run(session.propagate(5, 11))
    for n in range(3, 12):
        assert dice(state.mask[n] > 0, wanted[n]) > 0.9
    assert "slice 11" in state.message
    np.testing.assert_array_equal(replay(session.image, session.log).data, session.mask)
    with pytest.raises(DataError, match="no mask on slice 0"):
        run(session.propagate(0, 4))


def test_an_accepted_object_in_the_way_of_one_that_is_carried_on_is_named() -> None:
    wanted = cone()
    there = np.zeros(wanted.shape, np.uint8)
    there[3] = wanted[3]
    session = RefinementSession(scan(wanted), proposal=there)
    number = int(session.accept_object().result.max())
    drawn = np.zeros(wanted.shape, np.uint8)
    drawn[2] = wanted[2]
    session.edit("drawn", drawn)
    with pytest.raises(DataError, match=f"on the next one: accepted there is {number}, which is left as it is"):
        run(session.propagate(2, 6))
    with pytest.raises(DataError, match="no slice beyond 2"):
        run(session.propagate(2, 2))
    np.testing.assert_array_equal(session.mask, drawn)


def test_undo_goes_back_over_objects_that_were_carried_on_filled_and_accepted() -> None:
    wanted = cone()
    first = np.zeros(wanted.shape, np.uint8)
    first[2] = wanted[2]
    session = RefinementSession(scan(wanted), proposal=first)
    names = ("mask", "result", "given")
    kept = [[session.history.arrays[name].copy() for name in names]]
    for step in (
        lambda: run(session.propagate(2, 6)),
        lambda: session.accept_object(),
        lambda: session.reopen_object(1),
        lambda: run(session.propagate(6, 8)),
        lambda: session.accept_object(),
    ):
        step()
        kept.append([session.history.arrays[name].copy() for name in names])
    assert [n for n in range(12) if session.result[n].any()] == [2, 3, 4, 5, 6, 7, 8]
    for index in [*range(4, -1, -1), *range(1, 6)]:
        (session.undo if index < session.state.index else session.redo)()
        for name, array in zip(names, kept[index], strict=True):
            np.testing.assert_array_equal(session.history.arrays[name], array)


def test_strokes_correct_what_was_filled_in_and_leave_the_rest() -> None:
    wanted = cone()
    drawn = wanted.astype(np.uint8)
    drawn[2:10] = 0
    session = RefinementSession(scan(wanted), proposal=drawn)
    filled = session.fill_between().mask.copy()
    marks = np.zeros(wanted.shape, np.uint8)
    marks[5, 33, 2:5] = 1  # outside everything: it only guards
    np.testing.assert_array_equal(run(session.refine(marks)).mask, filled)


def test_frames_that_are_refined_together_have_areas_and_no_volume() -> None:
    """A stack of frames has no depth: 3 frames of 4 x 4 pixels of 0.5 x 0.5 um are 12 um^2; without a size 48 px^2."""
    movie = Image(np.zeros((3, 8, 8), np.float32), "ZYX", (1, 0.5, 0.5), ("pixel", "um", "um"), metadata={FRAMES: True})
    for image, size in ((movie, "12 um^2"), (movie.replace(units=("pixel",) * 3), "48 px^2")):
        session = RefinementSession(image)
        mask = np.zeros((3, 8, 8), np.uint8)
        mask[:, 2:6, 2:6] = 1
        said = session.edit("given", mask).describe()
        assert size in said
        assert "pixels" in said
        with pytest.raises(DataError, match="no mask on frame 1"):
            run(RefinementSession(image).propagate(1, 2))
