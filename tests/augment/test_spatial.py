from __future__ import annotations

import numpy as np
import pytest

from napari_medseg.augment.spatial import (
    affine,
    compose,
    random_crop,
    random_flip,
    random_matrix,
    random_rot90,
    rotation,
    scaling,
    shearing,
    translation,
)


def _sample(shape: tuple[int, ...], channels: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.random((channels, *shape), dtype=np.float32), rng.integers(0, 3, shape).astype(np.uint8)


@pytest.mark.parametrize("shape", [(7, 9), (5, 6, 7)])
def test_identity_returns_its_input(shape: tuple[int, ...]) -> None:
    x, y = _sample(shape)
    moved_x, moved_y = affine(x, y, np.eye(len(shape) + 1))
    np.testing.assert_array_equal(moved_x, x)
    np.testing.assert_array_equal(moved_y, y)
    assert (moved_x.dtype, moved_y.dtype) == (np.float32, np.uint8)


@pytest.mark.parametrize("shape", [(8, 8), (7, 7), (3, 6, 6)])
def test_quarter_turn_equals_rot90(shape: tuple[int, ...]) -> None:
    x, y = _sample(shape)
    n = len(shape)
    moved_x, moved_y = affine(x, y, rotation(np.pi / 2, n, (n - 2, n - 1)))
    # result (row, col) is taken from (-col, row) about the centre
    np.testing.assert_allclose(moved_x, np.rot90(x, 3, (-2, -1)), atol=1e-5)
    np.testing.assert_array_equal(moved_y, np.rot90(y, 3, (-2, -1)))


def test_whole_pixel_shift_is_periodic_with_grid_wrap() -> None:
    x, y = _sample((6, 8))
    moved_x, moved_y = affine(x, y, translation((2, -3)), mode="grid-wrap")
    np.testing.assert_allclose(moved_x, np.roll(x, (-2, 3), (1, 2)), atol=1e-6)
    np.testing.assert_array_equal(moved_y, np.roll(y, (-2, 3), (0, 1)))


def test_zoom_by_two_about_the_centre() -> None:
    line = np.arange(5, dtype=np.float32)
    x = np.broadcast_to(line, (1, 5, 5)).copy()
    moved, _ = affine(x, x[0], scaling((1, 0.5)))
    np.testing.assert_allclose(moved[0, 2], [1, 1.5, 2, 2.5, 3])


def test_target_values_are_never_mixed_and_channels_move_alike() -> None:
    x, y = _sample((32, 32))
    matrix = random_matrix(np.random.default_rng(0), (32, 32), rotate=0.7, shift=0.1, shear=0.1, zoom=(0.9, 1.1))
    _, moved = affine(x, y * 100, matrix)
    assert set(np.unique(moved)) <= {0, 100, 200}
    _, stacked = affine(x, np.stack([y, y]) * 100, matrix)
    np.testing.assert_array_equal(stacked[0], moved)
    np.testing.assert_array_equal(stacked[1], moved)


def test_composition_order_and_shear() -> None:
    a, b, c, d = rotation(0.3), translation((1, 2)), shearing(0.2), scaling((0.9, 1.1))
    np.testing.assert_allclose(compose(a, b, c, d), a @ b @ c @ d)
    np.testing.assert_allclose(c[:2, :2], [[1, -np.sin(0.2)], [0, np.cos(0.2)]])


def test_random_matrix_stays_in_range_and_repeats_with_the_seed() -> None:
    drawn = [random_matrix(np.random.default_rng(5), (40, 20), shift=0.05, zoom=(0.95, 1.05)) for _ in range(2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (np.abs(drawn[0][:2, 2]) <= (2, 1)).all()
    assert (np.abs(np.diag(drawn[0])[:2] - 1) <= 0.05 + 1e-9).all()


@pytest.mark.parametrize("change", [random_flip, random_rot90])
@pytest.mark.parametrize("shape", [(6, 6), (4, 7), (3, 5, 5)])
def test_flips_and_turns_move_image_and_target_together(change, shape: tuple[int, ...]) -> None:
    y = np.arange(np.prod(shape)).reshape(shape)
    x = np.stack([y, 2 * y]).astype(np.float32)
    rng, seen = np.random.default_rng(0), set()
    for _ in range(100):
        moved_x, moved_y = change(x, y, rng)
        np.testing.assert_array_equal(moved_x, np.stack([moved_y, 2 * moved_y]))
        assert moved_y.shape == shape
        assert moved_x.flags.c_contiguous
        assert moved_y.flags.c_contiguous
        seen.add(moved_y.tobytes())
    flips, turns = 2 ** len(shape), 4 if shape[-1] == shape[-2] else 2
    assert len(seen) == (flips if change is random_flip else turns)


def test_flip_only_along_the_given_axes() -> None:
    x, y = _sample((4, 5))
    moved_x, moved_y = random_flip(x, y, np.random.default_rng(0), axes=(-1,), probability=1.0)
    np.testing.assert_array_equal(moved_x, x[..., ::-1])
    np.testing.assert_array_equal(moved_y, y[:, ::-1])


def test_random_crops_hold_the_same_pixels_and_mirror_what_is_missing() -> None:
    y = np.arange(30).reshape(5, 6)
    x = np.stack([y, y + 100])
    crop, target = random_crop(x, y, 3, 2, np.random.default_rng(0))
    assert (crop.shape, target.shape) == ((2, 4, 4), (4, 4))
    np.testing.assert_array_equal(crop, np.stack([target, target + 100]))
    whole, target = random_crop(x, np.stack([y, y]), 0, 4, np.random.default_rng(0))
    np.testing.assert_array_equal(target[0], np.pad(y, [(0, 3), (0, 2)], "symmetric"))
    np.testing.assert_array_equal(whole[0], target[1])
