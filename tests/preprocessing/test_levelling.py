"""Known tilts, lines and scars come off; the training-free mask reaches its floor on real scans."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medseg.errors import DataError
from napari_medseg.preprocessing import levelling

Y, X = np.mgrid[-1:1:60j, -1:1:80j]
BOWL = 40 + 100 * X - 60 * Y + 30 * X**2 + 20 * X * Y - 10 * Y**2
CELL = (X - 0.2) ** 2 + Y**2 < 0.15
NOISE = np.random.default_rng(0).normal(0, 0.5, X.shape)


def test_background_of_each_order_is_exact_without_cells() -> None:
    np.testing.assert_allclose(levelling.background(BOWL, 2), BOWL, atol=1e-9)
    np.testing.assert_allclose(levelling.background(3 + 2 * X - Y, 1), 3 + 2 * X - Y, atol=1e-9)
    np.testing.assert_allclose(levelling.background(np.full((5, 6), 7.0), 0), 7, atol=1e-9)


def test_background_ignores_cells() -> None:
    scan = BOWL + NOISE + 200 * CELL
    assert np.abs(levelling.background(scan) - BOWL).max() < 1
    given = levelling.background(scan, exclude=CELL)
    assert np.abs(given - BOWL).max() < 0.5
    flat = levelling.flatten(scan)
    np.testing.assert_allclose((flat[CELL].mean(), flat[~CELL].mean()), (200, 0), atol=1)


def test_line_alignment_removes_row_offsets() -> None:
    offsets = np.random.default_rng(1).normal(0, 20, 60)
    scan = np.broadcast_to(np.sin(5 * X), X.shape) + offsets[:, None]
    aligned = levelling.align_lines(scan)
    np.testing.assert_allclose(aligned - aligned.mean(), np.sin(5 * X) - np.sin(5 * X).mean(), atol=1e-9)


def test_scars_go_and_the_rest_stays() -> None:
    clean = BOWL + NOISE
    scan = clean.copy()
    scan[20, 10:50] += 100
    scan[40, 30:70] -= 100
    repaired = levelling.remove_scars(scan)
    changed = repaired != scan
    assert np.abs(repaired - clean).max() < 5
    assert changed[20, 10:50].mean() > 0.95
    assert changed[40, 30:70].mean() > 0.95
    assert changed.sum() < 100
    short = clean.copy()
    short[30, 20:24] += 100
    np.testing.assert_array_equal(levelling.remove_scars(short), short)


@pytest.mark.parametrize("value", [0.0, 5.0, -3e6, 1e-12])
@pytest.mark.parametrize("shape", [(20, 20), (1, 9), (9, 1), (1, 1), (2, 3)])
def test_constant_images_are_quiet(value: float, shape: tuple[int, int]) -> None:
    flat = np.full(shape, value)
    np.testing.assert_allclose(levelling.level(flat, lines=True, scars=True), 0, atol=1e-8)
    np.testing.assert_allclose(levelling.flatten(flat), 0, atol=1e-8)


@pytest.mark.parametrize("name", ["align_lines", "flatten", "remove_scars", "background"])
def test_non_finite_heights_are_counted_and_refused(name: str) -> None:
    scan = np.zeros((10, 10))
    scan[0, :3] = [np.nan, np.inf, -np.inf]
    with pytest.raises(DataError, match=r"3 non-finite heights of 100"):
        getattr(levelling, name)(scan)


def test_not_an_image_is_refused() -> None:
    with pytest.raises(DataError, match="one height image"):
        levelling.flatten(np.zeros((2, 3, 4)))
