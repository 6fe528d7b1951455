from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from napari_medseg.methods.fullnet.transforms import Warp, bspline_displacement, random_window, warp


def test_displacement_is_the_cubic_spline_of_its_control_points() -> None:
    shape, mesh = (50, 70), 6
    field = bspline_displacement(shape, np.random.default_rng(0), sd=4)
    points = np.random.default_rng(0).normal(0, 4, 2 * (mesh + 3) ** 2).reshape(2, mesh + 3, mesh + 3)[::-1]
    rows, columns = ((np.arange(n) + 0.5) / n * mesh + 1 for n in shape)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"))
    expected = [ndimage.map_coordinates(p, grid, order=3, prefilter=False, mode="nearest") for p in points]
    assert field.shape == (2, *shape)
    np.testing.assert_allclose(field[:, 2:-2, 2:-2], np.stack(expected)[:, 2:-2, 2:-2], atol=0.15)


def test_authors_quirk_moves_less_along_x() -> None:
    field = bspline_displacement((90, 90), np.random.default_rng(1), first_third_zero=True)
    np.testing.assert_array_equal(field[1, :40], 0)
    assert np.abs(field[0, :40]).max() > 1


def test_image_target_and_weight_share_one_draw() -> None:
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.random((120, 120)), 6)
    smooth = ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)
    x, y = np.stack([smooth] * 3), np.stack([(smooth > 0.5).astype(np.float32), 1 + smooth])
    settings = Warp(80, (0.8, 1.25))
    image, target = warp(x, y, np.random.default_rng(5), settings)
    assert (image.shape, target.shape) == ((3, 80, 80), (2, 80, 80))
    known = target[1] >= 1  # full weight: the pixel comes from inside the image
    assert 0.3 < known.mean() <= 1
    np.testing.assert_allclose(target[1][known], 1 + image[0][known], atol=1e-4)
    assert ((image[0] > 0.5) == (target[0] > 0))[known].mean() > 0.97
    again = warp(x, y, np.random.default_rng(5), settings)
    np.testing.assert_array_equal(image, again[0])


def test_outside_has_the_fill_and_no_weight() -> None:
    x, y = np.ones((3, 20, 20), np.float32), np.ones((2, 20, 20), np.float32)
    image, target = warp(x, y, np.random.default_rng(0), Warp(64, (1.0, 1.0), (-2.0, -3.0, -4.0)))
    outside = target[1] == 0
    assert outside.any()
    np.testing.assert_array_equal(target[0][outside], 0)
    np.testing.assert_allclose(image[:, 0, 0], [-2, -3, -4])


def test_window_pads_images_smaller_than_the_crop() -> None:
    x, y = np.ones((3, 20, 50), np.float32), np.ones((2, 20, 50), np.float32)
    image, target = random_window(x, y, 32, np.random.default_rng(0))
    assert (image.shape, target.shape) == ((3, 32, 32), (2, 32, 32))
    assert target[1, 20:].sum() == 0


def test_simpleitk_is_the_reference() -> None:
    domain = sitk.Image([30, 40], sitk.sitkUInt8)
    transform = sitk.BSplineTransformInitializer(domain, [6, 6], order=3)
    transform.SetParameters(np.random.default_rng(2).normal(0, 15, 162).tolist())
    field = bspline_displacement((40, 30), np.random.default_rng(2))
    moved = np.subtract(transform.TransformPoint((12.0, 25.0)), (12.0, 25.0))
    np.testing.assert_allclose(field[::-1, 25, 12], moved, atol=1e-4)
