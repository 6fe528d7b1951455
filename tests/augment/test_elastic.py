"""Elastic deformation: identity, agreement of image and target, thin axes."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medseg.augment.elastic import elastic


def test_no_shift_is_the_identity() -> None:
    x, y = np.random.default_rng(0).random((2, 9, 12), np.float32), np.arange(108).reshape(9, 12)
    moved_x, moved_y = elastic(x, y, np.random.default_rng(0), shift=0.0)
    np.testing.assert_allclose(moved_x, x, atol=1e-5)
    assert np.array_equal(moved_y, y)


@pytest.mark.parametrize("shape", [(30, 40), (16, 20, 18), (1, 30, 30)])
def test_image_and_target_move_together_and_repeatably(shape: tuple[int, ...]) -> None:
    y = np.zeros(shape, np.int64)
    y[tuple(slice(n // 4, n // 4 + max(1, n // 2)) for n in shape)] = 3
    x = y[None].astype(np.float32)
    first = elastic(x, y, np.random.default_rng(1))
    again = elastic(x, y, np.random.default_rng(1))
    assert np.array_equal(first[0], again[0])
    assert set(np.unique(first[1])) == {0, 3}
    assert not np.array_equal(first[1], y)
    assert np.mean((first[0][0] > 1.5) == (first[1] > 0)) > 0.97
