"""Other pixel sizes along an image's own axes: outer edges, values, places, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from napari_medseg.image import Image
from napari_medseg.io.grids import index_matrix
from napari_medseg.preprocessing.resampling import nearest, resampled
from napari_medseg.preprocessing.volumes import from_itk, to_itk

MM = ("millimeter",) * 3
TURNED = np.array([[0, 0, 1.5, 7], [-2.0, 0, 0, 3], [0, 1.2, 0, -4], [0, 0, 0, 1]])


def test_finer_pixels_are_those_of_another_program() -> None:
    data = np.random.default_rng(0).random((7, 9, 11)).astype(np.float32)
    image = Image(data, "ZYX", (2.0, 1.2, 1.5), MM, TURNED)
    fine = resampled(image, (1.0, 0.6, 0.5))
    assert (fine.spatial_shape, fine.scale) == ((14, 18, 33), (1.0, 0.6, 0.5))
    itk = to_itk(image)
    wanted = sitk.Resample(
        sitk.ZeroFluxNeumannPad(itk, [1] * 3, [1] * 3), to_itk(fine), sitk.Transform(), sitk.sitkLinear
    )
    np.testing.assert_allclose(fine.data, from_itk(wanted).data, atol=1e-5)


def test_coarser_pixels_are_means_at_their_place() -> None:
    image = Image(np.arange(24, dtype=np.uint16).reshape(4, 6) * 10, "YX", (1.0, 1.0), MM[:2])
    coarse = resampled(image, (2.0, 3.0))
    assert coarse.data.dtype == np.uint16
    assert coarse.data.shape == (2, 2)
    np.testing.assert_array_equal(coarse.data, np.rint(image.data.reshape(2, 2, 2, 3).mean((1, 3))))
    uneven = resampled(image.replace(data=image.data.astype(np.float32)), (1.0, 1.5)).data
    assert uneven[0] == pytest.approx([(0 + 5) / 1.5, (5 + 20) / 1.5, (30 + 20) / 1.5, (20 + 50) / 1.5])
    centre = index_matrix(coarse, image.replace(affine=np.eye(3))) @ (0, 0, 1)
    assert centre[:2] == pytest.approx((0.5, 1.0))


def test_a_hole_spreads_no_further_than_the_pixels_on_it() -> None:
    data = np.ones((6, 6), np.float32)
    data[2, 2] = np.nan
    image = Image(data, "YX", (1.0, 1.0), MM[:2])
    assert np.isnan(resampled(image, (2.0, 2.0)).data).sum() == 1
    assert np.isnan(resampled(image, (0.5, 0.5)).data).sum() == 16


def test_labels_keep_their_values_there_and_back() -> None:
    labels = np.zeros((9, 10), np.uint32)
    labels[2:5, 2:5], labels[6:9, 4:9] = 4_000_000_000, 7
    image = Image(labels, "YX", (1.0, 1.0), MM[:2], kind="labels")
    fine = resampled(image, (0.5, 0.25))
    assert set(np.unique(fine.data)) == {0, 7, 4_000_000_000}
    back = nearest(np.asarray(fine.data), np.divide(image.scale, fine.scale), image.spatial_shape)
    np.testing.assert_array_equal(back, labels)


def test_colours_come_first_and_one_pixel_stays_one() -> None:
    image = Image(np.full((1, 5, 3), 200, np.uint8), "YXC", (1.0, 1.0), MM[:2])
    coarse = resampled(image, (4.0, 2.5))
    assert (coarse.axes, coarse.data.shape) == ("CYX", (3, 1, 2))
    assert (coarse.data == 200).all()
