"""The glass of a scan is found through tilt, bow, lines and cells that cover up to half of it."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medseg.errors import DataError
from napari_medseg.preprocessing.levelling import above_glass, glass_level

Y, X = np.mgrid[-1:1:160j, -1:1:200j]
SURFACE = 900 + 200 * X - 150 * Y + 60 * X**2 + 30 * X * Y + 10 * Y**3


def scene(radius: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return heights with a cell of `radius` and the height 40 to 1000, and the cell."""
    rng = np.random.default_rng(seed)
    distance = np.hypot(X, Y)
    cell = distance < radius
    heights = SURFACE + cell * (40 + 1000 * np.clip(1 - distance / radius, 0, 1) ** 2)
    return heights + rng.normal(0, 1, X.shape) + rng.normal(0, 3, (len(X), 1)), cell


@pytest.mark.parametrize("radius", [0.2, 0.5, 0.75])
def test_cells_stand_out_whatever_they_cover(radius: float) -> None:
    heights, cell = scene(radius)
    found = above_glass(heights)
    mask = found.relative() > 4.5
    assert 2 * (mask & cell).sum() / (mask.sum() + cell.sum()) > 0.95
    assert 0.2 < found.noise < 2
    inner = np.hypot(X, Y) < 0.1 * radius
    true = heights[inner].mean() - SURFACE[inner].mean()
    assert found.height[inner].mean() == pytest.approx(true, abs=15)


def test_glass_alone_is_flat() -> None:
    rng = np.random.default_rng(1)
    found = above_glass(SURFACE + rng.normal(0, 1, X.shape) + rng.normal(0, 5, (len(X), 1)))
    assert found.height.std() < 2  # 5.3 with its lines, 200 with its surface
    assert (found.relative() > 4.5).mean() < 0.01


def test_unit_and_offset_do_not_matter() -> None:
    heights, _ = scene(0.5)
    plain, other = above_glass(heights).relative(), above_glass(heights * 1e-9 - 4e-6).relative()
    np.testing.assert_allclose(other, plain, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("shape", [(20, 20), (1, 9), (9, 1), (1, 1), (2, 3)])
def test_small_and_constant_scans(shape: tuple[int, int]) -> None:
    assert not above_glass(np.full(shape, -3e6)).relative().any()
    varied = above_glass(np.random.default_rng(0).normal(size=shape))
    assert varied.height.shape == shape
    assert np.isfinite(varied.relative()).all()


def test_bad_heights_are_refused() -> None:
    with pytest.raises(DataError, match="1 non-finite heights of 4"):
        above_glass(np.array([[1.0, np.nan], [2, 3]]))
    with pytest.raises(DataError, match="one height image"):
        above_glass(np.zeros((2, 3, 4)))


def test_level_of_quantised_glass() -> None:
    heights = np.repeat([10.0, 11.0, 200.0], [500, 100, 400]).reshape(20, 50)
    level, noise = glass_level(heights)
    assert (level, noise) == (10.0, 0.0)
