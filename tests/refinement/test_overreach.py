"""Background strokes as long as the object's take back all that lies as far from the object's strokes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_medseg.image import Image
from napari_medseg.jobs import run
from napari_medseg.refinement import RefinementSession
from napari_medseg.refinement.overreach import too_far
from napari_medseg.refinement.reach import drawn_length

SPACING = (1.0, 1.0)


def strip() -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """A mask 21 voxels wide around a column of foreground strokes at x = 10; distance is |x - 10|."""
    away = np.abs(np.arange(21.0) - 10).astype(np.float32)
    distance = np.broadcast_to(away, (9, 21))
    scribbles = np.zeros((9, 21), np.uint8)
    scribbles[2:7, 10] = 2
    return [np.full((9, 21), np.inf, np.float32), distance], np.ones((9, 21), np.uint8), scribbles


@pytest.mark.parametrize(("rows", "left"), [(slice(2, 7), 16), (slice(2, 6), 16), (slice(2, 5), 21)])
def test_a_stroke_as_long_as_the_objects_sets_its_side_back(rows: slice, left: int) -> None:
    distances, mask, scribbles = strip()
    scribbles[rows, 16] = 1
    out = too_far(distances, mask, np.zeros_like(mask), scribbles, np.where(scribbles == 1, scribbles, 0), SPACING)
    expected = [False] * left + [True] * (21 - left)  # the other side is not joined to the stroke
    assert (out is None) == (left == 21)
    assert out is None or (out == expected).all()


def test_what_lies_nearer_than_the_middle_of_the_stroke_stays() -> None:
    distances, mask, scribbles = strip()
    scribbles[4, 15:20] = 1
    out = too_far(distances, mask, np.zeros_like(mask), scribbles, np.where(scribbles == 1, scribbles, 0), SPACING)
    assert out is not None
    assert np.flatnonzero(out[0]).tolist() == [17, 18, 19, 20]


def test_an_object_of_which_a_part_was_given_is_left_to_the_rule() -> None:
    distances, mask, scribbles = strip()
    scribbles[2:7, 16] = 1
    given = np.zeros_like(mask)
    given[0, 0] = 1
    assert too_far(distances, mask, given, scribbles, np.where(scribbles == 1, scribbles, 0), SPACING) is None


def test_without_strokes_of_the_object_nothing_is_too_far() -> None:
    distances, mask, _ = strip()
    new = np.zeros_like(mask)
    new[2:7, 16] = 1
    assert too_far(distances, mask, np.zeros_like(mask), new, new, SPACING) is None


def test_each_class_goes_by_its_own_strokes() -> None:
    distances, mask, scribbles = strip()
    scribbles[2:7, 16] = 1
    mask[:, 14:] = 2
    distances.append(np.full_like(distances[1], 5))
    out = too_far(distances, mask, np.zeros_like(mask), scribbles, np.where(scribbles == 1, scribbles, 0), SPACING)
    assert out is None  # class 2 has no strokes, class 1 no false voxel


def test_dots_tell_no_size() -> None:
    distances, mask, scribbles = strip()
    scribbles[2:7, 14:19] = 1
    new = np.where(scribbles == 1, scribbles, 0)
    assert too_far(distances, mask, np.zeros_like(mask), scribbles, new, SPACING) is None


@pytest.mark.parametrize(("shape", "length"), [((1, 8), 8), ((2, 8), 8), ((4, 8), None), ((8, 2), 24), ((1, 1), None)])
def test_the_drawn_length_is_physical(shape: tuple[int, int], length: float | None) -> None:
    strokes = np.zeros((12, 12), bool)
    strokes[: shape[0], 2 : 2 + shape[1]] = True
    assert drawn_length(strokes, (3.0, 1.0)) == length
    assert drawn_length(np.zeros((2, 2), bool), SPACING) is None


def test_the_session_knows_what_was_given() -> None:
    rng = np.random.default_rng(0)
    image = Image(rng.normal(0.5, 0.1, (60, 60)).astype(np.float32), "YX")
    proposal = np.zeros((60, 60), np.uint8)
    proposal[10:50, 10:50] = 1
    marks = np.zeros((60, 60), np.uint8)
    marks[30, 20:30], marks[30, 38:48] = 2, 1
    kept = RefinementSession(image, proposal=proposal)
    run(kept.refine(marks))
    assert (kept.mask[10:20, 10:20] == 1).all()  # far from the stroke the proposal stays
    kept.accept_object()
    assert not kept.history.arrays["given"].any()
    kept.undo()
    np.testing.assert_array_equal(kept.history.arrays["given"], proposal)


def test_a_session_saved_before_counts_its_mask_as_given(tmp_path: Path) -> None:
    image = Image(np.random.default_rng(0).normal(0.5, 0.1, (40, 40)).astype(np.float32), "YX")
    marks = np.zeros((40, 40), np.uint8)
    marks[20, 10:30] = 2
    session = RefinementSession(image)
    run(session.refine(marks))
    folder = session.save(tmp_path / "session")
    stored = next(path for path in folder.glob("*.npz") if "mask" in np.load(path).files)
    with np.load(stored) as arrays:
        older = {name: arrays[name] for name in arrays.files if name != "given"}
    np.savez_compressed(stored, **older)
    again = RefinementSession.load(folder, image)
    np.testing.assert_array_equal(again.history.arrays["given"], session.mask)
    again.undo()
    assert not again.mask.any()
