"""Simulated users: the paper's counts, marks inside the errors, repeatability."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medseg.methods.deepigeos.simulated_user import (
    ball,
    correct_near,
    corrupt,
    innermost,
    interactive_rounds,
    robot_click,
    simulate,
    skeleton_piece,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(29, 1, 0), (30, 1, 1), (10, 10, 1), (101, 1, 2), (20, 15, 3)]
)
def test_the_papers_number_of_marks(height: int, width: int, expected: int) -> None:
    truth = np.zeros((110, 40), np.uint8)
    truth[3 : 3 + height, 5 : 5 + width] = 1
    scribbles = simulate(truth, np.zeros_like(truth), rng())
    assert np.count_nonzero(scribbles) == expected
    assert set(scribbles[scribbles > 0]) <= {2}
    assert not scribbles[truth == 0].any()


def test_small_structures_need_a_smaller_threshold() -> None:
    truth = np.zeros((20, 20), np.uint8)
    truth[4:8, 4:9] = 1
    nothing = np.zeros_like(truth)
    assert not simulate(truth, nothing, rng()).any()
    assert np.count_nonzero(simulate(truth, nothing, rng(), smallest=20)) == 1
    assert not simulate(truth, nothing, rng(), smallest=21).any()


def test_over_segmentation_is_marked_as_background() -> None:
    truth, proposal = np.zeros((30, 30), np.uint8), np.zeros((30, 30), np.uint8)
    truth[2:12, 2:12] = 1
    proposal[15:29, 15:29] = 1
    scribbles = simulate(truth, proposal, rng())
    assert np.count_nonzero(scribbles == 2) == 1
    assert np.count_nonzero(scribbles == 1) == 2
    assert (truth[scribbles == 2] == 1).all()
    assert (proposal[scribbles == 1] == 1).all()


def test_diagonal_pixels_are_one_region() -> None:
    truth = np.eye(40, dtype=np.uint8)
    assert np.count_nonzero(simulate(truth, np.zeros_like(truth), rng())) == 1


def test_3d_marks_lie_on_the_three_largest_slices() -> None:
    truth = np.zeros((20, 20, 20), np.uint8)
    truth[4:16, 4:16, 4:16] = 1
    truth[7, 2:18, 2:18] = truth[2:18, 8, 2:18] = truth[2:18, 2:18, 9] = 1
    points = np.argwhere(simulate(truth, np.zeros_like(truth), rng()))
    assert len(points) >= 3
    assert all(z == 7 or y == 8 or x == 9 for z, y, x in points)


@pytest.mark.parametrize("rule", ["paper", "scribble", "click", "mixed"])
@pytest.mark.parametrize("radius", [0, 2])
def test_marks_stay_within_their_class_and_repeat(rule: str, radius: int) -> None:
    truth = np.zeros((40, 50), np.uint8)
    truth[5:25, 5:20], truth[20:38, 25:45] = 1, 2
    proposal = np.roll(truth, 8, 1)
    first, second = (simulate(truth, proposal, rng(3), rule=rule, radius=radius) for _ in range(2))  # type: ignore[arg-type]
    assert np.array_equal(first, second)
    assert set(np.unique(first)) == {0, 1, 2, 3}
    for value in (1, 2, 3):
        assert (truth[first == value] == value - 1).all()


def test_no_mark_and_no_error_give_nothing() -> None:
    truth = np.zeros((20, 20), np.uint8)
    truth[5:15, 5:15] = 1
    assert not simulate(truth, np.zeros_like(truth), rng(), no_mark=1.0).any()
    assert not simulate(truth, truth, rng()).any()
    assert not robot_click(truth, truth).any()


def test_skeleton_piece_is_connected_and_inside() -> None:
    region = np.zeros((20, 60), bool)
    region[5:15, 3:57] = True
    for seed in range(5):
        walk = skeleton_piece(region, rng(seed))
        assert region[tuple(walk.T)].all()
        assert (np.abs(np.diff(walk, axis=0)).max(1) == 1).all() if len(walk) > 1 else True
        assert len(walk) >= 5


def test_innermost_voxel_of_a_ring_is_inside_it() -> None:
    region = ball(9, 2)
    region[4:15, 4:15] &= ~ball(5, 2)
    assert not region[9, 9]
    assert region[innermost(region)]


@pytest.mark.parametrize("ndim", [2, 3])
def test_robot_clicks_the_largest_error(ndim: int) -> None:
    truth = np.zeros((24,) * ndim, np.uint8)
    truth[(slice(2, 7),) * ndim] = 1
    truth[(slice(10, 21),) * ndim] = 1
    scribbles = robot_click(truth, np.zeros_like(truth), smallest=10)
    assert scribbles[(15,) * ndim] == 2
    assert np.count_nonzero(scribbles) == 2 * ndim + 1
    assert not robot_click(truth, np.zeros_like(truth), smallest=100_000).any()


def test_rounds_keep_earlier_marks_and_end_right() -> None:
    truth = np.zeros((40, 40), np.uint8)
    truth[5:15, 5:15] = truth[22:38, 22:38] = 1

    def refine(segmentation: np.ndarray, scribbles: np.ndarray) -> np.ndarray:
        return correct_near(truth, segmentation, scribbles, 12)

    states = list(interactive_rounds(truth, np.zeros_like(truth), robot_click, refine, 3))
    assert np.array_equal(states[-1][0], truth)
    assert [np.count_nonzero(s) for _, s in states] == [5, 10, 10]


def test_correct_near_repairs_only_what_is_near() -> None:
    truth = np.ones((1, 20), np.uint8)
    scribbles = np.zeros_like(truth)
    scribbles[0, 0] = 2
    assert np.array_equal(correct_near(truth, truth * 0, scribbles, 3), truth * (np.arange(20) <= 3))


@pytest.mark.parametrize(("shape", "classes"), [((40, 40), 2), ((16, 20, 18), 3), ((3, 3), 2)])
def test_corruption_is_repeatable_and_keeps_the_classes(shape: tuple[int, ...], classes: int) -> None:
    truth = np.zeros(shape, np.uint8)
    truth[tuple(slice(n // 4, 3 * n // 4) for n in shape)] = classes - 1
    before = truth.copy()
    results = [corrupt(truth, rng(seed), n_classes=classes) for seed in range(6)]
    assert np.array_equal(truth, before)
    assert all(np.array_equal(r, corrupt(truth, rng(seed), n_classes=classes)) for seed, r in enumerate(results))
    assert any(not np.array_equal(r, truth) for r in results)
    assert all(r.max() < classes for r in results)


def test_corruption_of_an_empty_or_full_truth() -> None:
    for value in (0, 1):
        for seed in range(5):
            assert corrupt(np.full((12, 12), value, np.uint8), rng(seed)).shape == (12, 12)
