from __future__ import annotations

import numpy as np
import pytest

from napari_medseg.errors import DataError
from napari_medseg.evaluate.metrics.surface import SURFACE_METRICS, assd, hd95, nsd, surface_distances


def box(shape: tuple[int, ...], *slices: slice) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[slices] = True
    return mask


def test_shifted_planes_by_hand() -> None:
    a = box((12, 9, 9), slice(3, 4), slice(2, 7), slice(2, 7))
    b = box((12, 9, 9), slice(5, 6), slice(2, 7), slice(2, 7))
    assert assd(a, b, (1.5, 1, 1)) == pytest.approx(3.0)
    assert hd95(a, b, (1.5, 1, 1)) == pytest.approx(3.0)
    assert nsd(a, b, (1.5, 1, 1), tolerance=2.9) == 0
    assert nsd(a, b, (0.5, 1, 1)) == 1


def brute_force(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...] | np.ndarray) -> list[np.ndarray]:
    edges = []
    steps = np.asarray(spacing) if np.ndim(spacing) == 2 else np.diag(spacing)
    for mask in (a, b):
        padded = np.pad(mask, 1)
        inner = padded.copy()
        for axis in range(mask.ndim):
            inner &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
        edges.append(np.argwhere((padded & ~inner)[(slice(1, -1),) * mask.ndim]) @ steps.T)
    distances = np.linalg.norm(edges[0][:, None] - edges[1][None], axis=-1)
    return [distances.min(1), distances.min(0)]


@pytest.mark.parametrize("shape", [(20, 24), (9, 12, 10), (1, 14, 12)])
def test_equals_brute_force(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    spacing = (2.0, 0.7, 1.3)[-len(shape) :]
    a, b = rng.random(shape) < 0.2, rng.random(shape) < 0.1
    expected = brute_force(a, b, spacing)
    for found, wanted in zip(surface_distances(a, b, spacing), expected, strict=True):
        np.testing.assert_allclose(np.sort(found), np.sort(wanted), atol=1e-9)
    assert assd(a, b, spacing) == pytest.approx(np.concatenate(expected).mean())
    assert hd95(a, b, spacing) == pytest.approx(max(np.percentile(e, 95) for e in expected))


SHEARED = np.array([[2.0, 0.9, -0.4], [0.0, 0.7, 0.5], [0.0, 0.0, 1.3]])
TURN = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]


@pytest.mark.parametrize("steps", [SHEARED, TURN @ SHEARED, TURN @ np.diag([2.0, 0.7, 1.3]), SHEARED[:2, :2]])
def test_turned_and_sheared_axes_equal_brute_force(steps: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    shape = (9, 12, 10)[-len(steps) :]
    a, b = rng.random(shape) < 0.1, rng.random(shape) < 0.05
    expected = brute_force(a, b, steps)
    assert assd(a, b, steps) == pytest.approx(np.concatenate(expected).mean())
    assert hd95(a, b, steps) == pytest.approx(max(np.percentile(e, 95) for e in expected))
    assert nsd(a, b, steps, 1.4) == pytest.approx((np.concatenate(expected) <= 1.4).mean())


def test_turned_axes_measure_as_straight_ones() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.random((6, 7, 8)) < 0.1, rng.random((6, 7, 8)) < 0.1
    sides = np.array([2.0, 0.7, 1.3])
    rounded = (TURN @ np.diag(sides)).astype(np.float32)  # as a header of single precision
    assert assd(a, b, rounded) == pytest.approx(assd(a, b, tuple(sides)), rel=1e-6)


def test_an_empty_mask_is_the_longest_diagonal_away() -> None:
    empty, full = np.zeros((3, 4), bool), np.ones((3, 4), bool)
    assert assd(empty, full, np.array([[1.0, -1.0], [0.0, 1.0]])) == pytest.approx(np.hypot(3 + 4, 4))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_equals_monai() -> None:
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    zyx = np.indices((16, 20, 18))
    a = sum((zyx[i] - c) ** 2 for i, c in enumerate((8, 9, 9))) < 30
    b = sum((zyx[i] - c) ** 2 for i, c in enumerate((7, 11, 9))) < 36
    x, y = (torch.from_numpy(m[None, None].astype(np.float32)) for m in (a, b))
    options = {"include_background": True, "spacing": [3.0, 1.0, 0.8]}
    average = metrics.compute_average_surface_distance(x, y, symmetric=True, **options)
    hausdorff = metrics.compute_hausdorff_distance(x, y, percentile=95, **options)
    dice = metrics.compute_surface_dice(x, y, class_thresholds=[1.0], **options)
    spacing = (3.0, 1.0, 0.8)
    assert assd(a, b, spacing) == pytest.approx(average.item(), rel=1e-5)
    assert hd95(a, b, spacing) == pytest.approx(hausdorff.item(), rel=1e-5)
    assert nsd(a, b, spacing) == pytest.approx(dice.item(), rel=1e-5)


def test_empty_masks_are_defined() -> None:
    empty, full = np.zeros((3, 4), bool), np.ones((3, 4), bool)
    assert [f(empty, empty, ()) for f in SURFACE_METRICS.values()] == [0, 0, 1]
    assert [f(empty, full, (1, 1)) for f in SURFACE_METRICS.values()] == [5, 5, 0]
    assert [f(full, full, (1, 1)) for f in SURFACE_METRICS.values()] == [0, 0, 1]


def test_other_sizes_are_refused() -> None:
    with pytest.raises(DataError, match="Compare on the same grid"):
        assd(np.ones((2, 2)), np.ones((3, 2)))
